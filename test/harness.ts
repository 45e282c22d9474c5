/**
 * What every test of the command line needs: users, working directories, running processes.
 *
 *     t.test('a counter goes on', (t) => asUsers(t, async (t, user) => {
 *       const cwd = workdir(t, user);
 *       const job = spawnProcs(t, user, ['start', '--name', 'c', program('counter')], { cwd });
 *       await job.waitStdout(/^ready/m);
 *       job.kill('SIGUSR1');
 *       await job.waitStderr(/^procs: checkpoint 1 of c:/m);
 *       await killAll(job);
 *     }));
 *
 * Children get no NODE_OPTIONS: tap puts a loader of its own there, with threads and files a target
 * should not have. (An emptied variable does not help, tap fills it again: hence `env -u`.)
 * Whatever a test started is killed when it ends, wherever it has moved to: its process group, its
 * descendants, and orphans, which stay below this process because it is a child subreaper.
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { chmodSync, chownSync, cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, renameSync, rmSync, statSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Test } from 'tap';
import type { Native } from '../supervisor/native.js';

/** The package under test: the checkout. */
export const packageRoot = dirname(dirname(fileURLToPath(import.meta.url)));

/** Someone to run as. Paths inside the package differ: an ordinary user cannot always read the checkout. */
export interface User {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
  /** The package as this user sees it. */
  readonly root: string;
  /** What precedes a command so that it runs as this user. */
  readonly prefix: readonly string[];
}

export interface RunOptions {
  readonly cwd?: string;
  /** Added to the test's own environment; undefined takes a variable away. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** `'pipe'` (default) is written through {@link Running.stdin}; a string is fed and closed; a number is a descriptor. */
  readonly stdin?: 'pipe' | 'ignore' | { readonly text: string } | number;
  /** Descriptors to pass from 3 on. */
  readonly descriptors?: readonly number[];
  /** For {@link Running.waitStdout} and its kin, and for {@link runBare} as a whole; default 30 000. */
  readonly timeoutMs?: number;
}

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** A process started by a test. Its pid is that of `procs` itself: the launchers all exec. */
export interface Running {
  readonly pid: number;
  readonly child: ChildProcess;
  readonly stdin: ChildProcess['stdin'];
  readonly exit: Promise<Exit>;
  stdout(): string;
  stderr(): string;
  kill(signal: NodeJS.Signals): void;
  /** The first match in what was, or will be, written. Fails when the process ends without it. */
  waitStdout(pattern: RegExp): Promise<RegExpMatchArray>;
  waitStderr(pattern: RegExp): Promise<RegExpMatchArray>;
}

export interface Finished extends Exit {
  readonly stdout: string;
  readonly stderr: string;
}

const DEFAULT_TIMEOUT_MS = 120_000;
/** On a machine with much else to do, the kernel takes its time to end a process. */
const KILL_TIMEOUT_MS = 60_000;
const NOBODY = 65534;

const native = await becomeSubreaper();
keepDescriptorsToItself();

/** A test program's path, as the given user sees it. */
export function program(name: string, user: User = currentUser()): string {
  return join(user.root, 'test/programs/build', name);
}

export function currentUser(): User {
  const uid = process.getuid?.() ?? 0;
  return { name: uid === 0 ? 'root' : `uid ${uid}`, uid, gid: process.getgid?.() ?? 0, root: packageRoot, prefix: [] };
}

/** An ordinary user without any capability. Only root can become one; it works on a copy it can read. */
export function unprivilegedUser(): User {
  if (process.getuid?.() !== 0) return currentUser();
  return {
    name: `uid ${NOBODY}`,
    uid: NOBODY,
    gid: NOBODY,
    root: readablePackage(),
    prefix: ['setpriv', `--reuid=${NOBODY}`, `--regid=${NOBODY}`, '--clear-groups', '--bounding-set=-all', '--inh-caps=-all', '--'],
  };
}

/** Runs the body as root and as an ordinary user when the tests run as root, else once as the current user. */
export async function asUsers(t: Test, body: (t: Test, user: User) => Promise<unknown> | void): Promise<void> {
  const run = (user: User, skip: string | false) =>
    t.test(`as ${user.name}`, { skip }, async (subtest) => {
      await body(subtest, user);
    });
  await run(currentUser(), false);
  if (process.getuid?.() !== 0) return;
  const user = unprivilegedUser();
  await run(user, whyNotAs(user));
}

/** Why nothing can be tested as this user here, if so. */
function whyNotAs(user: User): string | false {
  const { error, status } = spawnSync('/usr/bin/env', [...user.prefix, process.execPath, '--version'], { env: { PATH: process.env['PATH'] } });
  if (error) return error.message;
  if (status === 127) return 'setpriv, of util-linux, is not installed';
  return status === 0 ? false : `${user.name} cannot execute ${process.execPath}`;
}

/** A fresh directory that belongs to the user, removed when the test passed; kept, and named, when it failed. */
export function workdir(t: Test, user: User = currentUser()): string {
  const path = mkdtempSync(join(tmpdir(), 'procs-test-'));
  chmodSync(path, 0o755);
  if (user.uid !== process.getuid?.()) chownSync(path, user.uid, user.gid);
  t.teardown(() => {
    if (t.passing()) rmSync(path, { recursive: true, force: true });
    else t.comment(`kept for inspection: ${path}`);
  });
  return path;
}

/** Starts `procs ARGS…` as the user. */
export function spawnProcs(t: Test, user: User, args: readonly string[], options: RunOptions = {}): Running {
  return spawnAs(t, user, [join(user.root, 'bin/procs'), ...args], options);
}

/** Starts any program as the user, without procs. */
export function spawnAs(t: Test, user: User, argv: readonly string[], options: RunOptions = {}): Running {
  const { cwd, env, stdin = 'pipe', descriptors = [], timeoutMs = DEFAULT_TIMEOUT_MS } = options;
  const [file, ...args] = ['/usr/bin/env', '-u', 'NODE_OPTIONS', '-u', '_TAPJS_PROCESSINFO_LOADER_', ...user.prefix, ...argv] as [string, ...string[]];
  const child = spawn(file, args, {
    ...(cwd === undefined ? {} : { cwd }),
    env: { ...process.env, ...env },
    stdio: [typeof stdin === 'object' ? 'pipe' : stdin, 'pipe', 'pipe', ...descriptors],
    detached: true, // a process group of its own, for the teardown
  });
  const exit = new Promise<Exit>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => resolve({ code, signal }));
  });
  exit.catch(() => undefined); // a spawn error is reported by whoever awaits it
  child.stdin?.on('error', () => undefined); // EPIPE: the exit status tells more
  if (typeof stdin === 'object') child.stdin?.end(stdin.text);

  const stdout = collect(child, 'stdout', timeoutMs);
  const stderr = collect(child, 'stderr', timeoutMs);
  if (child.pid !== undefined) live.set(child.pid, readStat(child.pid)?.started ?? '');
  t.teardown(async () => {
    if (child.pid !== undefined) await killTree(child.pid);
    child.stdin?.destroy();
    child.stdout?.destroy();
    child.stderr?.destroy();
    if (!t.passing()) t.comment(`${argv.join(' ')}\n--- stdout\n${stdout.text()}--- stderr\n${stderr.text()}`);
  });
  return {
    pid: child.pid ?? -1,
    child,
    stdin: child.stdin,
    exit,
    stdout: stdout.text,
    stderr: stderr.text,
    kill: (signal) => void child.kill(signal),
    waitStdout: stdout.wait,
    waitStderr: stderr.wait,
  };
}

/** Runs a program to its end, without procs: what the same program under procs is compared with. */
export async function runBare(t: Test, user: User, argv: readonly string[], options: RunOptions = {}): Promise<Finished> {
  return finish(spawnAs(t, user, argv, { stdin: 'ignore', ...options }), options.timeoutMs);
}

/** Runs `procs ARGS…` to its end. */
export async function runProcs(t: Test, user: User, args: readonly string[], options: RunOptions = {}): Promise<Finished> {
  return finish(spawnProcs(t, user, args, { stdin: 'ignore', ...options }), options.timeoutMs);
}

/** Ends a job as a crash would: SIGKILL to the supervisor and all of its tree, and waits until all are gone. */
export async function killAll(job: Running): Promise<void> {
  await killTree(job.pid);
  await job.exit;
}

/** The living descendants of a process, itself first, children after their parents. */
export function treeOf(pid: number): readonly number[] {
  const parents = new Map<number, number[]>();
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const stat = readStat(Number(name));
    if (stat && stat.state !== 'Z') parents.set(stat.ppid, [...(parents.get(stat.ppid) ?? []), Number(name)]);
  }
  const tree = [pid];
  for (let i = 0; i < tree.length; i++) tree.push(...(parents.get(tree[i] as number) ?? []));
  return tree;
}

/** Waits until a fact holds that announces itself nowhere; prefer a readiness message. */
export async function until(what: string, holds: () => boolean, timeoutMs = DEFAULT_TIMEOUT_MS): Promise<void> {
  const end = performance.now() + timeoutMs;
  while (!holds()) {
    if (performance.now() > end) throw new Error(`waited ${timeoutMs} ms in vain: ${what}`);
    await delay(5);
  }
}

/** True while the process exists and has not ended (a zombie has). */
export function isAlive(pid: number): boolean {
  const stat = readStat(pid);
  return stat !== undefined && stat.state !== 'Z';
}

// Processes started by this file's tests, of which some may have left orphans to us, with their start times.
const live = new Map<number, string>();

async function finish(running: Running, timeoutMs = DEFAULT_TIMEOUT_MS): Promise<Finished> {
  const timer = setTimeout(() => void killTree(running.pid), timeoutMs);
  const exit = await running.exit.finally(() => clearTimeout(timer));
  return { ...exit, stdout: running.stdout(), stderr: running.stderr() };
}

function collect(child: ChildProcess, name: 'stdout' | 'stderr', timeoutMs: number) {
  const chunks: Buffer[] = [];
  const text = () => Buffer.concat(chunks).toString();
  child[name]?.on('data', (chunk: Buffer) => chunks.push(chunk));
  const wait = (pattern: RegExp) =>
    new Promise<RegExpMatchArray>((resolve, reject) => {
      const timer = setTimeout(() => done(`not within ${timeoutMs} ms`), timeoutMs);
      const look = () => {
        const match = text().match(pattern);
        if (match) done(match);
      };
      const closed = (code: number | null, signal: string | null) => {
        look();
        done(`the process ended first (${signal ?? `status ${code}`})`);
      };
      const done = (outcome: RegExpMatchArray | string) => {
        clearTimeout(timer);
        child[name]?.off('data', look);
        child.off('close', closed);
        if (typeof outcome !== 'string') resolve(outcome);
        else reject(new Error(`${name}: no ${pattern}: ${outcome}; ${name} so far: ${JSON.stringify(text())}`));
      };
      child[name]?.on('data', look);
      child.once('close', closed);
      look();
      if (child[name]?.closed) closed(child.exitCode, child.signalCode);
    });
  return { text, wait };
}

/**
 * Kills a process that a test started, its group, its descendants, and again until none is left. Orphans
 * of it have become children of this process; those that this process did not start itself are taken for
 * them. Process ids are used again within seconds where many tests run, so a process is known by its
 * start time too.
 */
async function killTree(pid: number): Promise<void> {
  const started = live.get(pid);
  if (started === undefined) return;
  const victims = new Map<number, string>();
  const add = (one: number): void => {
    const stat = readStat(one);
    if (stat !== undefined && !victims.has(one)) victims.set(one, stat.started);
  };
  const remains = (one: number, since: string): boolean => readStat(one)?.started === since;
  const end = performance.now() + KILL_TIMEOUT_MS;
  for (;;) {
    const itself = readStat(pid);
    if (itself?.started === started) for (const one of treeOf(pid)) add(one);
    // Its id is not given to another while its group has members.
    if (itself === undefined || itself.started === started) for (const one of groupOf(pid)) add(one);
    for (const [one, since] of [...victims]) if (remains(one, since)) for (const descendant of treeOf(one)) add(descendant);
    if (itself?.started !== started || itself.state === 'Z') for (const orphan of orphans()) add(orphan);

    for (const [one, since] of victims) {
      if (!remains(one, since)) victims.delete(one);
      else signal(one, 'SIGKILL');
    }
    for (const [one, since] of victims) if (remains(one, since) && !live.has(one)) reap(one);
    const left = [...victims].filter(([one, since]) => remains(one, since) && (isAlive(one) || (native && !live.has(one))));
    if (left.length === 0) break;
    if (performance.now() > end) throw new Error(`cannot kill ${left.map(([one]) => one).join(', ')} within ${KILL_TIMEOUT_MS} ms`);
    await delay(2);
  }
  live.delete(pid);
}

/** An orphan that fell to us keeps its pid until it is waited for, and Node waits only for its own. */
function reap(pid: number): void {
  if (readStat(pid)?.ppid !== process.pid) return;
  try {
    native?.waitChild(pid);
  } catch {
    // ECHILD: reaped already.
  }
}

function groupOf(pgid: number): readonly number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && readStat(Number(name))?.pgrp === pgid)
    .map(Number);
}

/** Our children that were born to someone else: sessions and groups of their own, no ChildProcess of ours. */
function orphans(): readonly number[] {
  if (!native) return [];
  const [, ...descendants] = treeOf(process.pid);
  return descendants.filter((pid) => {
    const stat = readStat(pid);
    return stat?.ppid === process.pid && !live.has(pid) && stat.pgrp !== readStat(process.pid)?.pgrp && !live.has(stat.pgrp);
  });
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, constants.signals[name]);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

function readStat(pid: number): { state: string; ppid: number; pgrp: number; started: string } | undefined {
  try {
    // The command's name may hold anything, ") " included: the fields follow the last one.
    const fields = readFileSync(`/proc/${pid}/stat`, 'latin1').replace(/^.*\) /s, '').split(' ');
    return { state: fields[0] as string, ppid: Number(fields[1]), pgrp: Number(fields[2]), started: fields[19] as string };
  } catch {
    return undefined; // ended meanwhile
  }
}

/** Makes this process the one that orphans of its descendants fall to. Without the addon they fall to init. */
async function becomeSubreaper(): Promise<Native | undefined> {
  try {
    const { native } = await import('../supervisor/native.js');
    native.setChildSubreaper();
    return native;
  } catch {
    return undefined; // not built: tests of pure functions do not need it
  }
}

/**
 * A copy of the built package that every user can read, made once per build and shared by all test files:
 * the directory's name holds the newest time of what it copies. Made beside, then renamed: whoever comes
 * second finds a whole one.
 */
function readablePackage(): string {
  const parts = ['package.json', 'bin', 'dist', 'agent', 'preload', 'native/build/Release', 'test/programs/build'].filter((part) =>
    existsSync(join(packageRoot, part)),
  );
  const stamp = Math.max(...parts.map((part) => newestTime(join(packageRoot, part))));
  const directory = join(tmpdir(), `procs-package-${process.env['PROCS_TEST_RUN'] ?? 'single'}-${Math.round(stamp)}`);
  if (existsSync(directory)) return directory;

  const fresh = mkdtempSync(`${directory}-`);
  for (const part of parts) {
    mkdirSync(dirname(join(fresh, part)), { recursive: true });
    cpSync(join(packageRoot, part), join(fresh, part), { recursive: true, preserveTimestamps: true });
  }
  const readable = spawnSync('chmod', ['-R', 'a+rX', fresh]);
  if (readable.status !== 0) throw new Error(`cannot make ${fresh} readable: ${String(readable.stderr)}`);
  try {
    renameSync(fresh, directory);
  } catch (error) {
    // Another test file was first.
    if (!existsSync(directory)) throw error;
    rmSync(fresh, { recursive: true, force: true });
  }
  return directory;
}

function newestTime(path: string): number {
  const stat = statSync(path);
  if (!stat.isDirectory()) return stat.mtimeMs;
  return Math.max(stat.mtimeMs, ...readdirSync(path).map((name) => newestTime(join(path, name))));
}

/**
 * Terminals and job runners leave descriptors open in whatever they start. A program under procs would
 * inherit them, and a checkpoint refuses what comes from outside.
 */
function keepDescriptorsToItself(): void {
  const [F_SETFD, FD_CLOEXEC] = [2, 1];
  for (const fd of readdirSync('/proc/self/fd').map(Number)) {
    try {
      if (fd > 2) native?.fcntl(fd, F_SETFD, FD_CLOEXEC);
    } catch {
      // The one that the directory was read with.
    }
  }
}

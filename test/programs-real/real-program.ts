/**
 * A real program under test: once undisturbed, then under procs with checkpoints at random
 * moments, each followed by SIGKILL to supervisor and program and a resume. What it leaves
 * must be the same, byte for byte.
 *
 * With PROCS_PROGRAMS in the environment (`npm run programs`), each result is added to that
 * file as a line of JSON, for docs/PROGRAMS.md.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { accessSync, appendFileSync, chownSync, constants, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Test } from 'tap';
import { type Running, type User, asUsers, currentUser, killAll, spawnAs, treeOf, until, workdir } from '../harness.js';

export interface RealProgram {
  /** As the table names it. */
  readonly name: string;
  /** What it is made to do, in a few words. */
  readonly does: string;
  /** The first word is found in PATH; a function gets the directory that the files are in. */
  readonly command: readonly string[];
  /** Written into its directory before it starts: a script, a data file. */
  readonly files?: Readonly<Record<string, string | Buffer>>;
  /** One of its files; nothing by default. */
  readonly stdin?: string;
  /** What it writes, beside standard output. */
  readonly outputs?: readonly string[];
  /** Options of `procs start`. */
  readonly options?: readonly string[];
  /** Arguments that make it tell its version; none for what the test builds itself. */
  readonly version?: readonly string[];
  /** Why it cannot be tested here, where PATH alone does not tell. */
  readonly skip?: string | false;
  /** What refuses its checkpoint, as the message names it. */
  readonly refused?: readonly RegExp[];
  /** Looks at what it has left, after a resume. */
  readonly verify?: (t: Test, directory: string) => void;
}

const ROUNDS = 2;
const TRIES = 4;

/** A program's path; undefined where this machine lacks it. */
export function which(name: string): string | undefined {
  if (name.includes('/')) return existsSync(name) ? name : undefined;
  return (process.env['PATH'] ?? '').split(':').map((folder) => join(folder, name)).find(isExecutable);
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** The tests of one program, as root and as an ordinary user. */
export async function testProgram(t: Test, program: RealProgram): Promise<void> {
  const lacking = program.skip || (which(program.command[0] ?? '') === undefined ? `${program.command[0]} is not installed` : false);
  await t.test(program.name, { skip: lacking }, async (subtest) => {
    const reference = await runUndisturbed(subtest, program);
    await asUsers(subtest, async (own, user) => {
      const why = unusable(program, user);
      if (why !== undefined) {
        own.comment(why);
        return;
      }
      if (program.refused !== undefined) await refuses(own, user, program, reference, program.refused);
      else await survives(own, user, program, reference);
      note(program, user, own.passing() ? 'yes' : 'NO');
    });
  });
}

interface Reference {
  readonly seconds: number;
  readonly code: number | null;
  readonly outputs: Readonly<Record<string, string>>;
}

/** An interpreter in a home directory is not for everyone. */
function unusable(program: RealProgram, user: User): string | undefined {
  const path = which(program.command[0] ?? '') ?? '';
  const { status } = spawnSync('/usr/bin/env', [...user.prefix, 'test', '-x', path]);
  return status === 0 ? undefined : `${user.name} cannot execute ${path}`;
}

async function runUndisturbed(t: Test, program: RealProgram): Promise<Reference> {
  const directory = prepare(t, currentUser(), program);
  const begun = performance.now();
  const job = spawn(t, currentUser(), program, directory, resolved(program));
  const { code } = await job.exit;
  t.equal(code, 0, 'ends well by itself');
  return { seconds: (performance.now() - begun) / 1000, code, outputs: outputsOf(program, directory) };
}

async function survives(t: Test, user: User, program: RealProgram, reference: Reference): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    const directory = prepare(t, user, program);
    const rounds = await runDisturbed(t, user, program, directory, reference.seconds / attempt);
    // On a machine that is slower at first than later, it can end before its checkpoint.
    if (rounds === 0 && attempt < TRIES) continue;
    t.ok(rounds > 0, `was checkpointed, killed and resumed (${rounds} times)`);
    t.same(outputsOf(program, directory), reference.outputs, 'left the same as when it was not disturbed');
    program.verify?.(t, directory);
    return;
  }
}

/** @returns how often it was checkpointed, killed and resumed. */
async function runDisturbed(t: Test, user: User, program: RealProgram, directory: string, seconds: number): Promise<number> {
  const procs = join(user.root, 'bin/procs');
  let rounds = 0;
  let job = spawn(t, user, program, directory, [procs, 'start', '--image', 'job.procs', ...(program.options ?? []), '--', ...resolved(program)]);
  for (; rounds < ROUNDS; rounds++) {
    if (!(await isRunning(job))) break;
    await delay(((0.05 + 0.45 * Math.random()) * seconds * 1000) / (rounds + 1));
    job.kill('SIGUSR1');
    // The program may have ended just before.
    const report = await Promise.race([job.waitStderr(/procs: (checkpoint \d+ of|cannot checkpoint.*has ended)/).catch(() => undefined), job.exit.then(() => undefined)]);
    if (report?.[1]?.startsWith('checkpoint') !== true) break;
    await killAll(job);
    job = spawn(t, user, program, directory, [procs, 'resume', ...(program.options ?? []), './job.procs']);
  }
  const { code, signal } = await job.exit;
  t.match({ code, signal }, { code: 0, signal: null }, `ends well after ${rounds} resumes`);
  return rounds;
}

/** A checkpoint is refused with the reasons that are expected, and the program runs on to its end. */
async function refuses(t: Test, user: User, program: RealProgram, reference: Reference, reasons: readonly RegExp[]): Promise<void> {
  const directory = prepare(t, user, program);
  const job = spawn(t, user, program, directory, [join(user.root, 'bin/procs'), 'start', '--', ...resolved(program)]);
  await isRunning(job);
  await delay(300 * reference.seconds);
  job.kill('SIGUSR1');
  await job.waitStderr(/procs: cannot checkpoint process .*it runs on/);
  await job.exit;
  for (const reason of reasons) t.match(job.stderr(), reason, `refused: ${String(reason)}`);
  t.same(outputsOf(program, directory), reference.outputs, 'runs on as if nothing had been asked');
}

/** Until the program itself runs; false where it has ended. */
async function isRunning(job: Running): Promise<boolean> {
  const hasEnded = (): boolean => job.child.exitCode !== null || job.child.signalCode !== null;
  await until('the program runs', () => hasEnded() || treeOf(job.pid).some((pid) => pid !== job.pid && !/procs/.test(commOf(pid))));
  return !hasEnded();
}

function commOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'latin1');
  } catch {
    return 'procs, ended';
  }
}

function prepare(t: Test, user: User, program: RealProgram): string {
  const directory = workdir(t, user);
  // A compressor stores times.
  const files: Readonly<Record<string, string | Buffer>> = { stdout: '', ...program.files };
  for (const [name, contents] of Object.entries(files)) {
    const path = join(directory, name);
    writeFileSync(path, contents);
    chownSync(path, user.uid, user.gid);
  }
  return directory;
}

/** Standard output goes to a file, appended to: what a batch system does. */
function spawn(t: Test, user: User, program: RealProgram, directory: string, argv: readonly string[]): Running {
  return spawnAs(t, user, ['/bin/sh', '-c', `exec "$0" "$@" <${program.stdin ?? '/dev/null'} >>stdout`, ...argv], { cwd: directory, stdin: 'ignore', timeoutMs: 60_000 });
}

function resolved(program: RealProgram): readonly string[] {
  return [which(program.command[0] ?? '') ?? '', ...program.command.slice(1)];
}

function outputsOf(program: RealProgram, directory: string): Record<string, string> {
  const digest = (name: string): string => {
    const path = join(directory, name);
    if (!existsSync(path)) return 'missing';
    const bytes = readFileSync(path);
    return `${bytes.length} bytes, ${createHash('sha256').update(bytes).digest('hex')}`;
  };
  return Object.fromEntries(['stdout', ...(program.outputs ?? [])].map((name) => [name, digest(name)]));
}

function note(program: RealProgram, user: User, result: string): void {
  const file = process.env['PROCS_PROGRAMS'];
  if (file === undefined) return;
  const told = program.version === undefined ? undefined : spawnSync(which(program.command[0] ?? '') ?? '', program.version, { encoding: 'utf8', input: '' });
  const version = /\d+(\.\d+)+/.exec(`${told?.stdout ?? ''}\n${told?.stderr ?? ''}`)?.[0] ?? '';
  const refused = program.refused?.map((reason) => reason.source) ?? [];
  appendFileSync(file, `${JSON.stringify({ name: program.name, version, does: program.does, user: user.uid === 0 ? 'root' : 'ordinary user', result: refused.length > 0 ? 'refused' : result, refused })}\n`);
}

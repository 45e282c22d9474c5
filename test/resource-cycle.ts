/**
 * What the tests of resources have in common: a self-checking program (test/programs/README.md) is
 * checkpointed at a random moment, killed together with its supervisor, resumed, and checks itself.
 *
 *     testPrograms(t, ['pipe', { program: 'alarm', gapMs: 3000 }]);
 *
 * Standard output is a file, so that what was printed between checkpoint and kill is cut off by the
 * resume: the whole of it must then be what an uninterrupted run prints. A failed test keeps its
 * directory with the image, and prints the command to look at it.
 */
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Test } from 'tap';
import { type Running, type User, asUsers, killAll, program, runBare, spawnAs, until, workdir } from './harness.js';

export interface Case {
  readonly program: string;
  readonly args?: readonly string[];
  /** How often it is checkpointed, killed and resumed; default 1. */
  readonly rounds?: number;
  /** A checkpoint comes at a random moment before this many milliseconds have passed; default 150. */
  readonly withinMs?: number;
  /** How long nothing runs between kill and resume; default 0. */
  readonly gapMs?: number;
  /** The output is compared with that of a run without procs. */
  readonly compare?: boolean;
  /** What precedes the command, such as `taskset -c 0`. */
  readonly prefix?: readonly string[];
}

const END_TIMEOUT_MS = 60_000;
const SKIPPED = 77;

/** One test for each program, as root and as an ordinary user. */
export function testPrograms(t: Test, cases: readonly (string | Case)[], common: Partial<Case> = {}): void {
  for (const one of cases) {
    const given: Case = { ...common, ...(typeof one === 'string' ? { program: one } : one) };
    t.test([given.program, ...(given.args ?? [])].join(' '), (test) => asUsers(test, (subtest, user) => cycle(subtest, user, given)));
  }
}

/** Checkpoint, kill, resume; as often as the case says. */
export async function cycle(t: Test, user: User, given: Case): Promise<void> {
  const { rounds = 1, withinMs = 150, gapMs = 0 } = given;
  const run = new ProgramRun(t, user, given);
  let job = await run.start();
  if (job === undefined) return;
  for (let round = 1; round <= rounds; round++) {
    await delay(Math.random() * withinMs);
    job.kill('SIGUSR1');
    await checkpointed(job);
    await delay(Math.random() * 30);
    await killAll(job);
    await delay(gapMs);
    if (round === rounds) run.go();
    job = run.resume();
    if (round < rounds) await job.waitStderr(/^procs: launch/m);
  }
  await run.checkEnd(job);
}

/** Checkpoints of a program that runs on. */
export async function checkpointAgainAndAgain(t: Test, user: User, given: Case & { readonly times: number }): Promise<void> {
  const { withinMs = 150, times } = given;
  const run = new ProgramRun(t, user, given);
  const job = await run.start();
  if (job === undefined) return;
  for (let number = 1; number <= times; number++) {
    await delay(Math.random() * withinMs);
    job.kill('SIGUSR1');
    await checkpointed(job, number);
  }
  run.go();
  await run.checkEnd(job);
}

/** A checkpoint that must be refused with these words; the program then finds itself unharmed. */
export async function refusal(t: Test, user: User, given: Case & { readonly words: readonly RegExp[] }): Promise<void> {
  const run = new ProgramRun(t, user, given);
  const job = await run.start();
  if (job === undefined) return;
  await delay(Math.random() * 50);
  job.kill('SIGUSR1');
  await job.waitStderr(/^procs: cannot checkpoint process \d+.*\n(?: .*\n)*/m);
  // Lines that come in a second piece belong to the same message.
  await until('the whole message', () => given.words.every((word) => word.test(job.stderr())), 2000).catch(() => undefined);
  for (const word of given.words) t.match(job.stderr(), word, 'the message names it');
  run.go();
  await run.checkEnd(job);
  t.notOk(run.hasCheckpoint(), 'no checkpoint was written');
}

/** Waits for a checkpoint; fails at once, with the message, where there is none. */
export async function checkpointed(job: Running, number?: number): Promise<void> {
  const [line] = await job.waitStderr(new RegExp(`^procs: (?:checkpoint ${number ?? '\\d+'} of|cannot|E[A-Z]+:).*$`, 'm'));
  if (!line.startsWith('procs: checkpoint ')) throw new Error(`no checkpoint: ${job.stderr()}`);
}

/** One program on its way through start, kill and resume. */
export class ProgramRun {
  readonly directory: string;
  readonly #image: string;
  readonly #goFile: string;
  readonly #output: string;

  constructor(
    readonly t: Test,
    readonly user: User,
    readonly given: Case,
  ) {
    this.directory = workdir(t, user);
    this.#image = join(this.directory, 'image.procs');
    this.#goFile = join(this.directory, 'go');
    this.#output = join(this.directory, 'output');
    t.teardown(() => {
      if (!t.passing()) t.comment(`look at it: bin/procs inspect ${this.#image}; ls ${this.directory}`);
    });
  }

  get #command(): readonly string[] {
    return [program(this.given.program, this.user), this.#goFile, ...(this.given.args ?? [])];
  }

  /** @returns undefined where this host cannot do what is tested. */
  async start(): Promise<Running | undefined> {
    const job = this.#spawn(['start', '--trace', '--image', this.#image, ...this.#command]);
    await until('the program is ready', () => /^(?:ready|1\.\.0.*|Bail out.*)\n/m.test(this.output()) || job.child.exitCode !== null);
    if (/^ready$/m.test(this.output())) return job;
    const { code } = await job.exit;
    const reason = /^1\.\.0 # SKIP (.*)$/m.exec(this.output())?.[1];
    if (code === SKIPPED) this.t.pass(this.given.program, { skip: reason ?? true });
    else this.t.fail(`${this.given.program} does not start: status ${code}`, { output: this.output(), stderr: job.stderr() });
    return undefined;
  }

  resume(): Running {
    return this.#spawn(['resume', '--trace', this.#image]);
  }

  #spawn(args: readonly string[]): Running {
    // By a shell, which opens the output as the user, and is then replaced: the pid is that of procs.
    const redirect = ['/bin/sh', '-c', 'exec "$@" >>"$0"', this.#output, ...(this.given.prefix ?? [])];
    const options = { cwd: this.directory, stdin: 'ignore' as const };
    return spawnAs(this.t, this.user, [...redirect, join(this.user.root, 'bin/procs'), ...args], options);
  }

  /** Lets the program check itself. */
  go(): void {
    closeSync(openSync(this.#goFile, 'w'));
  }

  output(): string {
    return existsSync(this.#output) ? readFileSync(this.#output, 'utf8') : '';
  }

  hasCheckpoint(): boolean {
    return existsSync(this.#image);
  }

  /** The program ends well, has checked everything once, and has printed what it prints without procs. */
  async checkEnd(job: Running): Promise<void> {
    const timer = setTimeout(() => job.kill('SIGKILL'), END_TIMEOUT_MS);
    const exit = await job.exit;
    clearTimeout(timer);
    const lines = this.output().split('\n');
    const wrong = lines.filter((line) => /^(not ok|Bail out)/.test(line));
    this.t.same(wrong, [], 'the program finds everything as it was');
    this.t.same(exit, { code: 0, signal: null }, 'it ends well');
    const plan = /^1\.\.(\d+)$/.exec(lines.at(-2) ?? '')?.[1];
    this.t.equal(Number(plan), lines.filter((line) => line.startsWith('ok ')).length, 'every check was made, once');
    this.t.equal(lines.filter((line) => line === 'ready').length, 1, 'nothing was printed twice');
    if (this.given.compare === true) await this.#compare();
  }

  async #compare(): Promise<void> {
    const bare = await runBare(this.t, this.user, this.#command, { cwd: this.directory });
    this.t.equal(this.output(), bare.stdout, 'the output is that of an uninterrupted run');
  }
}

/** Keeps every processor busy until the test ends. */
export function load(t: Test, user: User, processes = 2): void {
  for (let i = 0; i < processes; i++) spawnAs(t, user, ['/bin/sh', '-c', 'while :; do :; done'], { stdin: 'ignore' });
}

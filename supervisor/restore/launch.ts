/**
 * Executes procs-agent on a tape and waits until the target runs: the one way in which
 * procs makes a process, for `start` and `resume` alike.
 */
import { closeSync, read, writeSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { execa } from 'execa';
import { ProcsError, messageOf } from '../errors.js';
import { playerCode } from '../freeze/player.js';
import { SIGNAL, errnoText } from '../linux.js';
import { native, packageRoot } from '../native.js';
import { TAPE_FAILURE, TAPE_FAILURE_MAGIC, TAPE_FAILURE_SIZE } from '../tape/layout.js';
import type { Tape } from '../tape/tape.js';

const readFd = promisify(read);
const MFD_CLOEXEC = 1;

export const AGENT_PATH = join(packageRoot, 'agent/build/procs-agent');

/** What the supervisor holds while a process is being made. */
export class LaunchPipes {
  readonly report = native.pipePair();
  readonly launch = native.pipePair();
  #open = new Set([...this.report, ...this.launch]);

  close(fd: number): void {
    if (this.#open.delete(fd)) closeSync(fd);
  }

  [Symbol.dispose](): void {
    for (const fd of this.#open) closeSync(fd);
    this.#open.clear();
  }
}

export interface LaunchRequest {
  readonly tape: Tape;
  readonly base: bigint;
  /** The number that the report pipe has in the processes that play. */
  readonly reportFd: number;
  readonly pipes: LaunchPipes;
  readonly env?: NodeJS.ProcessEnv;
  /** Descriptors passed on beside the standard streams: the same numbers. */
  readonly inherited?: readonly number[];
  readonly closed?: readonly number[];
}

export interface Launched {
  readonly pid: number;
  /** Process 1 of its PID namespace, where it has one. */
  readonly init: number | undefined;
}

/** An operation of the tape that failed. */
export class TapeFailure extends ProcsError {
  constructor(
    readonly label: string,
    readonly errno: number,
  ) {
    super('PROCS_ERR_TAPE', `cannot ${label}: ${errnoText(errno)}`);
  }
}

/**
 * @returns The ids of the processes that were made.
 * @throws {TapeFailure} naming the step that failed; nothing is left behind.
 */
export async function launch(request: LaunchRequest): Promise<Launched> {
  const { pipes } = request;
  const tapeFd = writeTape(request);
  const pids: number[] = [];
  try {
    await runAgent(tapeFd, request);
    pipes.close(pipes.report[1]);
    pipes.close(pipes.launch[1]);
    for (const bytes of chunks(await readAll(pipes.launch[0]), 8)) {
      const pid = Number(bytes.readBigInt64LE(0));
      if (pid > 0) pids.push(pid);
    }
    const report = await readAll(pipes.report[0]);
    if (report.length > 0) throw failureOf(report, request.tape);
    const pid = pids.at(-1);
    if (pid === undefined) throw new ProcsError('PROCS_ERR_TAPE', 'cannot start a process: procs-agent ended without a word');
    return { pid, init: pids.length > 1 ? pids[0] : undefined };
  } catch (error) {
    // The init of a namespace ends only when the last process in it was reaped.
    for (const pid of pids.reverse()) endProcess(pid);
    throw error;
  } finally {
    closeSync(tapeFd);
  }
}

/** The region as it will stand in memory, then where it goes: two words that start.c looks for. */
function writeTape(request: LaunchRequest): number {
  const code = playerCode();
  const tape = request.tape.encode({ base: request.base, codeSize: code.length, reportFd: request.reportFd });
  const end = Buffer.alloc(16);
  end.writeBigUInt64LE(request.base, 0);
  end.writeBigUInt64LE(BigInt(code.length), 8);
  const fd = native.memfd('procs-tape', MFD_CLOEXEC);
  for (const bytes of [code, tape, end]) {
    for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done);
  }
  return fd;
}

async function runAgent(tapeFd: number, request: LaunchRequest): Promise<void> {
  const inherited = new Set(request.inherited ?? []);
  const count = Math.max(2, ...inherited) + 1;
  const stdio = Array.from({ length: count }, (_, fd) => (fd <= 2 ? ('inherit' as const) : inherited.has(fd) ? fd : ('ignore' as const)));
  const result = await execa(AGENT_PATH, [`/proc/${process.pid}/fd/${tapeFd}`], {
    stdio: stdio as ['inherit', 'inherit', 'inherit'],
    reject: false,
    extendEnv: false,
    env: request.env ?? {},
    cleanup: false,
  });
  if (result.exitCode === undefined && result.signal === undefined) {
    throw new ProcsError('PROCS_ERR_BUILD', `cannot execute ${AGENT_PATH}: ${messageOf(result.cause ?? result.originalMessage)}`);
  }
}

async function readAll(fd: number): Promise<Buffer> {
  const parts: Buffer[] = [];
  for (;;) {
    const buffer = Buffer.alloc(4096);
    const { bytesRead } = await readFd(fd, buffer, 0, buffer.length, null);
    if (bytesRead === 0) return Buffer.concat(parts);
    parts.push(buffer.subarray(0, bytesRead));
  }
}

function* chunks(bytes: Buffer, size: number): Generator<Buffer> {
  for (let at = 0; at + size <= bytes.length; at += size) yield bytes.subarray(at, at + size);
}

function failureOf(report: Buffer, tape: Tape): ProcsError {
  const first = [...chunks(report, TAPE_FAILURE_SIZE)][0];
  if (first === undefined || first.readUInt32LE(TAPE_FAILURE.magic) !== TAPE_FAILURE_MAGIC) {
    return new ProcsError('PROCS_ERR_TAPE', 'cannot start a process: procs-agent reported what is not understood');
  }
  return new TapeFailure(tape.labelText(first.readUInt32LE(TAPE_FAILURE.label)), first.readInt32LE(TAPE_FAILURE.error));
}

/** Kills a process of ours and takes it off the process table. */
export function endProcess(pid: number): void {
  try {
    native.sendSignal(pid, 0, SIGNAL.SIGKILL);
    native.waitStop(pid, 5000);
  } catch {
    // It has ended by itself.
  }
}

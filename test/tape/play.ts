/** Plays a tape with the real player: in procs-agent, without the supervisor around it. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { playerCode } from '../../supervisor/freeze/player.js';
import { native } from '../../supervisor/native.js';
import { TAPE_FAILURE, TAPE_FAILURE_MAGIC, TAPE_FAILURE_SIZE } from '../../supervisor/tape/layout.js';
import type { Tape } from '../../supervisor/tape/tape.js';
import { packageRoot } from '../harness.js';

export const BASE = 0x3000_0000_0000n;
/** The failure record's descriptor in the process that plays. */
const REPORT_FD = 3;
/** The first of {@link PlayOptions.descriptors}. */
export const FIRST_FD = 4;

export interface PlayOptions {
  /** Passed on as 4, 5… */
  readonly descriptors?: readonly number[];
  /** Changes the file that procs-agent is given. */
  readonly damage?: (region: Buffer) => Buffer;
}

export interface Outcome {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly pid: number;
  readonly stdout: Buffer;
  readonly stderr: string;
  /** What the player reported, with the label in words. */
  readonly failure: { readonly label: string; readonly error: number; readonly op: number; readonly result: bigint } | undefined;
}

/** The region as the loader wants it: code, tape, and where it goes (agent/start.c). */
export function regionOf(tape: Tape): Buffer {
  const code = playerCode();
  const end = Buffer.alloc(16);
  end.writeBigUInt64LE(BASE, 0);
  end.writeBigUInt64LE(BigInt(code.length), 8);
  return Buffer.concat([code, tape.encode({ base: BASE, codeSize: code.length, reportFd: REPORT_FD }), end]);
}

export async function play(tape: Tape, { descriptors = [], damage = (region) => region }: PlayOptions = {}): Promise<Outcome> {
  const fd = native.memfd('tape', 1 /* MFD_CLOEXEC */);
  try {
    const region = damage(regionOf(tape));
    for (let done = 0; done < region.length; ) done += writeSync(fd, region, done);
    return await runAgent([`/proc/${process.pid}/fd/${fd}`], tape, descriptors);
  } finally {
    closeSync(fd);
  }
}

export async function runAgent(args: readonly string[], tape?: Tape, descriptors: readonly number[] = []): Promise<Outcome> {
  const child = spawn(join(packageRoot, 'agent/build/procs-agent'), args, { env: {}, stdio: ['ignore', 'pipe', 'pipe', 'pipe', ...descriptors], timeout: 10_000, killSignal: 'SIGKILL' });
  const parts: Buffer[][] = [[], [], []];
  [child.stdout, child.stderr, child.stdio[3]].forEach((stream, index) => stream?.on('data', (chunk: Buffer) => parts[index]?.push(chunk)));
  const [code, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
  const [stdout, stderr, report] = parts.map((chunks) => Buffer.concat(chunks)) as [Buffer, Buffer, Buffer];
  return { code, signal, pid: child.pid ?? -1, stdout, stderr: stderr.toString(), failure: report.length === 0 ? undefined : failureOf(report, tape) };
}

function failureOf(report: Buffer, tape: Tape | undefined): Outcome['failure'] {
  if (report.length !== TAPE_FAILURE_SIZE || report.readUInt32LE(TAPE_FAILURE.magic) !== TAPE_FAILURE_MAGIC) throw new Error(`not one failure record: ${report.toString('hex')}`);
  return {
    label: tape?.labelText(report.readUInt32LE(TAPE_FAILURE.label)) ?? '',
    error: report.readInt32LE(TAPE_FAILURE.error),
    op: report.readUInt32LE(TAPE_FAILURE.op),
    result: report.readBigInt64LE(TAPE_FAILURE.result),
  };
}

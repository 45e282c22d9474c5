/**
 * The text files of /proc/PID that hold single values: stat, status, fdinfo, timers.
 * Pure; see proc_pid_stat(5), proc_pid_status(5), proc_pid_fdinfo(5), proc_pid_timers(5).
 */
import { ProcsError } from '../errors.js';
import type { Address } from '../native.js';

/** `Name: value` lines, by name. */
export type Fields = ReadonlyMap<string, string>;

/** `/proc/PID/status`, `fdinfo/N` and their like. */
export function parseFields(text: string): Fields {
  const fields = new Map<string, string>();
  for (const line of text.split('\n')) {
    const colon = line.indexOf(':');
    if (colon > 0) fields.set(line.slice(0, colon), line.slice(colon + 1).trim());
  }
  return fields;
}

/** @throws {ProcsError} `PROCS_ERR_PROC_FORMAT` where the kernel does not give the field. */
export function field(fields: Fields, name: string): string {
  const value = fields.get(name);
  if (value === undefined) throw new ProcsError('PROCS_ERR_PROC_FORMAT', `/proc/PID/status has no field ${name}`);
  return value;
}

/** The innermost of the ids that a `NSpid:` line lists: what the process itself sees. */
export function innermostId(list: string): number {
  return Number(list.split(/\s+/).at(-1));
}

/** `/proc/PID/stat`, what of it is used. */
export interface Stat {
  readonly state: string;
  readonly parent: number;
  readonly group: number;
  readonly session: number;
  readonly terminal: number;
  readonly threadCount: number;
  /** Clock ticks since boot: tells a process from a later one of the same id. */
  readonly startTime: bigint;
  /** The CPU it ran on last. */
  readonly processor: number;
  readonly startCode: Address;
  readonly endCode: Address;
  readonly startStack: Address;
  readonly startData: Address;
  readonly endData: Address;
  readonly startBrk: Address;
  readonly argStart: Address;
  readonly argEnd: Address;
  readonly envStart: Address;
  readonly envEnd: Address;
}

/** @throws {ProcsError} `PROCS_ERR_PROC_FORMAT` where fields are missing (kernels before 3.5). */
export function parseStat(text: string): Stat {
  // The name stands in parentheses and may itself hold any character: fields are counted from the last one.
  const rest = text.slice(text.lastIndexOf(')') + 2).trim().split(' ');
  if (rest.length < 49) throw new ProcsError('PROCS_ERR_PROC_FORMAT', `/proc/PID/stat has ${rest.length + 2} fields, 51 are wanted`);
  const number = (index: number): number => Number(rest[index - 3]);
  const address = (index: number): Address => BigInt(rest[index - 3] ?? 0);
  return {
    state: rest[0] ?? '?',
    parent: number(4),
    group: number(5),
    session: number(6),
    terminal: number(7),
    threadCount: number(20),
    startTime: address(22),
    processor: number(39),
    startCode: address(26),
    endCode: address(27),
    startStack: address(28),
    startData: address(45),
    endData: address(46),
    startBrk: address(47),
    argStart: address(48),
    argEnd: address(49),
    envStart: address(50),
    envEnd: address(51),
  };
}

/** One POSIX timer of `/proc/PID/timers`. */
export interface PosixTimer {
  readonly id: number;
  readonly signal: number;
  /** sigev_value. */
  readonly value: bigint;
  /** SIGEV_SIGNAL 0, SIGEV_NONE 1, SIGEV_THREAD 2, with SIGEV_THREAD_ID 4 added where a thread is named. */
  readonly notify: number;
  /** The process or thread that is notified. */
  readonly target: number;
  readonly clock: number;
}

const NOTIFY: Record<string, number> = { signal: 0, none: 1, thread: 2 };

export function parseTimers(text: string): PosixTimer[] {
  const timers: PosixTimer[] = [];
  for (const block of text.split(/^(?=ID:)/m)) {
    const fields = parseFields(block);
    const id = fields.get('ID');
    if (id === undefined) continue;
    const signal = /^(\d+)\/(?:0x)?([0-9a-f]+)$/.exec(fields.get('signal') ?? '');
    const notify = /^(signal|none|thread)\/(tid|pid)\.(\d+)$/.exec(fields.get('notify') ?? '');
    if (signal === null || notify === null) {
      throw new ProcsError('PROCS_ERR_PROC_FORMAT', `cannot understand a timer of /proc/PID/timers: ${JSON.stringify(block)}`);
    }
    timers.push({
      id: Number(id),
      signal: Number(signal[1]),
      value: BigInt(`0x${signal[2]}`),
      notify: (NOTIFY[notify[1] ?? ''] ?? 0) | (notify[2] === 'tid' ? 4 : 0),
      target: Number(notify[3]),
      clock: Number(fields.get('ClockID')),
    });
  }
  return timers;
}

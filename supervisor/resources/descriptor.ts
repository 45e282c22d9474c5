/**
 * Descriptors in general: which of them share an open file description, and the table
 * of the kinds that are known. A kind is a file of its own; whatever no kind takes is
 * refused by name.
 */
import { F_DUPFD_CLOEXEC, O_CLOEXEC } from '../linux.js';
import { native } from '../native.js';
import { pathText } from '../proc/path.js';
import { parseFields } from '../proc/status.js';
import { type Arg, type Slot, type Tape } from '../tape/tape.js';
import type { FileTable } from './file.js';
import type { RawDescriptor } from './raw.js';
import { FieldReader, type Record_ } from './record.js';
import type { Frozen, Restore } from './resource.js';

/** An open file description with all the descriptors that share it; open(2). */
export interface OpenDescription {
  readonly descriptors: readonly RawDescriptor[];
  readonly link: string;
  readonly stat: RawDescriptor['stat'];
  /** File status flags, without O_CLOEXEC. */
  readonly flags: number;
  readonly position: bigint;
  /** `lock:` lines of fdinfo. */
  readonly locks: readonly string[];
}

/** One kind of descriptor. */
export interface DescriptorKind {
  readonly kind: string;
  /** Takes those of `open` that are of this kind. Called while the process stands still. */
  capture(open: readonly OpenDescription[], frozen: Frozen, files: FileTable): { readonly taken: readonly OpenDescription[]; readonly records: readonly Record_[] };
  describe(record: Record_): string[];
  restore(record: Record_, restore: Restore): void;
}

/** Groups descriptors by open file description; kcmp(2) decides between those that look alike. */
export function groupDescriptors(pid: number, descriptors: readonly RawDescriptor[]): OpenDescription[] {
  const groups: (OpenDescription & { descriptors: RawDescriptor[] })[] = [];
  const alike = new Map<string, (OpenDescription & { descriptors: RawDescriptor[] })[]>();
  for (const descriptor of descriptors) {
    const fields = parseFields(descriptor.info);
    const flags = parseInt(fields.get('flags') ?? '0', 8) & ~O_CLOEXEC;
    const position = BigInt(fields.get('pos') ?? 0);
    const key = `${descriptor.link}|${descriptor.stat.dev}:${descriptor.stat.ino}|${flags}|${position}`;
    const candidates = alike.get(key) ?? [];
    // In the kernel's order: ten thousand that look alike are told apart in a moment.
    let [low, high] = [0, candidates.length];
    let same: (typeof candidates)[number] | undefined;
    while (low < high && same === undefined) {
      const middle = (low + high) >> 1;
      const candidate = candidates[middle] as (typeof candidates)[number];
      const order = native.compareFile(pid, (candidate.descriptors[0] as RawDescriptor).fd, pid, descriptor.fd);
      if (order === 0) same = candidate;
      else if (order < 0) low = middle + 1;
      else high = middle;
    }
    if (same !== undefined) {
      same.descriptors.push(descriptor);
      continue;
    }
    const locks = descriptor.info.split('\n').filter((line) => line.startsWith('lock:'));
    const group = { descriptors: [descriptor], link: descriptor.link, stat: descriptor.stat, flags, position, locks };
    groups.push(group);
    candidates.splice(low, 0, group);
    alike.set(key, candidates);
  }
  return groups;
}

/** The descriptors of a record: numbers and close-on-exec flags. */
export function descriptorFields(open: OpenDescription): { fds: number[]; closeOnExec: number[] } {
  return {
    fds: open.descriptors.map(({ fd }) => fd),
    closeOnExec: open.descriptors.filter(({ info }) => parseInt(parseFields(info).get('flags') ?? '0', 8) & O_CLOEXEC).map(({ fd }) => fd),
  };
}

export interface Placement {
  readonly fds: readonly number[];
  readonly closeOnExec: ReadonlySet<number>;
}

export function readPlacement(reader: FieldReader): Placement {
  return { fds: reader.numbers('fds').filter((fd) => fd >= 0), closeOnExec: new Set(reader.numbers('closeOnExec')) };
}

/** "descriptor 7" or "descriptors 1 and 2". */
export function descriptorText(fds: readonly number[]): string {
  return fds.length === 1 ? `descriptor ${fds[0]}` : `descriptors ${fds.slice(0, -1).join(', ')} and ${fds.at(-1)}`;
}

/**
 * Gives an open file description its descriptor numbers, and closes the number it was opened with.
 * Goes over a number above all of the target's, because the first one may be one of the wanted.
 */
export function place(tape: Tape, what: string, opened: Arg, placement: Placement, above: number): Slot {
  const held = tape.call(`hold ${what}`, 'fcntl', [opened, F_DUPFD_CLOEXEC, above]);
  tape.call(`close the first number of ${what}`, 'close', [opened]);
  for (const fd of placement.fds) {
    tape.call(`make ${what} descriptor ${fd}`, 'dup3', [held, fd, placement.closeOnExec.has(fd) ? O_CLOEXEC : 0]);
  }
  tape.call(`close the held number of ${what}`, 'close', [held]);
  return held;
}

/** What a descriptor that no kind takes is, and what to do about it. */
export function nameUnknown(open: OpenDescription): { what: string; remedy: string } {
  const known = UNKNOWN.find(([pattern]) => pattern.test(open.link));
  if (known !== undefined) return { what: known[1], remedy: known[2] };
  const type = (open.stat.mode & 0o170000) >>> 0;
  if (type === 0o020000 || type === 0o060000) {
    return { what: `the device ${pathText(open.link)}`, remedy: 'close it before a checkpoint: a device cannot be saved' };
  }
  if (type === 0o010000) return { what: `the named pipe or pipe ${pathText(open.link)} whose other end is outside the program`, remedy: 'close it before a checkpoint, or start the program at its other end under procs too' };
  return { what: pathText(open.link), remedy: 'close it before a checkpoint' };
}

const LATER = 'it cannot be saved yet: close it before a checkpoint';
const UNKNOWN: readonly (readonly [RegExp, string, string])[] = [
  [/^socket:/, 'a socket', LATER],
  [/^anon_inode:\[eventpoll\]/, 'an epoll instance', LATER],
  [/^anon_inode:\[eventfd\]/, 'an eventfd', LATER],
  [/^anon_inode:\[timerfd\]/, 'a timerfd', LATER],
  [/^anon_inode:\[signalfd\]/, 'a signalfd', LATER],
  [/^anon_inode:inotify/, 'an inotify instance', LATER],
  [/^anon_inode:\[?fanotify/, 'a fanotify group', LATER],
  [/^anon_inode:\[pidfd\]|^pidfd:/, 'a pidfd', LATER],
  [/^anon_inode:\[io_uring\]/, 'an io_uring', 'start the program under procs, which makes it fall back to ordinary calls, or turn io_uring off in it'],
  [/^anon_inode:\[userfaultfd\]/, 'a userfaultfd', 'close it before a checkpoint'],
  [/^anon_inode:\[perf_event\]/, 'a performance counter', 'close it before a checkpoint'],
  [/^anon_inode:.*bpf/, 'a BPF object', 'close it before a checkpoint'],
  [/^(mnt|net|pid|user|uts|ipc|cgroup|time):\[/, 'a namespace', 'close it before a checkpoint'],
];

/**
 * /proc/PID/maps and smaps as values. Pure; see proc_pid_maps(5), proc_pid_smaps(5).
 */
import { ProcsError } from '../errors.js';
import type { Address } from '../native.js';

/** One virtual memory area. The range is half-open; offset in bytes. */
export interface Vma {
  readonly start: Address;
  readonly end: Address;
  readonly read: boolean;
  readonly write: boolean;
  readonly execute: boolean;
  readonly shared: boolean;
  readonly offset: bigint;
  /** `fe:00`, as written. */
  readonly device: string;
  readonly inode: bigint;
  /** As the kernel shows it: a path, `[heap]`, or empty. Newlines of a path are `\012`. */
  readonly name: string;
}

const LINE = /^([0-9a-f]+)-([0-9a-f]+) ([r-])([w-])([x-])([ps]) ([0-9a-f]+) ([0-9a-f]+:[0-9a-f]+) (\d+) *(.*)$/;

/**
 * Parses `/proc/PID/maps`, in address order.
 *
 * @throws {ProcsError} `PROCS_ERR_PROC_FORMAT` on a line that is not understood.
 */
export function parseMaps(text: string): Vma[] {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map(parseLine);
}

function parseLine(line: string): Vma {
  const match = LINE.exec(line);
  if (match === null) throw new ProcsError('PROCS_ERR_PROC_FORMAT', `cannot understand a line of /proc/PID/maps: ${JSON.stringify(line)}`);
  const [, start, end, read, write, execute, sharing, offset, device, inode, name] = match as unknown as string[];
  return {
    start: BigInt(`0x${start}`),
    end: BigInt(`0x${end}`),
    read: read === 'r',
    write: write === 'w',
    execute: execute === 'x',
    shared: sharing === 's',
    offset: BigInt(`0x${offset}`),
    device: device ?? '',
    inode: BigInt(inode ?? 0),
    name: name ?? '',
  };
}

/** The two-letter VmFlags of each area of `/proc/PID/smaps`, by start address. */
export function parseVmFlags(text: string): Map<Address, VmFlags> {
  const flags = new Map<Address, VmFlags>();
  let start: Address | undefined;
  let end: Address = 0n;
  for (const line of text.split('\n')) {
    if (line.startsWith('VmFlags:')) {
      if (start !== undefined) flags.set(start, { end, flags: new Set(line.slice(8).trim().split(/\s+/)) });
    } else if (/^[0-9a-f]/.test(line)) {
      const dash = line.indexOf('-');
      start = BigInt(`0x${line.slice(0, dash)}`);
      end = BigInt(`0x${line.slice(dash + 1, line.indexOf(' '))}`);
    }
  }
  return flags;
}

export interface VmFlags {
  readonly end: Address;
  readonly flags: ReadonlySet<string>;
}

/** The file's path as given by the kernel, with its escapes undone. */
export function unescapePath(name: string): string {
  return name.replace(/\\(\d{3})/g, (_, octal: string) => String.fromCharCode(parseInt(octal, 8)));
}

const DELETED = ' (deleted)';

/** Whether the kernel marked the name of a mapping or descriptor as deleted. */
export function isDeleted(name: string): boolean {
  return name.endsWith(DELETED);
}

export function withoutDeleted(name: string): string {
  return isDeleted(name) ? name.slice(0, -DELETED.length) : name;
}

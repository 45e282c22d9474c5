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

const LINE = /^([0-9a-f]+)-([0-9a-f]+) ([r-])([w-])([x-])([ps]) ([0-9a-f]+) ([0-9a-f]+:[0-9a-f]+) (\d+) *(.*)$/s;

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

/**
 * The areas without what lies in a range: an area that is partly inside is cut, as the
 * kernel may have merged it with its neighbour.
 */
export function withoutRange(vmas: readonly Vma[], start: Address, end: Address): Vma[] {
  return vmas.flatMap((vma) => {
    if (vma.end <= start || vma.start >= end) return [vma];
    const parts: Vma[] = [];
    if (vma.start < start) parts.push({ ...vma, end: start });
    if (vma.end > end) parts.push({ ...vma, start: end, offset: vma.inode === 0n ? vma.offset : vma.offset + (end - vma.start) });
    return parts;
  });
}

/** The two-letter VmFlags of areas, by any address in them. */
export class AreaFlags {
  readonly #starts: Address[] = [];
  readonly #ends: Address[] = [];
  readonly #flags: ReadonlySet<string>[] = [];

  /** Areas are added in ascending order. */
  add(start: Address, end: Address, flags: ReadonlySet<string>): void {
    this.#starts.push(start);
    this.#ends.push(end);
    this.#flags.push(flags);
  }

  /** The flags of the area that holds the whole range; undefined where there is none. */
  of(range: { readonly start: Address; readonly end: Address }): ReadonlySet<string> | undefined {
    let low = 0;
    for (let high = this.#starts.length; low < high; ) {
      const middle = (low + high) >> 1;
      if ((this.#starts[middle] as Address) <= range.start) low = middle + 1;
      else high = middle;
    }
    const index = low - 1;
    return index >= 0 && (this.#ends[index] as Address) >= range.end ? this.#flags[index] : undefined;
  }
}

/** Parses `/proc/PID/smaps` for its VmFlags. */
export function parseVmFlags(text: string): AreaFlags {
  const areas = new AreaFlags();
  let start: Address = 0n;
  let end: Address = 0n;
  for (const line of text.split('\n')) {
    if (line.startsWith('VmFlags:')) {
      areas.add(start, end, new Set(line.slice(8).trim().split(/\s+/)));
    } else if (/^[0-9a-f]+-/.test(line)) {
      const dash = line.indexOf('-');
      start = BigInt(`0x${line.slice(0, dash)}`);
      end = BigInt(`0x${line.slice(dash + 1, line.indexOf(' '))}`);
    }
  }
  return areas;
}

/** A path as maps shows it, with what the kernel escapes there, a newline, undone. Links of /proc/PID/fd have no escapes. */
export function unescapePath(name: string): string {
  return name.replaceAll('\\012', '\n');
}

const DELETED = ' (deleted)';

/** Whether the kernel marked the name of a mapping or descriptor as deleted. */
export function isDeleted(name: string): boolean {
  return name.endsWith(DELETED);
}

export function withoutDeleted(name: string): string {
  return isDeleted(name) ? name.slice(0, -DELETED.length) : name;
}

/**
 * What a resource is: one file with `capture`, `describe` and `restore` in that order,
 * listed in index.ts. A new kind is a new file, a line there, a test program, a row in
 * docs/LIMITS.md.
 */
import type { ExtentTable } from '../image/extents.js';
import type { Slot, Tape } from '../tape/tape.js';
import type { RawDescriptor, RawProcess, RawStat } from './raw.js';

/** One reason why a process cannot be checkpointed. */
export interface Reason {
  readonly where: string;
  readonly what: string;
  readonly remedy: string;
}

/** A range of bytes to store under a space of the image. */
export interface PageSource {
  readonly start: bigint;
  readonly end: bigint;
  /** Where `start` is in the space. */
  readonly address: bigint;
  readonly space: number;
  /** SELECT of native.ts. */
  readonly select: bigint;
}

/** What captures may ask for while the process stands still. */
export interface Frozen {
  readonly raw: RawProcess;
  /** A duplicate of a descriptor of the process; closed when the checkpoint is done. */
  descriptor(fd: number): number;
  /** Whether the file at a path is the one that was examined. */
  isAt(path: string, stat: RawStat): boolean;
  /** A new space of the image. */
  newSpace(): number;
  /** Stores the first bytes of an open file under a space, now. */
  storeFile(fd: number, length: number, space: number): void;
  /** Stores memory of the process under spaces, now: what the twin does not copy. */
  storeMemory(sources: readonly PageSource[], options?: { forceMem?: boolean }): void;
  /** Whether a descriptor is one open file description with a standard stream of the supervisor. */
  streamOf(descriptor: RawDescriptor): number | undefined;
  refuse(reason: Reason): void;
  readonly files: 'rewind' | 'keep' | 'snapshot';
}

/** A process that is being made again: shared by all `restore`s. */
export interface Restore {
  readonly tape: Tape;
  /** Descriptors of procs itself; every number from `above` on is free for it. */
  readonly work: { readonly image: number; readonly streams: readonly [number, number, number]; readonly above: number };
  readonly extents: ExtentTable;
  /** How many threads load pages, and which ids the helping ones may have; undefined leaves them to the kernel. */
  readonly loading: { readonly threads: number; readonly tids: readonly number[] | undefined };
  /** Opens a file object for a mapping; the same slot for the same flags. Closed when all mappings are made. */
  openFile(id: number, flags: number): Slot;
  /** Opens a file object anew: an open file description of its own. */
  reopenFile(label: string, id: number, flags: number): Slot;
  /** The start of a range where nothing is, and nothing will be, mapped. */
  findHole(size: number): bigint;
  /** Runs when every descriptor and mapping is in place. */
  later(emit: () => void): void;
}

/**
 * What a resource is: one file with `capture`, `describe` and `restore` in that order,
 * listed in index.ts. A new kind is a new file, a line there, a test program, a row in
 * docs/LIMITS.md.
 */
import type { Address } from '../native.js';
import type { ExtentTable } from '../image/extents.js';
import type { DataRef, Slot, Tape } from '../tape/tape.js';
import type { RawDescriptor, RawProcess } from './raw.js';
import type { Record_ } from './record.js';

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
  /** A duplicate of a descriptor of the process; the caller of the checkpoint closes it. */
  descriptor(fd: number): number;
  /** A new space of the image. */
  newSpace(): number;
  /** Stores bytes of an open file under a space, now. */
  storeFile(fd: number, length: number, space: number): void;
  /** Stores memory of the process under spaces, now: what the twin does not copy. */
  storeMemory(sources: readonly PageSource[], options?: { forceMem?: boolean }): void;
  /** Whether a descriptor is one open file description with a standard stream of the supervisor. */
  streamOf(descriptor: RawDescriptor): number | undefined;
  refuse(reason: Reason): void;
  readonly files: 'rewind' | 'keep' | 'snapshot';
}

/** What a process looks like once it is to be restored: shared by all `restore`s of one process. */
export interface Restore {
  readonly tape: Tape;
  /** Descriptors of procs itself, above all of the target's. */
  readonly work: { readonly image: number; readonly control: number; readonly streams: readonly [number, number, number] };
  /** The image's extents. */
  readonly extents: ExtentTable;
  /** Every record of the checkpoint. */
  readonly records: readonly Record_[];
  /** A writable and executable-later page of the process: code that finishes interrupted calls. */
  readonly policy: { readonly files: 'rewind' | 'keep' | 'snapshot' };
  /** Opens a file object once; later calls give the same slot. Closed by `closeFiles`. */
  openFile(id: number, flags: number): Slot;
}

export type { Address, DataRef, Record_, Slot };

/**
 * The addon's typed face: the only file that loads it.
 *
 * Every function reports facts or throws an Error with `code` (`ESRCH`), `errno` and
 * `syscall`; choices and retries belong to the callers. Addresses are the target's.
 */
import { createRequire } from 'node:module';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ProcsError, messageOf } from './errors.js';

/** An address in the target. */
export type Address = bigint;

/** What became of a child; waitid(2). */
export interface ChildChange {
  readonly kind: 'exited' | 'killed' | 'stopped' | 'continued';
  /** The exit status, or the signal. */
  readonly value: number;
  readonly core: boolean;
}

/** Scheduling attributes of a thread; sched_getattr(2). Times in nanoseconds. */
export interface Scheduling {
  readonly policy: number;
  readonly flags: bigint;
  readonly nice: number;
  readonly priority: number;
  readonly runtime: bigint;
  readonly deadline: bigint;
  readonly period: bigint;
}

export interface RseqRegistration {
  readonly address: Address;
  readonly size: number;
  readonly signature: number;
}

/** Which pages of a range are meant; values shared with native/src/pages.cc. */
export const SELECT = {
  /** The process's own: anonymous pages and changed copies of a file's. */
  PRIVATE: 0n,
  /** Every page, read through the mapping. */
  ALL: 1n,
  /** Guard markers (MADV_GUARD_INSTALL, 6.13). */
  GUARD: 2n,
  /** Whatever is present or swapped, pages of the file too. */
  MAPPED: 3n,
  /** PRIVATE of a file mapping: a page of zeros is one that was changed. */
  CHANGED: 4n,
} as const;

export interface PageWriteRequest {
  /** The process to read, or 0 for `sourceFd`. */
  readonly pid: number;
  readonly sourceFd: number;
  /** Read through /proc/PID/mem: pages without PROT_READ too. */
  readonly forceMem: boolean;
  /** PAGEMAP_SCAN (6.7); false reads /proc/PID/pagemap. */
  readonly useIoctl: boolean;
  /** Five numbers a range: start, end (bytes), address in the space, space, SELECT value. */
  readonly sources: BigUint64Array;
  readonly imageFd: number;
  /** Where in the image the first page goes. */
  readonly offset: number;
  readonly threads: number;
}

export interface PageWriteResult {
  /** 40-byte entries of an image's extent table, unsorted. */
  readonly extents: Buffer;
  /** Where the next page of the image would go. */
  readonly end: number;
  readonly pages: number;
  readonly zeroPages: number;
}

export interface Native {
  /** Seizes, interrupts and waits for each thread: wait statuses or negative errnos. */
  stopThreads(tids: Int32Array, options: bigint, timeoutMs: number): Int32Array;
  /** A wait status, or a negative errno (-ETIMEDOUT = -110). */
  waitStop(tid: number, timeoutMs: number): number;
  waitAny(timeoutMs: number): [tid: number, status: number];
  ptraceCont(tid: number, signal: number): void;
  ptraceSyscall(tid: number): void;
  ptraceInterrupt(tid: number): void;
  ptraceSetOptions(tid: number, options: bigint): void;
  /** Each runs on with its signal, 0 for none: one whose delivery it was stopped at is delivered as it is. */
  ptraceDetach(tids: Int32Array, signals?: Int32Array): void;
  ptraceEventMessage(tid: number): number;
  getRegisterSet(tid: number, type: number): Buffer;
  setRegisterSet(tid: number, type: number, bytes: Uint8Array): void;
  getSignalMask(tid: number): bigint;
  setSignalMask(tid: number, mask: bigint): void;
  /** siginfo_t, 128 bytes each, in queue order. */
  peekSignals(tid: number, shared: boolean): Buffer;
  getSiginfo(tid: number): Buffer;
  getRseq(tid: number): RseqRegistration | null;

  waitChild(pid: number): ChildChange | null;
  /** Reaps ended children until one of the known, whom somebody else waits for. */
  reapOrphans(known: readonly number[]): void;
  sendSignal(pid: number, tid: number, signal: number): void;
  setChildSubreaper(): void;
  readMemory(pid: number, address: Address, length: number): Buffer;
  writeMemory(pid: number, address: Address, bytes: Uint8Array): void;
  getScheduling(tid: number): Scheduling;
  getAffinity(tid: number): Buffer;
  getLimits(pid: number): [bigint, bigint][];
  getRobustList(tid: number): { head: Address; length: number };
  /** Nanoseconds of one of this process's clocks; clock_gettime(2). */
  clockNow(clock: number): bigint;
  /** Calls back while running on that CPU; false where it may not. */
  runOnCpu(cpu: number, callback: () => void): boolean;
  setCoreLimitZero(): void;

  pidfdOpen(pid: number): number;
  pidfdGetfd(pidfd: number, fd: number): number;
  /** 0 for one open file description, else -1 or 1: an order that many can be sorted by. */
  compareFile(pid1: number, fd1: number, pid2: number, fd2: number): number;
  /** Start and end of each part of a file, up to `end`, that is not a hole. Moves the descriptor's position. */
  dataRanges(fd: number, end: number): BigUint64Array;
  fcntl(fd: number, command: number, argument: number): number;
  pipeContents(fd: number, packets: boolean): Buffer[];
  /** @param flags  MFD_ bits; memfd_create(2). */
  memfd(name: string, flags: number): number;
  zeroRange(fd: number, offset: number, length: number): void;
  pipePair(): [read: number, write: number];
  /** Whether executing a file gives capabilities. */
  hasFileCapabilities(path: string): boolean;
  /** What poll(2) reports at once. */
  pollEvents(fd: number): number;
  /** The whole of a file shares its blocks with another at an offset; false where the file system cannot. */
  reflinkInto(from: number, to: number, offset: number): boolean;

  /** start, end pairs. */
  scanPages(pid: number, start: Address, end: Address, select: bigint, useIoctl: boolean): BigUint64Array;
  writePages(request: PageWriteRequest): Promise<PageWriteResult>;
  writePagesSync(request: PageWriteRequest): PageWriteResult;
  /** An extent table over bytes that are in the image already; length in whole pages. */
  describeRange(fd: number, offset: number, length: number, space: number): Promise<Buffer>;
  checksumRange(fd: number, offset: number, length: number): Promise<number>;
  /** Copies between files. @returns the CRC-32C of the bytes. */
  copyRange(from: number, fromOffset: number, to: number, toOffset: number, length: number): number;
  checksum(bytes: Uint8Array, seed: number): number;

  /** A descriptor to read 16-byte notes from: signal, si_code, si_pid, si_uid. */
  watchSignals(signals: readonly number[]): number;
  dieOfSignal(signal: number): void;
}

/** The package's folder: where package.json is, above this file's sources or bundle. */
export const packageRoot: string = findRoot(dirname(fileURLToPath(import.meta.url)));

function findRoot(start: string): string {
  for (let folder = start; ; folder = dirname(folder)) {
    if (existsSync(join(folder, 'package.json')) && existsSync(join(folder, 'agent'))) return folder;
    if (folder === dirname(folder)) return start;
  }
}

function load(): Native {
  const path = join(packageRoot, 'native/build/Release/procs_native.node');
  try {
    return createRequire(import.meta.url)(path) as Native;
  } catch (cause) {
    throw new ProcsError('PROCS_ERR_BUILD', `cannot load the native addon ${path}: ${messageOf(cause)}`, { cause });
  }
}

export const native: Native = load();

/**
 * A disk in memory for one image: it records what is written and when it is synced, fails where it
 * is told to, and can be "crashed", which leaves any part of what was not yet synced.
 */

import fs from 'node:fs';
import type { ImageFiles } from '../../supervisor/image/files.js';

export type Operation = 'open' | 'fstat' | 'read' | 'write' | 'sync' | 'truncate' | 'unlink' | 'syncDirectory';

type Change =
  | { readonly type: 'write'; readonly offset: number; readonly bytes: Uint8Array }
  | { readonly type: 'truncate'; readonly length: number }
  | { readonly type: 'sync' };

/** Throws to make an operation fail; `half` of a write has been done by then, or all of it. */
export type Fault = (operation: Operation, index: number) => { readonly done: 'nothing' | 'half' | 'all'; readonly code: string } | undefined;

export class Disk implements ImageFiles {
  bytes: Uint8Array;
  exists: boolean;
  readonly changes: Change[] = [];
  fault: Fault = () => undefined;
  /** Operations so far, for faults and for a test to know how many there are. */
  operations: Operation[] = [];
  openCount = 0;
  uid = process.geteuid!();

  constructor(bytes?: Uint8Array) {
    this.bytes = bytes ?? new Uint8Array(0);
    this.exists = bytes !== undefined;
  }

  open(_path: string, flags: number): number {
    this.#step('open', () => undefined);
    if ((flags & fs.constants.O_CREAT) !== 0) {
      if (this.exists) throw systemError('EEXIST', 'open');
      this.exists = true;
      this.bytes = new Uint8Array(0);
    } else if (!this.exists) throw systemError('ENOENT', 'open');
    this.openCount++;
    return 1000;
  }

  close(): void {
    this.openCount--;
  }

  stat(): fs.Stats {
    if (!this.exists) throw systemError('ENOENT', 'stat');
    return this.#stats();
  }

  fstat(): fs.Stats {
    this.#step('fstat', () => undefined);
    return this.#stats();
  }

  #stats(): fs.Stats {
    const kind = { isFile: () => true, isDirectory: () => false, isFIFO: () => false, isSocket: () => false };
    return { ...kind, size: this.bytes.length, uid: this.uid, dev: 1, ino: 1 } as unknown as fs.Stats;
  }

  read(_fd: number, length: number, offset: number): Uint8Array {
    this.#step('read', () => undefined);
    return this.bytes.slice(offset, offset + length);
  }

  async readAsync(fd: number, length: number, offset: number): Promise<Uint8Array> {
    return this.read(fd, length, offset);
  }

  async write(_fd: number, bytes: Uint8Array, offset: number): Promise<void> {
    this.#step('write', (part) => {
      this.#apply({ type: 'write', offset, bytes: bytes.slice(0, part === 'half' ? bytes.length >> 1 : bytes.length) });
    });
  }

  async sync(): Promise<void> {
    this.#step('sync', () => this.#apply({ type: 'sync' }));
  }

  truncate(_fd: number, length: number): void {
    this.#step('truncate', () => this.#apply({ type: 'truncate', length }));
  }

  unlink(): void {
    this.#step('unlink', () => (this.exists = false));
  }

  syncDirectory(): void {
    this.#step('syncDirectory', () => undefined);
  }

  #step(operation: Operation, act: (part: 'half' | 'all') => void): void {
    const fault = this.fault(operation, this.operations.length);
    this.operations.push(operation);
    if (fault === undefined) return act('all');
    if (fault.done !== 'nothing' && (fault.done === 'all' || operation === 'write')) act(fault.done);
    throw systemError(fault.code, operation);
  }

  #apply(change: Change): void {
    this.changes.push(change);
    this.bytes = applied(this.bytes, change);
  }
}

/**
 * What a disk may hold after a crash: everything up to the last sync, and any part, in whole
 * sectors, of what came after it.
 *
 * @param length  How many of the changes had been asked for.
 * @param survives  How many sectors of a change survive.
 * @param before  What was on the disk before the first change.
 */
export function crashed(changes: readonly Change[], length: number, survives: (sectors: number) => number, before: Uint8Array = new Uint8Array(0)): Uint8Array {
  const asked = changes.slice(0, length);
  const synced = asked.findLastIndex(({ type }) => type === 'sync') + 1;
  let bytes: Uint8Array = before;
  asked.forEach((change, i) => {
    if (i < synced) bytes = applied(bytes, change);
    else if (change.type === 'truncate') {
      if (survives(1) > 0) bytes = applied(bytes, change);
    } else if (change.type === 'write') {
      const sectors = Math.ceil(change.bytes.length / 512);
      const count = survives(sectors);
      if (count > 0) bytes = applied(bytes, { ...change, bytes: change.bytes.subarray(0, count * 512) });
    }
  });
  return bytes;
}

function applied(bytes: Uint8Array, change: Change): Uint8Array {
  if (change.type === 'sync') return bytes;
  const end = change.type === 'truncate' ? change.length : Math.max(bytes.length, change.offset + change.bytes.length);
  const next = new Uint8Array(end);
  next.set(bytes.subarray(0, end));
  if (change.type === 'write') next.set(change.bytes, change.offset);
  return next;
}

export function systemError(code: string, syscall: string): Error {
  return Object.assign(new Error(`${code}: ${syscall}`), { code, syscall });
}

/** Numbers in [0, 1) that are the same in each run. */
export function randomNumbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

/**
 * Opening an image: which file it is, which head counts, which checkpoints it has.
 *
 * Everything here is read from an unproven file: nothing is believed before its checksum
 * and its bounds are checked, and nothing is allocated by a length that was not.
 */

import fs from 'node:fs';
import { errnoName, EXIT, ProcsError } from '../errors.js';
import { damaged, failure, openFailure, readFailure } from './failures.js';
import type { ImageFiles } from './files.js';
import {
  ARCHITECTURES, architectureName, COMMIT_LENGTH, decodeCommit, decodeHead, FORMAT_VERSION, HEAD_SLOT_COUNT,
  HEAD_SLOT_LENGTH, HEADS_END, slotOf, type Architecture, type Commit, type Head, type HeadSlot,
} from './layout.js';

const { O_NOCTTY, O_NONBLOCK, O_RDONLY, O_RDWR } = fs.constants;

export interface OpenFile {
  readonly fd: number;
  readonly size: number;
  readonly ownerUid: number;
}

/** Opens a regular file, and waits for nothing: a FIFO or a device is refused before it is opened. */
export function openImageFile(path: string, writing: boolean, files: ImageFiles): OpenFile {
  let fd: number | undefined;
  try {
    refuseOtherTypes(path, files.stat(path));
    fd = files.open(path, (writing ? O_RDWR : O_RDONLY) | O_NONBLOCK | O_NOCTTY);
    const stats = files.fstat(fd);
    refuseOtherTypes(path, stats);
    const user = process.geteuid?.() ?? 0;
    if (writing && user !== 0 && stats.uid !== user) {
      throw failure('PROCS_ERR_IMAGE_OPEN', `cannot write to the image ${path}: it belongs to user ${stats.uid}, and this is user ${user}`, {
        exit: EXIT.NOT_PERMITTED,
        remedy: 'work on a copy of your own, or as that user',
      });
    }
    if (!Number.isSafeInteger(stats.size)) throw failure('PROCS_ERR_IMAGE_FORMAT', `${path} is not an image: its size is ${stats.size} bytes`);
    return { fd, size: stats.size, ownerUid: stats.uid };
  } catch (error) {
    if (fd !== undefined) files.close(fd);
    throw error instanceof ProcsError ? error : openFailure(path, error);
  }
}

function refuseOtherTypes(path: string, stats: fs.Stats): void {
  if (stats.isFile()) return;
  const type =
    stats.isDirectory() ? 'a directory'
    : stats.isFIFO() ? 'a FIFO'
    : stats.isSocket() ? 'a socket'
    : 'a device';
  throw failure('PROCS_ERR_IMAGE_FORMAT', `${path} is not an image: it is ${type}`);
}

export interface Heads {
  /** The newest valid one. */
  readonly head: Head;
  /** The slot it was written to first, unless only the other has it. */
  readonly durableSlot: number;
  /** What is wrong with a slot, harmless as long as the other is valid. */
  readonly notes: readonly string[];
}

/** @param architecture  `any` for those who only look at the image. */
export function readHeads(path: string, file: OpenFile, architecture: Architecture | 'any', files: ImageFiles): Heads {
  const { size } = file;
  if (size === 0) throw failure('PROCS_ERR_IMAGE_FORMAT', `${path} is not an image: it is empty`);
  const bytes = readExact(path, file.fd, 0, Math.min(size, HEADS_END), files);
  const slots: HeadSlot[] = [];
  for (let i = 0; i < HEAD_SLOT_COUNT; i++) slots.push(decodeHead(padded(bytes, i)));

  const foreign = slots.every(({ state }) => state === 'foreign');
  if (foreign && size < HEADS_END) {
    throw failure('PROCS_ERR_IMAGE_FORMAT', `${path} is not an image: it has ${size} bytes, an image has at least ${HEADS_END}`);
  }
  if (foreign) throw failure('PROCS_ERR_IMAGE_FORMAT', `${path} is not an image: it does not begin with PROCSIMG`);

  let newest: Extract<HeadSlot, { state: 'valid' | 'newer' }> | undefined;
  for (const slot of slots) {
    if ((slot.state === 'valid' || slot.state === 'newer') && (newest === undefined || sequenceOf(slot) > sequenceOf(newest))) newest = slot;
  }
  if (newest === undefined) {
    if (size < HEADS_END) throw damaged(path, `it is cut short: it has ${size} bytes, the heads alone have ${HEADS_END}`);
    throw damaged(path, `neither of its heads can be used: ${slots.map((slot, i) => `${headName(i)}, ${reasonOf(slot)}`).join('; ')}`);
  }
  if (newest.state === 'newer') {
    throw failure('PROCS_ERR_IMAGE_VERSION', `cannot use the image ${path}: it has format version ${newest.version}, this procs knows versions up to ${FORMAT_VERSION}`);
  }
  const { head } = newest;
  if (architecture !== 'any' && head.architecture !== ARCHITECTURES[architecture]) {
    throw failure('PROCS_ERR_IMAGE_ARCH', `cannot use the image ${path}: it was made on ${architectureName(head.architecture)}, and this is ${architecture}`);
  }
  const firstSlot = slotOf(head.sequence);
  const first = slots[firstSlot]!;
  return {
    head,
    durableSlot: first.state === 'valid' && first.head.sequence === head.sequence ? firstSlot : 1 - firstSlot,
    notes: slots.flatMap((slot, i) => (slot.state === 'valid' ? [] : [`${headName(i)} head is not used: ${reasonOf(slot)}`])),
  };
}

/** A slot of a file that may end inside it, so that its checksum tells. */
function padded(bytes: Uint8Array, slot: number): Uint8Array {
  const part = bytes.subarray(slot * HEAD_SLOT_LENGTH, (slot + 1) * HEAD_SLOT_LENGTH);
  if (part.length === HEAD_SLOT_LENGTH) return part;
  const whole = new Uint8Array(HEAD_SLOT_LENGTH);
  whole.set(part);
  return whole;
}

function sequenceOf(slot: Extract<HeadSlot, { state: 'valid' | 'newer' }>): number {
  return slot.state === 'valid' ? slot.head.sequence : slot.sequence;
}

function headName(slot: number): string {
  return slot === 0 ? 'the first' : 'the second';
}

function reasonOf(slot: HeadSlot): string {
  return (
    slot.state === 'damaged' ? slot.reason
    : slot.state === 'foreign' ? 'it does not begin with PROCSIMG'
    : slot.state === 'newer' ? `it has format version ${slot.version}`
    : 'it is whole'
  );
}

/** A commit record, and where it is. */
export interface Committed extends Commit {
  readonly offset: number;
}

export interface Damage {
  /** The checkpoints that it makes unusable, first and last; undefined: none. */
  readonly checkpoints?: readonly [number, number];
  readonly reason: string;
}

export interface History {
  /** Ascending, those whose commit record is good. */
  readonly commits: readonly Committed[];
  readonly damage: readonly Damage[];
}

/** Walks from the head back to the oldest checkpoint kept, stepping over one damaged record at a time. */
export function readHistory(path: string, file: OpenFile, head: Head, files: ImageFiles): History {
  const commits: Committed[] = [];
  const damage: Damage[] = [];
  if (file.size < head.fileEnd) damage.push({ reason: `it is cut short: it has ${file.size} bytes of ${head.fileEnd}` });

  let number = head.newest;
  let offset = head.commitOffset;
  let before = head.previousCommitOffset;
  while (number >= head.oldest && number > 0) {
    const commit = readCommit(path, file, head, offset, number, files);
    if (typeof commit !== 'string') {
      commits.unshift(commit);
      offset = commit.previousOffset;
      before = commit.beforePreviousOffset;
      number--;
      continue;
    }
    const last = before === 0 ? head.oldest : number;
    damage.push({ checkpoints: [last, number], reason: `the commit record of checkpoint ${number} cannot be used: ${commit}` });
    if (before === 0) break;
    offset = before;
    before = 0;
    number--;
  }
  return { commits, damage };
}

function readCommit(path: string, file: OpenFile, head: Head, offset: number, number: number, files: ImageFiles): Committed | string {
  if (offset === 0) return 'nothing says where it is';
  if (offset + COMMIT_LENGTH > Math.min(file.size, head.fileEnd)) return `it is at ${offset}, beyond the end of the file`;
  const commit = decodeCommit(readExact(path, file.fd, offset, COMMIT_LENGTH, files), offset, head.id);
  if (typeof commit === 'string') return commit;
  if (commit.number !== number) return `it is that of checkpoint ${commit.number}`;
  return { ...commit, offset };
}

/** All the bytes, or an error: the file is shorter than it was a moment ago. */
export function readExact(path: string, fd: number, offset: number, length: number, files: ImageFiles): Uint8Array {
  let bytes: Uint8Array;
  try {
    bytes = files.read(fd, length, offset);
  } catch (error) {
    throw readFailure(path, error);
  }
  if (bytes.length < length) throw damaged(path, `it ends at ${offset + bytes.length}, while ${length} bytes are wanted at ${offset}`);
  return bytes;
}

/** Whether a file is what a failed `create` leaves: empty, zeros, or heads without a checkpoint. */
export function isIncompleteImage(path: string, files: ImageFiles): boolean {
  let file: OpenFile;
  try {
    file = openImageFile(path, false, files);
  } catch (error) {
    if (error instanceof ProcsError && errnoName(error.cause) === 'ENOENT') return false;
    throw error;
  }
  try {
    if (file.size === 0) return true;
    if (file.size <= HEADS_END && readExact(path, file.fd, 0, file.size, files).every((byte) => byte === 0)) return true;
    return readHeads(path, file, 'any', files).head.newest === 0;
  } catch (error) {
    if (error instanceof ProcsError && error.code !== 'PROCS_ERR_IMAGE_READ') return false;
    throw error;
  } finally {
    files.close(file.fd);
  }
}

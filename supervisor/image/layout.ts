/**
 * The fixed structures of an image: head slots and commit records.
 *
 * Pure functions between bytes and values. Little-endian; offsets and lengths are in
 * bytes; reserved bytes are zero. docs/IMAGE.md draws the whole file.
 */

import { crc32c } from './crc32c.js';

export const FORMAT_VERSION = 1;
/** Page data and heads start at multiples of this. */
export const BLOCK = 4096;
export const HEAD_SLOT_LENGTH = BLOCK;
export const HEAD_SLOT_COUNT = 2;
/** Where the first checkpoint's page data begins. */
export const HEADS_END = HEAD_SLOT_LENGTH * HEAD_SLOT_COUNT;
export const COMMIT_LENGTH = 160;
export const IMAGE_ID_LENGTH = 16;

const HEAD_MAGIC = 'PROCSIMG';
const COMMIT_MAGIC = 'PROCSCMT';

/** Written out, never reused. */
export const ARCHITECTURES = { x86_64: 1, aarch64: 2 } as const;
export type Architecture = keyof typeof ARCHITECTURES;

/** The name of an architecture number, or words for one that this version does not know. */
export function architectureName(number: number): string {
  for (const [name, value] of Object.entries(ARCHITECTURES)) if (value === number) return name;
  return `unknown (number ${number})`;
}

/** The architecture of this machine, undefined where procs has none. */
export function thisArchitecture(): Architecture | undefined {
  return process.arch === 'x64' ? 'x86_64' : process.arch === 'arm64' ? 'aarch64' : undefined;
}

/**
 * ```
 *    0  8  magic "PROCSIMG"          48  8  offset of the newest commit record, 0: none
 *    8  4  format version            56  8  length of it
 *   12  4  architecture              64  8  end of the file at that commit
 *   16  4  page size                 72  8  number of the newest checkpoint, 0: none
 *   20  4  reserved                  80  8  number of the oldest checkpoint kept
 *   24  8  sequence                  88  8  offset of the commit record before the newest, 0: none
 *   32 16  image id                  96     reserved
 *                                  4092  4  crc32c of bytes 0 to 4091
 * ```
 * Magic, version, sequence and crc32c keep their places in every future version.
 */
export interface Head {
  readonly version: number;
  readonly architecture: number;
  readonly pageSize: number;
  readonly sequence: number;
  readonly id: Uint8Array;
  readonly commitOffset: number;
  readonly commitLength: number;
  readonly fileEnd: number;
  readonly newest: number;
  readonly oldest: number;
  readonly previousCommitOffset: number;
}

/** The slot that a head of this sequence number was written to first. */
export function slotOf(sequence: number): number {
  return sequence % HEAD_SLOT_COUNT;
}

export function encodeHead(head: Head): Uint8Array {
  const bytes = new Uint8Array(HEAD_SLOT_LENGTH);
  const view = new DataView(bytes.buffer);
  putMagic(bytes, HEAD_MAGIC);
  view.setUint32(8, head.version, true);
  view.setUint32(12, head.architecture, true);
  view.setUint32(16, head.pageSize, true);
  putUint64(view, 24, head.sequence);
  bytes.set(head.id, 32);
  putUint64(view, 48, head.commitOffset);
  putUint64(view, 56, head.commitLength);
  putUint64(view, 64, head.fileEnd);
  putUint64(view, 72, head.newest);
  putUint64(view, 80, head.oldest);
  putUint64(view, 88, head.previousCommitOffset);
  view.setUint32(HEAD_SLOT_LENGTH - 4, crc32c(bytes.subarray(0, HEAD_SLOT_LENGTH - 4)), true);
  return bytes;
}

/** What a head slot turned out to be. Only `version` and `sequence` of a newer version are known. */
export type HeadSlot =
  | { readonly state: 'valid'; readonly head: Head }
  | { readonly state: 'newer'; readonly version: number; readonly sequence: number }
  | { readonly state: 'damaged'; readonly reason: string }
  | { readonly state: 'foreign' };

export function decodeHead(bytes: Uint8Array): HeadSlot {
  const view = viewOf(bytes);
  if (bytes.length < HEAD_SLOT_LENGTH) return { state: 'damaged', reason: `it has ${bytes.length} of ${HEAD_SLOT_LENGTH} bytes` };
  if (!hasMagic(bytes, HEAD_MAGIC)) return { state: 'foreign' };
  const stored = view.getUint32(HEAD_SLOT_LENGTH - 4, true);
  const computed = crc32c(bytes.subarray(0, HEAD_SLOT_LENGTH - 4));
  if (stored !== computed) return { state: 'damaged', reason: checksumWords(stored, computed) };
  const version = view.getUint32(8, true);
  const sequence = getUint64(view, 24);
  if (version > FORMAT_VERSION) return { state: 'newer', version, sequence: sequence ?? 0 };
  const commitOffset = getUint64(view, 48);
  const commitLength = getUint64(view, 56);
  const fileEnd = getUint64(view, 64);
  const newest = getUint64(view, 72);
  const oldest = getUint64(view, 80);
  const previousCommitOffset = getUint64(view, 88);
  if (
    sequence === undefined || commitOffset === undefined || commitLength === undefined || fileEnd === undefined ||
    newest === undefined || oldest === undefined || previousCommitOffset === undefined
  ) {
    return { state: 'damaged', reason: 'it has a number above 2^53' };
  }
  const pageSize = view.getUint32(16, true);
  const reason =
    version === 0 ? 'it has format version 0'
    : pageSize < BLOCK || pageSize > 65536 || (pageSize & (pageSize - 1)) !== 0 ? `it has a page size of ${pageSize}`
    : fileEnd < HEADS_END ? `it says that the file ends at ${fileEnd}`
    : newest === 0 ? (commitOffset !== 0 || oldest !== 0 ? 'it has a commit record and no checkpoint' : undefined)
    : oldest < 1 || oldest > newest ? `it keeps checkpoints ${oldest} to ${newest}`
    : commitLength !== COMMIT_LENGTH ? `its commit record has ${commitLength} bytes, not ${COMMIT_LENGTH}`
    : commitOffset < HEADS_END || commitOffset + commitLength > fileEnd ? `its commit record is at ${commitOffset}, the file ends at ${fileEnd}`
    : previousCommitOffset !== 0 && (previousCommitOffset < HEADS_END || previousCommitOffset >= commitOffset)
      ? `its commit record before the newest is at ${previousCommitOffset}`
    : undefined;
  if (reason !== undefined) return { state: 'damaged', reason };
  return {
    state: 'valid',
    head: {
      version,
      architecture: view.getUint32(12, true),
      pageSize,
      sequence,
      id: bytes.slice(32, 32 + IMAGE_ID_LENGTH),
      commitOffset,
      commitLength,
      fileEnd,
      newest,
      oldest,
      previousCommitOffset,
    },
  };
}

/**
 * ```
 *    0  8  magic "PROCSCMT"          80  8  length of the extent table
 *    8  4  length, 160               88  8  start of this checkpoint's page data
 *   12  4  reserved                  96  8  end of it
 *   16 16  image id                 104  8  offset of the commit record before this, 0: none
 *   32  8  checkpoint number        112  8  offset of the one before that, 0: none
 *   40  8  parent, 0: none          120 28  reserved
 *   48  8  time, ms since 1970      148  4  crc32c of the metadata
 *   56  8  offset of the metadata   152  4  crc32c of the extent table
 *   64  8  length of the metadata   156  4  crc32c of bytes 0 to 155
 *   72  8  offset of the extent table
 * ```
 * Two links back, so that one damaged record does not hide the checkpoints before it.
 */
export interface Commit {
  readonly id: Uint8Array;
  readonly number: number;
  readonly parent: number;
  readonly timeMs: number;
  readonly metadataOffset: number;
  readonly metadataLength: number;
  readonly tableOffset: number;
  readonly tableLength: number;
  readonly dataStart: number;
  readonly dataEnd: number;
  readonly previousOffset: number;
  readonly beforePreviousOffset: number;
  readonly metadataCrc: number;
  readonly tableCrc: number;
}

export function encodeCommit(commit: Commit): Uint8Array {
  const bytes = new Uint8Array(COMMIT_LENGTH);
  const view = new DataView(bytes.buffer);
  putMagic(bytes, COMMIT_MAGIC);
  view.setUint32(8, COMMIT_LENGTH, true);
  bytes.set(commit.id, 16);
  putUint64(view, 32, commit.number);
  putUint64(view, 40, commit.parent);
  putUint64(view, 48, commit.timeMs);
  putUint64(view, 56, commit.metadataOffset);
  putUint64(view, 64, commit.metadataLength);
  putUint64(view, 72, commit.tableOffset);
  putUint64(view, 80, commit.tableLength);
  putUint64(view, 88, commit.dataStart);
  putUint64(view, 96, commit.dataEnd);
  putUint64(view, 104, commit.previousOffset);
  putUint64(view, 112, commit.beforePreviousOffset);
  view.setUint32(148, commit.metadataCrc, true);
  view.setUint32(152, commit.tableCrc, true);
  view.setUint32(156, crc32c(bytes.subarray(0, 156)), true);
  return bytes;
}

/**
 * Decodes a commit record and checks that its own parts lie where they must.
 *
 * @param offset  Where it was read: everything it describes lies before.
 * @returns The record, or a reason: a phrase that fits after "because".
 */
export function decodeCommit(bytes: Uint8Array, offset: number, id: Uint8Array): Commit | string {
  if (bytes.length < COMMIT_LENGTH) return `it has ${bytes.length} of ${COMMIT_LENGTH} bytes`;
  if (!hasMagic(bytes, COMMIT_MAGIC)) return 'it does not begin with PROCSCMT';
  const view = viewOf(bytes);
  const stored = view.getUint32(156, true);
  const computed = crc32c(bytes.subarray(0, 156));
  if (stored !== computed) return checksumWords(stored, computed);
  if (view.getUint32(8, true) !== COMMIT_LENGTH) return `its length is ${view.getUint32(8, true)}, not ${COMMIT_LENGTH}`;
  if (!id.every((byte, i) => bytes[16 + i] === byte)) return 'it belongs to another image';
  const numbers: number[] = [];
  for (let at = 32; at <= 112; at += 8) {
    const number = getUint64(view, at);
    if (number === undefined) return `it has a number above 2^53 at byte ${at}`;
    numbers.push(number);
  }
  const [
    number, parent, timeMs, metadataOffset, metadataLength, tableOffset, tableLength,
    dataStart, dataEnd, previousOffset, beforePreviousOffset,
  ] = numbers as [number, number, number, number, number, number, number, number, number, number, number];
  if (number === 0) return 'its checkpoint number is 0';
  if (parent >= number) return `it is checkpoint ${number} and its parent is ${parent}`;
  if (dataStart < HEADS_END || dataStart % BLOCK !== 0) return `its page data starts at ${dataStart}`;
  const ascending = [dataStart, dataEnd, metadataOffset, metadataOffset + metadataLength, tableOffset, tableOffset + tableLength, offset];
  if (ascending.some((position, i) => i > 0 && position < ascending[i - 1]!)) return 'its parts are not in order';
  if (previousOffset !== 0 && (previousOffset < HEADS_END || previousOffset + COMMIT_LENGTH > dataStart)) {
    return `it names a commit record before it at ${previousOffset}`;
  }
  if (beforePreviousOffset !== 0 && (beforePreviousOffset < HEADS_END || beforePreviousOffset + COMMIT_LENGTH > previousOffset)) {
    return `it names a second commit record before it at ${beforePreviousOffset}`;
  }
  return {
    id, number, parent, timeMs, metadataOffset, metadataLength, tableOffset, tableLength,
    dataStart, dataEnd, previousOffset, beforePreviousOffset,
    metadataCrc: view.getUint32(148, true),
    tableCrc: view.getUint32(152, true),
  };
}

export function alignUp(offset: number, alignment: number): number {
  return Math.ceil(offset / alignment) * alignment;
}

/** A sentence part about a checksum that does not match, with both values. */
export function checksumWords(stored: number, computed: number): string {
  return `its checksum is ${hex(computed)}, not ${hex(stored)}`;
}

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function hex(crc: number): string {
  return `0x${crc.toString(16).padStart(8, '0')}`;
}

/** Undefined above 2^53 - 1, where a JavaScript number would not be exact. */
export function getUint64(view: DataView, offset: number): number | undefined {
  const value = view.getUint32(offset + 4, true) * 0x1_0000_0000 + view.getUint32(offset, true);
  return value <= Number.MAX_SAFE_INTEGER ? value : undefined;
}

function putUint64(view: DataView, offset: number, value: number): void {
  view.setBigUint64(offset, BigInt(value), true);
}

function putMagic(bytes: Uint8Array, magic: string): void {
  for (let i = 0; i < magic.length; i++) bytes[i] = magic.charCodeAt(i);
}

function hasMagic(bytes: Uint8Array, magic: string): boolean {
  for (let i = 0; i < magic.length; i++) if (bytes[i] !== magic.charCodeAt(i)) return false;
  return true;
}

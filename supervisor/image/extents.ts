/**
 * The extent table: where each stored page of a checkpoint is.
 *
 * Entries stay in their 40-byte form; an `Extent` object is made only when one is asked for,
 * since a large process has hundreds of thousands. Pure functions; the addon writes the same
 * entries (native/) while it writes the pages.
 *
 * ```
 *    0  4  space                     24  4  stored length, in bytes
 *    4  4  page count                28  4  crc32c of the stored bytes
 *    8  8  address                   32  4  codec: 0 raw, 1 lz4, 2 zstd
 *   16  8  file offset               36  4  first page
 * ```
 * The stored bytes are a *run* of pages, compressed or not. An entry shows `pageCount` pages of
 * it, from `firstPage` on: nearly always all of it. When a later checkpoint overwrites some of its pages,
 * the table of that checkpoint shows the rest in several entries of the same run, which keeps its
 * checksum: no page is read or written again.
 */

import { BLOCK, getUint64, HEADS_END, viewOf } from './layout.js';

export const EXTENT_LENGTH = 40;
/** 26 million entries. More is refused, written or read. */
export const MAX_TABLE_LENGTH = 1024 * 1024 * 1024;
/** A compressed run decodes to at most this, so that a reader can bound its buffer. */
export const MAX_COMPRESSED_RUN = 1024 * 1024;

/** Written out, never reused. */
export const CODECS = { raw: 0, lz4: 1, zstd: 2 } as const;

export interface Extent {
  readonly space: number;
  /** Of the first page, within the space; a multiple of the page size. */
  readonly address: bigint;
  readonly pageCount: number;
  readonly fileOffset: number;
  /** Of the whole run, as stored. */
  readonly storedLength: number;
  /** Of the whole run, as stored. */
  readonly crc32c: number;
  readonly codec: number;
  /** The first page of the run that this extent shows; 0 if left out. */
  readonly firstPage?: number;
}

/** What is stored as one piece under one checksum; extents show pages of it. */
export interface Run {
  readonly fileOffset: number;
  readonly storedLength: number;
  readonly crc32c: number;
  /** The first extent that shows pages of it. */
  readonly extent: Extent;
}

/** Some pages of a space. */
export interface PageRange {
  readonly space: number;
  readonly address: bigint;
  readonly pageCount: number;
}

export interface TableBounds {
  readonly pageSize: number;
  /** End of the page data that the table may refer to. */
  readonly dataEnd: number;
}

/** The extents of one checkpoint, by space and address, none overlapping. */
export class ExtentTable implements Iterable<Extent> {
  /** The table as it is in the file. The addon takes it as it is. */
  readonly bytes: Uint8Array;
  readonly #view: DataView;
  readonly #pageSize: number;

  /** @internal Use `ExtentTable.check` or `ExtentTable.sort`. */
  private constructor(bytes: Uint8Array, pageSize: number) {
    this.bytes = bytes;
    this.#view = viewOf(bytes);
    this.#pageSize = pageSize;
  }

  static readonly empty: ExtentTable = new ExtentTable(new Uint8Array(0), BLOCK);

  /**
   * A table that must be in order already, such as one read from an image.
   *
   * @throws {Error} with a phrase that fits after "because".
   */
  static check(bytes: Uint8Array, bounds: TableBounds): ExtentTable {
    if (bytes.length % EXTENT_LENGTH !== 0) throw new Error(`its extent table has ${bytes.length} bytes, which is not a multiple of ${EXTENT_LENGTH}`);
    if (bytes.length > MAX_TABLE_LENGTH) throw new Error(`its extent table has ${bytes.length} bytes, more than ${MAX_TABLE_LENGTH}`);
    const table = new ExtentTable(bytes, bounds.pageSize);
    for (let i = 0; i < table.length; i++) {
      const reason = table.#refusal(i, bounds);
      if (reason !== undefined) throw new Error(`extent ${i} ${reason}`);
    }
    return table;
  }

  /** A table in any order, such as several threads made; sorted into a new one where it is not. */
  static sort(bytes: Uint8Array, bounds: TableBounds): ExtentTable {
    if (bytes.length % EXTENT_LENGTH !== 0 || bytes.length > MAX_TABLE_LENGTH) return ExtentTable.check(bytes, bounds);
    return ExtentTable.check(sortEntries(bytes), bounds);
  }

  /** How many extents. */
  get length(): number {
    return this.bytes.length / EXTENT_LENGTH;
  }

  at(index: number): Extent {
    return readExtent(this.#view, index * EXTENT_LENGTH);
  }

  *[Symbol.iterator](): Iterator<Extent> {
    for (let i = 0; i < this.length; i++) yield this.at(i);
  }

  /** The spaces that have pages, ascending. */
  spaces(): number[] {
    const spaces: number[] = [];
    for (let i = 0; i < this.length; i = this.#lowerBound(spaces.at(-1)! + 1, 0)) spaces.push(this.#space(i));
    return spaces;
  }

  /** The extents of one space, by address. */
  *ofSpace(space: number): IterableIterator<Extent> {
    const [start, end] = this.#rangeOf(space);
    for (let i = start; i < end; i++) yield this.at(i);
  }

  /** The encoded entries of one space; shares the table's memory. */
  bytesOfSpace(space: number): Uint8Array {
    const [start, end] = this.#rangeOf(space);
    return this.bytes.subarray(start * EXTENT_LENGTH, end * EXTENT_LENGTH);
  }

  /** Each run that the extents show pages of, once, in the order of the file: what must be read to check them. */
  runs(): Run[] {
    const runs = new Map<number, Run>();
    for (const extent of this) {
      const { fileOffset, storedLength, crc32c } = extent;
      const same = runs.get(fileOffset);
      if (same === undefined) runs.set(fileOffset, { fileOffset, storedLength, crc32c, extent });
      else if (same.storedLength !== storedLength || same.crc32c !== crc32c) {
        throw new Error(`the extents at 0x${same.extent.address.toString(16)} and 0x${extent.address.toString(16)} disagree about what is stored at ${fileOffset}`);
      }
    }
    return [...runs.values()].sort((a, b) => a.fileOffset - b.fileOffset);
  }

  /** How many pages are stored, of one space or of all. */
  pageCount(space?: number): number {
    const [start, end] = space === undefined ? [0, this.length] : this.#rangeOf(space);
    let count = 0;
    for (let i = start; i < end; i++) count += this.#view.getUint32(i * EXTENT_LENGTH + 4, true);
    return count;
  }

  /**
   * Only the given pages of this table: what a new checkpoint takes over from an earlier one.
   * Pages of the ranges that are not stored are zero and stay so.
   *
   * @param ranges  Known to be unchanged. `toSpace` moves them to another space's number.
   * @returns Encoded entries, to be joined with those of the pages written now.
   */
  keep(ranges: Iterable<PageRange & { readonly toSpace?: number }>): Uint8Array {
    const pageSize = BigInt(this.#pageSize);
    const kept: Extent[] = [];
    for (const range of ranges) {
      const start = range.address;
      const end = start + BigInt(range.pageCount) * pageSize;
      const space = range.toSpace ?? range.space;
      let i = this.#lowerBound(range.space, Number(start));
      if (i > 0) i--; // may begin before the range and reach into it
      for (; i < this.length; i++) {
        const extent = this.at(i);
        const extentEnd = extent.address + BigInt(extent.pageCount) * pageSize;
        if (extent.space < range.space || (extent.space === range.space && extentEnd <= start)) continue;
        if (extent.space > range.space || extent.address >= end) break;
        const from = extent.address > start ? extent.address : start;
        const to = extentEnd < end ? extentEnd : end;
        kept.push({
          ...extent,
          space,
          address: from,
          pageCount: Number((to - from) / pageSize),
          firstPage: (extent.firstPage ?? 0) + Number((from - extent.address) / pageSize),
        });
      }
    }
    return encodeExtents(kept);
  }

  #space(index: number): number {
    return this.#view.getUint32(index * EXTENT_LENGTH, true);
  }

  #address(index: number): number {
    return readPageAddress(this.#view, index * EXTENT_LENGTH);
  }

  #rangeOf(space: number): [start: number, end: number] {
    return [this.#lowerBound(space, 0), this.#lowerBound(space + 1, 0)];
  }

  /** The first extent at or after an address of a space. */
  #lowerBound(space: number, address: number): number {
    let low = 0;
    let high = this.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const other = this.#space(middle);
      if (other < space || (other === space && this.#address(middle) < address)) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Why an entry cannot be right, or undefined. */
  #refusal(index: number, { pageSize, dataEnd }: TableBounds): string | undefined {
    const view = this.#view;
    const at = index * EXTENT_LENGTH;
    const pageCount = view.getUint32(at + 4, true);
    const address = view.getUint32(at + 8, true);
    const fileOffset = getUint64(view, at + 16);
    const storedLength = view.getUint32(at + 24, true);
    const codec = view.getUint32(at + 32, true);
    const firstPage = view.getUint32(at + 36, true);
    if (pageCount === 0) return 'has no pages';
    if (address % pageSize !== 0) return `is not at a page's address (${hexAddress(view, at)})`;
    const end = this.#address(index) + pageCount * pageSize;
    if (end > 2 ** 64) return 'reaches beyond the address space';
    if (fileOffset === undefined || fileOffset < HEADS_END || fileOffset + storedLength > dataEnd) {
      return `is stored outside the page data (at ${fileOffset ?? 'more than 2^53'}, ${storedLength} bytes; the data ends at ${dataEnd})`;
    }
    const runBytes = (firstPage + pageCount) * pageSize;
    if (codec === CODECS.raw) {
      if (fileOffset % BLOCK !== 0) return `is stored at ${fileOffset}, which is not a multiple of ${BLOCK}`;
      if (storedLength % pageSize !== 0 || runBytes > storedLength) return `has ${storedLength} bytes for pages ${firstPage} to ${firstPage + pageCount}`;
    } else if (codec === CODECS.lz4 || codec === CODECS.zstd) {
      if (storedLength === 0 || storedLength > MAX_COMPRESSED_RUN) return `has ${storedLength} compressed bytes`;
      if (runBytes > MAX_COMPRESSED_RUN) return `is compressed and reaches to byte ${runBytes} of its run, beyond ${MAX_COMPRESSED_RUN}`;
    } else {
      return `has the unknown codec ${codec}`;
    }
    if (index > 0) {
      const before = this.#space(index - 1);
      const space = this.#space(index);
      if (before > space) return 'is not in the order of spaces';
      if (before === space) {
        const previousEnd = this.#address(index - 1) + view.getUint32(at - EXTENT_LENGTH + 4, true) * pageSize;
        if (previousEnd > this.#address(index)) return `overlaps the one before it, at ${hexAddress(view, at)}`;
      }
    }
    return undefined;
  }
}

export function encodeExtents(extents: readonly Extent[]): Uint8Array {
  const bytes = new Uint8Array(extents.length * EXTENT_LENGTH);
  const view = viewOf(bytes);
  extents.forEach((extent, i) => {
    const at = i * EXTENT_LENGTH;
    view.setUint32(at, extent.space, true);
    view.setUint32(at + 4, extent.pageCount, true);
    view.setBigUint64(at + 8, extent.address, true);
    view.setBigUint64(at + 16, BigInt(extent.fileOffset), true);
    view.setUint32(at + 24, extent.storedLength, true);
    view.setUint32(at + 28, extent.crc32c, true);
    view.setUint32(at + 32, extent.codec, true);
    view.setUint32(at + 36, extent.firstPage ?? 0, true);
  });
  return bytes;
}

/** Entries as they are, unchecked and in their order: for printing and for tests. */
export function decodeExtents(bytes: Uint8Array): Extent[] {
  const view = viewOf(bytes);
  const extents: Extent[] = [];
  for (let at = 0; at + EXTENT_LENGTH <= bytes.length; at += EXTENT_LENGTH) extents.push(readExtent(view, at));
  return extents;
}

/** Where in the file the first page of a raw extent is. */
export function pagesOffset(extent: Extent, pageSize: number): number {
  return extent.fileOffset + (extent.firstPage ?? 0) * pageSize;
}

/** Several encoded parts as one, for `draft.commit`. */
export function joinExtents(...parts: readonly Uint8Array[]): Uint8Array {
  return parts.length === 1 ? parts[0]! : Buffer.concat(parts);
}

function readExtent(view: DataView, at: number): Extent {
  return {
    space: view.getUint32(at, true),
    pageCount: view.getUint32(at + 4, true),
    address: view.getBigUint64(at + 8, true),
    fileOffset: Number(view.getBigUint64(at + 16, true)),
    storedLength: view.getUint32(at + 24, true),
    crc32c: view.getUint32(at + 28, true),
    codec: view.getUint32(at + 32, true),
    firstPage: view.getUint32(at + 36, true),
  };
}

/** Exact as a number: a multiple of 4096 below 2^64 has at most 52 significant bits. */
function readPageAddress(view: DataView, at: number): number {
  return view.getUint32(at + 12, true) * 0x1_0000_0000 + view.getUint32(at + 8, true);
}

function sortEntries(bytes: Uint8Array): Uint8Array {
  const view = viewOf(bytes);
  const count = bytes.length / EXTENT_LENGTH;
  const compare = (a: number, b: number): number =>
    view.getUint32(a * EXTENT_LENGTH, true) - view.getUint32(b * EXTENT_LENGTH, true) ||
    readPageAddress(view, a * EXTENT_LENGTH) - readPageAddress(view, b * EXTENT_LENGTH);
  let inOrder = true;
  for (let i = 1; i < count && inOrder; i++) inOrder = compare(i - 1, i) <= 0;
  if (inOrder) return bytes;
  const order = Uint32Array.from({ length: count }, (_, i) => i).sort(compare);
  const sorted = new Uint8Array(bytes.length);
  order.forEach((from, to) => {
    sorted.set(bytes.subarray(from * EXTENT_LENGTH, (from + 1) * EXTENT_LENGTH), to * EXTENT_LENGTH);
  });
  return sorted;
}

function hexAddress(view: DataView, at: number): string {
  return `0x${view.getBigUint64(at + 8, true).toString(16)}`;
}

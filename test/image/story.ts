/** Checkpoints with known contents, and the question whether an image holds them. */

import { isDeepStrictEqual } from 'node:util';
import { crc32c } from '../../supervisor/image/crc32c.js';
import { encodeExtents, joinExtents, type PageRange } from '../../supervisor/image/extents.js';
import { Image, type CheckpointSummary, type ImageRecord } from '../../supervisor/image/image.js';
import type { ImageFiles } from '../../supervisor/image/files.js';

export const PAGE = 4096;
export const BASE = 0x7fff_f000_0000n;
const PAGES = 6;

export function pageOf(number: number, index: number): Uint8Array {
  return new Uint8Array(PAGE).fill(number * 16 + index + 1);
}

export function recordsOf(number: number): ImageRecord[] {
  return [
    { kind: 'vma', version: 1, start: BASE, end: BASE + BigInt(PAGES * PAGE), name: '[heap]' },
    { kind: 'unknown-to-everyone', version: 7, small: 1n, bytes: Uint8Array.from([number, 0, 255]), list: [null, true, -2, 0.5] },
  ];
}

/** Writes a checkpoint: all pages in the first of an image, page `number % PAGES` alone in the others. */
export async function writeCheckpoint(image: Image, files: ImageFiles, timeMs = 1000): Promise<CheckpointSummary> {
  using draft = image.begin();
  const first = image.newest === 0;
  const indices = first ? Array.from({ length: PAGES }, (_, i) => i) : [draft.number % PAGES];
  const bytes = Buffer.concat(indices.map((index) => pageOf(draft.number, index)));
  await files.write(draft.fd, bytes, draft.dataOffset);
  const written = encodeExtents([
    {
      space: 1, address: BASE + BigInt(indices[0]! * PAGE), pageCount: indices.length,
      fileOffset: draft.dataOffset, storedLength: bytes.length, crc32c: crc32c(bytes), codec: 0,
    },
  ]);
  const kept = first ? new Uint8Array(0) : image.read().extents.keep(rangesWithout(indices[0]!));
  return draft.commit({
    header: { number: draft.number, command: ['./simulate', 'input.dat'] },
    records: recordsOf(draft.number),
    extents: joinExtents(written, kept),
    dataEnd: draft.dataOffset + bytes.length,
    timeMs,
  });
}

function rangesWithout(index: number): PageRange[] {
  return [
    { space: 1, address: BASE, pageCount: index },
    { space: 1, address: BASE + BigInt((index + 1) * PAGE), pageCount: PAGES - index - 1 },
  ].filter(({ pageCount }) => pageCount > 0);
}

/** Why a checkpoint is not the one that writeCheckpoint wrote; undefined if it is. Throws what reading it throws. */
export function differenceOf(image: Image, number: number): string | undefined {
  const { header, records, extents, summary } = image.read(number);
  if (summary.number !== number || header['number'] !== number) return `checkpoint ${number} says that it is ${String(header['number'])}`;
  if (!isDeepStrictEqual(sorted(records), sorted(recordsOf(number)))) return `the records of checkpoint ${number} differ`;
  if (extents.pageCount(1) !== PAGES) return `checkpoint ${number} has ${extents.pageCount(1)} pages`;
  for (const extent of extents.ofSpace(1)) {
    const bytes = image.readPages(extent);
    for (let i = 0; i < extent.pageCount; i++) {
      const index = Number(extent.address - BASE) / PAGE + i;
      let writer = number;
      while (writer > 1 && writer % PAGES !== index) writer--;
      if (!Buffer.from(pageOf(writer, index)).equals(bytes.subarray(i * PAGE, (i + 1) * PAGE))) return `page ${index} of checkpoint ${number} differs`;
    }
  }
  return undefined;
}

/** Keys in one order: CBOR has its own. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return value;
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, field]) => [key, sorted(field)]));
}

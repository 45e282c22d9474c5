/**
 * Loading the pages of an image into the memory of a resumed process, with several
 * threads. The image's extent table goes into the tape as it is; the player reads and
 * checks entry by entry (agent/player.c).
 */
import { ProcsError } from '../errors.js';
import { CLONE_FILES, CLONE_FS, CLONE_SIGHAND, CLONE_SYSVSEM, CLONE_THREAD, CLONE_VM } from '../linux.js';
import type { ExtentTable } from '../image/extents.js';
import type { Address } from '../native.js';
import { LOAD_SIZE, Mark, PAGE_SIZE } from '../tape/tape.js';
import type { Restore } from './resource.js';

/** Below this much, a second thread costs more than it brings. */
const WORTH_A_THREAD = 8 << 20;
const HELPER_STACK = 2048;
const HELPER_FLAGS = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
/** Offsets in an entry of the extent table (docs/IMAGE.md). */
const ENTRY = { pageCount: 4, address: 8, storedLength: 24, codec: 32, firstPage: 36 } as const;

/** The stored pages of one space. There may be a million entries, so none becomes an object. */
export class PageLoads {
  readonly #table: Uint8Array;
  readonly #view: DataView;
  readonly #count: number;
  #next = 0;

  /** @param at  Where address 0 of the space is to be. */
  constructor(extents: ExtentTable, space: number, at: Address = 0n) {
    const table = extents.bytesOfSpace(space);
    this.#table = at === 0n ? table : new Uint8Array(table);
    this.#view = new DataView(this.#table.buffer, this.#table.byteOffset, this.#table.length);
    this.#count = this.#table.length / LOAD_SIZE;
    for (let index = 0; at !== 0n && index < this.#count; index++) {
      const place = index * LOAD_SIZE + ENTRY.address;
      this.#view.setBigUint64(place, this.#view.getBigUint64(place, true) + at, true);
    }
  }

  /**
   * Whether a range has stored pages. Ranges are asked for in ascending order, and what
   * lies outside of them is refused: an image says where the player writes.
   */
  takeWithin(start: Address, end: Address): boolean {
    const [from, to] = [Number(start), Number(end)];
    const first = this.#next;
    for (; this.#next < this.#count; this.#next++) {
      const address = this.#address(this.#next);
      if (address >= to) break;
      if (address < from || address + this.#length(this.#next) > to) this.#refuse(this.#next);
    }
    return this.#next > first;
  }

  /** Called when every range was asked for. */
  refuseRest(): void {
    if (this.#next < this.#count) this.#refuse(this.#next);
  }

  /** The table in contiguous parts of about equal length, at most `most` of them. */
  divide(most: number): Uint8Array[] {
    let total = 0;
    for (let index = 0; index < this.#count; index++) total += this.#length(index);
    const parts = Math.max(1, Math.min(most, Math.floor(total / WORTH_A_THREAD)));
    const shares: Uint8Array[] = [];
    let begin = 0;
    let filled = 0;
    for (let index = 0; index < this.#count; index++) {
      filled += this.#length(index);
      if (index === this.#count - 1 || (filled >= total / parts && shares.length < parts - 1)) {
        shares.push(this.#table.subarray(begin * LOAD_SIZE, (index + 1) * LOAD_SIZE));
        begin = index + 1;
        filled = 0;
      }
    }
    return shares;
  }

  #address(index: number): number {
    const at = index * LOAD_SIZE + ENTRY.address;
    return this.#view.getUint32(at, true) + this.#view.getUint32(at + 4, true) * 2 ** 32;
  }

  #length(index: number): number {
    const at = index * LOAD_SIZE;
    const length = this.#view.getUint32(at + ENTRY.storedLength, true);
    const isWhole = this.#view.getUint32(at + ENTRY.firstPage, true) === 0 && length === this.#view.getUint32(at + ENTRY.pageCount, true) * PAGE_SIZE;
    if (!isWhole || this.#view.getUint32(at + ENTRY.codec, true) !== 0) {
      throw new ProcsError('PROCS_ERR_IMAGE_VERSION', 'cannot read the image: its pages are stored in a way that this program does not know');
    }
    return length;
  }

  #refuse(index: number): never {
    throw new ProcsError('PROCS_ERR_IMAGE_FORMAT', `cannot use the image: pages at 0x${this.#address(index).toString(16)} belong to no mapping`);
  }
}

/** Emits all loads, shared among threads; they are done when the tape goes on. */
export function loadPages({ tape, work, loading }: Restore, loads: PageLoads): void {
  const label = 'load pages from the image';
  const [own, ...others] = loads.divide(loading.threads);
  if (own === undefined) return;
  const counter = tape.reserve(4);
  const marks = others.map((_, index) => {
    const mark = new Mark();
    const tid = loading.tids?.[index];
    const stack = tape.reserve(HELPER_STACK, 16);
    tape.spawn('make a thread to load pages', { flags: HELPER_FLAGS, stack, stackSize: HELPER_STACK, ...(tid === undefined ? {} : { setTid: [tid] }) }, mark);
    return mark;
  });
  tape.load(label, own, work.image);
  if (others.length === 0) return;
  tape.barrier('wait for loaded pages', counter, others.length + 1);
  const after = new Mark();
  tape.jump('go on', after);
  others.forEach((share, index) => {
    tape.place(marks[index] as Mark);
    tape.load(label, share, work.image);
    tape.barrier('wait for loaded pages', counter, others.length + 1);
    tape.call('end a loading thread', 'exit', [0]);
  });
  tape.place(after);
}

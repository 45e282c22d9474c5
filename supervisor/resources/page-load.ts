/**
 * Loading the pages of an image into the memory of a resumed process: by several
 * threads, each range populated before it is read (a fault for each page costs more than
 * the copy), and checked while it is in the cache.
 */
import { ProcsError } from '../errors.js';
import { CLONE_FILES, CLONE_FS, CLONE_SIGHAND, CLONE_SYSVSEM, CLONE_THREAD, CLONE_VM, MADV_POPULATE_WRITE } from '../linux.js';
import type { ExtentTable } from '../image/extents.js';
import type { Address } from '../native.js';
import { Mark } from '../tape/tape.js';
import type { Restore } from './resource.js';

/** Below this much, a second thread costs more than it brings. */
const WORTH_A_THREAD = 8 << 20;
const HELPER_STACK = 2048;
const HELPER_FLAGS = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;

/** A run of pages that is stored in one piece. */
export interface Load {
  readonly address: Address;
  readonly offset: number;
  readonly length: number;
  readonly crc: number;
}

/** The stored pages of one space, taken in address order. */
export class PageLoads {
  readonly #loads: Load[] = [];
  #next = 0;

  constructor(extents: ExtentTable, space: number) {
    for (const extent of extents.ofSpace(space)) {
      const whole = (extent.firstPage ?? 0) === 0 && extent.storedLength === extent.pageCount * 4096;
      if (extent.codec !== 0 || !whole) {
        throw new ProcsError('PROCS_ERR_IMAGE_VERSION', 'cannot read the image: its pages are stored in a way that this program does not know');
      }
      this.#loads.push({ address: extent.address, offset: extent.fileOffset, length: extent.storedLength, crc: extent.crc32c });
    }
  }

  /** The loads that lie in a range; ranges are asked for in ascending order. */
  within(start: Address, end: Address): Load[] {
    const found: Load[] = [];
    for (; this.#next < this.#loads.length; this.#next++) {
      const load = this.#loads[this.#next] as Load;
      if (load.address >= end) break;
      if (load.address < start || load.address + BigInt(load.length) > end) this.#refuse(load);
      found.push(load);
    }
    return found;
  }

  /** Called when every range was asked for. */
  refuseRest(): void {
    const rest = this.#loads[this.#next];
    if (rest !== undefined) this.#refuse(rest);
  }

  #refuse(load: Load): never {
    throw new ProcsError('PROCS_ERR_IMAGE_FORMAT', `cannot use the image: pages at 0x${load.address.toString(16)} belong to no mapping`);
  }
}

/** Emits loads, shared among threads; all of them are done when the tape goes on. */
export function loadPages(restore: Restore, loads: readonly Load[]): void {
  const { tape, loading } = restore;
  const total = loads.reduce((sum, load) => sum + load.length, 0);
  const threads = Math.max(1, Math.min(loading.threads, Math.floor(total / WORTH_A_THREAD)));
  const [own = [], ...others] = divide(loads, total / threads, threads);
  const counter = tape.reserve(4);
  const marks = others.map((_, index) => {
    const mark = new Mark();
    const tid = loading.tids?.[index];
    const stack = tape.reserve(HELPER_STACK, 16);
    tape.spawn('make a thread to load pages', { flags: HELPER_FLAGS, stack, stackSize: HELPER_STACK, ...(tid === undefined ? {} : { setTid: [tid] }) }, mark);
    return mark;
  });
  emitLoads(restore, own);
  if (others.length === 0) return;
  tape.barrier('wait for loaded pages', counter, others.length + 1);
  const after = new Mark();
  tape.jump('go on', after);
  others.forEach((share, index) => {
    tape.place(marks[index] as Mark);
    emitLoads(restore, share);
    tape.barrier('wait for loaded pages', counter, others.length + 1);
    tape.call('end a loading thread', 'exit', [0]);
  });
  tape.place(after);
}

/** Contiguous shares of about equal size: neighbouring pages are read by the same thread. */
function divide(loads: readonly Load[], share: number, threads: number): Load[][] {
  const shares: Load[][] = [[]];
  let filled = 0;
  for (const load of loads) {
    if (filled >= share && shares.length < threads) {
      shares.push([]);
      filled = 0;
    }
    (shares.at(-1) as Load[]).push(load);
    filled += load.length;
  }
  return shares;
}

function emitLoads({ tape, work }: Restore, loads: readonly Load[]): void {
  for (const { address, length, offset, crc } of loads) {
    // Before 5.14 the read itself brings the pages in.
    tape.call('populate memory', 'madvise', [address, length, MADV_POPULATE_WRITE], { mayFail: true });
    tape.repeat(LOAD_LABEL, 'pread64', [work.image, address, length, offset]);
    tape.check(LOAD_LABEL, address, length, crc);
  }
}

const LOAD_LABEL = 'load pages from the image';

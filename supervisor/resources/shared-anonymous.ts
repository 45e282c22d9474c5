/**
 * Shared anonymous memory (mmap(2) MAP_SHARED | MAP_ANONYMOUS): an object of the
 * kernel's tmpfs without a name or descriptor. Made whole by one mmap, whose pages the
 * image's are loaded into; further mappings of it are duplicates by mremap(2) with an
 * old size of 0.
 */
import { ProcsError } from '../errors.js';
import { MAP_ANONYMOUS, MAP_FIXED_NOREPLACE, MAP_NORESERVE, MAP_SHARED, MREMAP_FIXED, MREMAP_MAYMOVE, PROT_READ, PROT_WRITE } from '../linux.js';
import { PAGE_SIZE, roundUp } from '../tape/tape.js';
import type { FileObject } from './file.js';
import type { MappedArea } from './memory.js';
import { PageLoads } from './page-load.js';
import type { Restore } from './resource.js';

/** @param areas  All mappings of it, in address order. Their advice is not given here. */
export function restoreSharedAnonymous(restore: Restore, file: FileObject, areas: readonly MappedArea[]): void {
  const { tape, extents, work } = restore;
  const [first] = areas;
  if (first === undefined || file.space === undefined) throw new ProcsError('PROCS_ERR_IMAGE_FORMAT', 'cannot use the image: shared anonymous memory without contents or mappings');
  const size = areas.reduce((end, area) => max(end, area.offset + area.end - area.start), BigInt(roundUp(Number(file.size), PAGE_SIZE)));
  const isOne = areas.length === 1 && first.offset === 0n && first.end - first.start === size;
  const at = isOne ? first.start : restore.findHole(Number(size));
  const what = `map shared memory of ${size} bytes`;
  const reserve = areas.some((area) => area.flags.split(' ').includes('ac')) ? 0 : MAP_NORESERVE;
  tape.call(what, 'mmap', [at, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | reserve, -1, 0], { want: at });
  const loads = new PageLoads(extents, file.space, at);
  loads.takeWithin(at, at + size);
  loads.refuseRest();
  for (const share of loads.divide(1)) tape.load('load shared memory from the image', share, work.image);
  for (const area of areas) {
    const length = area.end - area.start;
    if (!isOne) tape.call(`map a part of shared memory at ${area.start.toString(16)}`, 'mremap', [at + area.offset, 0, length, MREMAP_MAYMOVE | MREMAP_FIXED, area.start], { want: area.start });
    if (area.protection !== (PROT_READ | PROT_WRITE)) tape.call(`protect shared memory at ${area.start.toString(16)}`, 'mprotect', [area.start, length, area.protection]);
  }
  if (!isOne) tape.call('unmap shared memory where it was filled', 'munmap', [at, size]);
}

function max(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}

/**
 * Where procs itself stands in a process that is being made again: a hole of the
 * target's memory map for the player, its tape, and the kernel's own mappings while
 * they are moved.
 */
import { readFileSync } from 'node:fs';
import { ProcsError } from '../errors.js';
import { type Vma, parseMaps } from '../proc/maps.js';

interface Range {
  readonly start: bigint;
  readonly end: bigint;
}

/** Heaps, stacks and mmap areas may grow towards the region: this much is kept free on both sides. */
const MARGIN = 1n << 30n;
const FIRST = 1n << 44n;
const STEP = 1n << 40n;
const LAST = 1n << 46n;
const END_OF_MEMORY = 1n << 47n; // of x86_64 with four-level page tables
/** procs-agent is linked there (agent/Makefile). */
const AGENT: Range = { start: 0x200000000000n, end: 0x200000100000n };

/** The start of a hole of `size` bytes, far from every mapping. */
export function findHole(areas: readonly Range[], size: number): bigint {
  const taken = [...areas, AGENT];
  for (let start = FIRST; start < LAST; start += STEP) {
    const hole = { start: start - MARGIN, end: start + BigInt(size) + MARGIN };
    if (hole.end > END_OF_MEMORY) break;
    if (!taken.some((area) => area.start < hole.end && area.end > hole.start)) return start;
  }
  throw new ProcsError('PROCS_ERR_MACHINE', `cannot resume: the program's memory map has no hole of ${size} bytes that begins between 16 and 64 TiB`);
}

/** The vDSO and what belongs to it, as this kernel maps them: in address order. */
export function ownKernelAreas(): Vma[] {
  return parseMaps(readFileSync('/proc/self/maps', 'latin1')).filter((vma) => /^\[(vvar|vvar_vclock|vdso)\]$/.test(vma.name));
}

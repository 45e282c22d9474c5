/**
 * The tape's part that rebuilds the memory of the target: the kernel's mappings at their
 * old places, the program's own, and where code, heap, stack and arguments are.
 */
import {
  AT_FDCWD,
  MAP_ANONYMOUS,
  MAP_FIXED_NOREPLACE,
  MAP_PRIVATE,
  MREMAP_FIXED,
  MREMAP_MAYMOVE,
  O_CLOEXEC,
  O_RDONLY,
  PROT_READ,
  PROT_WRITE,
  PR_SET_MM,
  PR_SET_MM_MAP,
} from '../linux.js';
import type { Vma } from '../proc/maps.js';
import { pathBytes } from '../proc/path.js';
import { type MemoryRecord, restoreMemory } from '../resources/memory.js';
import type { Restore } from '../resources/resource.js';
import { type DataRef, PAGE_SIZE, type Slot, Tape, roundUp } from '../tape/tape.js';
import { type CompileOptions, type Parts, REGION_LIMIT, type Work } from './plan.js';

/** The kernel's own mappings on their way. */
const KERNEL_ROOM = BigInt(REGION_LIMIT - (16 << 20));

/** The command line that ps shows, where another one is asked for. */
const SHOWN_ROOM = BigInt(REGION_LIMIT - (1 << 20));

const MAX_SHOWN = 128 << 10;

const END_OF_MEMORY = 0x7ffffffff000n; // TASK_SIZE of x86_64 with four-level page tables

/** Everything but the player's own region goes; the kernel's mappings go to their old place; then the program's own. */
export function rebuildMemory(tape: Tape, options: CompileOptions, parts: Parts, restore: Restore, work: Work, base: bigint, kernel: readonly Vma[]): void {
  const { memory } = parts;
  const room = base + KERNEL_ROOM;
  const exe = tape.call('open the executable', 'openat', [AT_FDCWD, tape.text(pathBytes(memory.exe)), O_RDONLY | O_CLOEXEC, 0], { mayFail: true });
  tape.call('hold the executable', 'dup3', [exe, work.exe, O_CLOEXEC], { mayFail: true });
  tape.call('close the executable', 'close', [exe], { mayFail: true });
  let at = room;
  const parked = kernel.map((area) => {
    const here = at;
    at += area.end - area.start;
    return here;
  });
  kernel.forEach((area, index) => moveMapping(tape, `move ${area.name} away`, tape.vdsoSlot(index), area.end - area.start, parked[index] ?? room));
  tape.call('unmap what is below', 'munmap', [0, base]);
  tape.call('unmap what is above', 'munmap', [at, END_OF_MEMORY - at]);
  kernel.forEach((area, index) => {
    const wanted = memory.kernelAreas.find(({ name }) => name === area.name);
    if (wanted !== undefined) moveMapping(tape, `move ${area.name} to its place`, parked[index] ?? room, area.end - area.start, wanted.start);
  });
  restoreMemory(parts.memoryRecord, restore, parts.files);
  restoreLayout(tape, withShownArgs(tape, memory, parts.process.pid, options.shownArgs, base + SHOWN_ROOM), work.exe);
}

function moveMapping(tape: Tape, label: string, from: Slot | bigint, length: bigint, to: bigint): void {
  tape.call(label, 'mremap', [from, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, to], { want: to });
}

/** Another command line for ps, in memory of its own: the program's arguments stay as they are. */
function withShownArgs(tape: Tape, memory: MemoryRecord, pid: number, args: readonly string[] | undefined, at: bigint): MemoryRecord {
  if (args === undefined || args.length === 0) return memory;
  const [name = ''] = memory.commandLine.toString('latin1').split('\0');
  const text = Buffer.concat([Buffer.from(`${name}\0`, 'latin1'), Buffer.from(`${args.join('\0')}\0`)]).subarray(0, MAX_SHOWN);
  putBytes(tape, pid, 'map the command line to show', at, text, PROT_READ);
  // arg_start and arg_end
  return { ...memory, layout: memory.layout.map((address, index) => (index === 7 ? at : index === 8 ? at + BigInt(text.length) : address)) };
}

/** New memory of the process, with contents from the tape. */
export function putBytes(tape: Tape, pid: number, what: string, at: bigint, bytes: Buffer, protection: number): void {
  const length = roundUp(bytes.length, PAGE_SIZE);
  tape.call(what, 'mmap', [at, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0], { want: at });
  const local = tape.words([0, bytes.length]);
  tape.pointer(local, tape.data(bytes, 16));
  tape.call(what, 'process_vm_writev', [pid, local, 1, tape.words([at, bytes.length]), 1, 0], { want: bytes.length });
  tape.call(what, 'mprotect', [at, length, protection]);
}

/** Where code, heap, stack, arguments and environment are: prctl(2), PR_SET_MM_MAP. */
function restoreLayout(tape: Tape, memory: MemoryRecord, exe: number): void {
  const auxv = tape.data(memory.auxv);
  const map = (exeFd: number): DataRef => {
    const bytes = Buffer.alloc(MM_MAP_SIZE);
    memory.layout.forEach((address, index) => bytes.writeBigUInt64LE(address, index * 8));
    bytes.writeUInt32LE(memory.auxv.length, 96);
    bytes.writeInt32LE(exeFd, 100);
    const ref = tape.data(bytes);
    tape.pointer(ref.plus(88), auxv);
    return ref;
  };
  tape.call('set the layout of memory', 'prctl', [PR_SET_MM, PR_SET_MM_MAP, map(-1), MM_MAP_SIZE, 0]);
  // The executable's link needs CAP_CHECKPOINT_RESTORE and the file; without either all else is set already.
  tape.call('set the executable', 'prctl', [PR_SET_MM, PR_SET_MM_MAP, map(exe), MM_MAP_SIZE, 0], { mayFail: true });
}

/** struct prctl_mm_map: 11 addresses, auxv pointer, u32 auxv_size, u32 exe_fd. */
const MM_MAP_SIZE = 104;

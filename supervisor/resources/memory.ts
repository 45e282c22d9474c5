/**
 * The memory map: every mapping with its place, protection, file and advice, and the
 * pages that are the process's own.
 *
 * Capture plans what is to be stored (from the twin, after the thaw; what the twin
 * does not copy, while frozen); restore maps each area with room to write, loads its
 * pages from the image with their checksums, and then gives it its real protection.
 */
import { ProcsError } from '../errors.js';
import {
  MADV_DONTDUMP,
  MADV_DONTFORK,
  MADV_GUARD_INSTALL,
  MADV_HUGEPAGE,
  MADV_MERGEABLE,
  MADV_NOHUGEPAGE,
  MADV_RANDOM,
  MADV_SEQUENTIAL,
  MADV_WIPEONFORK,
  MAP_ANONYMOUS,
  MAP_FIXED_NOREPLACE,
  MAP_GROWSDOWN,
  MAP_NORESERVE,
  MAP_PRIVATE,
  MAP_SHARED,
  MCL_FUTURE,
  MCL_ONFAULT,
  MLOCK_ONFAULT,
  O_RDONLY,
  O_RDWR,
  PROT_EXEC,
  PROT_READ,
  PROT_WRITE,
} from '../linux.js';
import { type Address, SELECT } from '../native.js';
import type { AreaFlags, Vma } from '../proc/maps.js';
import { pathText } from '../proc/path.js';
import type { Tape } from '../tape/tape.js';
import type { RawProcess } from './raw.js';
import { type FileObject, type FileTable, nameOfMapping } from './file.js';
import { type Record_, readRecord } from './record.js';
import { PageLoads, loadPages } from './page-load.js';
import { restoreSharedAnonymous } from './shared-anonymous.js';
import type { Frozen, PageSource, Restore } from './resource.js';

const VERSION = 1;
/** Space 0 of an image is the memory of its process. */
export const MEMORY_SPACE = 0;
/** Mappings of the kernel's own, which every process has. */
const KERNEL_NAMES = new Set(['[vvar]', '[vvar_vclock]', '[vdso]', '[vsyscall]']);

export interface MappedArea {
  readonly start: Address;
  readonly end: Address;
  /** PROT_ bits. */
  readonly protection: number;
  readonly shared: boolean;
  /** Offset in the file, in bytes. */
  readonly offset: bigint;
  readonly file: number | undefined;
  /** VmFlags of smaps, as the kernel writes them: "rd wr mr mw me ac". */
  readonly flags: string;
  /** Half-open ranges of guard markers. */
  readonly guards: readonly Address[];
}

/** Is it the program's, and not the kernel's? */
export function isProgramMemory(vma: Vma): boolean {
  return !KERNEL_NAMES.has(vma.name);
}

/**
 * While the process stands still: the files behind its mappings, and the contents of
 * those that nobody else keeps. Refuses what cannot be mapped again.
 */
export function captureSharedMemory(frozen: Frozen, files: FileTable): void {
  for (const vma of frozen.raw.vmas) {
    if (!isProgramMemory(vma) || vma.inode === 0n) continue;
    const reason = refusedMapping(vma);
    if (reason !== undefined) {
      frozen.refuse({ where: `mapping ${rangeText(vma)}`, ...reason });
      continue;
    }
    const stat = files.identityOf(vma);
    const { type, path } = nameOfMapping(vma);
    const known = files.find(stat.dev, stat.ino);
    if (type === 'path') {
      const file = known ?? files.add({ type, path, ...stat });
      if (vma.shared && vma.write) storeShared(frozen, files, file, vma);
      continue;
    }
    if (known !== undefined) continue;
    // Without a descriptor the contents are known through the mappings alone.
    const same = mappingsOf(frozen, vma);
    const space = frozen.newSpace();
    frozen.storeMemory(coverOnce(same, space), { forceMem: !vma.read });
    const size = same.reduce((end, other) => (other.offset + (other.end - other.start) > end ? other.offset + (other.end - other.start) : end), 0n);
    files.add({ type, path, ...stat, size, space });
  }
}

function mappingsOf(frozen: Frozen, vma: Vma): Vma[] {
  return frozen.raw.vmas.filter((other) => other.inode === vma.inode && other.device === vma.device);
}

/** The program goes on writing into the file through its mapping, so what it holds now is kept, to be put back. */
function storeShared(frozen: Frozen, files: FileTable, file: FileObject, vma: Vma): void {
  if (frozen.files === 'keep') return;
  const sources = (space: number): PageSource[] => coverOnce(mappingsOf(frozen, vma).filter((other) => other.shared && other.write), space);
  const ranges = sources(0).map((source) => ({ start: source.address, end: source.address + (source.end - source.start) }));
  const space = files.patch(file.id, () => frozen.newSpace(), ranges);
  if (space !== undefined) frozen.storeMemory(sources(space));
}

/** Each part of a file once, however many mappings show it. */
function coverOnce(vmas: readonly Vma[], space: number): PageSource[] {
  const sources: PageSource[] = [];
  let covered = 0n;
  for (const vma of [...vmas].sort((a, b) => (a.offset < b.offset ? -1 : a.offset > b.offset ? 1 : 0))) {
    const end = vma.offset + (vma.end - vma.start);
    const from = vma.offset > covered ? vma.offset : covered;
    if (from >= end) continue;
    sources.push({ start: vma.start + (from - vma.offset), end: vma.end, address: from, space, select: SELECT.ALL });
    covered = end;
  }
  return sources;
}

function refusedMapping(vma: Vma): { what: string; remedy: string } | undefined {
  if (vma.name.startsWith('/SYSV')) return { what: 'a System V shared memory segment', remedy: 'System V shared memory cannot be saved yet' };
  if (vma.name.startsWith('anon_inode:') || vma.name.startsWith('socket:')) {
    return { what: `memory of ${vma.name}`, remedy: 'close it before a checkpoint' };
  }
  if (vma.name === '/anon_hugepage (deleted)') return { what: 'memory of the huge page pool (MAP_HUGETLB)', remedy: 'use transparent huge pages instead' };
  if (vma.name.startsWith('/dev/') && !vma.name.startsWith('/dev/shm/') && !vma.name.startsWith('/dev/zero')) {
    return { what: `memory of the device ${pathText(vma.name)}`, remedy: 'a device cannot be saved' };
  }
  return undefined;
}

/** Private memory that fork does not copy, by the flags seen before the freeze: stored while frozen. */
export function sourcesNotForked(raw: RawProcess, flags: AreaFlags): PageSource[] {
  return raw.vmas
    .filter((vma) => !vma.shared && isProgramMemory(vma) && isNotForked(flags.of(vma)))
    .map((vma) => pageSource(vma));
}

export function isNotForked(flags: ReadonlySet<string> | undefined): boolean {
  return flags !== undefined && (flags.has('dc') || flags.has('wf'));
}

/** What is written from the twin. */
export function sourcesOfTwin(raw: RawProcess, flags: AreaFlags): { readable: PageSource[]; unreadable: PageSource[] } {
  const readable: PageSource[] = [];
  const unreadable: PageSource[] = [];
  for (const vma of raw.vmas) {
    if (vma.shared || !isProgramMemory(vma) || isNotForked(flags.of(vma))) continue;
    (vma.read ? readable : unreadable).push(pageSource(vma));
  }
  return { readable, unreadable };
}

function pageSource(vma: Vma): PageSource {
  return { start: vma.start, end: vma.end, address: vma.start, space: MEMORY_SPACE, select: vma.inode === 0n ? SELECT.PRIVATE : SELECT.CHANGED };
}

/** The record, once the flags and guard markers are known. */
export function memoryRecord(
  raw: RawProcess,
  files: FileTable,
  flags: (vma: Vma) => string,
  guards: (vma: Vma) => readonly Address[],
): Record_ {
  const kernel = raw.vmas.filter((vma) => KERNEL_NAMES.has(vma.name) && vma.name !== '[vsyscall]');
  const { stat } = raw;
  return {
    kind: 'memory',
    version: VERSION,
    space: MEMORY_SPACE,
    areas: raw.vmas
      .filter(isProgramMemory)
      .map((vma) => {
        const id = vma.inode === 0n ? null : files.identityOf(vma);
        return {
          start: vma.start,
          end: vma.end,
          protection: (vma.read ? PROT_READ : 0) | (vma.write ? PROT_WRITE : 0) | (vma.execute ? PROT_EXEC : 0),
          shared: vma.shared,
          offset: vma.offset,
          file: id === null ? null : (files.find(id.dev, id.ino)?.id ?? null),
          name: vma.name.startsWith('[') ? vma.name : '',
          flags: flags(vma),
          guards: guards(vma),
        };
      }),
    kernelAreas: kernel.map((vma) => ({ name: vma.name, start: vma.start, end: vma.end })),
    layout: [
      stat.startCode, stat.endCode, stat.startData, stat.endData, stat.startBrk, raw.brk, stat.startStack,
      stat.argStart, stat.argEnd, stat.envStart, stat.envEnd,
    ],
    lockFuture: raw.lockFuture,
    auxv: raw.auxv,
    exe: raw.exeLink,
    commandLine: raw.commandLine,
  };
}

export interface MemoryRecord {
  readonly space: number;
  readonly areas: readonly (MappedArea & { readonly name: string })[];
  readonly kernelAreas: readonly { readonly name: string; readonly start: Address; readonly end: Address }[];
  /** start_code, end_code, start_data, end_data, start_brk, brk, start_stack, arg_start, arg_end, env_start, env_end. */
  readonly layout: readonly Address[];
  /** Whether new mappings are locked: mlockall(2) with MCL_FUTURE, and with MCL_ONFAULT. */
  readonly lockFuture: 'no' | 'yes' | 'on fault';
  readonly auxv: Buffer;
  readonly exe: string;
  readonly commandLine: Buffer;
}

const ADDRESS_LIMIT = 1n << 56n; // five-level page tables

export function readMemoryRecord(record: Record_): MemoryRecord {
  const reader = readRecord(record, VERSION);
  const areas = reader.list('areas').map((area) => ({
    start: area.bigint('start'),
    end: area.bigint('end'),
    protection: area.number('protection') & (PROT_READ | PROT_WRITE | PROT_EXEC),
    shared: area.flag('shared'),
    offset: area.bigint('offset'),
    file: area.optional('file', (r, name) => r.number(name)),
    name: area.text('name'),
    flags: area.text('flags'),
    guards: area.bigints('guards'),
  }));
  let last = 0n;
  for (const area of areas) {
    const wrong = area.start < last || area.end <= area.start || area.end > ADDRESS_LIMIT || (area.start | area.end | area.offset) & 0xfffn;
    if (wrong) throw new ProcsError('PROCS_ERR_IMAGE_FORMAT', `cannot use the memory map of the image: ${rangeText(area)} is out of order or not of whole pages`);
    last = area.end;
  }
  const layout = reader.bigints('layout');
  if (layout.length !== 11) throw new ProcsError('PROCS_ERR_IMAGE_FORMAT', `cannot use the memory map of the image: its layout has ${layout.length} addresses, 11 are wanted`);
  return {
    space: reader.number('space'),
    areas,
    kernelAreas: reader.list('kernelAreas').map((area) => ({ name: area.text('name'), start: area.bigint('start'), end: area.bigint('end') })),
    layout,
    lockFuture: readLockFuture(reader.text('lockFuture')),
    auxv: reader.bytes('auxv'),
    exe: reader.text('exe'),
    commandLine: reader.bytes('commandLine'),
  };
}

function readLockFuture(text: string): MemoryRecord['lockFuture'] {
  if (text === 'no' || text === 'yes' || text === 'on fault') return text;
  throw new ProcsError('PROCS_ERR_IMAGE_FORMAT', `cannot use the memory map of the image: whether new mappings are locked is ${JSON.stringify(text)}`);
}

/** Once everything is mapped that is not to be locked. */
export function restoreLockFuture(tape: Tape, memory: MemoryRecord): void {
  if (memory.lockFuture === 'no') return;
  tape.call('lock new mappings', 'mlockall', [MCL_FUTURE | (memory.lockFuture === 'yes' ? 0 : MCL_ONFAULT)]);
}

export function describeMemory(record: Record_): string[] {
  const memory = readMemoryRecord(record);
  const lines = memory.areas.map((area) => {
    const bits = `${area.protection & PROT_READ ? 'r' : '-'}${area.protection & PROT_WRITE ? 'w' : '-'}${area.protection & PROT_EXEC ? 'x' : '-'}${area.shared ? 's' : 'p'}`;
    const file = area.file === undefined ? area.name : `file ${area.file} at ${area.offset}`;
    return `  ${rangeText(area)} ${bits} ${String((area.end - area.start) >> 10n).padStart(10)} KiB ${file}`;
  });
  return [`memory of ${pathText(memory.exe)}, ${memory.areas.length} mappings:`, ...lines];
}

/**
 * Maps every area at its place, loads its pages with several threads, and gives it its
 * protection and advice. Called when nothing else is mapped there any more.
 */
export function restoreMemory(record: Record_, restore: Restore, files: ReadonlyMap<number, FileObject>): void {
  const memory = readMemoryRecord(record);
  const loads = new PageLoads(restore.extents, memory.space);
  const areas = memory.areas.map((area) => ({ area, loaded: !area.shared && loads.takeWithin(area.start, area.end) }));
  loads.refuseRest();
  const isAnonymous = (area: MappedArea): boolean => area.file !== undefined && files.get(area.file)?.type === 'anonymous';
  for (const { area, loaded } of areas) if (!isAnonymous(area)) mapArea(restore, area, files, loaded);
  loadPages(restore, loads);
  for (const file of files.values()) {
    if (file.type === 'anonymous') restoreSharedAnonymous(restore, file, memory.areas.filter((area) => area.file === file.id));
  }
  for (const { area, loaded } of areas) {
    if (loaded && protectionWhileLoading(area, loaded) !== area.protection) {
      restore.tape.call(`protect ${rangeText(area)}`, 'mprotect', [area.start, area.end - area.start, area.protection]);
    }
    advise(restore, area, new Set(area.flags.split(' ')));
  }
}

function protectionWhileLoading(area: MappedArea, loaded: boolean): number {
  return loaded ? area.protection | PROT_READ | PROT_WRITE : area.protection;
}

function mapArea(restore: Restore, area: MappedArea, files: ReadonlyMap<number, FileObject>, loaded: boolean): void {
  const what = `map ${rangeText(area)}`;
  const flags = new Set(area.flags.split(' '));
  const file = area.file === undefined ? undefined : files.get(area.file);
  if (area.file !== undefined && file === undefined) {
    throw new ProcsError('PROCS_ERR_IMAGE_FORMAT', `cannot use the memory map of the image: ${rangeText(area)} is of file ${area.file}, which is not in it`);
  }
  const kind =
    (area.shared ? MAP_SHARED : MAP_PRIVATE) |
    MAP_FIXED_NOREPLACE |
    (file === undefined ? MAP_ANONYMOUS : 0) |
    (flags.has('gd') ? MAP_GROWSDOWN : 0) |
    (flags.has('ac') ? 0 : MAP_NORESERVE);
  // A shared mapping may later be made writable only if its descriptor was: VmFlag "mw".
  const fd = file === undefined ? -1 : restore.openFile(file.id, area.shared && flags.has('mw') ? O_RDWR : O_RDONLY);
  const name = file === undefined ? what : `${what} of ${pathText(file.path)}`;
  const offset = file === undefined ? 0 : area.offset;
  restore.tape.call(name, 'mmap', [area.start, area.end - area.start, protectionWhileLoading(area, loaded), kind, fd, offset], { want: area.start });
  // Before its pages are loaded, so that they come as huge ones.
  if (flags.has('hg')) restore.tape.call(`advise about ${rangeText(area)}`, 'madvise', [area.start, area.end - area.start, MADV_HUGEPAGE], { mayFail: true });
}

function advise(restore: Restore, area: MappedArea, flags: ReadonlySet<string>): void {
  const advice: readonly (readonly [flag: string, advice: number, mayFail: boolean])[] = [
    ['sr', MADV_SEQUENTIAL, false],
    ['rr', MADV_RANDOM, false],
    ['dc', MADV_DONTFORK, false],
    ['dd', MADV_DONTDUMP, false],
    ['wf', MADV_WIPEONFORK, false],
    ['nh', MADV_NOHUGEPAGE, true], // a kernel without huge pages or KSM
    ['mg', MADV_MERGEABLE, true],
  ];
  const length = area.end - area.start;
  for (const [flag, value, mayFail] of advice) {
    if (flags.has(flag)) restore.tape.call(`advise about ${rangeText(area)}`, 'madvise', [area.start, length, value], { mayFail });
  }
  for (let index = 0; index + 1 < area.guards.length; index += 2) {
    const start = area.guards[index] ?? 0n;
    const end = area.guards[index + 1] ?? 0n;
    restore.tape.call(`guard ${rangeText({ start, end })}`, 'madvise', [start, end - start, MADV_GUARD_INSTALL]);
  }
  if (flags.has('lo')) restore.tape.call(`lock ${rangeText(area)}`, 'mlock2', [area.start, length, flags.has('lf') ? MLOCK_ONFAULT : 0]);
}

export function rangeText(range: { readonly start: Address; readonly end: Address }): string {
  return `${range.start.toString(16)}-${range.end.toString(16)}`;
}

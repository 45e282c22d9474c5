/**
 * Compiles the tape that procs-agent plays to become the target.
 *
 * Three parts, each played by a process of its own: the agent (namespaces, then it makes
 * the others and is gone), the init of a PID namespace where one is needed, and the
 * target. Order matters; the reasons stand where it does.
 */
import { availableParallelism } from 'node:os';
import { ProcsError } from '../errors.js';
import type { ExtentTable } from '../image/extents.js';
import {
  AT_FDCWD,
  CLONE_NEWNS,
  CLONE_NEWPID,
  CLONE_NEWTIME,
  CLONE_NEWUSER,
  CLONE_PARENT,
  F_ADD_SEALS,
  MAP_ANONYMOUS,
  MAP_FIXED_NOREPLACE,
  MAP_PRIVATE,
  MREMAP_FIXED,
  MREMAP_MAYMOVE,
  O_CLOEXEC,
  O_RDONLY,
  O_RDWR,
  O_WRONLY,
  PROT_EXEC,
  PROT_READ,
  PROT_WRITE,
  PR_SET_DUMPABLE,
  PR_SET_MM,
  PR_SET_MM_MAP,
  PR_SET_NAME,
  SIGNAL,
} from '../linux.js';
import type { Vma } from '../proc/maps.js';
import { pathBytes, pathText } from '../proc/path.js';
import { type DescriptorKind, readPlacement } from '../resources/descriptor.js';
import { type FileObject, readFileRecord } from '../resources/file.js';
import { DESCRIPTOR_KINDS } from '../resources/index.js';
import { type MemoryRecord, readMemoryRecord, restoreLockFuture, restoreMemory } from '../resources/memory.js';
import { type ProcessRecord, readProcessRecord, restoreLimits, restoreProcess } from '../resources/process.js';
import { FieldReader, type Record_ } from '../resources/record.js';
import type { Restore } from '../resources/resource.js';
import { restoreDispositions, restoreSharedPending } from '../resources/signal.js';
import { type ThreadRecord, readThreadRecord, restoreCapabilities, restoreRegisters, restoreThreadAttributes, resumeRegisters, spawnThread } from '../resources/thread.js';
import { type InterruptedCall, StubLayout, stubData, stubRegisters, timeLeft } from '../resources/restart.js';
import { armTimers, createTimers } from '../resources/timer.js';
import { type DataRef, Load, Mark, PAGE_SIZE, type Slot, SlotAddress, Tape, roundUp } from '../tape/tape.js';
import { findHole, ownKernelAreas } from './layout.js';

export const NAMESPACE_LABEL = 'make namespaces of its own';

/** How process ids are kept. */
export interface Isolation {
  readonly user: boolean;
  readonly pid: boolean;
  readonly time: boolean;
  /** The processes that play have capabilities that the program had not. */
  readonly dropCapabilities: boolean;
}

export interface CompileOptions {
  readonly records: readonly Record_[];
  readonly extents: ExtentTable;
  readonly isolation: Isolation;
  readonly uid: number;
  readonly gid: number;
  readonly supervisorPid: number;
  /** Descriptors of the supervisor. */
  readonly imageFd: number;
  readonly reportFd: number;
  readonly launchFd: number;
  /** Files that travelled, made again and opened by the supervisor: descriptor by file object. */
  readonly carried: ReadonlyMap<number, number>;
  /** Files that are opened under another path: by file object. */
  readonly moved: ReadonlyMap<number, string>;
  /** Text for /proc/self/timens_offsets. */
  readonly clockOffsets: string;
  readonly codeSize: number;
  /** What ps is to show instead of the command line. */
  readonly shownArgs: readonly string[] | undefined;
}

export interface Compiled {
  readonly tape: Tape;
  readonly base: bigint;
  readonly reportFd: number;
  readonly pid: number;
}

/** The checkpoint's records by kind, each read once. */
interface Parts {
  readonly process: ProcessRecord;
  readonly memoryRecord: Record_;
  readonly memory: MemoryRecord;
  readonly threads: readonly ThreadRecord[];
  readonly files: ReadonlyMap<number, FileObject>;
  readonly descriptors: readonly (readonly [DescriptorKind, Record_])[];
  readonly signals: Record_;
  readonly timers: Record_;
}

export function readParts(records: readonly Record_[]): Parts {
  const one = (kind: string): Record_ => {
    const found = records.filter((record) => record.kind === kind);
    if (found.length !== 1) throw new ProcsError('PROCS_ERR_IMAGE_FORMAT', `cannot use the image: it has ${found.length} records of kind "${kind}", one is wanted`);
    return found[0] as Record_;
  };
  const known = new Set(['process', 'memory', 'thread', 'file', 'signals', 'timers', ...DESCRIPTOR_KINDS.map(({ kind }) => kind)]);
  const unknown = records.find(({ kind }) => !known.has(kind));
  if (unknown !== undefined) throw new ProcsError('PROCS_ERR_IMAGE_VERSION', `cannot use the image: it has a record of kind ${JSON.stringify(unknown.kind)}, which this program does not know`);
  const process = readProcessRecord(one('process'));
  const threads = records.filter(({ kind }) => kind === 'thread').map(readThreadRecord);
  if (!threads.some(({ tid }) => tid === process.pid)) throw new ProcsError('PROCS_ERR_IMAGE_FORMAT', 'cannot use the image: its first thread is missing');
  return {
    process,
    memoryRecord: one('memory'),
    memory: readMemoryRecord(one('memory')),
    threads: [...threads].sort((a, b) => Number(b.tid === process.pid) - Number(a.tid === process.pid)),
    files: new Map(records.filter(({ kind }) => kind === 'file').map(readFileRecord).map((file) => [file.id, file])),
    descriptors: records.flatMap((record) => DESCRIPTOR_KINDS.filter(({ kind }) => kind === record.kind).map((kind) => [kind, record] as const)),
    signals: one('signals'),
    timers: one('timers'),
  };
}

/** The hole that is looked for, and what stands in it behind the tape's region. */
const REGION_LIMIT = 1 << 30;
/** The kernel's own mappings on their way. */
const KERNEL_ROOM = BigInt(REGION_LIMIT - (16 << 20));
/** Code that finishes interrupted calls; memory of the program from then on. */
const STUB_ROOM = BigInt(REGION_LIMIT - (8 << 20));
/** The command line that ps shows, where another one is asked for. */
const SHOWN_ROOM = BigInt(REGION_LIMIT - (1 << 20));
const MAX_SHOWN = 128 << 10;
const MINIMUM_TAPE = 128 * 1024;
const SIG_SETMASK = 2;
const ALL_SIGNALS = (1n << 64n) - 1n;
const END_OF_MEMORY = 0x7ffffffff000n; // TASK_SIZE of x86_64 with four-level page tables

export function compileResume(options: CompileOptions): Compiled {
  const parts = readParts(options.records);
  const areas = [...parts.memory.areas, ...parts.memory.kernelAreas];
  const base = findHole(areas, REGION_LIMIT);
  const kernel = ownKernelAreas();
  const vdso = kernel.at(-1);
  const tape = new Tape(kernel.map((area) => Number((vdso?.start ?? 0n) - area.start)));
  tape.minimumLength = MINIMUM_TAPE;
  tape.beginOn(tape.stack(8192));
  const work = workDescriptors(parts, options.carried);

  const init = new Mark();
  const target = new Mark();
  playAgent(tape, options, parts, work, init, target);
  if (options.isolation.pid) playInit(tape, work, init, parts.process.pid);
  playTarget(tape, options, parts, work, base, kernel, target);
  return { tape, base, reportFd: work.report, pid: parts.process.pid };
}

interface Work {
  readonly image: number;
  readonly report: number;
  readonly launch: number;
  readonly streams: readonly [number, number, number];
  /** Read and write end of the pipe that tells init that the target is there. */
  readonly gate: readonly [number, number];
  readonly exe: number;
  readonly carried: ReadonlyMap<number, number>;
  readonly first: number;
  /** Above all of them. */
  readonly above: number;
}

/** Numbers above every descriptor of the target. */
function workDescriptors(parts: Parts, carried: ReadonlyMap<number, number>): Work {
  const used = parts.descriptors.flatMap(([, record]) => fdsOf(record));
  let next = Math.max(31, ...used) + 1;
  const first = next;
  return {
    image: next++,
    report: next++,
    launch: next++,
    streams: [next++, next++, next++],
    gate: [next++, next++],
    exe: next++,
    carried: new Map([...carried.keys()].map((id) => [id, next++])),
    first,
    above: next,
  };
}

function fdsOf(record: Record_): number[] {
  const reader = new FieldReader(record, record.kind);
  return record.kind === 'pipe' ? reader.list('ends').flatMap((end) => readPlacement(end).fds) : [...readPlacement(reader).fds];
}

/** The first process: takes what the supervisor holds, makes the others, ends. */
function playAgent(tape: Tape, options: CompileOptions, parts: Parts, work: Work, init: Mark, target: Mark): void {
  // With a file capability the agent is not dumpable, and then its /proc/self is root's.
  tape.call('set the dumpable flag of the agent', 'prctl', [PR_SET_DUMPABLE, 1, 0, 0, 0]);
  const take = (what: string, fd: number, flags: number, as: number): void => {
    const path = tape.text(`/proc/${options.supervisorPid}/fd/${fd}`);
    const opened = tape.call(`open ${what}`, 'openat', [AT_FDCWD, path, flags, 0]);
    tape.call(`hold ${what}`, 'dup3', [opened, as, O_CLOEXEC]);
    tape.call(`close ${what}`, 'close', [opened]);
  };
  take('the report pipe', options.reportFd, O_WRONLY, work.report);
  take('the launch pipe', options.launchFd, O_WRONLY, work.launch);
  take('the image', options.imageFd, O_RDONLY, work.image);
  for (const [id, fd] of options.carried) take(`file ${id}`, fd, O_RDWR, work.carried.get(id) ?? work.above);
  // Streams that are closed here stay closed in the target.
  work.streams.forEach((as, fd) => tape.call(`hold stream ${fd}`, 'dup3', [fd, as, O_CLOEXEC], { mayFail: true }));
  tape.call('close inherited descriptors', 'close_range', [0, work.first - 1, 0]);

  const { user, pid, time } = options.isolation;
  const namespaces = (user ? CLONE_NEWUSER : 0n) | (pid ? CLONE_NEWPID | CLONE_NEWNS : 0n) | (time ? CLONE_NEWTIME : 0n);
  if (namespaces !== 0n) tape.call(NAMESPACE_LABEL, 'unshare', [namespaces]);
  if (user) {
    writeFile(tape, '/proc/self/setgroups', 'deny');
    writeFile(tape, '/proc/self/uid_map', `${options.uid} ${options.uid} 1`);
    writeFile(tape, '/proc/self/gid_map', `${options.gid} ${options.gid} 1`);
  }
  if (time) writeFile(tape, '/proc/self/timens_offsets', options.clockOffsets);

  if (pid) {
    const pair = tape.reserve(8);
    tape.call('make a pipe', 'pipe2', [pair, O_CLOEXEC]);
    tape.call('hold a pipe', 'dup3', [new Load(pair), work.gate[0], O_CLOEXEC]);
    tape.call('hold a pipe', 'dup3', [new Load(pair.plus(4)), work.gate[1], O_CLOEXEC]);
    tape.call('close a pipe', 'close_range', [0, work.first - 1, 0]);
    const child = tape.spawn('make the init of a PID namespace', { flags: CLONE_PARENT }, init);
    tape.call('report the id of init', 'write', [work.launch, new SlotAddress(child), 8]);
  }
  // CLONE_PARENT: the supervisor itself is the target's parent.
  const child = tape.spawn(`make process ${parts.process.pid} with its own id`, { flags: CLONE_PARENT, setTid: [parts.process.pid] }, target);
  tape.call('report the id of the target', 'write', [work.launch, new SlotAddress(child), 8]);
  tape.call('end the agent', 'exit_group', [0]);
}

function writeFile(tape: Tape, path: string, text: string): void {
  const fd = tape.call(`open ${path}`, 'openat', [AT_FDCWD, tape.text(path), O_WRONLY, 0]);
  tape.call(`write ${path}`, 'write', [fd, tape.text(text), text.length], { want: text.length });
  tape.call(`close ${path}`, 'close', [fd]);
}

/** Process 1 of the namespace: lives as long as the target, reaps what is orphaned there. */
function playInit(tape: Tape, work: Work, init: Mark, target: number): void {
  tape.place(init);
  tape.call('name init', 'prctl', [PR_SET_NAME, tape.text('procs-init'), 0, 0, 0]);
  const ignore = Buffer.alloc(32);
  ignore.writeBigUInt64LE(1n, 0); // SIG_IGN: children are reaped by the kernel
  tape.call('ignore SIGCHLD in init', 'rt_sigaction', [SIGNAL.SIGCHLD, tape.data(ignore), 0, 8]);
  tape.call('hold the gate', 'dup3', [work.gate[0], 0, 0]);
  tape.call('close the descriptors of init', 'close_range', [1, 0xffffffff, 0]);
  // Ends when the agent, which makes the target, has ended.
  tape.call('wait for the target', 'read', [0, tape.reserve(8), 1, 0], { mayFail: true });
  const pidfd = tape.call('watch the target', 'pidfd_open', [target, 0], { mayFail: true });
  tape.call('close the gate', 'close', [0]);
  tape.call('keep the watch', 'dup3', [pidfd, 0, 0], { mayFail: true });
  const poll = Buffer.alloc(8);
  poll.writeInt16LE(1 /* POLLIN */, 4);
  tape.call('wait for the end of the target', 'poll', [tape.data(poll), 1, -1], { mayFail: true });
  tape.call('end init', 'exit_group', [0]);
}

function playTarget(tape: Tape, options: CompileOptions, parts: Parts, work: Work, base: bigint, kernel: readonly Vma[], target: Mark): void {
  tape.place(target);
  // Pending signals are queued while there is no place for a handler's frame; rt_sigreturn gives each thread its own mask.
  tape.call('block all signals', 'rt_sigprocmask', [SIG_SETMASK, tape.words([ALL_SIGNALS]), 0, 8]);
  for (const fd of [work.launch, ...work.gate]) tape.call('close what is the agent\'s', 'close', [fd], { mayFail: true });
  if (options.isolation.pid) {
    // The old /proc speaks of other ids. Where a container forbids a new one, it stays.
    tape.call('keep mounts to itself', 'mount', [0, tape.text('/'), 0, 0x80000 | 0x4000 /* MS_SLAVE | MS_REC */, 0], { mayFail: true });
    tape.call('mount /proc', 'mount', [tape.text('proc'), tape.text('/proc'), tape.text('proc'), 0xe /* MS_NOSUID|MS_NODEV|MS_NOEXEC */, 0], { mayFail: true });
  }
  restoreProcess(tape, parts.process);

  const later: (() => void)[] = [];
  const opened = new Map<string, Slot>();
  const restore: Restore = {
    tape,
    work: { image: work.image, streams: work.streams, above: work.above },
    extents: options.extents,
    loading: {
      threads: availableParallelism(),
      tids: options.isolation.pid ? freeTids(parts) : undefined,
    },
    openFile(id, flags) {
      const key = `${id}:${flags}`;
      const slot = opened.get(key) ?? this.reopenFile(`open ${fileText(parts.files, id)} to map it`, id, flags);
      opened.set(key, slot);
      return slot;
    },
    reopenFile(label, id, flags) {
      const held = work.carried.get(id);
      const file = parts.files.get(id);
      if (file === undefined) throw new ProcsError('PROCS_ERR_IMAGE_FORMAT', `cannot use the image: it refers to file ${id}, which is not in it`);
      const path = held === undefined || file.type === 'path' ? tape.text(pathBytes(options.moved.get(id) ?? file.path)) : tape.text(`/proc/self/fd/${held}`);
      return tape.call(label, 'openat', [AT_FDCWD, path, flags, 0]);
    },
    findHole: (size) => findHole([...parts.memory.areas, ...parts.memory.kernelAreas, { start: base, end: base + BigInt(REGION_LIMIT) }], size),
    later: (emit) => later.push(emit),
  };
  for (const [kind, record] of parts.descriptors) kind.restore(record, restore);

  rebuildMemory(tape, options, parts, restore, work, base, kernel);
  for (const slot of opened.values()) tape.call('close a mapped file', 'close', [slot]);
  for (const emit of later) emit();
  for (const file of parts.files.values()) {
    const held = work.carried.get(file.id);
    if (file.type === 'deleted' && held !== undefined) tape.call(`set the mode of ${pathText(file.path)}`, 'fchmod', [held, file.mode & 0o7777]);
    if (file.type === 'memfd' && file.seals > 0 && held !== undefined) tape.call(`seal the memfd ${file.path}`, 'fcntl', [held, F_ADD_SEALS, file.seals]);
  }

  restoreDispositions(tape, parts.signals);
  finish(tape, options, parts, work, base);
}

/** Ids for threads that help and are gone before the program's own are made. */
function freeTids(parts: Parts): number[] {
  const taken = new Set(parts.threads.map(({ tid }) => tid));
  return Array.from({ length: 4096 }, (_, index) => index + 2).filter((tid) => !taken.has(tid));
}

function fileText(files: ReadonlyMap<number, FileObject>, id: number): string {
  const file = files.get(id);
  return file === undefined ? `file ${id}` : pathText(file.path);
}

/** Everything but the player's own region goes; the kernel's mappings go to their old place; then the program's own. */
function rebuildMemory(tape: Tape, options: CompileOptions, parts: Parts, restore: Restore, work: Work, base: bigint, kernel: readonly Vma[]): void {
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
function putBytes(tape: Tape, pid: number, what: string, at: bigint, bytes: Buffer, protection: number): void {
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

/** Threads, timers, signals, limits; then everybody leaves at once. */
function finish(tape: Tape, options: CompileOptions, parts: Parts, work: Work, base: bigint): void {
  const { process, threads } = parts;
  const { dropCapabilities } = options.isolation;
  const marks = threads.map(() => new Mark());
  threads.forEach((thread, index) => {
    if (index > 0) spawnThread(tape, thread.tid, marks[index] as Mark);
  });
  // A timer may notify a thread, so threads come first.
  createTimers(tape, parts.timers);
  const stubs = new StubArea(new StubLayout(base + STUB_ROOM, threads.length));
  const registers = threads.map((thread) => resumeRegisters(thread, (...call) => stubs.finish(...call)));
  stubs.emit(tape, process.pid);
  restoreLockFuture(tape, parts.memory);
  const built = tape.reserve(4);
  const done = tape.reserve(4);

  const [leader] = threads as [ThreadRecord];
  restoreThreadAttributes(tape, process.pid, leader);
  const frame = restoreRegisters(tape, leader, registers[0] as Buffer);
  tape.barrier('wait for all threads', built, threads.length);
  restoreSharedPending(tape, parts.signals, process.pid);
  restoreLimits(tape, process);
  if (dropCapabilities) restoreCapabilities(tape, leader);
  armTimers(tape, parts.timers);
  // From here on nothing can fail any more; the end of the report pipe says so.
  tape.call('close the descriptors of procs', 'close_range', [work.first, 0xffffffff, 0]);
  tape.barrier('let all threads go', done, threads.length);
  tape.leave('go on', frame);

  threads.forEach((thread, index) => {
    if (index === 0) return;
    tape.place(marks[index] as Mark);
    restoreThreadAttributes(tape, process.pid, thread);
    if (dropCapabilities) restoreCapabilities(tape, thread);
    const own = restoreRegisters(tape, thread, registers[index] as Buffer);
    tape.barrier('wait for all threads', built, threads.length);
    tape.barrier('let all threads go', done, threads.length);
    tape.leave('go on', own);
  });
}

/** Stubs that finish interrupted calls: memory of the program from now on. */
class StubArea {
  readonly #data: Buffer[] = [];

  constructor(private readonly layout: StubLayout) {}

  finish(registers: Buffer, call: InterruptedCall, requestedNs: bigint): Buffer {
    const leftNs = timeLeft(call, requestedNs);
    const index = this.#data.push(stubData(registers, call, leftNs)) - 1;
    return stubRegisters(registers, call, leftNs, this.layout, index);
  }

  emit(tape: Tape, pid: number): void {
    if (this.#data.length === 0) return;
    putBytes(tape, pid, 'map code that finishes interrupted calls', this.layout.base, this.layout.code(), PROT_READ | PROT_EXEC);
    putBytes(tape, pid, 'map what interrupted calls go on with', this.layout.dataAt(0), Buffer.concat(this.#data), PROT_READ | PROT_WRITE);
  }
}


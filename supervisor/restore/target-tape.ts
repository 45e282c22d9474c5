/**
 * The tape of the target: attributes, descriptors, memory, signals, threads, timers,
 * and the leap. Order matters; the reasons stand where it does.
 */
import { ProcsError } from '../errors.js';
import { AT_FDCWD, F_ADD_SEALS, PROT_EXEC, PROT_READ, PROT_WRITE } from '../linux.js';
import type { Vma } from '../proc/maps.js';
import { pathBytes, pathText } from '../proc/path.js';
import type { FileObject } from '../resources/file.js';
import { restoreLockFuture } from '../resources/memory.js';
import { restoreLimits, restoreProcess } from '../resources/process.js';
import type { Restore } from '../resources/resource.js';
import { type InterruptedCall, StubLayout, stubData, stubRegisters, timeLeft } from '../resources/restart.js';
import { restoreDispositions, restoreSharedPending } from '../resources/signal.js';
import {
  type ThreadRecord,
  restoreCapabilities,
  restoreRegisters,
  restoreThreadAttributes,
  resumeRegisters,
  spawnThread,
} from '../resources/thread.js';
import { armTimers, createTimers } from '../resources/timer.js';
import { Mark, type Slot, Tape } from '../tape/tape.js';
import { availableParallelism } from 'node:os';
import { findHole } from './layout.js';
import { putBytes, rebuildMemory } from './memory-tape.js';
import { type CompileOptions, type Parts, REGION_LIMIT, type Work } from './plan.js';

export const SIG_SETMASK = 2;

export const ALL_SIGNALS = (1n << 64n) - 1n;

/** Code that finishes interrupted calls; memory of the program from then on. */
const STUB_ROOM = BigInt(REGION_LIMIT - (8 << 20));

export function playTarget(tape: Tape, options: CompileOptions, parts: Parts, work: Work, base: bigint, kernel: readonly Vma[], target: Mark): void {
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

/** Threads, timers, signals, limits; then everybody leaves at once. */
export function finish(tape: Tape, options: CompileOptions, parts: Parts, work: Work, base: bigint): void {
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

/**
 * Calls that a freeze has ended with EINTR, made again when the process is thawed: a
 * checkpoint must not show. What was waited for is taken off; a call with a timeout is
 * finished by a stub (resources/restart.ts) in memory of the process.
 *
 * Stubs stay for the next freeze. One is free again when its call has returned, which
 * it says itself, and no thread stands in it.
 */
import { ProcsError } from '../errors.js';
import { MAP_ANONYMOUS, MAP_PRIVATE, PROT_EXEC, PROT_READ, PROT_WRITE, errnoText } from '../linux.js';
import { native } from '../native.js';
import type { Vma } from '../proc/maps.js';
import { getRegister } from '../proc/registers.js';
import type { RawProcess } from '../resources/raw.js';
import { type InterruptedCall, STUB_CODE_SIZE, StubLayout, interruptedCall, repeatCall, requestedTimeout, stubData, stubRegisters, timeLeft, timespecBytes } from '../resources/restart.js';
import { hasSignal, signalsOf } from '../resources/thread.js';
import { SYSCALL } from '../tape/syscalls.js';
import { findSyscallInstruction } from './player.js';
import { type StoppedProcess, type StoppedThread, remoteCall } from './stopped.js';

/** As many as fill a page of code. */
const STUBS_A_REGION = 64;

/** The stubs in one process. */
export class Stubs {
  readonly #regions: { readonly layout: StubLayout; readonly used: Map<number, number> }[] = [];

  /** Forgets what is no longer mapped (after an exec), and stubs whose calls have returned. */
  review(process: StoppedProcess, vmas: readonly Vma[]): void {
    const places = process.threads.map((thread) => getRegister(thread.registers, 'rip'));
    for (const region of this.#regions.splice(0)) {
      const { layout, used } = region;
      const code = vmas.find((vma) => vma.start <= layout.base && vma.end >= layout.base + BigInt(layout.codeLength));
      const data = vmas.find((vma) => vma.start <= layout.dataAt(0) && vma.end >= layout.base + BigInt(layout.length));
      if (code?.execute !== true || data?.write !== true || !native.readMemory(process.pid, layout.base, layout.codeLength).equals(layout.code())) continue;
      for (const [index, tid] of used) {
        const [start, end] = [layout.codeAt(index), layout.codeAt(index) + BigInt(STUB_CODE_SIZE)];
        const isInside = places.some((place) => place >= start && place < end);
        const isDone = native.readMemory(process.pid, layout.doneAt(index), 1)[0] === 1;
        if (!isInside && (isDone || !process.threads.some((thread) => thread.tid === tid))) used.delete(index);
      }
      this.#regions.push(region);
    }
  }

  /** A free stub, for a call of that thread. */
  take(process: StoppedProcess, vmas: readonly Vma[], tid: number): { layout: StubLayout; index: number } {
    for (const { layout, used } of this.#regions) {
      for (let index = 0; index < layout.count; index++) {
        if (used.has(index)) continue;
        used.set(index, tid);
        return { layout, index };
      }
    }
    const layout = mapStubs(process, vmas);
    this.#regions.push({ layout, used: new Map([[0, tid]]) });
    return { layout, index: 0 };
  }

  /** The stub in whose call a thread is. */
  of(registers: Buffer): { layout: StubLayout; index: number } | undefined {
    for (const { layout, used } of this.#regions) {
      const index = layout.callingAt(getRegister(registers, 'rip'));
      if (index !== undefined && used.has(index)) return { layout, index };
    }
    return undefined;
  }
}

function mapStubs(process: StoppedProcess, vmas: readonly Vma[]): StubLayout {
  const at = findSyscallInstruction(process.pid, vmas);
  const call = (what: string, number: number, args: readonly bigint[]): bigint => {
    const result = remoteCall(process.leader, at, number, args);
    if (result < 0n) throw new ProcsError('PROCS_ERR_TAPE', `cannot ${what} in process ${process.pid}: ${errnoText(Number(-result))}`);
    return result;
  };
  const length = BigInt(new StubLayout(0n, STUBS_A_REGION).length);
  const base = call('map memory', SYSCALL.mmap, [0n, length, BigInt(PROT_READ | PROT_WRITE), BigInt(MAP_PRIVATE | MAP_ANONYMOUS), BigInt.asUintN(64, -1n), 0n]);
  const layout = new StubLayout(base, STUBS_A_REGION);
  native.writeMemory(process.pid, base, layout.code());
  call('make memory executable', SYSCALL.mprotect, [base, BigInt(layout.codeLength), BigInt(PROT_READ | PROT_EXEC)]);
  return layout;
}

/** Called last before the thaw: gives the threads registers with which they make their calls again. */
export function mendCalls(process: StoppedProcess, vmas: readonly Vma[], raw: RawProcess, stubs: Stubs): void {
  const sharedPending = signalsOf(raw.sharedPending);
  const calls: { thread: StoppedThread; call: InterruptedCall }[] = [];
  for (const { tid, registers, wait, ...rest } of raw.threads) {
    const thread = process.threads.find((stopped) => stopped.tid === tid);
    const call = interruptedCall(registers, wait, hasSignal({ tid, registers, wait, ...rest }, sharedPending));
    if (thread !== undefined && call?.cutShort === true) calls.push({ thread, call });
  }
  if (calls.length === 0) return;
  stubs.review(process, vmas);
  for (const { thread, call } of calls) {
    const requestedNs = requestedTimeout(call, (address, length) => native.readMemory(process.pid, address, length));
    if (requestedNs === undefined) {
      goOnWith(thread, repeatCall(thread.registers, call));
      continue;
    }
    const leftNs = timeLeft(call, requestedNs);
    const own = stubs.of(thread.registers);
    const { layout, index } = own ?? stubs.take(process, vmas, thread.tid);
    if (own === undefined) native.writeMemory(process.pid, layout.dataAt(index), stubData(thread.registers, call, leftNs));
    else native.writeMemory(process.pid, layout.timespecAt(index), timespecBytes(leftNs));
    goOnWith(thread, stubRegisters(thread.registers, call, leftNs, layout, index));
  }
}

function goOnWith(thread: StoppedThread, registers: Buffer): void {
  thread.registers = registers;
  thread.disturbed = true;
}

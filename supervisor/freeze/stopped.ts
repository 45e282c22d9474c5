/**
 * A stopped process: every thread seized and interrupted by ptrace(2).
 *
 * Everything between stopping and thawing is synchronous and on the main thread: a
 * turn of the event loop would let Node's waitpid take a ptrace stop for an exit.
 * Whatever throws, `using` thaws the process: registers and signal masks are put back
 * as they were, and a signal caught on the way is queued again.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { ProcsError, errnoName } from '../errors.js';
import { NT_PRSTATUS, NT_X86_XSTATE, PTRACE_EVENT_STOP, PTRACE_O_TRACESYSGOOD, SIGNAL, errnoText, signalName } from '../linux.js';
import { type Address, type RseqRegistration, native } from '../native.js';
import { REGISTER_SET_SIZE, getResult, withRegisters } from '../proc/registers.js';
import { leaveCriticalSection } from './critical.js';

/** How long a thread may take to stop. One inside an uninterruptible system call takes longer. */
const STOP_TIMEOUT_MS = 2000;
const ESRCH = -3;
const ETIMEDOUT = -110;
const EPERM = -1;

export interface StoppedThread {
  readonly tid: number;
  /** As they are to be when it runs on. */
  registers: Buffer;
  /** NT_X86_XSTATE. */
  readonly xstate: Buffer;
  readonly rseq: RseqRegistration | null;
  readonly signalMask: bigint;
  /** A signal whose delivery the stop interrupted: siginfo_t. */
  caught: Buffer | undefined;
  /** Registers or mask in the kernel are not those above. */
  disturbed: boolean;
}

export class StoppedProcess {
  readonly threads: StoppedThread[] = [];
  /** Gives threads registers with which they make calls again that the freeze has ended with EINTR. */
  mendCalls: (() => void) | undefined;
  /** Signals that came while it was frozen and could not be blocked: sent again at the thaw. */
  readonly sendAgain = new Set<number>();
  #thawed = false;

  private constructor(readonly pid: number) {}

  /**
   * Stops every thread of a process.
   *
   * @throws {ProcsError} `PROCS_ERR_NO_PROCESS`, `PROCS_ERR_PTRACE`, `PROCS_ERR_FREEZE_TIMEOUT`; the process runs on.
   */
  static stop(pid: number): StoppedProcess {
    const stopped = new StoppedProcess(pid);
    try {
      // Threads that appear while others are being stopped are in the next listing; a stopped one makes none.
      const seen = new Set<number>();
      for (;;) {
        const fresh = listThreads(pid).filter((tid) => !seen.has(tid));
        if (fresh.length === 0) break;
        for (const tid of fresh) seen.add(tid);
        stopped.#stopThreads(fresh);
      }
      // The kernel gives the register set of what the thread runs: that of i386 is shorter.
      if (stopped.threads.some(({ registers }) => registers.length !== REGISTER_SET_SIZE)) {
        throw new ProcsError('PROCS_ERR_REFUSED', `cannot checkpoint process ${pid}: it is a 32-bit program`, { remedy: 'only 64-bit programs can be saved: use a 64-bit build of it' });
      }
      // Before any foreign code runs in a thread: the kernel would then forget where the thread was.
      for (const thread of stopped.threads) leaveCriticalSection(pid, thread);
      if (stopped.threads.length === 0) throw new ProcsError('PROCS_ERR_NO_PROCESS', `cannot freeze process ${pid}: it has ended`);
      return stopped;
    } catch (error) {
      stopped.thaw();
      throw error;
    }
  }

  get leader(): StoppedThread {
    const leader = this.threads.find((thread) => thread.tid === this.pid) ?? this.threads[0];
    if (leader === undefined) throw new ProcsError('PROCS_ERR_NO_PROCESS', `process ${this.pid} has no threads`);
    return leader;
  }

  #stopThreads(tids: number[]): void {
    const statuses = native.stopThreads(Int32Array.from(tids), PTRACE_O_TRACESYSGOOD, STOP_TIMEOUT_MS);
    const failures: string[] = [];
    let permission = false;
    tids.forEach((tid, index) => {
      const status = statuses[index] ?? ESRCH;
      if (status === ESRCH) return;
      if (status < 0) {
        if (status === EPERM && isZombie(this.pid, tid)) return;
        permission ||= status === EPERM;
        failures.push(
          status === ETIMEDOUT ? `thread ${tid} did not stop within ${STOP_TIMEOUT_MS} ms` : `thread ${tid}: ${errnoText(-status)}`,
        );
        // Attached, but not stopped: a later stop cannot be awaited here, so it is let go when it comes.
        if (status === ETIMEDOUT) this.threads.push(unread(tid));
        return;
      }
      if (!isStopped(status)) return;
      this.threads.push(readThread(tid, status));
    });
    if (failures.length > 0) {
      throw new ProcsError(permission ? 'PROCS_ERR_PTRACE' : 'PROCS_ERR_FREEZE_TIMEOUT', `cannot freeze process ${this.pid}: ${failures.join('; ')}`);
    }
  }

  /** Lets every thread run on, as it was. */
  thaw(): void {
    if (this.#thawed) return;
    this.#thawed = true;
    try {
      this.mendCalls?.();
    } catch {
      // No room for a stub: the program sees what any stop would have shown it.
    }
    for (const thread of this.threads) {
      try {
        settle(thread);
      } catch (error) {
        ignoreGone(error);
      }
    }
    // A caught signal that no tape has queued again: the freeze has failed before.
    const signals = Int32Array.from(this.threads, ({ caught }) => caught?.readInt32LE(0) ?? 0);
    native.ptraceDetach(Int32Array.from(this.threads, (thread) => thread.tid), signals);
    for (const signal of this.sendAgain) native.sendSignal(this.pid, 0, signal);
  }

  [Symbol.dispose](): void {
    this.thaw();
  }
}

/** Puts back what a thread is to go on with. Done as soon as possible: a supervisor may be killed at any moment. */
export function settle(thread: StoppedThread): void {
  if (!thread.disturbed) return;
  native.setRegisterSet(thread.tid, NT_PRSTATUS, thread.registers);
  native.setSignalMask(thread.tid, thread.signalMask);
  thread.disturbed = false;
}

/** A thread killed meanwhile (SIGKILL reaches stopped ones too) needs nothing put back. */
function ignoreGone(error: unknown): void {
  if (errnoName(error) !== 'ESRCH') throw error;
}

function unread(tid: number): StoppedThread {
  return { tid, registers: Buffer.alloc(0), xstate: Buffer.alloc(0), rseq: null, signalMask: 0n, caught: undefined, disturbed: false };
}

function readThread(tid: number, status: number): StoppedThread {
  const event = status >> 16;
  return {
    tid,
    registers: native.getRegisterSet(tid, NT_PRSTATUS),
    xstate: native.getRegisterSet(tid, NT_X86_XSTATE),
    rseq: native.getRseq(tid),
    signalMask: native.getSignalMask(tid),
    // A signal-delivery-stop has no event; an interruption and a group-stop are PTRACE_EVENT_STOP.
    caught: event === PTRACE_EVENT_STOP ? undefined : native.getSiginfo(tid),
    disturbed: false,
  };
}

export function isStopped(status: number): boolean {
  return (status & 0xff) === 0x7f;
}

export function stopSignal(status: number): number {
  return (status >> 8) & 0xff;
}

export function stopEvent(status: number): number {
  return status >> 16;
}

/** A wait status in words, for errors. */
export function statusText(status: number): string {
  if (status < 0) return errnoText(-status);
  if (isStopped(status)) return `stopped by ${signalName(stopSignal(status))}, event ${stopEvent(status)}`;
  return (status & 0x7f) === 0 ? `exited with status ${(status >> 8) & 0xff}` : `killed by ${signalName(status & 0x7f)}`;
}

export function listThreads(pid: number): number[] {
  try {
    return readdirSync(`/proc/${pid}/task`).map(Number);
  } catch (cause) {
    if (errnoName(cause) === 'ENOENT' || errnoName(cause) === 'ESRCH') return [];
    throw cause;
  }
}

function isZombie(pid: number, tid: number): boolean {
  try {
    const text = readFileSync(`/proc/${pid}/task/${tid}/stat`, 'latin1');
    return /^[ZX]/.test(text.slice(text.lastIndexOf(')') + 2));
  } catch {
    return true;
  }
}

const ALL_SIGNALS = 0xffffffffffffffffn;

/**
 * Makes a stopped thread do one system call, from a `syscall` instruction of its own.
 * Two syscall-stops; nothing in the process is changed by it.
 *
 * @param at  Address of a `syscall` instruction.
 * @returns The result, or a negative errno.
 */
export function remoteCall(thread: StoppedThread, at: Address, number: number, args: readonly bigint[]): bigint {
  const [rdi = 0n, rsi = 0n, rdx = 0n, r10 = 0n, r8 = 0n, r9 = 0n] = args;
  thread.disturbed = true;
  native.setSignalMask(thread.tid, ALL_SIGNALS);
  // orig_rax -1: the kernel must not take the registers for those of an interrupted call.
  const call = { rip: at, rax: BigInt(number), orig_rax: -1n, rdi, rsi, rdx, r10, r8, r9 };
  native.setRegisterSet(thread.tid, NT_PRSTATUS, withRegisters(thread.registers, call));
  for (const side of ['entry', 'exit']) {
    native.ptraceSyscall(thread.tid);
    const status = native.waitStop(thread.tid, STOP_TIMEOUT_MS);
    if (!isStopped(status) || stopSignal(status) !== (SIGNAL.SIGTRAP | 0x80)) {
      throw new ProcsError('PROCS_ERR_PTRACE', `cannot run a system call in thread ${thread.tid}: at its ${side} it is ${statusText(status)}`);
    }
  }
  const result = getResult(native.getRegisterSet(thread.tid, NT_PRSTATUS));
  settle(thread);
  return result;
}

/**
 * How long a thread had been waiting in the system call that a freeze interrupts.
 *
 * The kernel keeps the end of an interrupted wait to itself (restart_block), so a
 * resumed call could only begin anew. But a sleeping thread's scheduling entity was
 * last updated when it fell asleep (`se.exec_start` of /proc/PID/sched), and that is
 * readable before the freeze disturbs it. What is read is kept only if the thread is
 * found in the same call, one context switch later.
 */
import { readFileSync } from 'node:fs';
import { CLOCK_MONOTONIC } from '../linux.js';
import { native } from '../native.js';
import { getRegister } from '../proc/registers.js';
import { SYSCALL } from '../tape/syscalls.js';
import { timeoutOf } from '../resources/restart.js';
import { type StoppedProcess, listThreads } from './stopped.js';

const RESTART_SYSCALL = BigInt(SYSCALL.restart_syscall);

/** A call that an earlier freeze has interrupted: the kernel goes on with it under another number. */
interface Earlier {
  readonly number: number;
  readonly waitedNs: bigint;
  readonly stackPointer: bigint;
}

interface Wait {
  /** Clock of the run queue, in nanoseconds, when it fell asleep. */
  readonly since: bigint;
  /** How often it had fallen asleep. */
  readonly switches: bigint;
  readonly processor: number;
  readonly syscall: bigint;
  readonly stackPointer: bigint;
  /** Clock of the run queue minus CLOCK_MONOTONIC. */
  readonly offset: bigint;
}

/** What was seen of a process's sleeping threads before it is frozen. */
export class WaitTimes {
  readonly #waits = new Map<number, Wait>();
  readonly #interrupted = new Map<number, Earlier>();
  readonly #switches = new Map<number, bigint>();
  #askedAt: bigint | undefined;

  private constructor(readonly earlier: WaitTimes | undefined) {}

  /**
   * Looks at every sleeping thread. Not part of the pause.
   *
   * @param earlier  What the freeze before this one has found.
   */
  static before(pid: number, earlier: WaitTimes | undefined): WaitTimes {
    const times = new WaitTimes(earlier === undefined ? undefined : earlier.#withoutPast());
    const offsets = new Map<number, bigint | undefined>();
    for (const tid of listThreads(pid)) {
      const wait = readWait(pid, tid, offsets);
      if (wait !== undefined) times.#waits.set(tid, wait);
    }
    return times;
  }

  /** Called when every thread stands still, and before anything runs in it. */
  markStop(process: StoppedProcess): void {
    for (const { tid } of process.threads) {
      if (!this.#waits.has(tid)) continue;
      try {
        const switches = voluntarySwitches(readFileSync(`/proc/${process.pid}/task/${tid}/sched`, 'latin1'));
        if (switches !== undefined) this.#switches.set(tid, switches);
      } catch {
        // The thread is gone.
      }
    }
  }

  /** Called when the clocks of the process are read. */
  markClock(): void {
    this.#askedAt = native.clockNow(CLOCK_MONOTONIC);
  }

  #withoutPast(): WaitTimes {
    const copy = new WaitTimes(undefined);
    for (const [tid, call] of this.#interrupted) copy.#interrupted.set(tid, call);
    return copy;
  }

  /** The call that a thread was stopped in and how many nanoseconds it had waited; undefined where that is not known. */
  waited(tid: number, registers: Buffer): { number: number; waitedNs: bigint } | undefined {
    const number = getRegister(registers, 'orig_rax');
    const stackPointer = getRegister(registers, 'rsp');
    const past = this.earlier === undefined ? undefined : this.earlier.#interrupted.get(tid);
    const goesOn = number === RESTART_SYSCALL && past?.stackPointer === stackPointer;
    const call = goesOn ? past.number : Number(BigInt.asIntN(32, number));
    if (call < 0 || call === SYSCALL.restart_syscall) return undefined;

    const wait = this.#waits.get(tid);
    // One switch is that of the stop. More of them: it sleeps in the same call, but in another one.
    const same =
      wait !== undefined && this.#askedAt !== undefined && wait.syscall === number && wait.stackPointer === stackPointer && this.#switches.get(tid) === wait.switches + 1n;
    // Just fallen asleep, after it was looked at: no time has passed yet.
    const since = same ? (this.#askedAt as bigint) - (wait.since - wait.offset) : 0n;
    const waitedNs = (since > 0n ? since : 0n) + (goesOn ? past.waitedNs : 0n);
    this.#interrupted.set(tid, { number: call, waitedNs, stackPointer });
    return { number: call, waitedNs };
  }
}

function readWait(pid: number, tid: number, offsets: Map<number, bigint | undefined>): Wait | undefined {
  try {
    const folder = `/proc/${pid}/task/${tid}`;
    // "NR arg1…arg6 sp pc" for a thread blocked in a call, "running" otherwise. proc_pid_syscall(5)
    const call = readFileSync(`${folder}/syscall`, 'latin1').trim().split(' ');
    if (call.length !== 9) return undefined;
    if (!hasTimeout(call.slice(0, 7).map(BigInt))) return undefined;
    const sched = readFileSync(`${folder}/sched`, 'latin1');
    const since = execStart(sched);
    const switches = voluntarySwitches(sched);
    if (since === undefined || switches === undefined) return undefined;
    const stat = readFileSync(`${folder}/stat`, 'latin1');
    const processor = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[36]);
    if (!offsets.has(processor)) offsets.set(processor, clockOffset(processor));
    const offset = offsets.get(processor);
    if (offset === undefined) return undefined;
    return { since, switches, processor, syscall: BigInt(call[0] ?? 0), stackPointer: BigInt(call[7] ?? 0), offset };
  } catch {
    // The thread is gone, or this kernel does not show it: the call is begun anew instead.
    return undefined;
  }
}

/** Whether it matters how long the call has waited. */
function hasTimeout([number = 0n, ...args]: readonly bigint[]): boolean {
  if (number === RESTART_SYSCALL) return true;
  const timeout = timeoutOf(Number(number), args);
  if (timeout === undefined) return false;
  const value = args[timeout.argument] ?? 0n;
  return timeout.unit === 'ms' ? BigInt.asIntN(32, value) >= 0n : value !== 0n;
}

function voluntarySwitches(text: string): bigint | undefined {
  const match = /^nr_voluntary_switches\s*:\s*(\d+)/m.exec(text);
  return match === null ? undefined : BigInt(match[1] ?? 0);
}

/** Milliseconds with six decimals, as nanoseconds. */
function execStart(text: string): bigint | undefined {
  const match = /^se\.exec_start\s*:\s*(\d+)\.(\d{6})/m.exec(text);
  return match === null ? undefined : BigInt(match[1] ?? 0) * 1_000_000n + BigInt(match[2] ?? 0);
}

/** The clock of one CPU's run queue against CLOCK_MONOTONIC, seen from a thread of our own that has just been scheduled there. */
function clockOffset(processor: number): bigint | undefined {
  let offset: bigint | undefined;
  native.runOnCpu(processor, () => {
    const own = execStart(readFileSync('/proc/thread-self/sched', 'latin1'));
    if (own !== undefined) offset = own - native.clockNow(CLOCK_MONOTONIC);
  });
  return offset;
}

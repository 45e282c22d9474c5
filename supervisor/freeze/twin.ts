/**
 * The twin: a copy-on-write copy of a stopped process, from which its memory is
 * written while the process runs on.
 *
 * The process clones an intermediate that shares its memory (no page tables are
 * copied), which forks the twin and exits; the process reaps the intermediate, so
 * nobody's wait() ever sees the twin. It is traced from birth, has closed its
 * descriptors, never runs again, and dies with the supervisor (PTRACE_O_EXITKILL).
 */
import { ProcsError, errnoName } from '../errors.js';
import {
  CLONE_VM,
  PTRACE_EVENT_CLONE,
  PTRACE_EVENT_FORK,
  PTRACE_O_EXITKILL,
  PTRACE_O_TRACECLONE,
  PTRACE_O_TRACEFORK,
  PTRACE_O_TRACESYSGOOD,
  PTRACE_O_TRACEVFORK,
  SIGNAL,
  WALL,
} from '../linux.js';
import { native } from '../native.js';
import { Mark, Tape } from '../tape/tape.js';
import { type Player, TapeStepError, isParked } from './player.js';
import { type StoppedProcess, isStopped, statusText, stopEvent, stopSignal } from './stopped.js';

const STEP_TIMEOUT_MS = 30_000; // a fork copies page tables: 10 to 16 ms per GiB
const FOLLOW = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK;
const STACK_SIZE = 2048;
const EAGAIN = 11;
const ENOMEM = 12;

/** Where pages are taken from after the snapshot: a process that stands still. */
export interface PageOwner {
  readonly pid: number;
  /** The pages are written. */
  end(): void;
}

/** Made by a kernel that refuses the fork: too little memory, or too many processes. */
export class ForkRefused extends Error {}

/** A process that stands still for good, until it is disposed of. */
export class Twin implements PageOwner {
  #gone = false;

  private constructor(readonly pid: number) {}

  /**
   * Makes the twin of a stopped process.
   *
   * @throws {ForkRefused} where memory or the number of processes is limited.
   */
  static make(stopped: StoppedProcess, player: Player): Twin {
    const thread = stopped.leader;
    const { tape } = twinTape();
    let twin = 0;
    native.ptraceSetOptions(thread.tid, FOLLOW);
    try {
      player.play(thread, tape, (intermediate) => {
        twin = followIntermediate(intermediate);
      });
    } catch (error) {
      if (twin > 0) new Twin(twin).end();
      if (error instanceof TapeStepError && (error.errno === ENOMEM || error.errno === EAGAIN)) throw new ForkRefused(error.message, { cause: error });
      throw error;
    } finally {
      native.ptraceSetOptions(thread.tid, PTRACE_O_TRACESYSGOOD);
    }
    return new Twin(twin);
  }

  /**
   * Ends it. Giving back the memory of a large one takes a while, for which nobody waits: like every
   * orphan, it is reaped when SIGCHLD tells of its end.
   */
  end(): void {
    if (this.#gone) return;
    this.#gone = true;
    try {
      native.sendSignal(this.pid, 0, SIGNAL.SIGKILL);
    } catch (error) {
      if (errnoName(error) !== 'ESRCH') throw error;
    }
  }

  [Symbol.dispose](): void {
    this.end();
  }
}

function twinTape(): { tape: Tape } {
  const tape = new Tape();
  const intermediate = new Mark();
  const twin = new Mark();
  const stack = tape.reserve(STACK_SIZE, 16);
  const child = tape.spawn('make an intermediate process', { flags: CLONE_VM, stack, stackSize: STACK_SIZE }, intermediate);
  tape.call('collect the intermediate process', 'wait4', [child, 0, WALL, 0]);
  tape.end();
  tape.place(intermediate);
  tape.spawn('fork a twin', { flags: 0n }, twin);
  tape.call('end the intermediate process', 'exit', [0]);
  tape.place(twin);
  tape.call('close the descriptors of the twin', 'close_range', [0, 0xffffffff, 0]);
  tape.end();
  return { tape };
}

/** Leads the intermediate from its birth to its end. @returns the twin's id. */
function followIntermediate(intermediate: number): number {
  awaitStop(intermediate);
  native.ptraceCont(intermediate, 0);
  const status = awaitStop(intermediate);
  if (stopEvent(status) !== PTRACE_EVENT_CLONE && stopEvent(status) !== PTRACE_EVENT_FORK) {
    // The fork was refused; the tape has failed there, and its record says why.
    native.sendSignal(intermediate, 0, SIGNAL.SIGKILL);
    awaitEnd(intermediate);
    return 0;
  }
  const twin = native.ptraceEventMessage(intermediate);
  native.ptraceCont(intermediate, 0);
  awaitStop(twin);
  native.ptraceSetOptions(twin, PTRACE_O_EXITKILL);
  native.ptraceCont(twin, 0);
  awaitStop(twin);
  awaitEnd(intermediate);
  return twin;
}

function awaitStop(tid: number): number {
  const status = native.waitStop(tid, STEP_TIMEOUT_MS);
  if (!isStopped(status)) throw new ProcsError('PROCS_ERR_PTRACE', `cannot make a twin: process ${tid} is ${statusText(status)}`);
  return status;
}

function awaitEnd(tid: number): void {
  for (;;) {
    const status = native.waitStop(tid, STEP_TIMEOUT_MS);
    if (!isStopped(status)) return;
    native.ptraceCont(tid, stopEvent(status) === 0 && !isParked(tid, status) ? stopSignal(status) : 0);
  }
}

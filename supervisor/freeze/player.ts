/**
 * The player inside a stopped process: put there, played, its answers read back.
 *
 * The region (player code, then room for a tape) is mapped by a remote mmap with a
 * `syscall` instruction of the vDSO, and stays: the next checkpoint uses it again, no
 * image stores it. A resumed process already has one.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ProcsError } from '../errors.js';
import { MAP_ANONYMOUS, MAP_PRIVATE, NT_PRSTATUS, PTRACE_EVENT_CLONE, PTRACE_EVENT_FORK, PROT_EXEC, PROT_READ, PROT_WRITE, SIGNAL, errnoText, signalName } from '../linux.js';
import { type Address, native, packageRoot } from '../native.js';
import type { Vma } from '../proc/maps.js';
import type { Stubs } from './mend.js';
import { withRegisters } from '../proc/registers.js';
import { innermostId, parseFields } from '../proc/status.js';
import { signalFrame } from '../resources/frame.js';
import { interruptedCall, repeatCall } from '../resources/restart.js';
import { TAPE_HEADER, TAPE_STOP_SIGNAL, TAPE_STOP_VALUE } from '../tape/layout.js';
import { SYSCALL } from '../tape/syscalls.js';
import { type DataRef, PAGE_SIZE, type Slot, type Tape, roundUp } from '../tape/tape.js';
import { type StoppedProcess, type StoppedThread, isStopped, remoteCall, settle, statusText, stopEvent, stopSignal } from './stopped.js';

/** Room enough for every tape that asks; a larger one makes the region grow. */
const REGION_SIZE = 128 * 1024;
const PLAY_TIMEOUT_MS = 10_000;

/** Where the player is in a process: a half-open range, code first. */
export interface PlayerRegion {
  readonly base: Address;
  readonly size: number;
  /** What finishes calls that a freeze has cut short, where there were any. */
  stubs?: Stubs;
}

/** A step of a tape that failed in a stopped process. */
export class TapeStepError extends ProcsError {
  constructor(
    what: string,
    readonly errno: number,
  ) {
    super('PROCS_ERR_TAPE', `${what}: ${errnoText(errno)}`);
  }
}

let code: Buffer | undefined;

/** The player's code, padded to whole pages. */
export function playerCode(): Buffer {
  if (code === undefined) {
    const bytes = readFileSync(join(packageRoot, 'agent/build/player.bin'));
    code = Buffer.alloc(roundUp(bytes.length, PAGE_SIZE));
    bytes.copy(code);
  }
  return code;
}

/** What a played tape has left: results, and whatever its calls wrote into its data. */
export interface Played {
  /** The result of an operation, a negative errno where it was allowed to fail. */
  result(slot: Slot): bigint;
  bytes(ref: DataRef, length: number): Buffer;
}

export class Player {
  private constructor(
    readonly process: StoppedProcess,
    readonly region: PlayerRegion,
  ) {}

  /**
   * Takes the region of an earlier checkpoint where it is still mapped, else makes one.
   *
   * @param vmas  The process's mappings as they stand now.
   */
  static enter(process: StoppedProcess, vmas: readonly Vma[], earlier: PlayerRegion | undefined): Player {
    if (earlier !== undefined && holdsPlayer(process.pid, vmas, earlier)) return new Player(process, earlier);
    const at = findSyscallInstruction(process.pid, vmas);
    const thread = process.leader;
    const codeBytes = playerCode();
    const map = (): bigint =>
      remoteCall(thread, at, SYSCALL.mmap, [
        0n,
        BigInt(REGION_SIZE),
        BigInt(PROT_READ | PROT_WRITE),
        BigInt(MAP_PRIVATE | MAP_ANONYMOUS),
        BigInt.asUintN(64, -1n),
        0n,
      ]);
    const base = map();
    if (base < 0n) throw new ProcsError('PROCS_ERR_TAPE', `cannot map ${REGION_SIZE >> 10} KiB for procs in process ${process.pid}: ${errnoText(Number(-base))}`);
    native.writeMemory(process.pid, base, codeBytes);
    const result = remoteCall(thread, at, SYSCALL.mprotect, [base, BigInt(codeBytes.length), BigInt(PROT_READ | PROT_EXEC)]);
    if (result < 0n) {
      remoteCall(thread, at, SYSCALL.munmap, [base, BigInt(REGION_SIZE)]);
      throw new ProcsError('PROCS_ERR_TAPE', `cannot make memory executable in process ${process.pid}: ${errnoText(Number(-result))}`);
    }
    return new Player(process, { base, size: REGION_SIZE });
  }

  /** Room in the process that is free between two tapes. */
  get scratch(): Address {
    return this.region.base + BigInt(playerCode().length);
  }

  /**
   * Plays a tape in one stopped thread. `onChild` is called with the id of every child
   * that it makes (traced from birth), when the thread goes on already.
   *
   * @throws {ProcsError} `PROCS_ERR_TAPE` naming the step that failed.
   */
  play(thread: StoppedThread, tape: Tape, onChild?: (pid: number) => void): Played {
    const codeSize = playerCode().length;
    const header = this.region.base + BigInt(codeSize);
    const stack = tape.stack(4096);
    tape.healOn(healFrame(tape, thread), innerTid(this.process.pid, thread.tid));
    const bytes = tape.encode({ base: this.region.base, codeSize, reportFd: -1 });
    if (bytes.length + codeSize > this.region.size) {
      throw new ProcsError('PROCS_ERR_TAPE', `a tape of ${bytes.length} bytes does not fit the player's ${this.region.size} in process ${this.process.pid}`);
    }
    native.writeMemory(this.process.pid, header, bytes);
    thread.disturbed = true;
    native.setSignalMask(thread.tid, MASK_WHILE_PLAYING);
    const start = {
      rip: this.region.base,
      rdi: header,
      rsi: 0n,
      rsp: header + BigInt(tape.dataOffset(stack)),
      orig_rax: -1n,
      eflags: 0x202n, // interrupts on, direction forward, no single step
    };
    native.setRegisterSet(thread.tid, NT_PRSTATUS, withRegisters(thread.registers, start));
    const wasPrivate = hasStopSignal(native.peekSignals(thread.tid, false));
    const { tookOther } = this.#run(thread, onChild);
    settle(thread);
    // The signal that ends a tape is the program's too, and may have been waiting, blocked: it waits on.
    if (tookOther) native.sendSignal(this.process.pid, wasPrivate ? thread.tid : 0, TAPE_STOP_SIGNAL);

    const after = native.readMemory(this.process.pid, header, bytes.length);
    if (after.readUInt32LE(TAPE_HEADER.failed) !== 0) {
      const label = tape.labelText(after.readUInt32LE(TAPE_HEADER.failed_label));
      const errno = after.readInt32LE(TAPE_HEADER.failed_errno);
      throw new TapeStepError(`cannot ${label} in process ${this.process.pid}`, errno);
    }
    return {
      result: (slot) => after.readBigInt64LE(tape.slotOffset(slot)),
      bytes: (ref, length) => {
        const offset = tape.dataOffset(ref);
        return after.subarray(offset, offset + length);
      },
    };
  }

  /** Takes the region away again: nothing of procs is left in the process. */
  leave(vmas: readonly Vma[]): void {
    const at = findSyscallInstruction(this.process.pid, vmas);
    remoteCall(this.process.leader, at, SYSCALL.munmap, [this.region.base, BigInt(this.region.size)]);
  }

  #run(thread: StoppedThread, onChild: ((pid: number) => void) | undefined): { tookOther: boolean } {
    let tookOther = false;
    native.ptraceCont(thread.tid, 0);
    for (;;) {
      const status = native.waitStop(thread.tid, PLAY_TIMEOUT_MS);
      if (!isStopped(status)) {
        throw new ProcsError('PROCS_ERR_PTRACE', `cannot play a tape in thread ${thread.tid}: it is ${statusText(status)}`);
      }
      const event = stopEvent(status);
      if (event === 0 && isParked(thread.tid, status)) return { tookOther };
      if (event === 0 && FAULTS.has(stopSignal(status))) {
        // Let go on, it would fault again and again. What it was doing before is put back.
        throw new ProcsError('PROCS_ERR_TAPE', `cannot play a tape in thread ${thread.tid}: it met ${signalName(stopSignal(status))}`);
      }
      // What was not masked and is not ours is for the program. A stop would come again at once: it waits for the thaw.
      if (event === 0 && stopSignal(status) === TAPE_STOP_SIGNAL) tookOther = true;
      else if (event === 0) this.process.sendAgain.add(stopSignal(status));
      const child = event === PTRACE_EVENT_CLONE || event === PTRACE_EVENT_FORK ? native.ptraceEventMessage(thread.tid) : 0;
      native.ptraceCont(thread.tid, 0);
      if (child !== 0) onChild?.(child);
    }
  }
}

/** What the code of the player itself can meet. Sent by others, they are blocked while it plays. */
const FAULTS: ReadonlySet<number> = new Set([SIGNAL.SIGSEGV, SIGNAL.SIGBUS, SIGNAL.SIGILL, SIGNAL.SIGFPE, SIGNAL.SIGTRAP]);

/** All signals but the one that ends a tape: what is blocked while the player runs in a thread. */
const MASK_WHILE_PLAYING = BigInt.asUintN(64, ~(1n << BigInt(TAPE_STOP_SIGNAL - 1)));

/** Whether it is among pending signals: siginfo_t, 128 bytes each, the number first. */
function hasStopSignal(pending: Buffer): boolean {
  for (let at = 0; at < pending.length; at += 128) if (pending.readInt32LE(at) === TAPE_STOP_SIGNAL) return true;
  return false;
}

/** Whether a thread has come to the end of its tape (struct siginfo: si_code at 8, si_value at 24). */
export function isParked(tid: number, status: number): boolean {
  if (stopSignal(status) !== TAPE_STOP_SIGNAL) return false;
  const siginfo = native.getSiginfo(tid);
  return siginfo.readInt32LE(8) === -1 && siginfo.readUInt32LE(24) === TAPE_STOP_VALUE;
}

/** On this frame the thread goes on by itself if the supervisor is killed while it plays. */
function healFrame(tape: Tape, thread: StoppedThread): DataRef {
  const call = interruptedCall(thread.registers, undefined, false);
  const alternateStack = Buffer.alloc(24);
  alternateStack.writeInt32LE(INVALID_STACK_FLAGS, 8); // leaves the one it has; sigaltstack(2)
  return signalFrame(tape, {
    registers: call === undefined ? thread.registers : repeatCall(thread.registers, call),
    xstate: thread.xstate,
    signalMask: thread.signalMask,
    alternateStack,
  });
}

const INVALID_STACK_FLAGS = 0x40;

/** The id that the thread itself sees. */
function innerTid(pid: number, tid: number): number {
  const fields = parseFields(readFileSync(`/proc/${pid}/task/${tid}/status`, 'latin1'));
  return innermostId(fields.get('NSpid') ?? String(tid));
}

/** Whether the region is still mapped and still begins with the player. */
function holdsPlayer(pid: number, vmas: readonly Vma[], region: PlayerRegion): boolean {
  const codeBytes = playerCode();
  const at = (address: Address): Vma | undefined => vmas.find((vma) => vma.start <= address && vma.end > address);
  const rest = at(region.base + BigInt(codeBytes.length));
  if (at(region.base)?.execute !== true || rest?.write !== true || rest.end < region.base + BigInt(region.size)) return false;
  return native.readMemory(pid, region.base, codeBytes.length).equals(codeBytes);
}

/** A `syscall` instruction (0f 05) in the vDSO, or in any other code of the process. */
export function findSyscallInstruction(pid: number, vmas: readonly Vma[]): Address {
  const code = vmas.filter((vma) => vma.execute && vma.read && vma.name !== '[vsyscall]');
  const vdsoFirst = [...code.filter((vma) => vma.name === '[vdso]'), ...code.filter((vma) => vma.name !== '[vdso]')];
  for (const vma of vdsoFirst) {
    const length = Math.min(Number(vma.end - vma.start), 4 << 20);
    const found = native.readMemory(pid, vma.start, length).indexOf(Buffer.from([0x0f, 0x05]));
    if (found >= 0) return vma.start + BigInt(found);
  }
  throw new ProcsError('PROCS_ERR_TAPE', `cannot find a system call instruction in process ${pid}`);
}

/**
 * A thread stopped inside a system call: with which registers it goes on.
 *
 * The kernel restarts an interrupted call by itself when a live process is thawed.
 * A resumed process has no kernel state of that call, so the restart is done here, as
 * handle_signal() and do_signal() of arch/x86/kernel/signal.c would: the instruction
 * pointer goes back over the two bytes of `syscall`, rax gets the call's number. Calls
 * with a relative timeout get what is left of it; syscall(2), signal(7), restart_syscall(2).
 */
import { ARGUMENT_REGISTERS, type RegisterName, getRegister, getResult, withRegisters } from '../proc/registers.js';
import { SYSCALL } from '../tape/syscalls.js';
import { PAGE_SIZE, roundUp } from '../tape/tape.js';

const ERESTARTSYS = -512n;
const ERESTARTNOINTR = -513n;
const ERESTARTNOHAND = -514n;
const ERESTART_RESTARTBLOCK = -516n;
const EINTR = -4n;
const SYSCALL_LENGTH = 2n;
const TIMER_ABSTIME = 1n;
const FUTEX_COMMAND = 0x7fn;
const FUTEX_WAIT = 0n;

/** How a call says its timeout. */
type Timeout = { readonly argument: number; readonly unit: 'ms' | 'timespec-pointer' };

/** Calls whose relative timeout the kernel keeps to itself when they are interrupted. */
export function timeoutOf(number: number, args: readonly bigint[]): Timeout | undefined {
  switch (number) {
    case SYSCALL.poll:
      return { argument: 2, unit: 'ms' };
    case SYSCALL.epoll_wait:
    case SYSCALL.epoll_pwait:
      return { argument: 3, unit: 'ms' };
    case SYSCALL.epoll_pwait2:
      return { argument: 3, unit: 'timespec-pointer' };
    case SYSCALL.nanosleep:
      return { argument: 0, unit: 'timespec-pointer' };
    case SYSCALL.clock_nanosleep:
      return ((args[1] ?? 0n) & TIMER_ABSTIME) === 0n ? { argument: 2, unit: 'timespec-pointer' } : undefined;
    case SYSCALL.futex:
      return ((args[1] ?? 0n) & FUTEX_COMMAND) === FUTEX_WAIT ? { argument: 3, unit: 'timespec-pointer' } : undefined;
    case SYSCALL.rt_sigtimedwait:
      return { argument: 2, unit: 'timespec-pointer' };
    case SYSCALL.semtimedop:
      return { argument: 3, unit: 'timespec-pointer' };
    case SYSCALL.io_getevents:
    case SYSCALL.io_pgetevents:
      return { argument: 4, unit: 'timespec-pointer' };
    default:
      return undefined;
  }
}

/**
 * Calls that answer EINTR to any interruption, even one that is no signal; signal(7). Those of sockets do
 * where SO_RCVTIMEO or SO_SNDTIMEO sets a time, which then begins anew.
 */
const INTERRUPTED_BY_STOP: ReadonlySet<number> = new Set([
  SYSCALL.epoll_wait, SYSCALL.epoll_pwait, SYSCALL.epoll_pwait2, SYSCALL.rt_sigtimedwait, SYSCALL.semop, SYSCALL.semtimedop,
  SYSCALL.io_getevents, SYSCALL.io_pgetevents, SYSCALL.io_uring_enter, SYSCALL.fallocate,
  SYSCALL.accept, SYSCALL.accept4, SYSCALL.connect, SYSCALL.recvfrom, SYSCALL.recvmsg, SYSCALL.recvmmsg, SYSCALL.sendto, SYSCALL.sendmsg, SYSCALL.sendmmsg,
]);

/** What a thread was waiting for when it was stopped. */
export interface InterruptedCall {
  readonly number: number;
  readonly args: readonly bigint[];
  /** The kernel has ended it with EINTR, and will not make it again by itself. */
  readonly cutShort: boolean;
  readonly timeout: Timeout | undefined;
  /** How long it had waited, in nanoseconds; undefined where that is not known. */
  readonly waitedNs: bigint | undefined;
}

/**
 * The call that has to be made again, or undefined where the registers can be used as they are.
 *
 * @param wait  What is known of the call: its first number (the kernel goes on with an interrupted
 *   call as restart_syscall) and how long it had waited.
 * @param hasSignal  A signal that the thread does not block is waiting: EINTR is then the program's own.
 */
export function interruptedCall(
  registers: Buffer,
  wait: { readonly number: number; readonly waitedNs: bigint } | undefined,
  hasSignal: boolean,
): InterruptedCall | undefined {
  const number = wait?.number ?? Number(BigInt.asIntN(32, getRegister(registers, 'orig_rax')));
  if (number < 0) return undefined;
  const result = getResult(registers);
  const restarted = result === ERESTARTSYS || result === ERESTARTNOINTR || result === ERESTARTNOHAND || result === ERESTART_RESTARTBLOCK;
  const cutShort = result === EINTR && INTERRUPTED_BY_STOP.has(number) && !hasSignal;
  if (!restarted && !cutShort) return undefined;
  const args = ARGUMENT_REGISTERS.map((name) => getRegister(registers, name));
  return { number, args, cutShort, timeout: result === ERESTART_RESTARTBLOCK || cutShort ? timeoutOf(number, args) : undefined, waitedNs: wait?.waitedNs };
}

/**
 * The timeout that the program asked for, in nanoseconds; undefined for an endless wait.
 *
 * @param read  Reads the memory of the process.
 */
export function requestedTimeout(call: InterruptedCall, read: (address: bigint, length: number) => Buffer): bigint | undefined {
  if (call.timeout === undefined) return undefined;
  const value = call.args[call.timeout.argument] ?? 0n;
  if (call.timeout.unit === 'ms') {
    const ms = BigInt.asIntN(32, value);
    return ms < 0n ? undefined : ms * 1_000_000n;
  }
  if (value === 0n) return undefined;
  const timespec = read(value, 16);
  return timespec.readBigInt64LE(0) * 1_000_000_000n + timespec.readBigInt64LE(8);
}

/** The registers with which the call is made again, with the arguments it had. */
export function repeatCall(registers: Buffer, call: InterruptedCall): Buffer {
  return withRegisters(registers, {
    rax: BigInt(call.number),
    rip: getRegister(registers, 'rip') - SYSCALL_LENGTH,
    orig_rax: -1n,
  });
}

/**
 * A stub finishes a call with what is left of its timeout: it makes the call, puts the
 * argument registers back as the program left them, says that it is done, and goes on
 * behind the program's own `syscall` instruction. The program may keep using those
 * registers, and the memory its timeout stands in must not be changed. The code is the
 * same for every call; what differs is in data that the code finds at a fixed distance.
 */
export const STUB_CODE_SIZE = 64;
export const STUB_DATA_SIZE = 128;
/** Offsets in a stub's data. */
const STUB = { arguments: 0, returnAddress: 48, timespec: 64, done: 80 } as const;

/** Where stubs are: the code of all of them, in whole pages, then the data of all of them. */
export class StubLayout {
  readonly codeLength: number;
  readonly length: number;

  constructor(
    readonly base: bigint,
    readonly count: number,
  ) {
    this.codeLength = roundUp(count * STUB_CODE_SIZE, PAGE_SIZE);
    this.length = this.codeLength + roundUp(count * STUB_DATA_SIZE, PAGE_SIZE);
  }

  codeAt(index: number): bigint {
    return this.base + BigInt(index * STUB_CODE_SIZE);
  }

  dataAt(index: number): bigint {
    return this.base + BigInt(this.codeLength + index * STUB_DATA_SIZE);
  }

  doneAt(index: number): bigint {
    return this.dataAt(index) + BigInt(STUB.done);
  }

  timespecAt(index: number): bigint {
    return this.dataAt(index) + BigInt(STUB.timespec);
  }

  /** The stub whose call a thread is in, by its instruction pointer; undefined for any other place. */
  callingAt(rip: bigint): number | undefined {
    const offset = rip - SYSCALL_LENGTH - this.base;
    const index = Number(offset / BigInt(STUB_CODE_SIZE));
    return offset >= 0n && index < this.count && offset % BigInt(STUB_CODE_SIZE) === 0n ? index : undefined;
  }

  code(): Buffer {
    const bytes = Buffer.alloc(this.codeLength, 0xcc);
    for (let index = 0; index < this.count; index++) {
      let end = index * STUB_CODE_SIZE;
      // An instruction that addresses the data relative to its own end.
      const emit = (opcode: readonly number[], offset: number, ...rest: readonly number[]): void => {
        end += Buffer.from(opcode).copy(bytes, end);
        const place = end;
        end = place + 4 + Buffer.from(rest).copy(bytes, place + 4);
        bytes.writeInt32LE(Number(this.dataAt(index) - this.base) + offset - end, place);
      };
      end += Buffer.from([0x0f, 0x05]).copy(bytes, end); // syscall
      ARGUMENT_REGISTERS.forEach((name, argument) => emit(MOV_FROM_MEMORY[name], STUB.arguments + argument * 8));
      emit([0xc6, 0x05], STUB.done, 1); // movb $1, done(%rip)
      emit([0xff, 0x25], STUB.returnAddress); // jmp *returnAddress(%rip)
    }
    return bytes;
  }
}

/** mov disp32(%rip), %register */
const MOV_FROM_MEMORY = {
  rdi: [0x48, 0x8b, 0x3d],
  rsi: [0x48, 0x8b, 0x35],
  rdx: [0x48, 0x8b, 0x15],
  r10: [0x4c, 0x8b, 0x15],
  r8: [0x4c, 0x8b, 0x05],
  r9: [0x4c, 0x8b, 0x0d],
} as const;

/** What is left of a timeout. */
export function timeLeft(call: InterruptedCall, requestedNs: bigint): bigint {
  const waited = call.waitedNs ?? 0n;
  return waited >= requestedNs ? 0n : requestedNs - waited;
}

export function timespecBytes(ns: bigint): Buffer {
  const bytes = Buffer.alloc(16);
  bytes.writeBigInt64LE(ns / 1_000_000_000n, 0);
  bytes.writeBigInt64LE(ns % 1_000_000_000n, 8);
  return bytes;
}

/** The data of a stub for a thread's call. */
export function stubData(registers: Buffer, call: InterruptedCall, leftNs: bigint): Buffer {
  const data = Buffer.alloc(STUB_DATA_SIZE);
  call.args.forEach((value, index) => data.writeBigUInt64LE(BigInt.asUintN(64, value), STUB.arguments + index * 8));
  data.writeBigUInt64LE(getRegister(registers, 'rip'), STUB.returnAddress);
  timespecBytes(leftNs).copy(data, STUB.timespec);
  return data;
}

/** The registers with which a thread makes its call in a stub. */
export function stubRegisters(registers: Buffer, call: InterruptedCall, leftNs: bigint, layout: StubLayout, index: number): Buffer {
  const { timeout } = call;
  if (timeout === undefined) throw new Error('a stub is for a call with a timeout');
  const register = ARGUMENT_REGISTERS[timeout.argument] as RegisterName;
  const shortened = timeout.unit === 'ms' ? (leftNs + 999_999n) / 1_000_000n : layout.timespecAt(index);
  return withRegisters(registers, { rax: BigInt(call.number), rip: layout.codeAt(index), orig_rax: -1n, [register]: shortened });
}

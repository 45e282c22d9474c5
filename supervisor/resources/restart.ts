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

/** Calls that answer EINTR to any interruption, even one that is no signal; signal(7). */
const INTERRUPTED_BY_STOP: ReadonlySet<number> = new Set([
  SYSCALL.epoll_wait, SYSCALL.epoll_pwait, SYSCALL.epoll_pwait2, SYSCALL.rt_sigtimedwait, SYSCALL.semop, SYSCALL.semtimedop,
  SYSCALL.io_getevents, SYSCALL.io_pgetevents,
]);

/** What a thread was waiting for when it was stopped. */
export interface InterruptedCall {
  readonly number: number;
  readonly args: readonly bigint[];
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
  return { number, args, timeout: result === ERESTART_RESTARTBLOCK || cutShort ? timeoutOf(number, args) : undefined, waitedNs: wait?.waitedNs };
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

/** Room that one call with a shortened timeout needs: 64 bytes of code, a timespec. */
export const STUB_SIZE = 128;
const STUB_TIMESPEC = 112;

/**
 * Code that makes the call with what is left of its timeout, puts the argument
 * registers back as the program left them, and goes on behind the program's own
 * `syscall` instruction. The program may keep using those registers, and the memory
 * its timeout stands in must not be changed.
 *
 * @param at  Where the stub will be.
 * @param requestedNs  The timeout the program asked for.
 */
export function restartStub(registers: Buffer, call: InterruptedCall, at: bigint, requestedNs: bigint): { registers: Buffer; code: Buffer } {
  const waited = call.waitedNs ?? 0n;
  const left = waited >= requestedNs ? 0n : requestedNs - waited;
  const timeout = call.timeout;
  if (timeout === undefined) throw new Error('a stub is for a call with a timeout');
  const register = ARGUMENT_REGISTERS[timeout.argument] as RegisterName;
  const original = call.args[timeout.argument] ?? 0n;

  const code = Buffer.alloc(STUB_SIZE, 0xcc);
  let end = 0;
  const emit = (...bytes: number[]): void => {
    for (const byte of bytes) code[end++] = byte;
  };
  emit(0x0f, 0x05); // syscall
  emit(...MOVABS[register as keyof typeof MOVABS]); // movabs $original, %register
  end = code.writeBigUInt64LE(BigInt.asUintN(64, original), end);
  emit(0xff, 0x25, 0, 0, 0, 0); // jmp *0(%rip)
  end = code.writeBigUInt64LE(getRegister(registers, 'rip'), end);
  code.writeBigInt64LE(left / 1_000_000_000n, STUB_TIMESPEC);
  code.writeBigInt64LE(left % 1_000_000_000n, STUB_TIMESPEC + 8);

  const shortened = timeout.unit === 'ms' ? (left + 999_999n) / 1_000_000n : at + BigInt(STUB_TIMESPEC);
  return { code, registers: withRegisters(registers, { rax: BigInt(call.number), rip: at, orig_rax: -1n, [register]: shortened }) };
}

/** movabs $imm64 into each argument register. */
const MOVABS = {
  rdi: [0x48, 0xbf],
  rsi: [0x48, 0xbe],
  rdx: [0x48, 0xba],
  r10: [0x49, 0xba],
  r8: [0x49, 0xb8],
  r9: [0x49, 0xb9],
} as const;

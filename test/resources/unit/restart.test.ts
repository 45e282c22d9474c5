/** resources/restart.ts: with which registers a thread goes on that was stopped in a system call. */
import { closeSync, writeSync } from 'node:fs';
import { t } from 'tap';
import { MAP_FIXED_NOREPLACE, MAP_PRIVATE } from '../../../supervisor/linux.js';
import { native } from '../../../supervisor/native.js';
import { ARGUMENT_REGISTERS, REGISTER_SET_SIZE, type RegisterName, getRegister, withRegisters } from '../../../supervisor/proc/registers.js';
import { signalFrame } from '../../../supervisor/resources/frame.js';
import { type InterruptedCall, StubLayout, interruptedCall, repeatCall, requestedTimeout, stubData, stubRegisters, timeLeft, timeoutOf } from '../../../supervisor/resources/restart.js';
import { SYSCALL } from '../../../supervisor/tape/syscalls.js';
import { Tape } from '../../../supervisor/tape/tape.js';
import { FIRST_FD, play } from '../../tape/play.js';

const ERESTARTSYS = -512n;
const ERESTARTNOINTR = -513n;
const ERESTARTNOHAND = -514n;
const ERESTART_RESTARTBLOCK = -516n;
const EINTR = -4n;
const RIP = 0x7f00_1234_5678n;

function stoppedIn(number: number, result: bigint, args: readonly bigint[] = []): Buffer {
  const given = Object.fromEntries(ARGUMENT_REGISTERS.map((name, index) => [name, args[index] ?? 0n])) as Record<RegisterName, bigint>;
  return withRegisters(Buffer.alloc(REGISTER_SET_SIZE), { ...given, orig_rax: BigInt(number), rax: result, rip: RIP, rsp: 0x1000n, eflags: 0x202n, cs: 0x33n, ss: 0x2bn });
}

/** An interrupted call, or a failure of the test. */
function called(registers: Buffer, wait?: { number: number; waitedNs: bigint }, hasSignal = false): InterruptedCall {
  const call = interruptedCall(registers, wait, hasSignal);
  if (call === undefined) throw new Error('the call is not made again');
  return call;
}

t.test('outside of a call, and with a result of its own, a thread goes on as it is', (t) => {
  for (const result of [0n, 5n, -9n, EINTR, -511n, -515n, -517n]) t.equal(interruptedCall(stoppedIn(SYSCALL.read, result), undefined, false), undefined, `read: ${result}`);
  t.equal(interruptedCall(stoppedIn(-1, ERESTARTSYS), undefined, false), undefined, 'not in a system call: rax is any number');
  t.end();
});

t.test('the kernel\'s restart codes make the call again, with its number and over its instruction', (t) => {
  for (const result of [ERESTARTSYS, ERESTARTNOINTR, ERESTARTNOHAND, ERESTART_RESTARTBLOCK]) {
    const registers = stoppedIn(SYSCALL.read, result, [3n, 0x2000n, 10n, 4n, 5n, 6n]);
    for (const hasSignal of [false, true]) {
      const again = repeatCall(registers, called(registers, undefined, hasSignal));
      t.equal(getRegister(again, 'rax'), BigInt(SYSCALL.read));
      t.equal(getRegister(again, 'rip'), RIP - 2n);
      t.equal(getRegister(again, 'orig_rax'), 2n ** 64n - 1n, 'no further restart');
      t.strictSame(ARGUMENT_REGISTERS.map((name) => getRegister(again, name)), [3n, 0x2000n, 10n, 4n, 5n, 6n]);
      for (const name of ['rsp', 'eflags', 'rbx', 'cs'] as const) t.equal(getRegister(again, name), getRegister(registers, name), name);
    }
  }
  t.end();
});

t.test('a call that answers EINTR to every stop is made again, unless a signal is the reason', (t) => {
  for (const name of ['epoll_wait', 'epoll_pwait', 'epoll_pwait2', 'rt_sigtimedwait', 'semop', 'semtimedop', 'io_getevents'] as const) {
    const registers = stoppedIn(SYSCALL[name], EINTR);
    t.equal(interruptedCall(registers, undefined, false)?.number, SYSCALL[name], name);
    t.equal(interruptedCall(registers, undefined, true), undefined, `${name}: EINTR is the program's own`);
  }
  for (const name of ['nanosleep', 'poll', 'read', 'pause', 'futex'] as const) t.equal(interruptedCall(stoppedIn(SYSCALL[name], EINTR), undefined, false), undefined, name);
  t.end();
});

t.test('a call that the kernel goes on with as restart_syscall keeps its own number', (t) => {
  const call = called(stoppedIn(SYSCALL.restart_syscall, ERESTART_RESTARTBLOCK, [0x5000n]), { number: SYSCALL.nanosleep, waitedNs: 7n });
  t.match(call, { number: SYSCALL.nanosleep, waitedNs: 7n, timeout: { argument: 0, unit: 'timespec-pointer' } });
  t.end();
});

t.test('where each call says its timeout', (t) => {
  const rows: readonly (readonly [keyof typeof SYSCALL, readonly bigint[], ReturnType<typeof timeoutOf>])[] = [
    ['poll', [], { argument: 2, unit: 'ms' }],
    ['epoll_wait', [], { argument: 3, unit: 'ms' }],
    ['epoll_pwait', [], { argument: 3, unit: 'ms' }],
    ['epoll_pwait2', [], { argument: 3, unit: 'timespec-pointer' }],
    ['nanosleep', [], { argument: 0, unit: 'timespec-pointer' }],
    ['clock_nanosleep', [1n, 0n], { argument: 2, unit: 'timespec-pointer' }],
    ['clock_nanosleep', [1n, 1n], undefined], // TIMER_ABSTIME
    ['futex', [0n, 0n], { argument: 3, unit: 'timespec-pointer' }],
    ['futex', [0n, 128n], { argument: 3, unit: 'timespec-pointer' }], // FUTEX_PRIVATE_FLAG
    ['futex', [0n, 9n], undefined], // FUTEX_WAIT_BITSET: absolute
    ['futex', [0n, 128n | 256n | 9n], undefined],
    ['futex', [0n, 6n], undefined], // FUTEX_LOCK_PI: absolute
    ['rt_sigtimedwait', [], { argument: 2, unit: 'timespec-pointer' }],
    ['semtimedop', [], { argument: 3, unit: 'timespec-pointer' }],
    ['io_getevents', [], { argument: 4, unit: 'timespec-pointer' }],
    ['read', [], undefined],
    ['ppoll', [], undefined], // the kernel has written what is left where the program finds it
    ['select', [], undefined],
  ];
  for (const [name, args, timeout] of rows) t.strictSame(timeoutOf(SYSCALL[name], args), timeout, `${name} ${args.join()}`);
  t.end();
});

t.test('the requested time is read where the call says it', (t) => {
  const memory = Buffer.alloc(16);
  memory.writeBigInt64LE(3n, 0);
  memory.writeBigInt64LE(250_000_000n, 8);
  const read = (address: bigint, length: number): Buffer => {
    t.strictSame([address, length], [0x5000n, 16]);
    return memory;
  };
  const none = (): Buffer => t.fail('nothing is to be read') as unknown as Buffer;
  t.equal(requestedTimeout(called(stoppedIn(SYSCALL.nanosleep, ERESTART_RESTARTBLOCK, [0x5000n])), read), 3_250_000_000n);
  t.equal(requestedTimeout(called(stoppedIn(SYSCALL.poll, ERESTART_RESTARTBLOCK, [0n, 0n, 1500n])), none), 1_500_000_000n);
  t.equal(requestedTimeout(called(stoppedIn(SYSCALL.poll, ERESTART_RESTARTBLOCK, [0n, 0n, 0xffff_ffffn])), none), undefined, '-1 as an int: endless');
  t.equal(requestedTimeout(called(stoppedIn(SYSCALL.epoll_wait, EINTR, [0n, 0n, 0n, 2n ** 64n - 1n])), none), undefined, '-1 as a long');
  t.equal(requestedTimeout(called(stoppedIn(SYSCALL.rt_sigtimedwait, EINTR, [1n, 0n, 0n])), none), undefined, 'no timespec: endless');
  t.equal(requestedTimeout(called(stoppedIn(SYSCALL.futex, ERESTARTSYS, [1n, 0n, 0n, 0x5000n])), none), undefined, 'a call that the kernel repeats whole');
  t.end();
});

t.test('timeLeft() is never below zero', (t) => {
  const call = called(stoppedIn(SYSCALL.nanosleep, ERESTART_RESTARTBLOCK), { number: SYSCALL.nanosleep, waitedNs: 700n });
  t.equal(timeLeft(call, 1000n), 300n);
  t.equal(timeLeft(call, 700n), 0n);
  t.equal(timeLeft(call, 100n), 0n);
  t.equal(timeLeft(called(stoppedIn(SYSCALL.nanosleep, ERESTART_RESTARTBLOCK)), 100n), 100n, 'unknown: from the beginning');
  t.end();
});

t.test('a stub is given what is left, rounded up where it counts milliseconds', (t) => {
  const layout = new StubLayout(0x5000_0000_0000n, 3);
  const poll = called(stoppedIn(SYSCALL.poll, ERESTART_RESTARTBLOCK, [1n, 2n, 100n]));
  const registers = stubRegisters(stoppedIn(SYSCALL.poll, ERESTART_RESTARTBLOCK, [1n, 2n, 100n]), poll, 1_000_001n, layout, 1);
  t.equal(getRegister(registers, 'rdx'), 2n);
  t.equal(getRegister(registers, 'rip'), layout.codeAt(1));
  t.equal(getRegister(registers, 'rax'), BigInt(SYSCALL.poll));
  const sleep = called(stoppedIn(SYSCALL.nanosleep, ERESTART_RESTARTBLOCK, [0x77n, 0x88n]));
  const sleeping = stubRegisters(stoppedIn(SYSCALL.nanosleep, ERESTART_RESTARTBLOCK, [0x77n, 0x88n]), sleep, 5n, layout, 2);
  t.equal(getRegister(sleeping, 'rdi'), layout.timespecAt(2));
  t.equal(getRegister(sleeping, 'rsi'), 0x88n);
  t.end();
});

t.test('stubs do not overlap, and one is known by the instruction pointer of a call in it', (t) => {
  const layout = new StubLayout(0x5000_0000_0000n, 130);
  t.equal(layout.codeLength % 4096, 0);
  t.equal(layout.length % 4096, 0);
  t.ok(layout.codeAt(129) + 64n <= layout.dataAt(0), 'code before data');
  t.ok(layout.dataAt(129) + 128n <= layout.base + BigInt(layout.length));
  for (const index of [0, 1, 129]) t.equal(layout.callingAt(layout.codeAt(index) + 2n), index);
  for (const rip of [layout.base, layout.codeAt(1), layout.codeAt(1) + 3n, layout.codeAt(129) + 66n, layout.base - 62n, 0n, RIP]) t.equal(layout.callingAt(rip), undefined, rip.toString(16));
  t.end();
});

/** Machine code that writes its registers to descriptor 1, and exits: rax, then the arguments in order. */
const TELL = Buffer.from([
  0x41, 0x51, 0x41, 0x50, 0x41, 0x52, 0x52, 0x56, 0x57, 0x50, // push %r9, %r8, %r10, %rdx, %rsi, %rdi, %rax
  0xbf, 1, 0, 0, 0, 0x48, 0x89, 0xe6, 0xba, 56, 0, 0, 0, 0xb8, 1, 0, 0, 0, 0x0f, 0x05, // write(1, %rsp, 56)
  0x31, 0xff, 0xb8, 231, 0, 0, 0, 0x0f, 0x05, // exit_group(0)
]);
const TELL_AT = 0x5100_0000_0000n;

t.test('a stub makes its call with the time left, and goes on with the program\'s own arguments', async (t) => {
  const layout = new StubLayout(0x5000_0000_0000n, 2);
  // poll(0, 0, 60 s) of which 20 ms are left; nanosleep whose timespec is not even mapped any more.
  const calls: readonly (readonly [number, readonly bigint[], bigint])[] = [
    [SYSCALL.poll, [0n, 0n, 60_000n, 0x1234_5678_9abc_def0n, 0x55n, 0xffff_ffff_ffff_ff66n], 0n],
    [SYSCALL.nanosleep, [0x6666_0000n, 0n, 0x33n, 0x44n, 0x55n, 0x66n], 0n],
    [SYSCALL.futex, [TELL_AT, 0n, 0n, 0x6666_0000n, 0x55n, 0x66n], -11n], // *TELL_AT is not 0: EAGAIN at once
  ];
  for (const [number, args, result] of calls) {
    const index = number === SYSCALL.nanosleep ? 1 : 0;
    const registers = withRegisters(stoppedIn(number, ERESTART_RESTARTBLOCK, args), { rip: TELL_AT, rsp: TELL_AT + 8192n });
    const call = called(registers, { number, waitedNs: 59_980_000_000n });
    const left = timeLeft(call, 60_000_000_000n);
    const stubs = Buffer.alloc(layout.length);
    layout.code().copy(stubs);
    stubData(registers, call, left).copy(stubs, Number(layout.dataAt(index) - layout.base));
    const tape = new Tape();
    tape.beginOn(tape.stack(4096));
    const state = { xstate: Buffer.alloc(512), signalMask: 0n, alternateStack: Buffer.alloc(24) };
    state.xstate.writeUInt16LE(0x37f, 0);
    state.xstate.writeUInt32LE(0x1f80, 24);
    tape.call('map stubs', 'mmap', [layout.base, layout.length, 7, MAP_PRIVATE | MAP_FIXED_NOREPLACE, FIRST_FD, 0], { want: layout.base });
    tape.call('map the program', 'mmap', [TELL_AT, 8192, 7, MAP_PRIVATE | MAP_FIXED_NOREPLACE, FIRST_FD, layout.length], { want: TELL_AT });
    tape.leave('go on', signalFrame(tape, { ...state, registers: stubRegisters(registers, call, left, layout, index) }));
    const file = native.memfd('stubs', 1);
    writeSync(file, Buffer.concat([stubs, TELL, Buffer.alloc(8192 - TELL.length)]));
    const begin = performance.now();
    const outcome = await play(tape, { descriptors: [file] });
    const duration = performance.now() - begin;
    closeSync(file);
    t.match(outcome, { code: 0, signal: null, failure: undefined });
    const told = Array.from({ length: 7 }, (_, word) => outcome.stdout.readBigUInt64LE(word * 8));
    t.equal(BigInt.asIntN(64, told[0] ?? 0n), result, `the result of call ${number}`);
    t.strictSame(told.slice(1), args, `the arguments of call ${number}`);
    if (number !== SYSCALL.futex) t.ok(duration >= 20, `it waited for what was left: ${duration} ms`);
  }
});

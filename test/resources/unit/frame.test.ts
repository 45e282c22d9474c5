/** resources/frame.ts: the frame is laid out as the kernel's headers say, and the kernel takes it. */
import { execFileSync } from 'node:child_process';
import { closeSync, writeSync } from 'node:fs';
import { t, type Test } from 'tap';
import { MAP_FIXED_NOREPLACE, MAP_PRIVATE, NT_X86_XSTATE, PTRACE_O_EXITKILL } from '../../../supervisor/linux.js';
import { native } from '../../../supervisor/native.js';
import { REGISTER_SET_SIZE, type RegisterName, withRegisters } from '../../../supervisor/proc/registers.js';
import { signalFrame } from '../../../supervisor/resources/frame.js';
import { Tape } from '../../../supervisor/tape/tape.js';
import { compileProbe } from '../../compile-probe.js';
import { currentUser, spawnAs } from '../../harness.js';
import { BASE, FIRST_FD, play } from '../../tape/play.js';

const NAMES: readonly RegisterName[] = [
  'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15', 'rdi', 'rsi', 'rbp', 'rbx', 'rdx', 'rax', 'rcx', 'rsp',
];
const values = Object.fromEntries(NAMES.map((name, index) => [name, 0x1111_0000_0000_0000n * BigInt(index) + BigInt(index)])) as Record<RegisterName, bigint>;
const registers = withRegisters(Buffer.alloc(REGISTER_SET_SIZE), { ...values, rip: 0x7000_1234_5678n, eflags: 0x246n, cs: 0x33n, ss: 0x2bn });

function frameOf(xstate: Buffer) {
  const tape = new Tape();
  const alternateStack = Buffer.alloc(24);
  [0x7777_0000n, 2n, 0x4000n].forEach((word, index) => alternateStack.writeBigUInt64LE(word, index * 8));
  const frame = signalFrame(tape, { registers, xstate, signalMask: 0x8000_0000_0000_0401n, alternateStack });
  const bytes = tape.encode({ base: BASE, codeSize: 4096, reportFd: -1 });
  const at = tape.dataOffset(frame);
  const fpstate = Number(bytes.readBigUInt64LE(at + 224) - BASE - 4096n);
  return { frame: bytes.subarray(at), area: bytes.subarray(fpstate), fpstate };
}

const offsets = JSON.parse(execFileSync(compileProbe(t, 'test/resources/unit/frame-probe.c'), { encoding: 'utf8' })) as Record<string, number>;

t.test('every field is where the headers of this machine have it', (t) => {
  const { frame } = frameOf(Buffer.alloc(512));
  for (const name of NAMES) t.equal(frame.readBigUInt64LE(offsets[name] ?? -1), values[name], name);
  t.equal(frame.readBigUInt64LE(offsets['rip'] ?? -1), 0x7000_1234_5678n);
  t.equal(frame.readBigUInt64LE(offsets['eflags'] ?? -1), 0x246n);
  t.equal(frame.readUInt16LE(offsets['cs'] ?? -1), 0x33);
  t.equal(frame.readUInt16LE(offsets['ss'] ?? -1), 0x2b);
  t.equal(frame.readBigUInt64LE(0), BigInt(offsets['flags'] ?? -1));
  t.strictSame([0, 8, 16].map((at) => frame.readBigUInt64LE((offsets['stack'] ?? -1) + at)), [0x7777_0000n, 2n, 0x4000n]);
  t.equal(frame.readBigUInt64LE(offsets['sigmask'] ?? -1), 0x8000_0000_0000_0401n);
  t.equal(offsets['fpstate'], 224);
  t.end();
});

t.test('the extended state has its software bytes and both magic numbers', (t) => {
  const xstate = Buffer.alloc(2696, 0xab);
  xstate.writeBigUInt64LE(0x2e7n, 464); // XCR0, as PTRACE_GETREGSET gives it
  const { area, fpstate } = frameOf(xstate);
  t.equal(fpstate % 64, 0, 'XRSTOR wants 64 bytes');
  t.equal(area.readUInt32LE(offsets['sw_magic1'] ?? -1), offsets['magic1']);
  t.equal(area.readUInt32LE(offsets['sw_extended_size'] ?? -1), 2696 + 4);
  t.equal(area.readBigUInt64LE(offsets['sw_xfeatures'] ?? -1), 0x2e7n);
  t.equal(area.readUInt32LE(offsets['sw_xstate_size'] ?? -1), 2696);
  t.equal(area.readUInt32LE(2696), offsets['magic2']);
  t.ok(area.subarray(0, 464).equals(Buffer.alloc(464, 0xab)), 'what comes before is untouched');
  t.ok(area.subarray(512, 2696).equals(Buffer.alloc(2696 - 512, 0xab)), 'and what comes behind');
  t.ok(xstate.subarray(472, 512).equals(Buffer.alloc(40, 0xab)), 'the record itself is not changed');
  t.end();
});

t.test('a state without XSAVE has no magic', (t) => {
  const { area } = frameOf(Buffer.alloc(512, 0));
  t.equal(area.readUInt32LE(464), 0);
  t.end();
});

/** The extended state of a process that was stopped. */
async function realState(t: Test): Promise<Buffer> {
  const cat = spawnAs(t, currentUser(), ['/bin/cat']);
  cat.stdin?.write('x\n');
  await cat.waitStdout(/x/);
  native.stopThreads(Int32Array.of(cat.pid), PTRACE_O_EXITKILL, 5000);
  const state = native.getRegisterSet(cat.pid, NT_X86_XSTATE);
  native.ptraceDetach(Int32Array.of(cat.pid));
  return state;
}

/** Machine code that writes all it finds in registers to descriptor 1, and exits. */
const TELL = Buffer.from([
  0x66, 0x48, 0x0f, 0x7e, 0xc1, // movq %xmm0, %rcx
  0x51, // push %rcx
  0x41, 0x51, 0x41, 0x50, 0x41, 0x52, // push %r9, %r8, %r10
  0x52, 0x56, 0x57, 0x50, // push %rdx, %rsi, %rdi, %rax
  0x41, 0x57, 0x55, 0x53, // push %r15, %rbp, %rbx
  0xbf, 1, 0, 0, 0, // mov $1, %edi
  0x48, 0x89, 0xe6, // mov %rsp, %rsi
  0xba, 88, 0, 0, 0, // mov $88, %edx
  0xb8, 1, 0, 0, 0, // mov $SYS_write, %eax
  0x0f, 0x05,
  0x31, 0xff, // xor %edi, %edi
  0xb8, 231, 0, 0, 0, // mov $SYS_exit_group, %eax
  0x0f, 0x05,
]);

t.test('the kernel takes the frame: the program goes on with every register', async (t) => {
  const xstate = await realState(t);
  if (xstate.length > 512) xstate.writeBigUInt64LE(xstate.readBigUInt64LE(512) | 3n, 512); // XSTATE_BV: x87 and SSE are given
  xstate.writeBigUInt64LE(0x0123_4567_89ab_cdefn, 160); // %xmm0
  const at = 0x5000_0000_0000n;
  const wanted = { rbx: 17n, rbp: 18n, r15: 19n, rax: 10n, rdi: 11n, rsi: 12n, rdx: 13n, r10: 14n, r8: 15n, r9: 0xffff_ffff_ffff_fff0n };
  const start = withRegisters(Buffer.alloc(REGISTER_SET_SIZE), { ...wanted, rip: at, rsp: at + 8192n, eflags: 0x202n, cs: 0x33n, ss: 0x2bn });
  const tape = new Tape();
  tape.beginOn(tape.stack(4096));
  tape.call('map the program', 'mmap', [at, 8192, 7, MAP_PRIVATE | MAP_FIXED_NOREPLACE, FIRST_FD, 0], { want: at });
  tape.leave('go on', signalFrame(tape, { registers: start, xstate, signalMask: 0n, alternateStack: Buffer.alloc(24) }));
  const program = native.memfd('program', 1);
  writeSync(program, Buffer.concat([TELL, Buffer.alloc(8192 - TELL.length)]));
  const outcome = await play(tape, { descriptors: [program] });
  closeSync(program);
  t.match(outcome, { code: 0, signal: null, failure: undefined });
  const told = Array.from({ length: 11 }, (_, index) => outcome.stdout.readBigUInt64LE(index * 8));
  t.strictSame(told, [...Object.values(wanted), 0x0123_4567_89ab_cdefn]);
});

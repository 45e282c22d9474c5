/**
 * The frame that rt_sigreturn(2) takes a thread's state from, x86_64: struct ucontext
 * (asm/ucontext.h, asm/sigcontext.h) followed by the XSAVE area with the software
 * bytes of struct _fpx_sw_bytes.
 */
import type { DataRef, Tape } from '../tape/tape.js';
import { type RegisterName, getRegister } from '../proc/registers.js';

const UCONTEXT_SIZE = 304;
const UC_FP_XSTATE = 1n;
const UC_SIGCONTEXT_SS = 2n;
const UC_STRICT_RESTORE_SS = 4n;
const GREGS: readonly RegisterName[] = [
  'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15', 'rdi', 'rsi', 'rbp', 'rbx', 'rdx', 'rax', 'rcx', 'rsp', 'rip', 'eflags',
];
const OFFSET = { flags: 0, stack: 16, gregs: 40, segments: 184, fpstate: 224, signalMask: 296 } as const;
const FXSAVE_SIZE = 512;
/** Where PTRACE_GETREGSET puts XCR0, and the frame its magic: bytes the processor leaves to software. */
const SOFTWARE_BYTES = 464;
const FP_XSTATE_MAGIC1 = 0x46505853;
const FP_XSTATE_MAGIC2 = 0x46505845;

export interface ThreadState {
  readonly registers: Buffer;
  readonly xstate: Buffer;
  readonly signalMask: bigint;
  /** struct sigaltstack; rt_sigreturn puts it back too. */
  readonly alternateStack: Buffer;
}

/** Puts the frame into the tape. @returns where the stack pointer of rt_sigreturn has to be. */
export function signalFrame(tape: Tape, state: ThreadState): DataRef {
  const context = Buffer.alloc(UCONTEXT_SIZE);
  context.writeBigUInt64LE(UC_FP_XSTATE | UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS, OFFSET.flags);
  state.alternateStack.copy(context, OFFSET.stack);
  GREGS.forEach((name, index) => context.writeBigUInt64LE(getRegister(state.registers, name), OFFSET.gregs + index * 8));
  context.writeUInt16LE(Number(getRegister(state.registers, 'cs')), OFFSET.segments);
  context.writeUInt16LE(Number(getRegister(state.registers, 'ss')), OFFSET.segments + 6);
  context.writeBigUInt64LE(state.signalMask, OFFSET.signalMask);
  const frame = tape.data(context, 16);
  tape.pointer(frame.plus(OFFSET.fpstate), tape.data(extendedState(state.xstate), 64));
  return frame;
}

function extendedState(xstate: Buffer): Buffer {
  if (xstate.length <= FXSAVE_SIZE) return Buffer.from(xstate.subarray(0, FXSAVE_SIZE));
  const area = Buffer.alloc(xstate.length + 4);
  xstate.copy(area);
  const features = xstate.readBigUInt64LE(SOFTWARE_BYTES);
  area.fill(0, SOFTWARE_BYTES, FXSAVE_SIZE);
  area.writeUInt32LE(FP_XSTATE_MAGIC1, SOFTWARE_BYTES);
  area.writeUInt32LE(area.length, SOFTWARE_BYTES + 4);
  area.writeBigUInt64LE(features, SOFTWARE_BYTES + 8);
  area.writeUInt32LE(xstate.length, SOFTWARE_BYTES + 16);
  area.writeUInt32LE(FP_XSTATE_MAGIC2, xstate.length);
  return area;
}

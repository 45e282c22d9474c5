/**
 * Threads: registers, extended state, thread-local pointers, masks, pending signals,
 * names, scheduling, and what glibc has told the kernel about each (robust list, rseq,
 * clear_child_tid).
 */
import {
  ARCH_REQ_XCOMP_PERM,
  ARCH_SET_FS,
  ARCH_SET_GS,
  CLONE_FILES,
  CLONE_FS,
  CLONE_SIGHAND,
  CLONE_SYSVSEM,
  CLONE_THREAD,
  CLONE_VM,
  PR_SET_NAME,
  PR_SET_PDEATHSIG,
  PR_SET_TIMERSLACK,
  SIGINFO_SIZE,
} from '../linux.js';
import { REGISTER_SET_SIZE, getRegister } from '../proc/registers.js';
import { field, innermostId, parseFields } from '../proc/status.js';
import { type DataRef, Mark, type Tape } from '../tape/tape.js';
import type { RawProcess, RawThread } from './raw.js';
import { signalFrame } from './frame.js';
import { type Record_, readRecord } from './record.js';
import { type InterruptedCall, interruptedCall, repeatCall, requestedTimeout, timeoutOf } from './restart.js';

const VERSION = 1;
const SIGALTSTACK_SIZE = 24;
const CLONE_THREAD_FLAGS = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
const AMX_TILE_DATA = 18n;

/** The id that the thread itself sees. */
export function innerTid(thread: RawThread): number {
  const fields = parseFields(thread.statusText);
  return innermostId(fields.get('NSpid') ?? field(fields, 'Pid'));
}

/**
 * One record a thread, the leader first.
 *
 * @param read  Reads the memory of the process as it was when it stood still.
 */
export function captureThreads(raw: RawProcess, read: (address: bigint, length: number) => Buffer): Record_[] {
  const sharedPending = signalsOf(raw.sharedPending);
  return raw.threads.map((thread) => {
    const fields = parseFields(thread.statusText);
    const call = interruptedCall(thread.registers, thread.wait, hasSignal(thread, sharedPending));
    const rseq = thread.rseq;
    return {
      kind: 'thread',
      version: VERSION,
      tid: innerTid(thread),
      name: thread.comm,
      registers: thread.registers,
      xstate: thread.xstate,
      xstatePermissions: raw.xstatePermissions,
      // What the kernel would have done for the interrupted call is decided here, where it is known.
      interrupted: call === undefined ? null : { number: call.number, args: call.args, waitedNs: call.waitedNs ?? null, requestedNs: requestedTimeout(call, read) ?? null },
      rseq: rseq === null ? null : { address: rseq.address, size: rseq.size, signature: rseq.signature },
      signalMask: thread.signalMask,
      pending: signalsOf(thread.pending),
      scheduling: { ...thread.scheduling },
      affinity: thread.affinity,
      robustHead: thread.robustList.head,
      robustLength: thread.robustList.length,
      alternateStack: thread.alternateStack,
      clearChildTid: thread.clearChildTid,
      timerSlackNs: thread.timerSlackNs,
      parentDeathSignal: thread.parentDeathSignal,
      ioPriority: thread.ioPriority,
      capabilities: ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb'].map((name) => BigInt(`0x${field(fields, name)}`)),
    };
  });
}

/** Whether a signal waits that the thread does not block. */
export function hasSignal(thread: RawThread, sharedPending: readonly Buffer[]): boolean {
  return [...signalsOf(thread.pending), ...sharedPending].some((info) => ((thread.signalMask >> BigInt(info.readInt32LE(0) - 1)) & 1n) === 0n);
}

export function signalsOf(bytes: Buffer): Buffer[] {
  return Array.from({ length: Math.floor(bytes.length / SIGINFO_SIZE) }, (_, index) => bytes.subarray(index * SIGINFO_SIZE, (index + 1) * SIGINFO_SIZE));
}

export interface ThreadRecord {
  readonly tid: number;
  readonly name: Buffer;
  readonly registers: Buffer;
  readonly xstate: Buffer;
  readonly xstatePermissions: bigint;
  readonly interrupted: { readonly number: number; readonly args: readonly bigint[]; readonly waitedNs: bigint | undefined; readonly requestedNs: bigint | undefined } | undefined;
  readonly rseq: { readonly address: bigint; readonly size: number; readonly signature: number } | undefined;
  readonly signalMask: bigint;
  readonly pending: readonly Buffer[];
  readonly scheduling: { readonly policy: number; readonly flags: bigint; readonly nice: number; readonly priority: number; readonly runtime: bigint; readonly deadline: bigint; readonly period: bigint };
  readonly affinity: Buffer;
  readonly robustHead: bigint;
  readonly robustLength: number;
  readonly alternateStack: Buffer;
  readonly clearChildTid: bigint;
  readonly timerSlackNs: bigint;
  readonly parentDeathSignal: number;
  readonly ioPriority: number;
  /** Inheritable, permitted, effective, bounding, ambient. */
  readonly capabilities: readonly bigint[];
}

export function readThreadRecord(record: Record_): ThreadRecord {
  const reader = readRecord(record, VERSION);
  const scheduling = reader.map('scheduling');
  return {
    tid: reader.number('tid'),
    name: reader.bytes('name'),
    registers: reader.bytes('registers', REGISTER_SET_SIZE),
    xstate: reader.bytes('xstate'),
    xstatePermissions: reader.bigint('xstatePermissions'),
    interrupted: reader.optional('interrupted', (r, name) => {
      const call = r.map(name);
      return {
        number: call.number('number'),
        args: call.bigints('args'),
        waitedNs: call.optional('waitedNs', (c, field_) => c.bigint(field_)),
        requestedNs: call.optional('requestedNs', (c, field_) => c.bigint(field_)),
      };
    }),
    rseq: reader.optional('rseq', (r, name) => {
      const rseq = r.map(name);
      return { address: rseq.bigint('address'), size: rseq.number('size'), signature: rseq.number('signature') };
    }),
    signalMask: reader.bigint('signalMask'),
    pending: reader.byteLists('pending'),
    scheduling: {
      policy: scheduling.number('policy'),
      flags: scheduling.bigint('flags'),
      nice: scheduling.number('nice'),
      priority: scheduling.number('priority'),
      runtime: scheduling.bigint('runtime'),
      deadline: scheduling.bigint('deadline'),
      period: scheduling.bigint('period'),
    },
    affinity: reader.bytes('affinity'),
    robustHead: reader.bigint('robustHead'),
    robustLength: reader.number('robustLength'),
    alternateStack: reader.bytes('alternateStack', SIGALTSTACK_SIZE),
    clearChildTid: reader.bigint('clearChildTid'),
    timerSlackNs: reader.bigint('timerSlackNs'),
    parentDeathSignal: reader.number('parentDeathSignal'),
    ioPriority: reader.number('ioPriority'),
    capabilities: reader.bigints('capabilities'),
  };
}

export function describeThread(record: Record_): string[] {
  const thread = readThreadRecord(record);
  const call = thread.interrupted;
  const doing = call === undefined ? 'running' : `in system call ${call.number}${call.waitedNs === undefined ? '' : `, waiting for ${call.waitedNs / 1_000_000n} ms`}`;
  return [`thread ${thread.tid} "${thread.name.toString('utf8')}": at 0x${getRegister(thread.registers, 'rip').toString(16)}, ${doing}`];
}

/**
 * The registers with which a thread goes on.
 *
 * @param finish  Has a stub make the call with what is left of the timeout that the program asked for.
 */
export function resumeRegisters(thread: ThreadRecord, finish: (registers: Buffer, call: InterruptedCall, requestedNs: bigint) => Buffer): Buffer {
  const interrupted = thread.interrupted;
  if (interrupted === undefined) return thread.registers;
  const call: InterruptedCall = { ...interrupted, cutShort: false, timeout: timeoutOf(interrupted.number, interrupted.args) };
  const { requestedNs } = interrupted;
  return requestedNs === undefined || call.timeout === undefined ? repeatCall(thread.registers, call) : finish(thread.registers, call, requestedNs);
}

/** Makes another thread of the process, which goes on at `child`. */
export function spawnThread(tape: Tape, tid: number, child: Mark): void {
  const stackSize = 2048;
  tape.spawn(`make thread ${tid}`, { flags: CLONE_THREAD_FLAGS, stack: tape.reserve(stackSize, 16), stackSize, setTid: [tid] }, child);
}

/** The attributes that a thread must give itself. */
export function restoreThreadAttributes(tape: Tape, pid: number, thread: ThreadRecord): void {
  const of = `of thread ${thread.tid}`;
  tape.call(`set the name ${of}`, 'prctl', [PR_SET_NAME, tape.text(thread.name.subarray(0, 15)), 0, 0, 0]);
  if (thread.robustHead !== 0n) tape.call(`set the robust list ${of}`, 'set_robust_list', [thread.robustHead, thread.robustLength]);
  if (thread.rseq !== undefined) {
    tape.call(`register the restartable sequences ${of}`, 'rseq', [thread.rseq.address, thread.rseq.size, 0, thread.rseq.signature]);
  }
  tape.call(`set clear_child_tid ${of}`, 'set_tid_address', [thread.clearChildTid]);
  tape.call(`set the timer slack ${of}`, 'prctl', [PR_SET_TIMERSLACK, thread.timerSlackNs, 0, 0, 0]);
  if (thread.parentDeathSignal !== 0) tape.call(`set the parent-death signal ${of}`, 'prctl', [PR_SET_PDEATHSIG, thread.parentDeathSignal, 0, 0, 0]);
  // Where the resumer has fewer rights or other processors than the program had, these stay as they are.
  tape.call(`set the I/O priority ${of}`, 'ioprio_set', [1, 0, thread.ioPriority], { mayFail: true });
  tape.call(`set the scheduling ${of}`, 'sched_setattr', [0, tape.data(schedulingBytes(thread)), 0], { mayFail: true });
  tape.call(`set the processors ${of}`, 'sched_setaffinity', [0, thread.affinity.length, tape.data(thread.affinity)], { mayFail: true });
  if ((thread.xstatePermissions >> AMX_TILE_DATA) & 1n && thread.tid === pid) {
    tape.call('ask for the processor feature AMX', 'arch_prctl', [ARCH_REQ_XCOMP_PERM, AMX_TILE_DATA]);
  }
  for (const info of thread.pending) {
    tape.call(`queue a pending signal ${of}`, 'rt_tgsigqueueinfo', [pid, thread.tid, info.readInt32LE(0), tape.data(info)]);
  }
}

const LINUX_CAPABILITY_VERSION_3 = 0x20080522;

/** In a user namespace of its own a process has every capability: it is given those it had. */
export function restoreCapabilities(tape: Tape, thread: ThreadRecord): void {
  const [inheritable = 0n, permitted = 0n, effective = 0n] = thread.capabilities;
  const header = Buffer.alloc(8);
  header.writeUInt32LE(LINUX_CAPABILITY_VERSION_3, 0);
  const sets = Buffer.alloc(24); // two of {effective, permitted, inheritable}, low words first
  [effective, permitted, inheritable].forEach((set, index) => {
    sets.writeUInt32LE(Number(set & 0xffffffffn), index * 4);
    sets.writeUInt32LE(Number(set >> 32n), 12 + index * 4);
  });
  tape.call(`set the capabilities of thread ${thread.tid}`, 'capset', [tape.data(header), tape.data(sets)]);
}

function schedulingBytes(thread: ThreadRecord): Buffer {
  const { scheduling } = thread;
  const bytes = Buffer.alloc(48);
  bytes.writeUInt32LE(bytes.length, 0);
  bytes.writeUInt32LE(scheduling.policy, 4);
  bytes.writeBigUInt64LE(scheduling.flags, 8);
  bytes.writeInt32LE(scheduling.nice, 16);
  bytes.writeUInt32LE(scheduling.priority, 20);
  bytes.writeBigUInt64LE(scheduling.runtime, 24);
  bytes.writeBigUInt64LE(scheduling.deadline, 32);
  bytes.writeBigUInt64LE(scheduling.period, 40);
  return bytes;
}

/** Sets the thread-local bases. @returns the frame on which the thread leaves. */
export function restoreRegisters(tape: Tape, thread: ThreadRecord, registers: Buffer): DataRef {
  tape.call(`set the FS base of thread ${thread.tid}`, 'arch_prctl', [ARCH_SET_FS, getRegister(registers, 'fs_base')]);
  tape.call(`set the GS base of thread ${thread.tid}`, 'arch_prctl', [ARCH_SET_GS, getRegister(registers, 'gs_base')]);
  return signalFrame(tape, { registers, xstate: thread.xstate, signalMask: thread.signalMask, alternateStack: thread.alternateStack });
}

/**
 * Restartable sequences: a thread stopped inside one must not find it half done.
 *
 * The kernel aborts a sequence by itself when it preempts the thread there; a tape
 * played in the thread would make it overlook that, so the abort is done here, for
 * the thaw and for the image alike. rseq(2), include/uapi/linux/rseq.h.
 */
import { native } from '../native.js';
import { getRegister, withRegisters } from '../proc/registers.js';
import type { StoppedThread } from './stopped.js';

/** Offset of rseq_cs in struct rseq. */
const RSEQ_CS = 8n;

export function leaveCriticalSection(pid: number, thread: StoppedThread): void {
  const { rseq } = thread;
  if (rseq === null) return;
  const descriptor = native.readMemory(pid, rseq.address + RSEQ_CS, 8).readBigUInt64LE(0);
  if (descriptor === 0n) return;
  // struct rseq_cs: u32 version, u32 flags, u64 start_ip, u64 post_commit_offset, u64 abort_ip
  const section = native.readMemory(pid, descriptor, 32);
  const start = section.readBigUInt64LE(8);
  const length = section.readBigUInt64LE(16);
  const abort = section.readBigUInt64LE(24);
  const rip = getRegister(thread.registers, 'rip');
  if (BigInt.asUintN(64, rip - start) >= length) return;
  thread.registers = withRegisters(thread.registers, { rip: abort });
  thread.disturbed = true;
  native.writeMemory(pid, rseq.address + RSEQ_CS, Buffer.alloc(8));
}

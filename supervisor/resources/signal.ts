/**
 * Signals of the process: dispositions, and those that wait for any of its threads.
 * sigaction(2), sigqueue(3).
 */
import { SIGINFO_SIZE, signalName } from '../linux.js';
import type { Tape } from '../tape/tape.js';
import type { RawProcess } from './raw.js';
import { type Record_, readRecord } from './record.js';
import { signalsOf } from './thread.js';

const VERSION = 1;
const SIGACTION_SIZE = 32;

export function captureSignals(raw: RawProcess): Record_ {
  return {
    kind: 'signals',
    version: VERSION,
    // struct kernel_sigaction by signal number; empty for 0, SIGKILL and SIGSTOP.
    actions: raw.signalActions.map((action) => action ?? Buffer.alloc(0)),
    pending: signalsOf(raw.sharedPending),
  };
}

function readSignals(record: Record_): { actions: Buffer[]; pending: Buffer[] } {
  const reader = readRecord(record, VERSION);
  return {
    actions: reader.byteLists('actions'),
    pending: reader.byteLists('pending').filter((info) => info.length === SIGINFO_SIZE),
  };
}

export function describeSignals(record: Record_): string[] {
  const { actions, pending } = readSignals(record);
  const named = (wanted: (handler: bigint) => boolean): string =>
    actions
      .map((action, signal) => (action.length === SIGACTION_SIZE && wanted(action.readBigUInt64LE(0)) ? signalName(signal) : ''))
      .filter((name) => name !== '')
      .join(' ') || 'none';
  return [
    `signals handled: ${named((handler) => handler > 1n)}`,
    `signals ignored: ${named((handler) => handler === 1n)}`,
    `signals pending: ${pending.map((info) => signalName(info.readInt32LE(0))).join(' ') || 'none'}`,
  ];
}

/** Dispositions: before any thread exists that could be hit. All signals are blocked until the program goes on. */
export function restoreDispositions(tape: Tape, record: Record_): void {
  readSignals(record).actions.forEach((action, signal) => {
    if (action.length !== SIGACTION_SIZE || action.every((byte) => byte === 0)) return;
    tape.call(`set the disposition of ${signalName(signal)}`, 'rt_sigaction', [signal, tape.data(action), 0, 8]);
  });
}

export function restoreSharedPending(tape: Tape, record: Record_, pid: number): void {
  for (const info of readSignals(record).pending) {
    const signal = info.readInt32LE(0);
    tape.call(`queue the pending ${signalName(signal)}`, 'rt_sigqueueinfo', [pid, signal, tape.data(info)]);
  }
}

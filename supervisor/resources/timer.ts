/**
 * Timers: the three interval timers (alarm(2) is one of them) and POSIX timers with
 * their ids. setitimer(2), timer_create(2). Times are what was left at the checkpoint.
 */
import { PR_TIMER_CREATE_RESTORE_IDS } from '../linux.js';
import { parseTimers } from '../proc/status.js';
import type { Tape } from '../tape/tape.js';
import type { RawProcess } from './raw.js';
import { type Record_, readRecord } from './record.js';
import { innerTid } from './thread.js';

const VERSION = 1;
const ITIMERSPEC_SIZE = 32;
const SIGEVENT_SIZE = 64;
const SIGEV_THREAD_ID = 4;
const INTERVAL_TIMERS = ['ITIMER_REAL', 'ITIMER_VIRTUAL', 'ITIMER_PROF'];
/** Up to this id, ids are reached by making and deleting timers, which every kernel allows. */
const MAX_COUNTED_ID = 4096;

export function captureTimers(raw: RawProcess): Record_ {
  const inner = new Map(raw.threads.map((thread) => [thread.tid, innerTid(thread)]));
  return {
    kind: 'timers',
    version: VERSION,
    intervals: raw.intervalTimers,
    posix: parseTimers(raw.timersText)
      .map((timer) => ({
        id: timer.id,
        clock: timer.clock,
        signal: timer.signal,
        value: timer.value,
        notify: timer.notify,
        // The thread that is notified may have ended.
        thread: inner.get(timer.target) ?? 0,
        setting: raw.timerSettings.get(timer.id) ?? Buffer.alloc(ITIMERSPEC_SIZE),
      }))
      .sort((a, b) => a.id - b.id),
  };
}

interface Timer {
  readonly id: number;
  readonly clock: number;
  readonly signal: number;
  readonly value: bigint;
  readonly notify: number;
  readonly thread: number;
  readonly setting: Buffer;
}

function readTimers(record: Record_): { intervals: Buffer[]; posix: Timer[] } {
  const reader = readRecord(record, VERSION);
  return {
    intervals: reader.byteLists('intervals'),
    posix: reader.list('posix').map((timer) => ({
      id: timer.number('id'),
      clock: timer.number('clock'),
      signal: timer.number('signal'),
      value: timer.bigint('value'),
      notify: timer.number('notify'),
      thread: timer.number('thread'),
      setting: timer.bytes('setting', ITIMERSPEC_SIZE),
    })),
  };
}

export function describeTimers(record: Record_): string[] {
  const { intervals, posix } = readTimers(record);
  const lines = intervals.map((setting, which) => (isZero(setting) ? '' : `${INTERVAL_TIMERS[which]}: ${microseconds(setting, 16)} us left, every ${microseconds(setting, 0)} us`));
  return [
    ...lines.filter((line) => line !== ''),
    ...posix.map((timer) => `POSIX timer ${timer.id} of clock ${timer.clock}: ${timer.setting.readBigInt64LE(16)}.${String(timer.setting.readBigInt64LE(24)).padStart(9, '0')} s left`),
  ];
}

function microseconds(setting: Buffer, at: number): bigint {
  return setting.readBigInt64LE(at) * 1_000_000n + setting.readBigInt64LE(at + 8);
}

function isZero(bytes: Buffer): boolean {
  return bytes.every((byte) => byte === 0);
}

/** Makes the POSIX timers, disarmed, with the ids they had. */
export function createTimers(tape: Tape, record: Record_): void {
  const { posix } = readTimers(record);
  const last = posix.at(-1)?.id ?? -1;
  if (last > MAX_COUNTED_ID) {
    tape.call('ask for timer ids of choice', 'prctl', [PR_TIMER_CREATE_RESTORE_IDS, 1, 0, 0, 0]);
    for (const timer of posix) createTimer(tape, timer);
    tape.call('give up timer ids of choice', 'prctl', [PR_TIMER_CREATE_RESTORE_IDS, 0, 0, 0, 0]);
    return;
  }
  const byId = new Map(posix.map((timer) => [timer.id, timer]));
  for (let id = 0; id <= last; id++) {
    const timer = byId.get(id);
    createTimer(tape, timer ?? { id, clock: 1, signal: 0, value: 0n, notify: 1 /* SIGEV_NONE */, thread: 0, setting: Buffer.alloc(0) });
    if (timer === undefined) tape.call(`pass over timer id ${id}`, 'timer_delete', [id]);
  }
}

function createTimer(tape: Tape, timer: Timer): void {
  const event = Buffer.alloc(SIGEVENT_SIZE);
  event.writeBigUInt64LE(BigInt.asUintN(64, timer.value), 0);
  event.writeInt32LE(timer.signal, 8);
  event.writeInt32LE(timer.notify, 12);
  event.writeInt32LE(timer.notify & SIGEV_THREAD_ID ? timer.thread : 0, 16);
  const id = Buffer.alloc(8);
  id.writeInt32LE(timer.id, 0);
  tape.call(`make POSIX timer ${timer.id}`, 'timer_create', [timer.clock, tape.data(event), tape.data(id)]);
}

/** Arms everything: the last thing before the program goes on. */
export function armTimers(tape: Tape, record: Record_): void {
  const { intervals, posix } = readTimers(record);
  intervals.forEach((saved, which) => {
    const setting = Buffer.from(saved);
    // Expired, with its signal still waiting, and to begin anew when that is taken (dequeue_signal, kernel/signal.c):
    // so it expires once more, which adds nothing to a signal that waits already.
    if (!isZero(setting) && isZero(setting.subarray(16))) setting.writeBigInt64LE(1n, 24);
    if (!isZero(setting)) tape.call(`set ${INTERVAL_TIMERS[which]}`, 'setitimer', [which, tape.data(setting), 0]);
  });
  for (const timer of posix) {
    if (!isZero(timer.setting)) tape.call(`set POSIX timer ${timer.id}`, 'timer_settime', [timer.id, 0, tape.data(timer.setting), 0]);
  }
}

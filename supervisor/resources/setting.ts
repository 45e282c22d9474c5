/**
 * Settings of a process that prctl(2) gets and sets as one number each: a table. Only
 * what differs from a new process's is stored.
 */
import { PR_GET_IO_FLUSHER, PR_GET_MEMORY_MERGE, PR_GET_SECUREBITS, PR_GET_TSC, PR_MCE_KILL, PR_MCE_KILL_GET, PR_SET_IO_FLUSHER, PR_SET_MEMORY_MERGE, PR_SET_SECUREBITS, PR_SET_TSC } from '../linux.js';
import { ProcsError } from '../errors.js';
import type { Tape } from '../tape/tape.js';
import type { FieldReader } from './record.js';

const PR_MCE_KILL_SET = 1;
const PR_MCE_KILL_DEFAULT = 2;
const PR_TSC_ENABLE = 1;

export interface Setting {
  readonly name: string;
  readonly get: number;
  /** The value is written where an argument points, not returned. */
  readonly byPointer: boolean;
  /** What a new process has. */
  readonly usual: number;
  /** Arguments of the prctl that sets it. */
  set(value: number): readonly number[];
}

const setting = (name: string, get: number, set: (value: number) => readonly number[], usual = 0, byPointer = false): Setting => ({ name, get, byPointer, usual, set });

export const SETTINGS: readonly Setting[] = [
  setting('machine check policy', PR_MCE_KILL_GET, (value) => [PR_MCE_KILL, PR_MCE_KILL_SET, value, 0, 0], PR_MCE_KILL_DEFAULT),
  setting('time-stamp counter', PR_GET_TSC, (value) => [PR_SET_TSC, value, 0, 0, 0], PR_TSC_ENABLE, true),
  setting('secure bits', PR_GET_SECUREBITS, (value) => [PR_SET_SECUREBITS, value, 0, 0, 0]),
  setting('I/O flusher', PR_GET_IO_FLUSHER, (value) => [PR_SET_IO_FLUSHER, value, 0, 0, 0]),
  setting('memory merging', PR_GET_MEMORY_MERGE, (value) => [PR_SET_MEMORY_MERGE, value, 0, 0, 0]),
];

/** @param values  In the order of SETTINGS; negative where the kernel has none or does not tell. */
export function captureSettings(values: readonly number[]): { name: string; value: number }[] {
  return SETTINGS.map(({ name, usual }, index) => ({ name, value: values[index] ?? usual })).filter(({ value }, index) => value >= 0 && value !== SETTINGS[index]?.usual);
}

export function readSettings(reader: FieldReader): { name: string; value: number }[] {
  return reader.list('settings').map((entry) => ({ name: entry.text('name'), value: entry.number('value') }));
}

export function restoreSettings(tape: Tape, settings: readonly { readonly name: string; readonly value: number }[]): void {
  for (const { name, value } of settings) {
    const known = SETTINGS.find((candidate) => candidate.name === name);
    if (known === undefined) throw new ProcsError('PROCS_ERR_IMAGE_VERSION', `cannot use the image: it has a setting ${JSON.stringify(name)}, which this program does not know`);
    tape.call(`set the ${name}`, 'prctl', known.set(value));
  }
}

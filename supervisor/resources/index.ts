/**
 * Every kind of resource, in one table: what captures it, describes it, restores it.
 * A new kind of descriptor is one line in DESCRIPTOR_KINDS.
 */
import type { DescriptorKind } from './descriptor.js';
import { device } from './device.js';
import { directory } from './directory.js';
import { describeFile } from './file.js';
import { describeMemory } from './memory.js';
import { pipe } from './pipe.js';
import { describeProcess } from './process.js';
import type { Record_ } from './record.js';
import { regularFile } from './regular-file.js';
import { describeSignals } from './signal.js';
import { stream } from './stream.js';
import { describeThread } from './thread.js';
import { describeTimers } from './timer.js';

/** In the order in which they are asked: a standard stream to the outside before the pipes inside. */
export const DESCRIPTOR_KINDS: readonly DescriptorKind[] = [regularFile, directory, device, stream, pipe];

const DESCRIBERS: Readonly<Record<string, (record: Record_) => string[]>> = {
  process: describeProcess,
  thread: describeThread,
  memory: describeMemory,
  signals: describeSignals,
  timers: describeTimers,
  file: (record) => [describeFile(record)],
  ...Object.fromEntries(DESCRIPTOR_KINDS.map((kind) => [kind.kind, (record: Record_) => kind.describe(record)])),
};

/** A record as lines of text; undefined where its kind is unknown. */
export function describeRecord(record: Record_): string[] | undefined {
  return DESCRIBERS[record.kind]?.(record);
}

export type { Record_ } from './record.js';

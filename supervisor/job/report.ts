/** A checkpoint in one line: on the supervisor's stderr, and from `procs checkpoint`. */
import { formatBytes, formatDuration } from '../format.js';
import type { CheckpointReport } from './types.js';

/** `checkpoint 3 of simulate: 12.4 MiB, paused 4.1 ms, done in 88.0 ms`. */
export function describeReport(report: CheckpointReport): string {
  const facts = [formatBytes(report.bytes), `paused ${formatDuration(report.pauseMs)}`, `done in ${formatDuration(report.durationMs)}`];
  return `checkpoint ${report.number} of ${report.name}: ${facts.join(', ')}${report.stopped ? '; the program was ended' : ''}`;
}

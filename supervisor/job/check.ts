/** `procs check PID`: what would refuse a checkpoint of any process now. It is frozen for a moment, and left as it was. */
import { existsSync } from 'node:fs';
import { ProcsError } from '../errors.js';
import { findReasons } from '../freeze/snapshot.js';
import { AreaFlags } from '../proc/maps.js';
import { WaitTimes } from '../freeze/waiting.js';
import type { Refusal } from './types.js';

export function checkProcess(pid: number): Promise<readonly Refusal[]> {
  if (!existsSync(`/proc/${pid}`)) return Promise.reject(new ProcsError('PROCS_ERR_NO_PROCESS', `cannot check process ${pid}: there is none`));
  try {
    const reasons = findReasons({ pid, region: undefined, waits: WaitTimes.before(pid, undefined), flags: new AreaFlags(), sink: { fd: -1, offset: 0, extents: [], shared: [] }, files: 'rewind' });
    return Promise.resolve(reasons.map((reason) => ({ pid, ...reason })));
  } catch (error) {
    return Promise.reject(error instanceof Error ? error : new Error(String(error)));
  }
}

/**
 * How a resumed process gets the ids it had: directly where that is permitted and they
 * are free, else in a PID namespace of its own; clone(2) set_tid, pid_namespaces(7),
 * time_namespaces(7).
 */
import { existsSync, readFileSync } from 'node:fs';
import { ProcsError } from '../errors.js';
import { CLOCK_BOOTTIME, CLOCK_MONOTONIC } from '../linux.js';
import { native } from '../native.js';
import { field, parseFields } from '../proc/status.js';
import type { Isolation } from './plan.js';
import { AGENT_PATH } from './launch.js';

const CAP_SYS_ADMIN = 21n;
const CAP_CHECKPOINT_RESTORE = 40n;

export function chooseIsolation(policy: 'auto' | 'exact' | 'namespace', ids: readonly number[]): Isolation {
  const effective = BigInt(`0x${field(parseFields(readFileSync('/proc/self/status', 'latin1')), 'CapEff')}`);
  const has = (capability: bigint): boolean => ((effective >> capability) & 1n) === 1n;
  const isAdmin = has(CAP_SYS_ADMIN);
  const taken = ids.filter((id) => existsSync(`/proc/${id}`));
  // An administrator may have given the agent the one capability that is needed: setcap cap_checkpoint_restore=ep.
  const viaAgent = !isAdmin && !has(CAP_CHECKPOINT_RESTORE) && native.hasFileCapabilities(AGENT_PATH);
  const canSetIds = isAdmin || has(CAP_CHECKPOINT_RESTORE) || viaAgent;
  if (policy === 'exact' || (policy === 'auto' && canSetIds && taken.length === 0)) {
    if (!canSetIds) {
      throw new ProcsError('PROCS_ERR_PIDS', 'cannot resume with exact process ids: that needs CAP_CHECKPOINT_RESTORE', {
        remedy: 'leave out --pids=exact, and they are kept in a namespace',
      });
    }
    if (taken.length > 0) {
      throw new ProcsError('PROCS_ERR_PIDS', `cannot resume with exact process ids: ${taken.join(', ')} ${taken.length === 1 ? 'is' : 'are'} in use`, {
        remedy: 'leave out --pids=exact, and they are kept in a namespace',
      });
    }
    return { user: false, pid: false, time: isAdmin && existsSync('/proc/self/timens_offsets'), dropCapabilities: viaAgent };
  }
  return { user: !isAdmin, pid: true, time: existsSync('/proc/self/timens_offsets'), dropCapabilities: !isAdmin };
}

/** What /proc/self/timens_offsets has to say for the clocks to go on from where they were. */
export function clockOffsets(saved: { readonly monotonicNs: bigint; readonly boottimeNs: bigint }): string {
  const own = ownOffsets();
  const line = (name: string, clock: number, wanted: bigint): string => {
    const offset = wanted - native.clockNow(clock) + (own.get(name) ?? 0n);
    const nanoseconds = ((offset % 1_000_000_000n) + 1_000_000_000n) % 1_000_000_000n;
    return `${name} ${(offset - nanoseconds) / 1_000_000_000n} ${nanoseconds}\n`;
  };
  return line('monotonic', CLOCK_MONOTONIC, saved.monotonicNs) + line('boottime', CLOCK_BOOTTIME, saved.boottimeNs);
}

/** Offsets are counted from the host's clocks, and the supervisor may itself be in a time namespace. */
function ownOffsets(): Map<string, bigint> {
  try {
    const lines = readFileSync('/proc/self/timens_offsets', 'latin1').trim().split('\n');
    return new Map(lines.map((line) => line.trim().split(/\s+/)).map(([name = '', seconds = '0', nanoseconds = '0']) => [name, BigInt(seconds) * 1_000_000_000n + BigInt(nanoseconds)]));
  } catch {
    return new Map();
  }
}

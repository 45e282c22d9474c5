/**
 * Which process is meant, and whether it still lives: a pid alone is used again, after a reboot at the latest.
 *
 * A process is known by its pid and start time (proc_pid_stat(5)), which mean something in one boot of one
 * kernel, seen from one pid and time namespace. From elsewhere nothing can be said about it.
 */
import { readFileSync, readlinkSync } from 'node:fs';
import { hostname } from 'node:os';
import { parseStat } from '../proc/status.js';

export interface ProcessIdentity {
  readonly pid: number;
  /** Clock ticks since boot, as a decimal number. */
  readonly startTime: string;
  readonly bootId: string;
  /** The host's name. */
  readonly host: string;
  /** machine-id(5), or empty. */
  readonly machineId: string;
  /** The pid and time namespaces in which pid and startTime hold. */
  readonly space: string;
}

/** `unknown`: it ran on another host, or in another container. */
export type Liveness = 'alive' | 'dead' | 'unknown';

/** @throws where there is no such process (ENOENT, ESRCH). */
export function identityOf(pid: number): ProcessIdentity {
  return { pid, startTime: String(parseStat(readFileSync(`/proc/${pid}/stat`, 'latin1')).startTime), ...here() };
}

export function thisProcess(): ProcessIdentity {
  return identityOf(process.pid);
}

export function livenessOf(identity: ProcessIdentity): Liveness {
  const now = here();
  if (identity.bootId !== now.bootId) {
    // This host has been booted since, or it is another one.
    return identity.host === now.host && identity.machineId === now.machineId ? 'dead' : 'unknown';
  }
  if (identity.space !== now.space) return 'unknown';
  return isRunning(identity.pid, identity.startTime) ? 'alive' : 'dead';
}

/** A zombie no longer runs: all it had is closed. */
function isRunning(pid: number, startTime: string): boolean {
  try {
    const stat = parseStat(readFileSync(`/proc/${pid}/stat`, 'latin1'));
    return String(stat.startTime) === startTime && stat.state !== 'Z' && stat.state !== 'X';
  } catch {
    return false;
  }
}

/** An identity that was written to a file by this or another version; undefined where it is none. */
export function parseIdentity(value: unknown): ProcessIdentity | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const { pid, startTime, bootId, host, machineId, space } = value as Record<string, unknown>;
  const isPid = typeof pid === 'number' && Number.isSafeInteger(pid) && pid > 0;
  if (!isPid || typeof startTime !== 'string' || typeof bootId !== 'string' || typeof host !== 'string') return undefined;
  if (typeof machineId !== 'string' || typeof space !== 'string') return undefined;
  return { pid, startTime, bootId, host, machineId, space };
}

type Here = Omit<ProcessIdentity, 'pid' | 'startTime'>;
let cached: Here | undefined;

function here(): Here {
  cached ??= {
    bootId: readOr('/proc/sys/kernel/random/boot_id'),
    host: hostname(),
    machineId: readOr('/etc/machine-id'),
    space: ['pid', 'time'].map(namespaceOf).join(' '),
  };
  return cached;
}

function readOr(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return '';
  }
}

function namespaceOf(kind: string): string {
  try {
    return readlinkSync(`/proc/self/ns/${kind}`);
  } catch {
    return `${kind}:?`; // time namespaces came with Linux 5.6
  }
}

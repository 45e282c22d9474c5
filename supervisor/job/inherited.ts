/**
 * What procs itself was given, as bin/procs wrote it down before Node changed it: the
 * target gets exactly that.
 */
import { fstatSync } from 'node:fs';

export interface Inherited {
  /** `NAME=value` as bytes, in the original order. */
  readonly entries: readonly Buffer[];
  readonly environment: ReadonlyMap<string, string>;
  readonly ignoredSignals: readonly number[];
  readonly blockedSignals: bigint;
  /** Descriptors from 3 on that are passed on. */
  readonly descriptors: readonly number[];
  /** Descriptors that must be closed in the target: standard streams that were, and fillers between those passed on. */
  readonly absent: readonly number[];
  readonly openFilesLimit: { readonly soft: bigint; readonly hard: bigint } | undefined;
}

/** Beyond it, a descriptor is hardly meant for the program. */
const MAX_PASSED_ON = 1023;

export function readInherited(env: NodeJS.ProcessEnv = process.env): Inherited {
  const entries = readEntries(env);
  const descriptors = numbers(env['PROCS_FDS']).filter((fd) => fd > 2 && fd <= MAX_PASSED_ON && isOpen(fd));
  const fillers = Array.from({ length: Math.max(2, ...descriptors) - 2 }, (_, index) => index + 3).filter((fd) => !descriptors.includes(fd));
  const limit = numbers(env['PROCS_NOFILE']);
  return {
    entries,
    environment: new Map(entries.map((entry) => splitEntry(entry.toString()))),
    ignoredSignals: signalsOfMask(env['PROCS_SIGIGN']),
    blockedSignals: mask(env['PROCS_SIGBLK']),
    descriptors,
    absent: [...numbers(env['PROCS_CLOSED']), ...fillers],
    openFilesLimit: limit.length === 2 ? { soft: BigInt(limit[0] ?? 0), hard: BigInt(limit[1] ?? 0) } : undefined,
  };
}

function readEntries(env: NodeJS.ProcessEnv): Buffer[] {
  const packed = env['PROCS_ENVIRON'];
  if (packed !== undefined) {
    const block = Buffer.from(packed, 'base64').toString('latin1');
    return block.split('\0').filter((entry) => entry !== '').map((entry) => Buffer.from(entry, 'latin1'));
  }
  return Object.entries(env)
    .filter(([name]) => !name.startsWith('PROCS_'))
    .map(([name, value]) => Buffer.from(`${name}=${value ?? ''}`));
}

function splitEntry(entry: string): [string, string] {
  const equals = entry.indexOf('=');
  return equals < 0 ? [entry, ''] : [entry.slice(0, equals), entry.slice(equals + 1)];
}

function numbers(text: string | undefined): number[] {
  return (text ?? '').split(/\s+/).filter((word) => /^\d+$/.test(word)).map(Number);
}

function mask(hexadecimal: string | undefined): bigint {
  return /^[0-9a-f]+$/i.test(hexadecimal ?? '') ? BigInt(`0x${hexadecimal}`) : 0n;
}

function signalsOfMask(hexadecimal: string | undefined): number[] {
  const bits = mask(hexadecimal);
  return Array.from({ length: 64 }, (_, index) => index + 1).filter((signal) => (bits >> BigInt(signal - 1)) & 1n);
}

function isOpen(fd: number): boolean {
  try {
    fstatSync(fd);
    return true;
  } catch {
    return false;
  }
}

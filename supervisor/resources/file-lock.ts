/**
 * File locks: flock(2), POSIX record locks and open file description locks (fcntl(2)),
 * from the `lock:` lines of fdinfo. Taken again once every descriptor is in place and
 * none will be closed any more: closing one gives up the process's record locks.
 */
import { ProcsError } from '../errors.js';
import type { Tape } from '../tape/tape.js';

const LOCK_SH = 1;
const LOCK_EX = 2;
const LOCK_NB = 4;
const F_SETLK = 6;
const F_OFD_SETLK = 37;
const F_RDLCK = 0;
const F_WRLCK = 1;

/** `lock:	1: POSIX  ADVISORY  WRITE 4711 fe:00:1234 0 EOF` */
const LINE = /^lock:\s*\d+:\s+(->\s+)?(\w+)\s+(\S+)\s+(\w+)\s+\S+\s+\S+\s+(\d+)\s+(\d+|EOF)\s*$/;

/** Why a lock cannot be saved; undefined where it can. */
export function refusedLock(line: string): string | undefined {
  const match = LINE.exec(line);
  if (match === null) return `a lock that is not understood (${line.trim()})`;
  const [, , kind, , access] = match;
  if (kind === 'LEASE' || kind === 'DELEG') return 'a lease';
  return (kind === 'FLOCK' || kind === 'POSIX' || kind === 'OFDLCK') && (access === 'READ' || access === 'WRITE') ? undefined : `a lock of kind ${kind} ${access}`;
}

export function restoreLock(tape: Tape, fd: number, path: string, line: string): void {
  const match = LINE.exec(line);
  if (match === null || refusedLock(line) !== undefined) throw new ProcsError('PROCS_ERR_IMAGE_FORMAT', `cannot use the image: a lock is written as ${JSON.stringify(line)}`);
  const [, , kind, , access, start = '0', end = 'EOF'] = match;
  const what = `take the lock on ${path} again`;
  if (kind === 'FLOCK') {
    tape.call(what, 'flock', [fd, (access === 'WRITE' ? LOCK_EX : LOCK_SH) | LOCK_NB]);
    return;
  }
  // struct flock: short type, short whence, off_t start, off_t len, pid_t pid
  const lock = Buffer.alloc(32);
  lock.writeInt16LE(access === 'WRITE' ? F_WRLCK : F_RDLCK, 0);
  lock.writeBigInt64LE(BigInt.asIntN(64, BigInt(start)), 8);
  lock.writeBigInt64LE(end === 'EOF' ? 0n : BigInt.asIntN(64, BigInt(end) - BigInt(start) + 1n), 16);
  tape.call(what, 'fcntl', [fd, kind === 'OFDLCK' ? F_OFD_SETLK : F_SETLK, tape.data(lock)]);
}

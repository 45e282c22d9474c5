/**
 * Where this user's running jobs and known images are written down: the XDG base directories, and what
 * stands in for them on machines and in batch jobs that have none.
 */
import fs from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import { isAbsolute, join } from 'node:path';
import { errnoName, ProcsError } from '../errors.js';
import { errnoText } from '../linux.js';

/** sockaddr_un has room for 108 bytes, the last of them zero; unix(7). */
export const MAX_SOCKET_PATH = 107;
/** `/PID-STARTTIME.sock`, the longest name in the runtime directory. */
const LONGEST_NAME = '/4194304-18446744073709551615.sock';

/**
 * The directory for running jobs, made if need be: `$XDG_RUNTIME_DIR/procs`, `/run/user/UID/procs`,
 * `$TMPDIR/procs-UID` or `/tmp/procs-UID`, the first that is, or can be made, a private directory of ours.
 *
 * @throws {ProcsError} `PROCS_ERR_SYSTEM` with what is wrong with each of them.
 */
export function makeRuntimeDirectory(env: NodeJS.ProcessEnv = process.env): string {
  const problems: string[] = [];
  for (const path of runtimeDirectories(env)) {
    const problem = Buffer.byteLength(path + LONGEST_NAME) > MAX_SOCKET_PATH ? 'the path is too long for a socket' : makePrivate(path);
    if (problem === undefined) return path;
    problems.push(`${path}: ${problem}`);
  }
  throw new ProcsError('PROCS_ERR_SYSTEM', `cannot find a place for the control socket: ${problems.join('; ')}`, {
    remedy: 'set XDG_RUNTIME_DIR to a directory of your own with mode 0700',
  });
}

/**
 * All directories in which a job of this user may have been written down: a job started in a batch system
 * and the shell from which it is looked for need not have the same environment. Only those that are ours.
 */
export function existingRuntimeDirectories(env: NodeJS.ProcessEnv = process.env): readonly string[] {
  return runtimeDirectories(env).filter((path) => whyNotPrivate(path) === undefined);
}

/** `$XDG_STATE_HOME/procs`, or `~/.local/state/procs`; undefined where there is no home. Not made. */
export function stateDirectory(env: NodeJS.ProcessEnv = process.env): string | undefined {
  const state = env['XDG_STATE_HOME'];
  if (state !== undefined && isAbsolute(state)) return join(state, 'procs');
  const home = env['HOME'] ?? homeOfUser();
  // A home that is not there (a system user's, a disk not mounted) is not made.
  return home !== undefined && isAbsolute(home) && fs.existsSync(home) ? join(home, '.local/state/procs') : undefined;
}

function runtimeDirectories(env: NodeJS.ProcessEnv): readonly string[] {
  const uid = process.getuid?.() ?? 0;
  const paths: string[] = [];
  // A directory for the session belongs to its user; under sudo it may be another's.
  for (const parent of [env['XDG_RUNTIME_DIR'], `/run/user/${uid}`]) {
    if (parent !== undefined && isAbsolute(parent) && isOurs(parent)) paths.push(join(parent, 'procs'));
  }
  for (const parent of [env['TMPDIR'], tmpdir(), '/tmp']) {
    if (parent !== undefined && isAbsolute(parent)) paths.push(join(parent, `procs-${uid}`));
  }
  return [...new Set(paths)];
}

function isOurs(path: string): boolean {
  try {
    const stat = fs.statSync(path);
    return stat.isDirectory() && stat.uid === process.getuid?.();
  } catch {
    return false;
  }
}

/** Makes a directory that no one else can enter; else says why not. */
function makePrivate(path: string): string | undefined {
  try {
    fs.mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    if (errnoName(error) !== 'EEXIST') return errnoText(-((error as NodeJS.ErrnoException).errno ?? 0));
  }
  return whyNotPrivate(path);
}

/** In /tmp anyone can make a directory, or a link, of our name first. */
function whyNotPrivate(path: string): string | undefined {
  try {
    const stat = fs.lstatSync(path);
    if (stat.isSymbolicLink()) return 'it is a symbolic link';
    if (!stat.isDirectory()) return 'it is not a directory';
    if (stat.uid !== process.getuid?.()) return `it belongs to user ${stat.uid}`;
    if ((stat.mode & 0o077) !== 0) fs.chmodSync(path, 0o700); // nothing in it is trusted beyond being ours
    fs.accessSync(path, fs.constants.R_OK | fs.constants.W_OK | fs.constants.X_OK);
    return undefined;
  } catch (error) {
    return errnoText(-((error as NodeJS.ErrnoException).errno ?? 0));
  }
}

function homeOfUser(): string | undefined {
  try {
    return userInfo().homedir;
  } catch {
    return undefined; // a uid without an entry in passwd(5)
  }
}

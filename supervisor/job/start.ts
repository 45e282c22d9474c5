/**
 * The story of a start: find the program, make it a process that inherits exactly what
 * procs was given, supervise it.
 */
import { type Stats, accessSync, constants, existsSync, statSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { ProcsError, errnoName } from '../errors.js';
import { AT_FDCWD, CLONE_PARENT, O_CLOEXEC, O_WRONLY, signalName } from '../linux.js';
import { packageRoot } from '../native.js';
import { LaunchPipes, TapeFailure, launch } from '../restore/launch.js';
import { Mark, SlotAddress, Tape, type DataRef } from '../tape/tape.js';
import { type Inherited, readInherited } from './inherited.js';
import { Supervisor } from './supervise.js';
import type { Outcome, StartRequest } from './types.js';

const ENOENT = 2;
const ENOEXEC = 8;
const RLIMIT_NOFILE = 7;
const SIG_SETMASK = 2;
/** Far from where programs live; the player is gone with the exec. */
const BASE = 1n << 44n;

export async function startJob(request: StartRequest): Promise<Outcome> {
  const inherited = readInherited();
  const path = findProgram(request.program, inherited.environment.get('PATH'));
  const command = [request.program, ...request.args];
  const supervisor = await Supervisor.prepare(request, command);
  try {
    const pid = await execute(request, path, command, inherited);
    return await supervisor.run({ pid, init: undefined, command, parent: 0, region: undefined });
  } catch (error) {
    await supervisor.close();
    throw error;
  }
}

/** A file without a "#!" line is a shell script, as for execvp(3). */
async function execute(request: StartRequest, path: string, command: readonly string[], inherited: Inherited): Promise<number> {
  try {
    return await executeFile(request, path, command, inherited);
  } catch (error) {
    if (!(error instanceof TapeFailure) || error.label !== executeLabel(path)) throw error;
    if (error.errno === ENOEXEC) return executeFile(request, '/bin/sh', ['/bin/sh', path, ...command.slice(1)], inherited);
    throw new ProcsError(error.errno === ENOENT ? 'PROCS_ERR_NOT_FOUND' : 'PROCS_ERR_NOT_EXECUTABLE', error.message, { cause: error });
  }
}

function executeLabel(path: string): string {
  return `execute ${path}`;
}

async function executeFile(request: StartRequest, path: string, command: readonly string[], inherited: Inherited): Promise<number> {
  using pipes = new LaunchPipes();
  const { tape, reportFd } = startTape(request, path, command, inherited, pipes);
  const { pid } = await launch({ tape, base: BASE, reportFd, pipes, inherited: inherited.descriptors });
  return pid;
}

function startTape(request: StartRequest, path: string, command: readonly string[], inherited: Inherited, pipes: LaunchPipes): { tape: Tape; reportFd: number } {
  const tape = new Tape();
  tape.beginOn(tape.stack(8192));
  const first = Math.max(31, ...inherited.descriptors) + 1;
  const [report, launchFd] = [first, first + 1];
  for (const [fd, as] of [[pipes.report[1], report], [pipes.launch[1], launchFd]] as const) {
    const opened = tape.call('open a pipe', 'openat', [AT_FDCWD, tape.text(`/proc/${process.pid}/fd/${fd}`), O_WRONLY, 0]);
    tape.call('hold a pipe', 'dup3', [opened, as, O_CLOEXEC]);
    tape.call('close a pipe', 'close', [opened]);
  }
  const target = new Mark();
  const child = tape.spawn('make a process', { flags: CLONE_PARENT }, target);
  tape.call('report the id of the process', 'write', [launchFd, new SlotAddress(child), 8]);
  tape.call('end the agent', 'exit_group', [0]);

  tape.place(target);
  tape.call('close a pipe', 'close', [launchFd]);
  for (const fd of inherited.absent) tape.call(`close descriptor ${fd}`, 'close', [fd], { mayFail: true });
  const ignore = Buffer.alloc(32);
  ignore.writeBigUInt64LE(1n, 0); // SIG_IGN
  for (const signal of new Set([...inherited.ignoredSignals, ...request.absorb])) {
    tape.call(`ignore ${signalName(signal)}`, 'rt_sigaction', [signal, tape.data(ignore), 0, 8], { mayFail: true });
  }
  if (inherited.openFilesLimit !== undefined) {
    // Node raises the soft limit for itself.
    tape.call('set the limit of open files', 'prlimit64', [0, RLIMIT_NOFILE, tape.words([inherited.openFilesLimit.soft, inherited.openFilesLimit.hard]), 0], { mayFail: true });
  }
  tape.call('set the signal mask', 'rt_sigprocmask', [SIG_SETMASK, tape.words([inherited.blockedSignals]), 0, 8]);
  const argv = stringVector(tape, command.map((word) => Buffer.from(word)));
  const envp = stringVector(tape, targetEnvironment(inherited));
  tape.call(executeLabel(path), 'execve', [tape.text(path), argv, envp]);
  return { tape, reportFd: report };
}

/** A zero-terminated array of pointers to strings. */
function stringVector(tape: Tape, strings: readonly Uint8Array[]): DataRef {
  const vector = tape.reserve((strings.length + 1) * 8);
  strings.forEach((text, index) => tape.pointer(vector.plus(index * 8), tape.text(text)));
  return vector;
}

function targetEnvironment(inherited: Inherited): Buffer[] {
  const shim = join(packageRoot, 'preload/build/libprocs.so');
  const entries = [...inherited.entries];
  // The dynamic loader separates by colons and spaces, so a shim in such a folder cannot be named.
  if (existsSync(shim) && !/[\s:]/.test(shim)) {
    const at = entries.findIndex((entry) => entry.toString('latin1').startsWith('LD_PRELOAD='));
    const before = at < 0 ? '' : (entries[at] as Buffer).toString('latin1').slice('LD_PRELOAD='.length);
    const value = Buffer.from(`LD_PRELOAD=${shim}${before === '' ? '' : `:${before}`}`, 'latin1');
    if (at < 0) entries.push(value);
    else entries[at] = value;
  }
  return entries;
}

/**
 * The file that a command name means, as a shell finds it.
 *
 * @throws {ProcsError} `PROCS_ERR_NOT_FOUND` (127), `PROCS_ERR_NOT_EXECUTABLE` (126).
 */
export function findProgram(name: string, path = '/usr/local/bin:/usr/bin:/bin'): string {
  const candidates = name.includes('/') ? [name] : path.split(delimiter).map((folder) => join(folder === '' ? '.' : folder, name));
  let refused: string | undefined;
  for (const candidate of candidates) {
    const stat = examine(candidate);
    if (stat === 'forbidden' && name.includes('/')) refused = `you may not look into its folder`;
    // A folder of PATH that one may not look into does not end the search.
    if (stat === undefined || stat === 'forbidden') continue;
    if (stat.isFile() && isExecutable(candidate)) return candidate;
    refused ??= stat.isDirectory() ? `${candidate} is a directory` : `${candidate} is not executable`;
    if (name.includes('/')) break;
  }
  if (refused !== undefined) throw new ProcsError('PROCS_ERR_NOT_EXECUTABLE', `cannot start ${name}: ${refused}`);
  throw new ProcsError('PROCS_ERR_NOT_FOUND', `cannot start ${name}: ${name.includes('/') ? 'there is no such file' : 'it is in no folder of PATH'}`);
}

function examine(path: string): Stats | 'forbidden' | undefined {
  try {
    return statSync(path);
  } catch (error) {
    return errnoName(error) === 'EACCES' ? 'forbidden' : undefined;
  }
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

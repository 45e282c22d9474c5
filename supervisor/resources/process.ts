/**
 * What belongs to the process as a whole: ids, directories, umask, limits, flags that
 * prctl(2) sets, and its clocks.
 */
import { readFileSync, statSync } from 'node:fs';
import {
  PR_SET_CHILD_SUBREAPER,
  PR_SET_DUMPABLE,
  PR_SET_KEEPCAPS,
  PR_SET_NO_NEW_PRIVS,
  PR_SET_THP_DISABLE,
  O_WRONLY,
  AT_FDCWD,
} from '../linux.js';
import { parseMaps } from '../proc/maps.js';
import { pathBytes, pathText } from '../proc/path.js';
import { field, innermostId, parseFields } from '../proc/status.js';
import type { Tape } from '../tape/tape.js';
import type { RawProcess } from './raw.js';
import { type Record_, readRecord } from './record.js';
import type { Frozen, Reason } from './resource.js';
import { captureSettings, readSettings, restoreSettings } from './setting.js';

const VERSION = 1;
const RLIMIT_COUNT = 16;
/** TIF_ADDR32 and their like are not personality; these bits are. personality(2) */
const PERSONALITY_MASK = 0xffffffff;

export function captureProcess(raw: RawProcess): Record_ {
  const fields = parseFields(raw.statusText);
  const ids = (name: string): number[] => field(fields, name).split(/\s+/).filter((id) => id !== '').map(Number);
  return {
    kind: 'process',
    version: VERSION,
    pid: innermostId(fields.get('NSpid') ?? field(fields, 'Pid')),
    uids: ids('Uid'),
    gids: ids('Gid'),
    groups: ids('Groups'),
    umask: parseInt(field(fields, 'Umask'), 8),
    directory: raw.cwdLink,
    personality: raw.personality,
    oomScoreAdj: raw.oomScoreAdj,
    coredumpFilter: raw.coredumpFilter,
    limits: raw.limits.map(([soft, hard]) => ({ soft, hard })),
    noNewPrivileges: field(fields, 'NoNewPrivs') === '1',
    childSubreaper: raw.childSubreaper !== 0,
    dumpable: raw.dumpable,
    keepCapabilities: raw.keepCapabilities !== 0,
    settings: captureSettings(raw.settings),
    thpDisabled: Math.max(raw.thpDisabled, 0),
    monotonicNs: raw.monotonicNs,
    boottimeNs: raw.boottimeNs,
  };
}

/** The vDSO and its data, which are not the program's to keep, but its time comes from. vdso(7) */
const KERNEL_AREAS = /^\[(vvar|vvar_vclock|vdso)\]$/;

/**
 * What forbids any foreign code in a process: a filter may kill it for a system call that it does not
 * expect, strict mode does (seccomp(2)). Each thread has its own.
 *
 * @param statusTexts  /proc/PID/task/TID/status of its threads.
 */
export function refuseEntry(statusTexts: readonly string[]): Reason[] {
  const modes = new Set(statusTexts.map((text) => field(parseFields(text), 'Seccomp')));
  if (modes.has('1')) return [{ where: 'seccomp', what: 'strict mode, in which a process may only read, write and exit', remedy: 'run the program without its sandbox' }];
  if (modes.has('2')) return [{ where: 'seccomp', what: 'a system call filter, which an ordinary user cannot read', remedy: 'run the program without its sandbox' }];
  return [];
}

/** What of the process cannot be saved. */
export function refuseProcess(frozen: Frozen): void {
  const { raw } = frozen;
  const fields = parseFields(raw.statusText);
  for (const pid of raw.childrenText.split(/\s+/)) {
    if (pid === '') continue;
    frozen.refuse({ where: `child ${pid}`, what: 'another process of the program', remedy: 'programs of several processes cannot be saved yet: checkpoint when its children have ended' });
  }
  const directory = statSync(pathBytes(raw.cwdLink), { bigint: true, throwIfNoEntry: false });
  const own = statSync(`/proc/${raw.pid}/cwd`, { bigint: true });
  if (directory?.ino !== own.ino || directory.dev !== own.dev) {
    frozen.refuse({ where: 'working directory', what: `${pathText(raw.cwdLink)}, which is no longer there`, remedy: 'have the program change to a directory that exists' });
  }
  const kernelAreas = parseMaps(readFileSync('/proc/self/maps', 'latin1')).filter(({ name }) => KERNEL_AREAS.test(name));
  for (const { name, start, end } of kernelAreas) {
    const length = raw.vmas.filter((vma) => vma.name === name).reduce((sum, vma) => sum + (vma.end - vma.start), 0n);
    if (length !== end - start) frozen.refuse({ where: 'memory', what: `the kernel's ${name} has been unmapped`, remedy: 'keep it mapped' });
  }
  if (raw.rootLink !== '/' && raw.rootLink !== '') {
    frozen.refuse({ where: 'root directory', what: `a root directory of its own, ${pathText(raw.rootLink)}`, remedy: 'run procs inside that root' });
  }
  if (!raw.threads.some((thread) => thread.tid === raw.pid)) {
    frozen.refuse({ where: `thread ${raw.pid}`, what: 'its first thread has ended while others go on', remedy: 'wait for the other threads in the first one instead of ending it with pthread_exit' });
  }
}

export interface ProcessRecord {
  readonly pid: number;
  /** Real, effective, saved, file system. */
  readonly uids: readonly number[];
  readonly gids: readonly number[];
  readonly groups: readonly number[];
  readonly umask: number;
  readonly directory: string;
  readonly personality: number;
  readonly oomScoreAdj: number;
  readonly coredumpFilter: number;
  readonly limits: readonly { readonly soft: bigint; readonly hard: bigint }[];
  readonly noNewPrivileges: boolean;
  readonly childSubreaper: boolean;
  readonly dumpable: number;
  readonly keepCapabilities: boolean;
  readonly settings: readonly { readonly name: string; readonly value: number }[];
  /** 0; 1; or, from 6.18 on, 3: except where huge pages are advised. */
  readonly thpDisabled: number;
  readonly monotonicNs: bigint;
  readonly boottimeNs: bigint;
}

export function readProcessRecord(record: Record_): ProcessRecord {
  const reader = readRecord(record, VERSION);
  return {
    pid: reader.number('pid'),
    uids: reader.numbers('uids'),
    gids: reader.numbers('gids'),
    groups: reader.numbers('groups'),
    umask: reader.number('umask'),
    directory: reader.text('directory'),
    personality: reader.number('personality'),
    oomScoreAdj: reader.number('oomScoreAdj'),
    coredumpFilter: reader.number('coredumpFilter'),
    limits: reader.list('limits').slice(0, RLIMIT_COUNT).map((limit) => ({ soft: limit.bigint('soft'), hard: limit.bigint('hard') })),
    noNewPrivileges: reader.flag('noNewPrivileges'),
    childSubreaper: reader.flag('childSubreaper'),
    dumpable: reader.number('dumpable'),
    keepCapabilities: reader.flag('keepCapabilities'),
    settings: readSettings(reader),
    thpDisabled: reader.number('thpDisabled'),
    monotonicNs: reader.bigint('monotonicNs'),
    boottimeNs: reader.bigint('boottimeNs'),
  };
}

export function describeProcess(record: Record_): string[] {
  const process = readProcessRecord(record);
  return [
    `process ${process.pid}, user ${process.uids[0]}, group ${process.gids[0]}`,
    `directory ${pathText(process.directory)}, umask ${process.umask.toString(8).padStart(3, '0')}`,
  ];
}

/** Attributes that nothing later depends on. */
export function restoreProcess(tape: Tape, process: ProcessRecord): void {
  // A process made with capabilities is not dumpable, and then /proc/self is not its own.
  tape.call('set the dumpable flag', 'prctl', [PR_SET_DUMPABLE, 1, 0, 0, 0]);
  tape.call('set the personality', 'personality', [process.personality & PERSONALITY_MASK]);
  tape.call(`change to the directory ${pathText(process.directory)}`, 'chdir', [tape.text(pathBytes(process.directory))]);
  tape.call('set the umask', 'umask', [process.umask]);
  if (process.childSubreaper) tape.call('set the child subreaper flag', 'prctl', [PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0]);
  if (process.thpDisabled !== 0) tape.call('disable huge pages', 'prctl', [PR_SET_THP_DISABLE, 1, process.thpDisabled & ~1, 0, 0]);
  restoreSettings(tape, process.settings);
  if (process.keepCapabilities) tape.call('set keepcaps', 'prctl', [PR_SET_KEEPCAPS, 1, 0, 0, 0]);
  if (process.noNewPrivileges) tape.call('set no_new_privs', 'prctl', [PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0]);
  // Lowering it below what the resumer has needs CAP_SYS_RESOURCE: it then stays as it is.
  writeProcFile(tape, 'oom_score_adj', String(process.oomScoreAdj));
  writeProcFile(tape, 'coredump_filter', `0x${process.coredumpFilter.toString(16)}`);
}

function writeProcFile(tape: Tape, name: string, value: string): void {
  const fd = tape.call(`open /proc/self/${name}`, 'openat', [AT_FDCWD, tape.text(`/proc/self/${name}`), O_WRONLY, 0], { mayFail: true });
  tape.call(`set ${name}`, 'write', [fd, tape.text(value), value.length], { mayFail: true });
  tape.call(`close ${name}`, 'close', [fd], { mayFail: true });
}

/** Last of all, as limits may be too tight for the restore itself. */
export function restoreLimits(tape: Tape, process: ProcessRecord): void {
  process.limits.forEach((limit, resource) => {
    // Raising a hard limit needs CAP_SYS_RESOURCE; where the resumer's is lower, it stays.
    tape.call(`set limit ${resource}`, 'prlimit64', [0, resource, tape.words([limit.soft, limit.hard]), 0], { mayFail: true });
  });
  tape.call('set the dumpable flag', 'prctl', [PR_SET_DUMPABLE, process.dumpable === 1 ? 1 : 0, 0, 0, 0]);
}

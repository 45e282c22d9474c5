/**
 * Asks a stopped process for everything a checkpoint needs, and understands nothing
 * of it: raw text of /proc, register sets, and the answers of one tape per thread.
 *
 * Synchronous, while the process stands still. Nothing that walks every page is read
 * here: smaps and the pagemap are read from the twin after the thaw.
 */
import { readFileSync, readdirSync, readlinkSync, statSync, type BigIntStats } from 'node:fs';
import { ProcsError, errnoName } from '../errors.js';
import {
  ARCH_GET_XCOMP_PERM,
  CLOCK_BOOTTIME,
  CLOCK_MONOTONIC,
  MADV_DONTNEED,
  MAP_ANONYMOUS,
  MAP_PRIVATE,
  PROT_READ,
  PROT_WRITE,
  PR_GET_CHILD_SUBREAPER,
  PR_GET_DUMPABLE,
  PR_GET_KEEPCAPS,
  PR_GET_PDEATHSIG,
  PR_GET_THP_DISABLE,
  PR_GET_TID_ADDRESS,
  PR_GET_TIMERSLACK,
  SIGNAL,
  SIGINFO_SIZE,
  SIGNAL_COUNT,
} from '../linux.js';
import { native } from '../native.js';
import { type Vma, parseMaps, withoutRange } from '../proc/maps.js';
import { parseFields, parseStat, parseTimers } from '../proc/status.js';
import type { RawDescriptor, RawProcess, RawStat, RawThread } from '../resources/raw.js';
import { SETTINGS } from '../resources/setting.js';
import { signalsOf } from '../resources/thread.js';
import { type DataRef, PAGE_SIZE, type Slot, Tape } from '../tape/tape.js';
import type { Played, Player } from './player.js';
import type { StoppedProcess, StoppedThread } from './stopped.js';
import type { WaitTimes } from './waiting.js';

const SIGACTION_SIZE = 32;
const ITIMERVAL_SIZE = 32;
const EAGAIN = 11n;
/** The kernel's first realtime signal; glibc keeps some for itself. */
const SIGRTMIN = 32;

/** Everything about the process and its threads. */
export function ask(stopped: StoppedProcess, player: Player, vmas: readonly Vma[], waits: WaitTimes): RawProcess {
  const { pid } = stopped;
  const proc = `/proc/${pid}`;
  const timersText = readText(`${proc}/timers`);
  const questions = processQuestions(parseTimers(timersText).map((timer) => timer.id));
  const leader = threadQuestions(questions.tape, stopped, stopped.leader);
  questions.tape.end();
  const played = player.play(stopped.leader, questions.tape);
  // What was waited for ends where the program's clocks are to go on.
  waits.markClock();

  const threads = stopped.threads.map((thread) => {
    if (thread === stopped.leader) return readThread(stopped, thread, played, leader, waits);
    const tape = new Tape();
    const asked = threadQuestions(tape, stopped, thread);
    tape.end();
    return readThread(stopped, thread, player.play(thread, tape), asked, waits);
  });
  const word = (ref: DataRef): number => played.bytes(ref, 4).readInt32LE(0);

  return {
    pid,
    ...readProcess(pid),
    vmas: withoutRange(vmas, player.region.base, player.region.base + BigInt(player.region.size)),
    threads,
    childrenText: stopped.threads.map(({ tid }) => readText(`${proc}/task/${tid}/children`)).join(' '),
    timersText,
    timerSettings: new Map([...questions.timers].map(([id, ref]) => [id, Buffer.from(played.bytes(ref, ITIMERVAL_SIZE))])),
    intervalTimers: questions.intervalTimers.map((ref) => Buffer.from(played.bytes(ref, ITIMERVAL_SIZE))),
    signalActions: questions.signalActions.map((ref) => ref && Buffer.from(played.bytes(ref, SIGACTION_SIZE))),
    sharedPending: native.peekSignals(stopped.leader.tid, true),
    brk: played.result(questions.brk),
    monotonicNs: timespec(played.bytes(questions.monotonic, 16)),
    boottimeNs: timespec(played.bytes(questions.boottime, 16)),
    settings: questions.settings.map((answer) => (answer.value === undefined || played.result(answer.slot) < 0n ? Number(played.result(answer.slot)) : word(answer.value))),
    lockFuture: lockFuture(played, questions.probe),
    thpDisabled: Number(played.result(questions.thpDisabled)),
    childSubreaper: word(questions.childSubreaper),
    dumpable: Number(played.result(questions.dumpable)),
    keepCapabilities: Number(played.result(questions.keepCapabilities)),
    xstatePermissions: played.result(questions.xstate) < 0n ? 0n : played.bytes(questions.xstatePermissions, 8).readBigUInt64LE(0),
  };
}

/** What /proc and prlimit(2) tell of the process, stopped or not. */
function readProcess(pid: number): Pick<
  RawProcess,
  'stat' | 'statusText' | 'auxv' | 'commandLine' | 'exeLink' | 'cwdLink' | 'rootLink' | 'personality' | 'oomScoreAdj' | 'coredumpFilter' | 'limits' | 'descriptors'
> {
  const proc = `/proc/${pid}`;
  return {
    stat: parseStat(readText(`${proc}/stat`)),
    statusText: readText(`${proc}/status`),
    auxv: readFileSync(`${proc}/auxv`),
    commandLine: readFileSync(`${proc}/cmdline`),
    exeLink: readLink(`${proc}/exe`),
    cwdLink: readLink(`${proc}/cwd`),
    rootLink: readLink(`${proc}/root`),
    personality: parseInt(readText(`${proc}/personality`), 16),
    oomScoreAdj: Number(readText(`${proc}/oom_score_adj`)),
    coredumpFilter: parseInt(readText(`${proc}/coredump_filter`), 16),
    limits: native.getLimits(pid),
    descriptors: readDescriptors(pid),
  };
}

/** So many times at first, and once before every later freeze: V8 forgets what is not used for long. */
const REHEARSALS = 6;
let isRehearsed = false;

/**
 * Does what `ask` will do, as far as that needs no stopped process, and forgets the answers. Just before
 * a freeze, so that while the process stands still V8 has the code at hand, and the kernel the
 * files of /proc/PID.
 */
export function rehearse(pid: number): void {
  try {
    for (let time = isRehearsed ? REHEARSALS - 1 : 0; time < REHEARSALS; time++) {
      const { tape } = processQuestions([]);
      askThread(tape);
      tape.end();
      tape.encode({ base: 0n, codeSize: 0, reportFd: -1 });
      parseMaps(readText(`/proc/${pid}/maps`));
      readProcess(pid);
    }
    isRehearsed = true;
  } catch (error) {
    // Descriptors come and go while the process runs. If it is gone, the freeze will tell.
    if (errnoName(error) === undefined) throw error;
  }
}

interface ProcessQuestions {
  readonly tape: Tape;
  /** By signal number; undefined for 0, SIGKILL and SIGSTOP. */
  readonly signalActions: readonly (DataRef | undefined)[];
  readonly intervalTimers: readonly DataRef[];
  readonly timers: ReadonlyMap<number, DataRef>;
  readonly brk: Slot;
  readonly monotonic: DataRef;
  readonly boottime: DataRef;
  /** The result, or where it was written. */
  readonly settings: readonly { readonly slot: Slot; readonly value: DataRef | undefined }[];
  readonly probe: Probe;
  readonly thpDisabled: Slot;
  readonly childSubreaper: DataRef;
  readonly dumpable: Slot;
  readonly keepCapabilities: Slot;
  readonly xstate: Slot;
  readonly xstatePermissions: DataRef;
}

function processQuestions(timerIds: readonly number[]): ProcessQuestions {
  const tape = new Tape();
  const signalActions: (DataRef | undefined)[] = [undefined];
  for (let signal = 1; signal <= SIGNAL_COUNT; signal++) {
    if (signal === SIGNAL.SIGKILL || signal === SIGNAL.SIGSTOP) {
      signalActions.push(undefined);
      continue;
    }
    const ref = tape.reserve(SIGACTION_SIZE);
    tape.call(`ask for the disposition of signal ${signal}`, 'rt_sigaction', [signal, 0, ref, 8]);
    signalActions.push(ref);
  }
  const intervalTimers = [0, 1, 2].map((which) => {
    const ref = tape.reserve(ITIMERVAL_SIZE);
    tape.call(`ask for interval timer ${which}`, 'getitimer', [which, ref]);
    return ref;
  });
  const timers = new Map(
    timerIds.map((id) => {
      const ref = tape.reserve(ITIMERVAL_SIZE);
      tape.call(`ask for POSIX timer ${id}`, 'timer_gettime', [id, ref]);
      return [id, ref] as const;
    }),
  );
  const brk = tape.call('ask for the program break', 'brk', [0]);
  const monotonic = tape.reserve(16);
  tape.call('ask for CLOCK_MONOTONIC', 'clock_gettime', [CLOCK_MONOTONIC, monotonic]);
  const boottime = tape.reserve(16);
  tape.call('ask for CLOCK_BOOTTIME', 'clock_gettime', [CLOCK_BOOTTIME, boottime]);
  const settings = SETTINGS.map(({ name, get, byPointer }) => {
    const value = byPointer ? tape.reserve(8) : undefined;
    return { slot: tape.call(`ask for the ${name}`, 'prctl', [get, value ?? 0, 0, 0, 0], { mayFail: true }), value };
  });
  const probe = probeNewMapping(tape);
  const thpDisabled = tape.call('ask whether huge pages are disabled', 'prctl', [PR_GET_THP_DISABLE, 0, 0, 0, 0], { mayFail: true });
  const childSubreaper = tape.reserve(8);
  tape.call('ask for the child subreaper flag', 'prctl', [PR_GET_CHILD_SUBREAPER, childSubreaper, 0, 0, 0]);
  const dumpable = tape.call('ask whether it is dumpable', 'prctl', [PR_GET_DUMPABLE, 0, 0, 0, 0]);
  const keepCapabilities = tape.call('ask for keepcaps', 'prctl', [PR_GET_KEEPCAPS, 0, 0, 0, 0]);
  const xstatePermissions = tape.reserve(8);
  const xstate = tape.call('ask for processor feature permissions', 'arch_prctl', [ARCH_GET_XCOMP_PERM, xstatePermissions], { mayFail: true });
  return {
    tape, signalActions, intervalTimers, timers, brk, monotonic, boottime, settings, probe, thpDisabled, childSubreaper, dumpable, keepCapabilities, xstate, xstatePermissions,
  };
}

interface Probe {
  readonly mapped: Slot;
  readonly given: Slot;
  readonly resident: DataRef;
}

/** Nothing tells whether mlockall(MCL_FUTURE) is in force but a new mapping: one that is locked refuses MADV_DONTNEED. */
function probeNewMapping(tape: Tape): Probe {
  const resident = tape.reserve(8);
  const mapped = tape.call('map a page', 'mmap', [0, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0], { mayFail: true });
  tape.call('ask whether a new page is resident', 'mincore', [mapped, PAGE_SIZE, resident], { mayFail: true });
  const given = tape.call('ask whether a new page is locked', 'madvise', [mapped, PAGE_SIZE, MADV_DONTNEED], { mayFail: true });
  tape.call('unmap a page', 'munmap', [mapped, PAGE_SIZE], { mayFail: true });
  return { mapped, given, resident };
}

function lockFuture(played: Played, probe: Probe): RawProcess['lockFuture'] {
  const mapped = played.result(probe.mapped);
  // Out of memory that may be locked.
  if (mapped === -EAGAIN) return 'yes';
  if (mapped < 0n || played.result(probe.given) === 0n) return 'no';
  return played.bytes(probe.resident, 1).readUInt8(0) & 1 ? 'yes' : 'on fault';
}

interface ThreadQuestions {
  readonly alternateStack: DataRef;
  readonly clearChildTid: DataRef;
  readonly timerSlack: Slot;
  readonly parentDeathSignal: DataRef;
  readonly ioPriority: Slot;
}

function threadQuestions(tape: Tape, stopped: StoppedProcess, thread: StoppedThread): ThreadQuestions {
  if (thread.caught !== undefined) requeue(tape, stopped, thread, thread.caught);
  return askThread(tape);
}

function askThread(tape: Tape): ThreadQuestions {
  const alternateStack = tape.reserve(24);
  tape.call('ask for the alternate signal stack', 'sigaltstack', [0, alternateStack]);
  const clearChildTid = tape.reserve(8);
  tape.call('ask for the clear_child_tid address', 'prctl', [PR_GET_TID_ADDRESS, clearChildTid, 0, 0, 0], { mayFail: true });
  const timerSlack = tape.call('ask for the timer slack', 'prctl', [PR_GET_TIMERSLACK, 0, 0, 0, 0]);
  const parentDeathSignal = tape.reserve(8);
  tape.call('ask for the parent-death signal', 'prctl', [PR_GET_PDEATHSIG, parentDeathSignal, 0, 0, 0]);
  const ioPriority = tape.call('ask for the I/O priority', 'ioprio_get', [1 /* IOPRIO_WHO_PROCESS */, 0]);
  return { alternateStack, clearChildTid, timerSlack, parentDeathSignal, ioPriority };
}

/** So many fit a tape. The order of more than these is lost with one that was caught. */
const MOST_BEHIND = 256;

/**
 * Gives back a signal whose delivery the stop interrupted. Sent by the thread to
 * itself, so that any siginfo is permitted; rt_tgsigqueueinfo(2). It was the first of
 * its queue, and realtime signals keep their order: those behind it are taken out and
 * queued behind it again. The thread blocks all signals meanwhile.
 */
function requeue(tape: Tape, stopped: StoppedProcess, thread: StoppedThread, caught: Buffer): void {
  const status = parseFields(readText(`/proc/${stopped.pid}/task/${thread.tid}/status`));
  const innermost = (name: string): number => Number((status.get(name) ?? '0').split(/\s+/).at(-1));
  const signal = caught.readInt32LE(0);
  const ids = [innermost('NStgid'), innermost('NSpid'), signal];
  const count = signal < SIGRTMIN ? 0 : signalsOf(native.peekSignals(thread.tid, false)).filter((info) => info.readInt32LE(0) === signal).length;
  const behind = Array.from({ length: count > MOST_BEHIND ? 0 : count }, () => {
    const info = tape.reserve(SIGINFO_SIZE);
    tape.call('take a signal behind one that was caught', 'rt_sigtimedwait', [tape.words([1n << BigInt(signal - 1)]), info, tape.words([0, 0]), 8], { want: signal });
    return info;
  });
  for (const info of [tape.data(caught), ...behind]) tape.call('give back a caught signal', 'rt_tgsigqueueinfo', [...ids, info]);
  thread.caught = undefined;
}

function readThread(stopped: StoppedProcess, thread: StoppedThread, played: Played, asked: ThreadQuestions, waits: WaitTimes): RawThread {
  const { tid } = thread;
  const folder = `/proc/${stopped.pid}/task/${tid}`;
  return {
    tid,
    statusText: readText(`${folder}/status`),
    comm: readFileSync(`${folder}/comm`).subarray(0, -1),
    registers: thread.registers,
    xstate: thread.xstate,
    rseq: thread.rseq,
    signalMask: thread.signalMask,
    pending: native.peekSignals(tid, false),
    scheduling: native.getScheduling(tid),
    affinity: native.getAffinity(tid),
    robustList: native.getRobustList(tid),
    alternateStack: Buffer.from(played.bytes(asked.alternateStack, 24)),
    clearChildTid: played.bytes(asked.clearChildTid, 8).readBigUInt64LE(0),
    timerSlackNs: played.result(asked.timerSlack),
    parentDeathSignal: played.bytes(asked.parentDeathSignal, 4).readInt32LE(0),
    ioPriority: Number(played.result(asked.ioPriority)),
    wait: waits.waited(tid, thread.registers),
  };
}

function readDescriptors(pid: number): RawDescriptor[] {
  const folder = `/proc/${pid}/fd`;
  return readdirSync(folder)
    .map(Number)
    .sort((a, b) => a - b)
    .map((fd) => ({
      fd,
      link: readLink(`${folder}/${fd}`),
      info: readText(`/proc/${pid}/fdinfo/${fd}`),
      stat: rawStat(statSync(`${folder}/${fd}`, { bigint: true })),
    }));
}

export function rawStat(stat: BigIntStats): RawStat {
  return {
    mode: Number(stat.mode),
    dev: stat.dev,
    ino: stat.ino,
    rdev: stat.rdev,
    size: stat.size,
    nlink: stat.nlink,
    mtimeNs: stat.mtimeNs,
  };
}

function timespec(bytes: Buffer): bigint {
  return bytes.readBigInt64LE(0) * 1_000_000_000n + bytes.readBigInt64LE(8);
}

/** /proc texts are bytes: latin1 keeps them one to one where a name is not UTF-8. */
export function readText(path: string): string {
  return readFileSync(path, 'latin1');
}

/**
 * A file of /proc/PID that only its owner may read.
 *
 * @throws {ProcsError} `PROCS_ERR_PTRACE` where the process is not the user's to look into.
 */
export function readOwnText(pid: number, name: string): string {
  try {
    return readText(`/proc/${pid}/${name}`);
  } catch (cause) {
    if (errnoName(cause) !== 'EACCES' && errnoName(cause) !== 'EPERM') throw cause;
    throw new ProcsError('PROCS_ERR_PTRACE', `cannot checkpoint process ${pid}: the kernel lets nobody but root look into it; it runs on`, { cause, remedy: UNDUMPABLE });
  }
}

/** ptrace(2), "Ptrace access mode checking". */
export const UNDUMPABLE = 'the program has made itself undumpable (prctl PR_SET_DUMPABLE) or has taken privileges that its user has not: checkpoint it as root, or have it stay dumpable';

/** A link of /proc; the path may be any bytes. */
export function readLink(path: string): string {
  try {
    return readlinkSync(path, 'latin1');
  } catch (error) {
    // A kernel thread or a process that is going has no exe.
    if (errnoName(error) === 'ENOENT') return '';
    throw error;
  }
}

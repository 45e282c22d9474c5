/**
 * What is read of a stopped process, before any of it is understood: the input of
 * every resource's `capture`. Made by freeze/ask.ts while the process stands still.
 */
import type { RseqRegistration, Scheduling } from '../native.js';
import type { Vma } from '../proc/maps.js';
import type { Stat } from '../proc/status.js';

export interface RawThread {
  /** In the supervisor's PID namespace. */
  readonly tid: number;
  readonly statusText: string;
  readonly comm: Buffer;
  /** struct user_regs_struct; NT_PRSTATUS. */
  readonly registers: Buffer;
  /** XSAVE area, standard format; NT_X86_XSTATE. */
  readonly xstate: Buffer;
  readonly rseq: RseqRegistration | null;
  readonly signalMask: bigint;
  /** siginfo_t of 128 bytes each. */
  readonly pending: Buffer;
  readonly scheduling: Scheduling;
  readonly affinity: Buffer;
  readonly robustList: { readonly head: bigint; readonly length: number };
  /** struct sigaltstack. */
  readonly alternateStack: Buffer;
  readonly clearChildTid: bigint;
  readonly timerSlackNs: bigint;
  readonly parentDeathSignal: number;
  readonly ioPriority: number;
  /** The interrupted system call, and how long it had already waited, where that could be found out. */
  readonly wait: { readonly number: number; readonly waitedNs: bigint } | undefined;
}

export interface RawDescriptor {
  readonly fd: number;
  /** The link of /proc/PID/fd. */
  readonly link: string;
  /** /proc/PID/fdinfo. */
  readonly info: string;
  /** st_mode, st_dev, st_ino, st_rdev, st_size, st_nlink, st_mtime of the open file itself. */
  readonly stat: RawStat;
}

export interface RawStat {
  readonly mode: number;
  readonly dev: bigint;
  readonly ino: bigint;
  readonly rdev: bigint;
  readonly size: bigint;
  readonly nlink: bigint;
  readonly mtimeNs: bigint;
}

export interface RawProcess {
  /** In the supervisor's PID namespace. */
  readonly pid: number;
  readonly stat: Stat;
  readonly statusText: string;
  /** Without the player of procs, which is no part of the program. */
  readonly vmas: readonly Vma[];
  readonly auxv: Buffer;
  readonly commandLine: Buffer;
  readonly exeLink: string;
  readonly cwdLink: string;
  readonly rootLink: string;
  readonly personality: number;
  readonly oomScoreAdj: number;
  readonly coredumpFilter: number;
  readonly limits: readonly (readonly [soft: bigint, hard: bigint])[];
  readonly threads: readonly RawThread[];
  readonly descriptors: readonly RawDescriptor[];
  readonly childrenText: string;
  readonly timersText: string;
  /** struct itimerspec by POSIX timer id. */
  readonly timerSettings: ReadonlyMap<number, Buffer>;
  /** struct itimerval of ITIMER_REAL, VIRTUAL, PROF. */
  readonly intervalTimers: readonly Buffer[];
  /** struct kernel_sigaction (32 bytes) by signal number; index 0 unused. */
  readonly signalActions: readonly (Buffer | undefined)[];
  readonly sharedPending: Buffer;
  readonly brk: bigint;
  readonly monotonicNs: bigint;
  readonly boottimeNs: bigint;
  /** In the order of SETTINGS (setting.ts). */
  readonly settings: readonly number[];
  /** What mlockall(2) has said about new mappings. */
  readonly lockFuture: 'no' | 'yes' | 'on fault';
  readonly thpDisabled: number;
  readonly childSubreaper: number;
  readonly dumpable: number;
  readonly keepCapabilities: number;
  /** Bits of XSAVE features that were asked for with ARCH_REQ_XCOMP_PERM; 0n where the kernel has none. */
  readonly xstatePermissions: bigint;
}

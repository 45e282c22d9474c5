/**
 * Numbers of the Linux user-space interface (include/uapi/), x86_64 where they differ.
 */
export const PROT_READ = 1;
export const PROT_WRITE = 2;
export const PROT_EXEC = 4;
export const MAP_SHARED = 0x01;
export const MAP_PRIVATE = 0x02;
export const MAP_FIXED = 0x10;
export const MAP_ANONYMOUS = 0x20;
export const MAP_GROWSDOWN = 0x0100;
export const MAP_NORESERVE = 0x4000;
export const MAP_STACK = 0x20000;
export const MAP_FIXED_NOREPLACE = 0x100000;
export const MREMAP_MAYMOVE = 1;
export const MREMAP_FIXED = 2;

export const MADV_RANDOM = 1;
export const MADV_SEQUENTIAL = 2;
export const MADV_DONTFORK = 10;
export const MADV_MERGEABLE = 12;
export const MADV_DONTNEED = 4;
export const MADV_HUGEPAGE = 14;
export const MADV_NOHUGEPAGE = 15;
export const MADV_DONTDUMP = 16;
export const MADV_WIPEONFORK = 18;
export const MADV_POPULATE_WRITE = 23; // 5.14
export const MADV_COLLAPSE = 25; // 6.1
export const MADV_GUARD_INSTALL = 102; // 6.13
export const MLOCK_ONFAULT = 1;
export const MCL_CURRENT = 1;
export const MCL_FUTURE = 2;
export const MCL_ONFAULT = 4;

export const AT_FDCWD = -100;
export const O_RDONLY = 0;
export const O_WRONLY = 1;
export const O_RDWR = 2;
export const O_ACCMODE = 3;
export const O_CREAT = 0o100;
export const O_EXCL = 0o200;
export const O_NOCTTY = 0o400;
export const O_TRUNC = 0o1000;
export const O_APPEND = 0o2000;
export const O_NONBLOCK = 0o4000;
export const O_DIRECT = 0o40000;
export const O_LARGEFILE = 0o100000;
export const O_DIRECTORY = 0o200000;
/** With O_DIRECTORY, which it includes. */
export const O_TMPFILE = 0o20200000;
export const O_CLOEXEC = 0o2000000;
export const O_PATH = 0o10000000;
export const F_GETFL = 3;
export const F_SETFL = 4;
export const F_DUPFD_CLOEXEC = 1030;
export const F_SETPIPE_SZ = 1031;
export const F_GETPIPE_SZ = 1032;
export const F_GET_SEALS = 1034;
export const F_ADD_SEALS = 1033;
export const SEEK_SET = 0;

export const CLONE_VM = 0x100n;
export const CLONE_FS = 0x200n;
export const CLONE_FILES = 0x400n;
export const CLONE_SIGHAND = 0x800n;
export const CLONE_PARENT = 0x8000n;
export const CLONE_THREAD = 0x10000n;
export const CLONE_NEWNS = 0x20000n;
export const CLONE_SYSVSEM = 0x40000n;
export const CLONE_CHILD_CLEARTID = 0x200000n;
export const CLONE_NEWUSER = 0x10000000n;
export const CLONE_NEWPID = 0x20000000n;
export const CLONE_NEWTIME = 0x80n;
/** wait4(2): children made by clone with another exit signal too. */
export const WALL = 0x40000000;

export const PR_SET_PDEATHSIG = 1;
export const PR_GET_PDEATHSIG = 2;
export const PR_GET_DUMPABLE = 3;
export const PR_SET_DUMPABLE = 4;
export const PR_GET_KEEPCAPS = 7;
export const PR_SET_KEEPCAPS = 8;
export const PR_SET_NAME = 15;
export const PR_SET_TIMERSLACK = 29;
export const PR_GET_TIMERSLACK = 30;
export const PR_GET_TSC = 25;
export const PR_SET_TSC = 26;
export const PR_GET_SECUREBITS = 27;
export const PR_SET_SECUREBITS = 28;
export const PR_MCE_KILL = 33;
export const PR_MCE_KILL_GET = 34;
export const PR_SET_MM = 35;
export const PR_SET_MM_MAP = 14;
export const PR_SET_CHILD_SUBREAPER = 36;
export const PR_GET_CHILD_SUBREAPER = 37;
export const PR_SET_NO_NEW_PRIVS = 38;
export const PR_GET_TID_ADDRESS = 40;
export const PR_SET_THP_DISABLE = 41;
export const PR_GET_THP_DISABLE = 42;
export const PR_SET_IO_FLUSHER = 57;
export const PR_GET_IO_FLUSHER = 58;
export const PR_SET_MEMORY_MERGE = 67; // 6.4
export const PR_GET_MEMORY_MERGE = 68;
export const PR_TIMER_CREATE_RESTORE_IDS = 77; // 6.15
export const ARCH_SET_GS = 0x1001;
export const ARCH_SET_FS = 0x1002;
export const ARCH_GET_XCOMP_PERM = 0x1022; // 5.16
export const ARCH_REQ_XCOMP_PERM = 0x1023;

export const CLOCK_REALTIME = 0;
export const CLOCK_MONOTONIC = 1;
export const CLOCK_BOOTTIME = 7;

export const NT_PRSTATUS = 1;
export const NT_X86_XSTATE = 0x202;

export const PTRACE_O_TRACESYSGOOD = 1n;
export const PTRACE_O_TRACEFORK = 2n;
export const PTRACE_O_TRACEVFORK = 4n;
export const PTRACE_O_TRACECLONE = 8n;
export const PTRACE_O_EXITKILL = 0x100000n;
export const PTRACE_EVENT_FORK = 1;
export const PTRACE_EVENT_CLONE = 3;
export const PTRACE_EVENT_STOP = 128;

export const SIGNAL = {
  SIGHUP: 1, SIGINT: 2, SIGQUIT: 3, SIGILL: 4, SIGTRAP: 5, SIGABRT: 6, SIGBUS: 7, SIGFPE: 8, SIGKILL: 9, SIGUSR1: 10, SIGSEGV: 11,
  SIGUSR2: 12, SIGPIPE: 13, SIGALRM: 14, SIGTERM: 15, SIGSTKFLT: 16, SIGCHLD: 17, SIGCONT: 18, SIGSTOP: 19, SIGTSTP: 20, SIGTTIN: 21,
  SIGTTOU: 22, SIGURG: 23, SIGXCPU: 24, SIGXFSZ: 25, SIGVTALRM: 26, SIGPROF: 27, SIGWINCH: 28, SIGIO: 29, SIGPWR: 30, SIGSYS: 31,
} as const;
export const SIGNAL_COUNT = 64;
/** si_code of a signal the kernel made, as the terminal driver does. */
export const SI_KERNEL = 0x80;
export const SIGINFO_SIZE = 128;

/** `SIGTERM`, or `signal 40`. */
export function signalName(signal: number): string {
  return Object.entries(SIGNAL).find(([, value]) => value === signal)?.[0] ?? `signal ${signal}`;
}

const ERRNO: Record<number, string> = {
  1: 'Operation not permitted', 2: 'No such file or directory', 3: 'No such process', 4: 'Interrupted system call', 5: 'Input/output error',
  6: 'No such device or address', 7: 'Argument list too long', 8: 'Exec format error', 9: 'Bad file descriptor', 10: 'No child processes',
  11: 'Resource temporarily unavailable', 12: 'Cannot allocate memory', 13: 'Permission denied', 14: 'Bad address', 16: 'Device or resource busy',
  17: 'File exists', 18: 'Invalid cross-device link', 19: 'No such device', 20: 'Not a directory', 21: 'Is a directory', 22: 'Invalid argument',
  23: 'Too many open files in system', 24: 'Too many open files', 25: 'Inappropriate ioctl for device', 26: 'Text file busy', 27: 'File too large',
  28: 'No space left on device', 29: 'Illegal seek', 30: 'Read-only file system', 32: 'Broken pipe', 36: 'File name too long',
  38: 'Function not implemented', 39: 'Directory not empty', 40: 'Too many levels of symbolic links', 61: 'No data available', 71: 'Protocol error',
  75: 'Value too large for defined data type', 84: 'the checksum is wrong', 87: 'Too many users', 95: 'Operation not supported', 110: 'Timed out', 122: 'Disk quota exceeded',
};

/** The system's words for an errno. */
export function errnoText(errno: number): string {
  return ERRNO[errno] ?? `error ${errno}`;
}

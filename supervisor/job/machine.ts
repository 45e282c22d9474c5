/**
 * What this machine permits: `procs doctor`. Where it can be tried without harm it is tried, in a child;
 * else the kernel's own settings are read.
 *
 * Follows ptrace(2), user_namespaces(7), pid_namespaces(7), time_namespaces(7), clone(2), userfaultfd(2),
 * Documentation/admin-guide/sysctl/ and mm/pagemap.rst.
 */
import { spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { release } from 'node:os';
import { join } from 'node:path';
import { messageOf } from '../errors.js';
import { errnoText } from '../linux.js';
import { native, SELECT } from '../native.js';

export type Permission = 'yes' | 'limited' | 'no';

/** One thing that procs needs or uses. */
export interface Finding {
  /** `ptrace`: stable, for programs. */
  readonly id: string;
  readonly subject: string;
  readonly permission: Permission;
  /** What was found, with values. */
  readonly found: string;
  /** What follows from it for procs. */
  readonly means: string;
}

export interface Diagnosis {
  readonly findings: readonly Finding[];
  /** Whether programs can be started, checkpointed and resumed here at all. */
  readonly usable: boolean;
  readonly verdict: string;
}

export async function diagnose(): Promise<Diagnosis> {
  const ptrace = await probePtrace();
  const namespaces = probeNamespaces();
  const findings: Finding[] = [
    probeKernel(),
    ptrace,
    ...namespaces,
    probeSetTid(namespaces),
    probePagemapScan(),
    probeUserfaultfd(),
    probeOvercommit(),
    ...probeLimits(),
    probeCgroup(),
    probeHugePages(),
    probeIoUring(),
    probeLibrary('zstd', 'libzstd.so.1'),
    probeLibrary('lz4', 'liblz4.so.1'),
  ];
  return { findings, ...judge(findings) };
}

function judge(findings: readonly Finding[]): Pick<Diagnosis, 'usable' | 'verdict'> {
  const of = (id: string): Permission | undefined => findings.find((finding) => finding.id === id)?.permission;
  if (of('kernel') === 'no') return { usable: false, verdict: 'procs cannot work on this machine: its kernel or processor is not supported' };
  if (of('ptrace') === 'no') return { usable: false, verdict: 'procs cannot checkpoint here: ptrace is closed, even for one\'s own children' };
  if (of('pids') === 'no') {
    return { usable: false, verdict: 'programs can be checkpointed here, but resumed only elsewhere: neither namespaces nor CAP_CHECKPOINT_RESTORE are permitted' };
  }
  const how = of('pids') === 'yes' ? 'with their process ids, directly' : 'with their process ids, in a namespace';
  return { usable: true, verdict: `programs can be checkpointed and resumed here, ${how}` };
}

function probeKernel(): Finding {
  const [major = 0, minor = 0] = release().split('.').map((part) => parseInt(part, 10));
  const version = major + minor / 1000;
  const isSupported = process.arch === 'x64' && version >= 5.01;
  const means = !isSupported
    ? 'procs needs Linux 5.10 or newer on x86_64'
    : version >= 6.007
      ? 'all that procs uses is there'
      : 'every checkpoint writes all memory: finding what has changed needs Linux 6.7';
  return { id: 'kernel', subject: 'kernel', permission: isSupported ? (version >= 6.007 ? 'yes' : 'limited') : 'no', found: `Linux ${release()}, ${process.arch}`, means };
}

/** Seizes a child and lets it go, without a turn of the event loop in between. */
async function probePtrace(): Promise<Finding> {
  const subject = 'ptrace';
  const scope = readOr('/proc/sys/kernel/yama/ptrace_scope', undefined);
  const scopeText = scope === undefined ? 'Yama is not there' : `Yama ptrace_scope is ${scope}`;
  const child = spawn('sleep', ['60'], { stdio: 'ignore' });
  try {
    await new Promise((resolve, reject) => child.once('spawn', resolve).once('error', reject));
    const pid = child.pid ?? 0;
    const [status = 0] = native.stopThreads(Int32Array.of(pid), 0n, 1000);
    if (status < 0) {
      const found = `a child cannot be stopped: ${errnoText(-status)}; ${scopeText}`;
      return { id: 'ptrace', subject, permission: 'no', found, means: 'nothing can be checkpointed: a container\'s seccomp profile, or ptrace_scope 3, forbids it' };
    }
    native.ptraceDetach(Int32Array.of(pid));
    // 1: only descendants; 2: only with CAP_SYS_PTRACE, 3: nobody.
    const isOnlyChildren = scope === '1' && !hasCapability(CAP_SYS_PTRACE);
    return {
      id: 'ptrace',
      subject,
      permission: isOnlyChildren ? 'limited' : 'yes',
      found: `a child can be stopped; ${scopeText}`,
      means: isOnlyChildren ? 'what procs starts can be checkpointed, other processes not' : 'your processes can be checkpointed',
    };
  } catch (error) {
    return { id: 'ptrace', subject, permission: 'limited', found: `could not be tried: ${messageOf(error)}; ${scopeText}`, means: 'start a program and try "procs checkpoint"' };
  } finally {
    child.kill('SIGKILL');
  }
}

const UNSHARE: readonly (readonly [id: string, subject: string, flags: readonly string[], good: string, bad: string])[] = [
  ['userns', 'user namespaces', ['--user', '--map-root-user'], 'namespaces can be used without privilege', 'process ids can only be kept directly'],
  ['pidns', 'pid namespaces', ['--user', '--map-root-user', '--pid', '--fork'], 'process ids can be kept on resume even if they are in use', 'process ids can only be kept directly, while they are free'],
  [
    'procfs', 'mounting /proc', ['--user', '--map-root-user', '--pid', '--fork', '--mount-proc'],
    'resumed programs in a namespace see a /proc of their own', 'resumed programs in a namespace see the host\'s /proc, with other process ids',
  ],
  ['timens', 'time namespaces', ['--user', '--map-root-user', '--time', '--fork'], 'CLOCK_MONOTONIC goes on where it was', 'CLOCK_MONOTONIC jumps on resume after a reboot or on another machine'],
];

function probeNamespaces(): readonly Finding[] {
  const isRoot = hasCapability(CAP_SYS_ADMIN);
  return UNSHARE.map(([id, subject, flags, good, bad]) => {
    // With CAP_SYS_ADMIN no user namespace is needed.
    const args = isRoot && id !== 'userns' ? flags.filter((flag) => flag !== '--user' && flag !== '--map-root-user') : flags;
    const tried = tryUnshare([...args, 'true']);
    if (tried === undefined) return { id, subject, permission: 'yes' as const, found: 'tried: works', means: good };
    if (tried === 'missing') {
      const limit = readOr('/proc/sys/user/max_user_namespaces', '0');
      const isClosed = limit === '0' || readOr('/proc/sys/kernel/unprivileged_userns_clone', '1') === '0';
      const found = `not tried, as the program unshare is missing; max_user_namespaces is ${limit}`;
      return { id, subject, permission: isClosed ? ('no' as const) : ('limited' as const), found, means: isClosed ? bad : `probably: ${good}` };
    }
    return { id, subject, permission: 'no' as const, found: `tried: ${tried}${closedBy()}`, means: bad };
  });
}

/** clone3 with set_tid needs the same privilege in the namespace as ns_last_pid, which a shell can write. */
function probeSetTid(namespaces: readonly Finding[]): Finding {
  const subject = 'choosing process ids';
  const id = 'pids';
  if (hasCapability(CAP_CHECKPOINT_RESTORE) || hasCapability(CAP_SYS_ADMIN)) {
    return { id, subject, permission: 'yes', found: `${hasCapability(CAP_SYS_ADMIN) ? 'CAP_SYS_ADMIN' : 'CAP_CHECKPOINT_RESTORE'} is there`, means: 'process ids on resume: kept directly if they are free, else in a namespace' };
  }
  const isOpen = namespaces.find((finding) => finding.id === 'pidns')?.permission;
  const script = 'echo 4242 >/proc/sys/kernel/ns_last_pid && sh -c \'echo $$\'';
  const tried = isOpen === 'yes' ? tryUnshare(['--user', '--map-root-user', '--pid', '--fork', '--mount-proc', 'sh', '-c', script], '4243') : 'missing';
  if (tried === undefined) {
    return { id, subject, permission: 'limited', found: 'tried: works in a namespace; CAP_CHECKPOINT_RESTORE is not there', means: 'process ids on resume: kept in a namespace' };
  }
  if (isOpen !== 'no') {
    return { id, subject, permission: 'limited', found: 'CAP_CHECKPOINT_RESTORE is not there; namespaces are', means: 'process ids on resume: probably kept in a namespace' };
  }
  return {
    id,
    subject,
    permission: 'no',
    found: `no namespaces, no CAP_CHECKPOINT_RESTORE${closedBy()}`,
    means: 'nothing can be resumed here until an administrator opens user namespaces or runs "setcap cap_checkpoint_restore=ep" on procs\'s agent/build/procs-agent',
  };
}

function probePagemapScan(): Finding {
  const subject = 'finding changed pages';
  const id = 'pagemap-scan';
  try {
    const [line = ''] = fs.readFileSync('/proc/self/maps', 'latin1').split('\n').filter((text) => text.includes('[stack]'));
    const [start = '0', end = '0'] = line.split(' ')[0]?.split('-') ?? [];
    native.scanPages(process.pid, BigInt(`0x${start}`), BigInt(`0x${end}`), SELECT.PRIVATE, true);
    return { id, subject, permission: 'yes', found: 'tried: PAGEMAP_SCAN works', means: 'later checkpoints can write only what has changed' };
  } catch (error) {
    return { id, subject, permission: 'limited', found: `PAGEMAP_SCAN: ${messageOf(error)}`, means: 'every checkpoint reads /proc/PID/pagemap and writes all memory (Linux 6.7 has PAGEMAP_SCAN)' };
  }
}

function probeUserfaultfd(): Finding {
  const sysctl = readOr('/proc/sys/vm/unprivileged_userfaultfd', undefined);
  const hasDevice = canOpen('/dev/userfaultfd');
  const isFull = hasDevice || sysctl === '1' || hasCapability(CAP_SYS_PTRACE);
  const found = `vm.unprivileged_userfaultfd is ${sysctl ?? 'not there'}, /dev/userfaultfd ${hasDevice ? 'can' : 'cannot'} be opened`;
  if (sysctl === undefined) return { id: 'userfaultfd', subject: 'userfaultfd', permission: 'no', found, means: 'memory is always read in full before a resumed program goes on' };
  return {
    id: 'userfaultfd',
    subject: 'userfaultfd',
    permission: isFull ? 'yes' : 'limited',
    found,
    means: isFull ? 'memory can be read in while a resumed program runs' : 'enough to see what changes; memory is read in full before a resumed program goes on',
  };
}

function probeOvercommit(): Finding {
  const mode = readOr('/proc/sys/vm/overcommit_memory', '0');
  const isStrict = mode === '2';
  return {
    id: 'overcommit',
    subject: 'memory overcommit',
    permission: isStrict ? 'limited' : 'yes',
    found: `vm.overcommit_memory is ${mode}`,
    means: isStrict ? 'a program that uses more than half of what may be committed stands still while it is written' : 'a program runs on while it is written',
  };
}

function probeLimits(): readonly Finding[] {
  const limits = native.getLimits(process.pid);
  const text = (value: bigint, unit: string): string => (value >= 1n << 62n ? 'unlimited' : `${value}${unit}`);
  // RLIMIT numbers; getrlimit(2).
  const rows: readonly (readonly [string, string, number, string, bigint, string, string])[] = [
    ['rlimit-as', 'address space limit (ulimit -v)', 9, ' bytes', 1n << 62n, 'no obstacle', 'a copy of the program is limited too; if that does not fit, it stands still while it is written'],
    ['rlimit-nproc', 'process limit (ulimit -u)', 6, '', 64n, 'no obstacle', 'each process needs room for one more while it is written'],
    ['rlimit-memlock', 'locked memory limit (ulimit -l)', 8, ' bytes', 65536n, 'no obstacle for programs that lock no more', 'programs that lock memory may not be resumed under this limit'],
  ];
  return rows.map(([id, subject, number, unit, enough, good, bad]) => {
    const soft = limits[number]?.[0] ?? 0n;
    const isEnough = soft >= enough;
    return { id, subject, permission: isEnough ? 'yes' : 'limited', found: text(soft, unit), means: isEnough ? good : bad };
  });
}

function probeCgroup(): Finding {
  const path = readOr('/proc/self/cgroup', '').split('\n').find((line) => line.startsWith('0::'))?.slice(3);
  let limit: bigint | undefined;
  for (let folder = join('/sys/fs/cgroup', path ?? '/'); folder.startsWith('/sys/fs/cgroup'); folder = join(folder, '..')) {
    const text = readOr(join(folder, 'memory.max'), 'max');
    if (/^\d+$/.test(text) && (limit === undefined || BigInt(text) < limit)) limit = BigInt(text);
  }
  const old = readOr('/sys/fs/cgroup/memory/memory.limit_in_bytes', undefined);
  if (limit === undefined && old !== undefined && /^\d+$/.test(old) && BigInt(old) < 1n << 60n) limit = BigInt(old);
  return {
    id: 'cgroup-memory',
    subject: 'memory limit of the cgroup',
    permission: limit === undefined ? 'yes' : 'limited',
    found: limit === undefined ? 'none' : `${limit >> 20n} MiB`,
    means: limit === undefined ? 'no obstacle' : 'what a program changes while it is written counts twice against the limit',
  };
}

function probeHugePages(): Finding {
  const setting = /\[(\w+)\]/.exec(readOr('/sys/kernel/mm/transparent_hugepage/enabled', '[never]'))?.[1] ?? 'never';
  return {
    id: 'thp',
    subject: 'transparent huge pages',
    permission: 'yes',
    found: setting,
    means: setting === 'always' ? 'large programs stand still for less than a millisecond per GiB' : 'a program stands still for some 10 ms per GiB of its memory',
  };
}

function probeIoUring(): Finding {
  const disabled = readOr('/proc/sys/kernel/io_uring_disabled', '0');
  return {
    id: 'io-uring',
    subject: 'io_uring',
    permission: 'yes',
    found: `kernel.io_uring_disabled is ${disabled}`,
    means: disabled === '2' ? 'no program uses it' : 'programs under procs are told that there is none, and use something else',
  };
}

function probeLibrary(name: string, file: string): Finding {
  const folders = ['/lib/x86_64-linux-gnu', '/usr/lib/x86_64-linux-gnu', '/lib64', '/usr/lib64', '/usr/lib', '/lib', '/usr/local/lib'];
  const path = [...(process.env['LD_LIBRARY_PATH'] ?? '').split(':').filter(Boolean), ...folders].map((folder) => join(folder, file)).find((one) => fs.existsSync(one));
  return {
    id: name,
    subject: `${name} library`,
    permission: path === undefined ? 'no' : 'yes',
    found: path ?? `${file} is in none of the usual folders`,
    means: path === undefined ? `images cannot be compressed with ${name}` : `images can be compressed with ${name}`,
  };
}

/** @returns Undefined if it works, `missing` if there is no program unshare, else what it said. */
function tryUnshare(args: readonly string[], wanted?: string): string | undefined {
  const { error, status, stdout, stderr } = spawnSync('unshare', args, { encoding: 'utf8', timeout: 10_000, env: { PATH: process.env['PATH'], LC_ALL: 'C' } });
  if (error) return (error as NodeJS.ErrnoException).code === 'ENOENT' ? 'missing' : messageOf(error);
  if (status === 0 && (wanted === undefined || stdout.trim() === wanted)) return undefined;
  return stderr.trim().split('\n')[0]?.replace(/^unshare: /, '') || `unshare ended with status ${status}`;
}

/** The settings by which distributions close user namespaces. */
function closedBy(): string {
  const settings = [
    ['kernel.unprivileged_userns_clone', '/proc/sys/kernel/unprivileged_userns_clone', '0'],
    ['kernel.apparmor_restrict_unprivileged_userns', '/proc/sys/kernel/apparmor_restrict_unprivileged_userns', '1'],
    ['user.max_user_namespaces', '/proc/sys/user/max_user_namespaces', '0'],
  ] as const;
  const closing = settings.filter(([, path, value]) => readOr(path, undefined) === value).map(([name, , value]) => `${name} is ${value}`);
  return closing.length > 0 ? `; ${closing.join(', ')}` : '';
}

const CAP_SYS_PTRACE = 19n;
const CAP_SYS_ADMIN = 21n;
const CAP_CHECKPOINT_RESTORE = 40n; // 5.9

function hasCapability(capability: bigint): boolean {
  const mask = /^CapEff:\s*([0-9a-f]+)/m.exec(readOr('/proc/self/status', ''))?.[1] ?? '0';
  return ((BigInt(`0x${mask}`) >> capability) & 1n) === 1n;
}

function canOpen(path: string): boolean {
  try {
    fs.accessSync(path, fs.constants.R_OK | fs.constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

function readOr<Default>(path: string, otherwise: Default): string | Default {
  try {
    return fs.readFileSync(path, 'utf8').trim();
  } catch {
    return otherwise;
  }
}

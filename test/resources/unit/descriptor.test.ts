/** resources/descriptor.ts, device.ts and file-lock.ts: what can be said without a stopped process. */
import { closeSync, openSync, readFileSync, readlinkSync, statSync, writeFileSync } from 'node:fs';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { t } from 'tap';
import { native } from '../../../supervisor/native.js';
import { type OpenDescription, descriptorFields, descriptorText, groupDescriptors, nameUnknown, place } from '../../../supervisor/resources/descriptor.js';
import { deviceText } from '../../../supervisor/resources/device.js';
import { refusedLock, restoreLock } from '../../../supervisor/resources/file-lock.js';
import type { RawDescriptor } from '../../../supervisor/resources/raw.js';
import { Tape } from '../../../supervisor/tape/tape.js';
import { workdir } from '../../harness.js';

const STAT = { mode: 0o100644, dev: 1n, ino: 2n, rdev: 0n, size: 0n, nlink: 1n, mtimeNs: 0n };

function raw(fd: number, { link = '/data/log', flags = '02', pos = '0', ino = 2n, more = '' } = {}): RawDescriptor {
  return { fd, link, info: `pos:\t${pos}\nflags:\t${flags}\nmnt_id:\t29\nino:\t2\n${more}`, stat: { ...STAT, ino } };
}

t.test('descriptors that share an open file description are one group; kcmp decides', (t) => {
  const asked: string[] = [];
  // The kernel's order of the open file descriptions is any order, not that of the numbers.
  const kernelOrder = new Map([[3, 2], [5, 2], [4, 1], [9, 1], [11, 3], [12, 0]]);
  const comparing = t.intercept(native, 'compareFile', { value: (_pid1: number, fd1: number, _pid2: number, fd2: number) => (asked.push(`${fd1}:${fd2}`), Math.sign((kernelOrder.get(fd1) as number) - (kernelOrder.get(fd2) as number))) });
  const groups = groupDescriptors(7, [raw(3), raw(4), raw(5, { flags: '02000002' }), raw(6, { pos: '8' }), raw(7, { link: '/data/other' }), raw(8, { flags: '02002' }), raw(9), raw(10, { ino: 3n }), raw(11), raw(12)]);
  comparing.restore();
  t.same(groups.map(({ descriptors }) => descriptors.map(({ fd }) => fd)), [[3, 5], [4, 9], [6], [7], [8], [10], [11], [12]]);
  t.same(asked.filter((pair) => /6|7|8|10/.test(pair)), [], 'what does not look alike is not asked about');
  t.same(descriptorFields(groups[0] as OpenDescription), { fds: [3, 5], closeOnExec: [5] });
  t.match(groups[2], { position: 8n, flags: 2 });
  t.end();
});

t.test('real descriptors of this process are grouped as they are', (t) => {
  const path = join(workdir(t), 'file');
  writeFileSync(path, 'x');
  const [one, two] = [openSync(path, 'r'), openSync(path, 'r')];
  const three = native.fcntl(one, 0 /* F_DUPFD */, 0);
  const stat = statSync(path, { bigint: true });
  const own = [one, two, three].map((fd) => ({ fd, link: readlinkSync(`/proc/self/fd/${fd}`), info: readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1'), stat: { ...STAT, dev: stat.dev, ino: stat.ino } }));
  const groups = groupDescriptors(process.pid, own).map(({ descriptors }) => descriptors.map(({ fd }) => fd));
  for (const fd of [one, two, three]) closeSync(fd);
  t.same(groups, [[one, three], [two]]);
  t.end();
});

t.test('locks of a descriptor are kept as the kernel writes them', (t) => {
  const line = 'lock:\t1: POSIX  ADVISORY  WRITE 4711 fe:00:1234 0 EOF';
  t.same(groupDescriptors(7, [raw(3, { more: `${line}\n` })])[0]?.locks, [line]);
  t.end();
});

t.test('place() goes over a number above all of the target\'s', (t) => {
  const tape = new Tape();
  place(tape, 'f', 5, { fds: [0, 5], closeOnExec: new Set([5]) }, 100);
  t.equal(tape.toText().replace(/ +#.*$/gm, ''), `\
    0  s0 := fcntl(5, 1030, 100)
    1  s1 := close(5)
    2  s2 := dup3(s0, 0, 0)
    3  s3 := dup3(s0, 5, 0x80000)
    4  s4 := close(s0)
`);
  t.end();
});

t.test('descriptors in words', (t) => {
  t.equal(descriptorText([7]), 'descriptor 7');
  t.equal(descriptorText([1, 2]), 'descriptors 1 and 2');
  t.equal(descriptorText([1, 2, 9]), 'descriptors 1, 2 and 9');
  t.end();
});

t.test('what no kind takes is named', (t) => {
  const open = (link: string, mode = 0): OpenDescription => ({ descriptors: [], link, stat: { ...STAT, mode }, flags: 0, position: 0n, locks: [] });
  for (const [link, what] of [
    ['socket:[4711]', 'a socket'], ['anon_inode:[eventpoll]', 'an epoll instance'], ['anon_inode:[eventfd]', 'an eventfd'], ['anon_inode:inotify', 'an inotify instance'],
    ['anon_inode:[pidfd]', 'a pidfd'], ['pidfd:[5]', 'a pidfd'], ['anon_inode:bpf-map', 'a BPF object'], ['net:[4026531840]', 'a namespace'], ['anon_inode:[io_uring]', 'an io_uring'],
  ] as const) t.equal(nameUnknown(open(link)).what, what, link);
  t.equal(nameUnknown(open('/dev/kvm', 0o020660)).what, 'the device /dev/kvm');
  t.match(nameUnknown(open('/run/fifo', 0o010600)).what, /named pipe or pipe \/run\/fifo/);
  t.equal(nameUnknown(open('anon_inode:[news]')).what, 'anon_inode:[news]', 'what nobody knows keeps its own name');
  t.end();
});

t.test('deviceText() has major and minor as stat(1) does', (t) => {
  for (const path of ['/dev/null', '/dev/zero', '/dev/urandom', '/dev/tty', '/dev/full']) {
    const wanted = execFileSync('stat', ['-c', '%Hr:%Lr', path], { encoding: 'utf8' }).trim();
    t.equal(deviceText(statSync(path, { bigint: true }).rdev), wanted, path);
  }
  t.equal(deviceText(makedev(0x12345n, 0x6789an)), `${0x12345}:${0x6789a}`);
  t.equal(deviceText(makedev(259n, 1048575n)), '259:1048575');
  t.end();
});

/** sys/sysmacros.h */
function makedev(major: bigint, minor: bigint): bigint {
  return ((major & 0xfffff000n) << 32n) | ((major & 0xfffn) << 8n) | ((minor & 0xffffff00n) << 12n) | (minor & 0xffn);
}

const LOCK = {
  posix: 'lock:\t1: POSIX  ADVISORY  WRITE 4711 fe:00:1234 100 199',
  reading: 'lock:\t2: POSIX  ADVISORY  READ 4711 08:100001:1234 0 EOF',
  ofd: 'lock:\t3: OFDLCK ADVISORY  WRITE -1 fe:00:1234 0 0',
  flock: 'lock:\t4: FLOCK  ADVISORY  WRITE 4711 fe:00:1234 0 EOF',
  shared: 'lock:\t5: FLOCK  ADVISORY  READ 4711 fe:00:1234 0 EOF',
  lease: 'lock:\t6: LEASE  ACTIVE    READ 4711 fe:00:1234 0 EOF',
} as const;

t.test('each kind of lock becomes its own call', (t) => {
  const taken = (line: string): { text: string; lock: (bigint | number)[] } => {
    const tape = new Tape();
    restoreLock(tape, 9, '/data/f', line);
    const bytes = tape.encode({ base: 0n, codeSize: 4096, reportFd: -1 });
    const at = tape.dataOffset(tape.data(Buffer.alloc(0)));
    const lock = bytes.subarray(at - 32);
    return { text: tape.toText().replace(/^.*:= | +#.*\n$/g, ''), lock: [lock.readInt16LE(0), lock.readInt16LE(2), lock.readBigInt64LE(8), lock.readBigInt64LE(16)] };
  };
  t.strictSame(taken(LOCK.posix), { text: 'fcntl(9, 6, data+0)', lock: [1, 0, 100n, 100n] });
  t.strictSame(taken(LOCK.reading), { text: 'fcntl(9, 6, data+0)', lock: [0, 0, 0n, 0n] });
  t.strictSame(taken(LOCK.ofd), { text: 'fcntl(9, 37, data+0)', lock: [1, 0, 0n, 1n] });
  t.equal(taken(LOCK.flock).text, 'flock(9, 6)');
  t.equal(taken(LOCK.shared).text, 'flock(9, 5)');
  t.end();
});

t.test('locks that cannot be taken again are refused by name', (t) => {
  for (const line of [LOCK.posix, LOCK.reading, LOCK.ofd, LOCK.flock, LOCK.shared]) t.equal(refusedLock(line), undefined, line);
  t.equal(refusedLock(LOCK.lease), 'a lease');
  t.match(refusedLock('lock:\t1: DELEG  ACTIVE    READ 1 fe:00:1 0 EOF'), 'a lease');
  t.match(refusedLock('lock:\t1: NEWS   ADVISORY  WRITE 1 fe:00:1 0 EOF'), /kind NEWS WRITE/);
  t.match(refusedLock('lock:\tgarbage'), /not understood \(lock:\tgarbage\)/);
  t.end();
});

t.test('a lock of an image is unproven', (t) => {
  for (const line of ['', 'garbage', LOCK.lease, 'lock:\t1: POSIX  ADVISORY  WRITE 1 fe:00:1 0 zzz', 'lock:\t1: POSIX  ADVISORY  WRITE 1 fe:00:1 x 5', `${LOCK.posix} more`]) {
    t.throws(() => restoreLock(new Tape(), 3, '/f', line), { code: 'PROCS_ERR_IMAGE_FORMAT' }, line);
  }
  t.doesNotThrow(() => restoreLock(new Tape(), 3, '/f', `lock:\t1: POSIX  ADVISORY  WRITE 1 fe:00:1 ${'9'.repeat(40)} ${'9'.repeat(41)}`), 'numbers beyond 64 bits: the kernel judges what is left of them');
  t.end();
});

t.test('the lock lines of this kernel are understood', (t) => {
  const path = join(workdir(t), 'file');
  writeFileSync(path, 'x'.repeat(500));
  const script = 'exec 9<>"$1"; flock -x 9; cat /proc/self/fdinfo/9';
  const info = execFileSync('sh', ['-c', script, 'sh', path], { encoding: 'latin1' });
  const lines = info.split('\n').filter((line) => line.startsWith('lock:'));
  t.equal(lines.length, 1, info);
  t.equal(refusedLock(lines[0] ?? ''), undefined);
  t.end();
});

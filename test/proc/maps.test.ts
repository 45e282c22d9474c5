/** proc/maps.ts: maps and smaps as kernels 5.10, 6.1 and 6.18 write them. */
import { chmodSync, copyFileSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { t } from 'tap';
import { AreaFlags, isDeleted, parseMaps, parseVmFlags, unescapePath, withoutDeleted, withoutRange, type Vma } from '../../supervisor/proc/maps.js';
import { currentUser, spawnAs, workdir } from '../harness.js';

/** Padded to column 73 by the kernel: show_map_vma(), fs/proc/task_mmu.c. */
const KERNEL_5_10 = `\
55d0c7c6b000-55d0c7c6d000 r--p 00000000 fd:01 1966337                    /usr/bin/cat
55d0c7c6d000-55d0c7c72000 r-xp 00002000 fd:01 1966337                    /usr/bin/cat
55d0c8e3e000-55d0c8e5f000 rw-p 00000000 00:00 0                          [heap]
7f0d1c000000-7f0d1c021000 rw-p 00000000 00:00 0 
7f0d1c021000-7f0d20000000 ---p 00000000 00:00 0 
7f0d22a4e000-7f0d22a52000 rw-s 00001000 00:01 31                         /dev/zero (deleted)
7f0d22a52000-7f0d22a53000 rw-s 00000000 00:01 1025                       /memfd:a name with spaces (deleted)
7f0d22a53000-7f0d22a54000 rw-s 00000000 00:0e 14                         anon_inode:[io_uring]
7ffd6d3d5000-7ffd6d3f6000 rw-p 00000000 00:00 0                          [stack]
7ffd6d3f7000-7ffd6d3fb000 r--p 00000000 00:00 0                          [vvar]
7ffd6d3fb000-7ffd6d3fd000 r-xp 00000000 00:00 0                          [vdso]
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]
`;

/** Device numbers grow beyond two digits; names of anonymous memory came with 5.17. */
const KERNEL_6_1 = `\
7f1b48000000-7f1b4c000000 rw-p 00000000 00:00 0                          [anon:glibc: malloc arena]
7f1b4d400000-7f1b4d428000 r--p 00000000 103:05 12345678901               /usr/lib/x86_64-linux-gnu/libc.so.6
7f1b4d428000-7f1b4d429000 rw-s fffff000 08:100001 3                      /data/two\\012lines.log
7f1b4d429000-7f1b4d42a000 rw-s 1fffffffff000 00:2d 9                     /data/gone (deleted) (deleted)
`;

const KERNEL_6_18 = `\
7ff0e8ff7000-7ff0e8ffb000 r--p 00000000 00:00 0                          [vvar]
7ff0e8ffb000-7ff0e8ffd000 r--p 00000000 00:00 0                          [vvar_vclock]
7ff0e8ffd000-7ff0e8fff000 r-xp 00000000 00:00 0                          [vdso]
7ff0e9000000-7ff0e9001000 rw-s 00000000 00:01 7                          [anon_shmem:ring]
`;

t.test('parseMaps() understands every field', (t) => {
  const vmas = parseMaps(KERNEL_5_10);
  t.equal(vmas.length, 12);
  t.strictSame(vmas[1], {
    start: 0x55d0c7c6d000n, end: 0x55d0c7c72000n, read: true, write: false, execute: true, shared: false,
    offset: 0x2000n, device: 'fd:01', inode: 1966337n, name: '/usr/bin/cat',
  });
  t.strictSame(vmas[5], {
    start: 0x7f0d22a4e000n, end: 0x7f0d22a52000n, read: true, write: true, execute: false, shared: true,
    offset: 0x1000n, device: '00:01', inode: 31n, name: '/dev/zero (deleted)',
  });
  t.strictSame(vmas.map(({ name }) => name), [
    '/usr/bin/cat', '/usr/bin/cat', '[heap]', '', '', '/dev/zero (deleted)', '/memfd:a name with spaces (deleted)', 'anon_inode:[io_uring]',
    '[stack]', '[vvar]', '[vdso]', '[vsyscall]',
  ]);
  t.match(vmas[4], { read: false, write: false, execute: false, shared: false }, 'PROT_NONE');
  t.match(vmas[11], { start: 0xffffffffff600000n, read: false, execute: true }, 'the whole 64 bits of an address');
  t.end();
});

t.test('parseMaps() keeps wide device numbers, large offsets and inodes, and names as they are', (t) => {
  const [arena, libc, lines, gone] = parseMaps(KERNEL_6_1);
  t.match(arena, { name: '[anon:glibc: malloc arena]', inode: 0n });
  t.match(libc, { device: '103:05', inode: 12345678901n });
  t.match(lines, { device: '08:100001', offset: 0xfffff000n, name: '/data/two\\012lines.log' });
  t.match(gone, { offset: 0x1fffffffff000n, name: '/data/gone (deleted) (deleted)' });
  t.strictSame(parseMaps(KERNEL_6_18).map(({ name }) => name), ['[vvar]', '[vvar_vclock]', '[vdso]', '[anon_shmem:ring]']);
  t.end();
});

t.test('parseMaps() keeps the order of adjacent mappings and very long names', (t) => {
  const name = `/${'long directory/'.repeat(270)}file`;
  const text = `1000-2000 rw-p 00000000 fe:00 5                                          ${name}\n2000-3000 rw-p 00001000 fe:00 5                                          ${name}\n`;
  const [first, second, ...rest] = parseMaps(text);
  t.equal(rest.length, 0);
  t.equal(first?.name, name);
  t.equal(first?.end, second?.start);
  t.strictSame(parseMaps(''), []);
  t.end();
});

t.test('parseMaps() takes any byte but a newline in a name: the kernel escapes nothing else', (t) => {
  const bytes = Array.from({ length: 255 }, (_, index) => String.fromCharCode(index + 1)).filter((character) => character !== '\n' && character !== '/').join('');
  t.equal(parseMaps(`1000-2000 r--p 00000000 fe:00 5 /tmp/${bytes}\n`)[0]?.name, `/tmp/${bytes}`);
  t.end();
});

t.test('parseMaps() refuses a line that is not understood, and quotes it', (t) => {
  for (const line of [
    'garbage', '1000-2000 rw-p 00000000 fe:00', '1000-2000 rwzp 00000000 fe:00 5 /x', '1000 rw-p 00000000 fe:00 5 /x', '-2000 rw-p 0 fe:00 5', '1000-2000 rw-p 0 fe00 5',
  ]) {
    t.throws(() => parseMaps(`${KERNEL_5_10}${line}\n`), { code: 'PROCS_ERR_PROC_FORMAT', message: JSON.stringify(line) }, line);
  }
  t.end();
});

t.test('parseMaps() and parseVmFlags() agree on this process', (t) => {
  const vmas = parseMaps(readFileSync('/proc/self/maps', 'latin1'));
  const flags = parseVmFlags(readFileSync('/proc/self/smaps', 'latin1'));
  const stack = vmas.find(({ name }) => name === '[stack]') as Vma;
  t.ok(flags.of(stack)?.has('gd'), 'the stack grows down');
  const vdso = vmas.find(({ name }) => name === '[vdso]') as Vma;
  t.ok(flags.of(vdso)?.has('ex') && !flags.of(vdso)?.has('wr'), 'the vDSO is executable');
  t.end();
});

t.test('a mapped file is found again under its real name, whatever its name', async (t) => {
  const directory = workdir(t);
  for (const name of ['plain', 'with space', 'new\nline', 'literal\\012', 'literal\\134x', 'carriage\rreturn', 'umlaut-ä']) {
    const path = join(directory, name);
    copyFileSync('/bin/cat', path);
    chmodSync(path, 0o755);
    const process_ = spawnAs(t, currentUser(), [path]);
    process_.stdin?.write('ready\n');
    await process_.waitStdout(/ready/);
    const names = parseMaps(readFileSync(`/proc/${process_.pid}/maps`, 'latin1')).map((vma) => vma.name);
    const wanted = Buffer.from(path).toString('latin1');
    // A literal `\012` and a newline look alike; everything else is told apart.
    const expected = name.includes('\\012') ? wanted.replace('\\012', '\n') : wanted;
    t.ok(names.map(unescapePath).includes(expected), JSON.stringify(name));
    process_.stdin?.end();
    await process_.exit;
  }
});

const area = (start: bigint, end: bigint, extra: Partial<Vma> = {}): Vma => ({
  start, end, read: true, write: true, execute: false, shared: false, offset: 0n, device: '00:00', inode: 0n, name: '', ...extra,
});

t.test('withoutRange() cuts what lies inside', (t) => {
  const ranges = (vmas: readonly Vma[]) => vmas.map((vma) => [vma.start, vma.end]);
  const vmas = [area(0x1000n, 0x3000n), area(0x4000n, 0x8000n), area(0x9000n, 0xa000n)];
  t.strictSame(ranges(withoutRange(vmas, 0x3000n, 0x4000n)), [[0x1000n, 0x3000n], [0x4000n, 0x8000n], [0x9000n, 0xa000n]], 'a range between areas touches none');
  t.strictSame(ranges(withoutRange(vmas, 0x4000n, 0x8000n)), [[0x1000n, 0x3000n], [0x9000n, 0xa000n]], 'a whole area');
  t.strictSame(ranges(withoutRange(vmas, 0x5000n, 0x6000n)), [[0x1000n, 0x3000n], [0x4000n, 0x5000n], [0x6000n, 0x8000n], [0x9000n, 0xa000n]], 'the middle of one');
  t.strictSame(ranges(withoutRange(vmas, 0x2000n, 0x9000n)), [[0x1000n, 0x2000n], [0x9000n, 0xa000n]], 'several');
  t.strictSame(withoutRange(vmas, 0n, 1n << 64n), []);
  t.end();
});

t.test('withoutRange() moves the offset of a file along, and of nothing else', (t) => {
  const file = area(0x4000n, 0x8000n, { inode: 7n, offset: 0x10000n, name: '/f' });
  t.strictSame(withoutRange([file], 0x5000n, 0x6000n).map(({ offset }) => offset), [0x10000n, 0x12000n]);
  t.strictSame(withoutRange([area(0x4000n, 0x8000n)], 0x5000n, 0x6000n).map(({ offset }) => offset), [0n, 0n]);
  t.end();
});

t.test('AreaFlags finds the area that holds a whole range', (t) => {
  const flags = new AreaFlags();
  t.equal(flags.of({ start: 0n, end: 1n }), undefined, 'none yet');
  for (const [start, end, flag] of [[0x1000n, 0x2000n, 'a'], [0x2000n, 0x4000n, 'b'], [0x8000n, 0x9000n, 'c']] as const) flags.add(start, end, new Set([flag]));
  const at = (start: bigint, end: bigint) => [...(flags.of({ start, end }) ?? [])].join();
  t.equal(at(0x1000n, 0x2000n), 'a');
  t.equal(at(0x2000n, 0x3000n), 'b');
  t.equal(at(0x3000n, 0x4000n), 'b');
  t.equal(at(0x8000n, 0x9000n), 'c');
  for (const [start, end] of [[0n, 0x1000n], [0x1000n, 0x3000n], [0x4000n, 0x5000n], [0x8000n, 0xa000n], [0x9000n, 0xa000n]] as const) t.equal(at(start, end), '', `${start.toString(16)}-${end.toString(16)}`);
  t.end();
});

t.test('parseVmFlags() takes the flags of each area and nothing else of smaps', (t) => {
  const flags = parseVmFlags(`\
7f1b48000000-7f1b4c000000 rw-p 00000000 00:00 0                          [anon:dead-beef VmFlags: xx]
Size:              65536 kB
Rss:                   4 kB
FilePmdMapped:         0 kB
THPeligible:           1
ProtectionKey:         0
VmFlags: rd wr mr mw me ac sd hg 
7ffd6d3fb000-7ffd6d3fd000 r-xp 00000000 00:00 0                          [vdso]
Size:                  8 kB
THPeligible:    0
VmFlags: rd ex mr mw me de 
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]
VmFlags: ex 
`);
  t.strictSame([...(flags.of({ start: 0x7f1b48000000n, end: 0x7f1b4c000000n }) ?? [])], ['rd', 'wr', 'mr', 'mw', 'me', 'ac', 'sd', 'hg']);
  t.strictSame([...(flags.of({ start: 0x7ffd6d3fb000n, end: 0x7ffd6d3fc000n }) ?? [])], ['rd', 'ex', 'mr', 'mw', 'me', 'de']);
  t.strictSame([...(flags.of({ start: 0xffffffffff600000n, end: 0xffffffffff601000n }) ?? [])], ['ex']);
  t.end();
});

t.test('names of deleted files', (t) => {
  t.ok(isDeleted('/data/x (deleted)'));
  t.notOk(isDeleted('/data/x (deleted) '));
  t.equal(withoutDeleted('/data/x (deleted)'), '/data/x');
  t.equal(withoutDeleted('/data/x (deleted) (deleted)'), '/data/x (deleted)', 'the kernel appends one');
  t.equal(withoutDeleted('/data/x'), '/data/x');
  t.end();
});

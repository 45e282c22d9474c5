/** resources/file.ts: which file is which. */
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, statSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { t } from 'tap';
import { type FileObject, FileTable, buildIdOf, changedSince, fileRecord, nameOfFile, nameOfMapping, readBuildId, readFileRecord } from '../../../supervisor/resources/file.js';
import type { Vma } from '../../../supervisor/proc/maps.js';
import { workdir } from '../../harness.js';

interface Note {
  readonly name?: string;
  readonly nameSize?: number;
  readonly size?: number;
  readonly type?: number;
  readonly bytes?: Buffer;
}

/** An ELF head with one PT_NOTE segment. */
function elf(notes: readonly Note[], { type = 4, filesz = undefined as bigint | undefined, offset = 120n } = {}): Buffer {
  const parts = notes.map(({ name = 'GNU\0', nameSize = name.length, bytes = Buffer.alloc(0), size = bytes.length, type: noteType = 3 }) => {
    const head = Buffer.alloc(12);
    [nameSize, size, noteType].forEach((word, index) => head.writeUInt32LE(word >>> 0, index * 4));
    const padded = (part: Buffer): Buffer => Buffer.concat([part, Buffer.alloc((4 - (part.length % 4)) % 4)]);
    return Buffer.concat([head, padded(Buffer.from(name, 'latin1')), padded(bytes)]);
  });
  const body = Buffer.concat(parts);
  const head = Buffer.alloc(120);
  head.write('\x7fELF\x02\x01\x01', 'latin1');
  head.writeBigUInt64LE(64n, 32);
  head.writeUInt16LE(1, 56);
  head.writeUInt32LE(type, 64);
  head.writeBigUInt64LE(offset, 72);
  head.writeBigUInt64LE(filesz ?? BigInt(body.length), 96);
  return Buffer.concat([head, body]);
}

const ID = Buffer.from('0123456789abcdef0123456789abcdef01234567', 'hex');

t.test('buildIdOf() finds the note among others', (t) => {
  t.equal(buildIdOf(elf([{ bytes: ID }])), ID.toString('hex'));
  t.equal(buildIdOf(elf([{ type: 5, bytes: Buffer.alloc(16) }, { name: 'stapsdt\0', bytes: Buffer.alloc(7) }, { bytes: ID }])), ID.toString('hex'));
  t.equal(buildIdOf(elf([{ name: 'XYZ\0', bytes: ID }])), undefined);
  t.equal(buildIdOf(elf([])), undefined);
  t.equal(buildIdOf(elf([{ bytes: ID }], { type: 1 })), undefined, 'no PT_NOTE');
  t.end();
});

t.test('buildIdOf() says the same as the linker made', (t) => {
  const path = join(workdir(t), 'program');
  execFileSync('cc', ['-x', 'c', '-', '-o', path, '-Wl,--build-id=0x00ff1234'], { input: 'int main(void) { return 0; }' });
  t.equal(readBuildId(path), '00ff1234');
  execFileSync('cc', ['-x', 'c', '-', '-o', path, '-Wl,--build-id=none'], { input: 'int main(void) { return 0; }' });
  t.equal(readBuildId(path), undefined);
  t.equal(readBuildId('/nowhere'), undefined);
  t.equal(readBuildId('/'), undefined, 'a directory');
  t.end();
});

t.test('buildIdOf() of junk is undefined, and ends', (t) => {
  const sizes = [0x7fffffff, 0x80000000, 0x80000001, 0xfffffff3, 0xfffffff4, 0xfffffff8, 0xfffffffc, 0xffffffff];
  for (const size of sizes) {
    t.equal(buildIdOf(elf([{ size, type: 1 }, { bytes: ID }])), undefined, `size 0x${size.toString(16)}`);
    t.equal(buildIdOf(elf([{ nameSize: size, type: 1 }, { bytes: ID }])), undefined, `name of 0x${size.toString(16)}`);
    t.equal(buildIdOf(elf([{ size }])), undefined);
    t.equal(buildIdOf(elf([{ nameSize: 0, name: '', size, type: 1 }])), undefined);
  }
  for (const [what, head] of [
    ['nothing', Buffer.alloc(0)], ['zeros', Buffer.alloc(4096)], ['ones', Buffer.alloc(4096, 0xff)], ['a script', Buffer.from(`#!/bin/sh\n${'#'.repeat(100)}`)],
    ['a note behind the end', elf([{ bytes: ID }], { offset: 1n << 62n })], ['a note of all bits', elf([{ bytes: ID }], { filesz: (1n << 64n) - 1n, offset: 4000n })],
  ] as const) t.equal(buildIdOf(head), undefined, what);
  const whole = elf([{ bytes: ID }]);
  for (let length = 0; length < whole.length; length++) t.equal(buildIdOf(whole.subarray(0, length)), undefined, `cut at ${length}`);
  const ofClass32 = Buffer.from(whole);
  ofClass32[4] = 1;
  t.equal(buildIdOf(ofClass32), undefined, '32-bit');
  t.end();
});

t.test('links of descriptors say what they are, and have no escapes', (t) => {
  t.same(nameOfFile('/data/x'), { type: 'path', path: '/data/x' });
  t.same(nameOfFile('/data/a\\012b'), { type: 'path', path: '/data/a\\012b' });
  t.same(nameOfFile('/data/x (deleted)'), { type: 'deleted', path: '/data/x' });
  t.same(nameOfFile('/memfd:ring (deleted)'), { type: 'memfd', path: 'ring' });
  t.same(nameOfFile('/memfd:a (deleted) (deleted)'), { type: 'memfd', path: 'a (deleted)' });
  t.same(nameOfFile('/dev/zero (deleted)'), { type: 'anonymous', path: 'anonymous' });
  t.end();
});

t.test('names of mappings: a newline, and what looks like one', (t) => {
  const directory = workdir(t);
  const literal = join(directory, 'a\\012b');
  writeFileSync(literal, 'x');
  const vma = (name: string, inode: bigint): Vma => ({ start: 0n, end: 1n, read: true, write: false, execute: false, shared: false, offset: 0n, device: 'fe:00', inode, name });
  t.equal(nameOfMapping(vma(literal, statSync(literal, { bigint: true }).ino)).path, literal);
  t.equal(nameOfMapping(vma(literal, 1n)).path, join(directory, 'a\nb'), 'another inode: so it was a newline');
  t.end();
});

const FILE: FileObject = {
  id: 3, type: 'path', path: '/data/x', dev: 1n, ino: 2n, mode: 0o100644, size: 10n, mtimeNs: 5n, buildId: undefined, space: undefined, seals: 0, written: true,
  checks: [{ offset: 0, length: 10, crc: 7 }], patches: [{ start: 0n, end: 4096n }],
};

t.test('a file comes back from its record as it was', (t) => {
  for (const file of [FILE, { ...FILE, type: 'memfd' as const, buildId: 'ab', space: 4, seals: 0x1f }]) t.strictSame(readFileRecord(fileRecord(file)), file);
  t.throws(() => readFileRecord({ ...fileRecord(FILE), type: 'wormhole' }), { code: 'PROCS_ERR_IMAGE_FORMAT', message: /"wormhole" is unknown/ });
  for (const field of ['id', 'path', 'dev', 'ino', 'mode', 'size', 'mtimeNs', 'seals', 'written', 'checks', 'patches']) {
    t.throws(() => readFileRecord({ ...fileRecord(FILE), [field]: {} }), { code: 'PROCS_ERR_IMAGE_FORMAT', message: new RegExp(`field ${field} `) }, field);
  }
  t.end();
});

t.test('FileTable has each file once, by device and inode', (t) => {
  const files = new FileTable();
  const identity = { mode: 0, size: 0n, mtimeNs: 0n };
  const first = files.add({ type: 'path', path: '/a', dev: 1n, ino: 12n, ...identity });
  const second = files.add({ type: 'memfd', path: 'b', dev: 11n, ino: 2n, space: 4, ...identity });
  t.equal(files.find(1n, 12n)?.id, first.id);
  t.equal(files.find(11n, 2n)?.path, 'b');
  t.equal(files.find(1n, 2n), undefined);
  t.equal(files.patch(second.id, () => t.fail('it has all its contents already') as unknown as number, []), undefined);
  t.equal(files.patch(first.id, () => 9, [{ start: 0n, end: 4096n }]), 9);
  files.markWritten(first.id);
  t.match(files.records(), [{ id: 0, space: 9, written: true, patches: [{ end: 4096n }] }, { id: 1, space: 4, written: false }]);
  t.end();
});

t.test('changedSince() names what is different', (t) => {
  const directory = workdir(t);
  const path = join(directory, 'f');
  writeFileSync(path, '0123456789');
  const stat = statSync(path, { bigint: true });
  const file: FileObject = { ...FILE, path, size: stat.size, mtimeNs: stat.mtimeNs };
  t.equal(changedSince(file), undefined);
  utimesSync(path, 1, 1);
  t.match(changedSince(file), /changed since/);
  writeFileSync(path, 'short');
  t.match(changedSince(file), /another length \(5 bytes, it had 10\)/);
  t.match(changedSince({ ...file, path: join(directory, 'none') }), /^is missing$/);
  symlinkSync('loop', join(directory, 'loop'));
  t.match(changedSince({ ...file, path: join(directory, 'loop') }), /cannot be examined \(ELOOP\)/);
  copyFileSync('/bin/cat', path);
  t.equal(changedSince({ ...file, path, buildId: readBuildId('/bin/cat') }), undefined, 'an ELF file is known by its build-id, not its time');
  t.match(changedSince({ ...file, path, buildId: '00' }), /another build-id/);
  mkdirSync(join(directory, 'd'));
  t.match(changedSince({ ...file, path: join(directory, 'd'), buildId: '00' }), /another build-id \(none/);
  t.end();
});

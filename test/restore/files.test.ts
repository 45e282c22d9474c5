/** restore/files.ts: everything is examined before anything is touched; what is cut off or replaced is kept beside. */
import { closeSync, existsSync, mkdirSync, readFileSync, readdirSync, readlinkSync, renameSync, rmSync, statSync, symlinkSync, utimesSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { t, type Test } from 'tap';
import { crc32c } from '../../supervisor/image/crc32c.js';
import { ExtentTable, type Extent, encodeExtents } from '../../supervisor/image/extents.js';
import { F_ADD_SEALS, F_GET_SEALS } from '../../supervisor/linux.js';
import { native } from '../../supervisor/native.js';
import type { FileObject } from '../../supervisor/resources/file.js';
import { type PrepareOptions, prepareFiles } from '../../supervisor/restore/files.js';
import { workdir } from '../harness.js';

const PAGE = 4096;

/** Pages of spaces in an image-like memfd. */
class Store {
  readonly fd = native.memfd('image', 1);
  readonly #extents: Extent[] = [];
  #end = 8192;

  put(space: number, address: number, bytes: Buffer, crcError = 0): this {
    const whole = Buffer.concat([bytes, Buffer.alloc((PAGE - (bytes.length % PAGE)) % PAGE)]);
    writeSync(this.fd, whole, 0, whole.length, this.#end);
    this.#extents.push({ space, address: BigInt(address), pageCount: whole.length / PAGE, fileOffset: this.#end, storedLength: whole.length, crc32c: crc32c(whole) ^ crcError, codec: 0 });
    this.#end += whole.length;
    return this;
  }

  get extents(): ExtentTable {
    return ExtentTable.sort(encodeExtents(this.#extents), { pageSize: PAGE, dataEnd: this.#end });
  }
}

interface Case {
  readonly directory: string;
  readonly told: string[];
  path(name: string): string;
  prepare(files: readonly FileObject[], options?: Partial<PrepareOptions>): ReturnType<typeof prepareFiles>;
}

function begin(t: Test, store = new Store()): Case {
  const directory = workdir(t);
  const told: string[] = [];
  t.teardown(() => closeSync(store.fd));
  return {
    directory,
    told,
    path: (name) => join(directory, name),
    prepare: (files, options = {}) =>
      prepareFiles({ directory, files, policy: 'rewind', cloneName: undefined, imageFd: store.fd, extents: store.extents, tell: (line) => told.push(line), ...options }),
  };
}

/** What a checkpoint would have noted of a file as it is. */
function note(path: string, extra: Partial<FileObject> = {}): FileObject {
  const stat = statSync(path, { bigint: true });
  return {
    id: 0, type: 'path', path, dev: stat.dev, ino: stat.ino, mode: Number(stat.mode), size: stat.size, mtimeNs: stat.mtimeNs, buildId: undefined, space: undefined, seals: 0, written: false, checks: [], patches: [], ...extra,
  };
}

/** A file of the kernel's that was there without a path. */
const carried = (extra: Partial<FileObject>): FileObject => ({ ...note('/dev/null'), ino: 1n, mode: 0o100600, path: 'ring', type: 'memfd', ...extra });

const contentsOf = (fd: number): Buffer => readFileSync(`/proc/self/fd/${fd}`);

t.test('a file that grew is put back to its length, and the rest is kept beside', async (t) => {
  const { path, prepare, told } = begin(t);
  writeFileSync(path('log'), 'before');
  const file = note(path('log'), { written: true });
  for (const round of [1, 2]) {
    writeFileSync(path('log'), 'before', { flag: 'r+' });
    writeFileSync(path('log'), ` after ${round}`, { flag: 'a' });
    (await prepare([file]))[Symbol.dispose]();
    t.equal(readFileSync(path('log'), 'utf8'), 'before');
    t.equal(readFileSync(path(`log.procs-saved-${round}`), 'utf8'), ` after ${round}`);
  }
  t.equal(told.length, 2);
  t.match(told[1], /log was put back to its 6 bytes at the checkpoint; the 8 bytes behind are kept in .*log\.procs-saved-2$/);
  (await prepare([file]))[Symbol.dispose]();
  t.equal(told.length, 2, 'nothing is said or done where nothing has changed');
});

t.test('a file that is only read is left alone, however it is', async (t) => {
  const { path, prepare, directory } = begin(t);
  writeFileSync(path('input'), 'data');
  (await prepare([note(path('input'))]))[Symbol.dispose]();
  t.same(readdirSync(directory), ['input']);
});

t.test('every file that is not as it must be is named, and none is touched', async (t) => {
  const { path, prepare, directory } = begin(t);
  const names = ['grown', 'missing', 'replaced', 'shorter', 'changed', 'touched', 'loop', 'mapped', 'prefix'];
  for (const name of names) writeFileSync(path(name), '0123456789');
  const files = names.map((name, id) => note(path(name), { id, written: !['changed', 'touched', 'mapped'].includes(name) }));
  const index = (name: string): number => names.indexOf(name);
  files[index('mapped')] = { ...(files[index('mapped')] as FileObject), space: 3, patches: [{ start: 4096n, end: 8192n }] };
  files[index('prefix')] = { ...(files[index('prefix')] as FileObject), checks: [{ offset: 0, length: 10, crc: crc32c(Buffer.from('0123456789')) }] };
  writeFileSync(path('grown'), 'more', { flag: 'a' });
  rmSync(path('missing'));
  renameSync(path('replaced'), path('old'));
  writeFileSync(path('replaced'), '0123456789');
  writeFileSync(path('shorter'), 'x');
  writeFileSync(path('changed'), '0123456789 and more');
  utimesSync(path('touched'), 1, 1);
  rmSync(path('loop'));
  symlinkSync('loop', path('loop'));
  rmSync(path('mapped'));
  writeFileSync(path('prefix'), 'X123456789');
  const before = readdirSync(directory).sort();
  await t.rejects(prepare(files, { directory: path('nowhere') }), {
    code: 'PROCS_ERR_FILE_CHANGED',
    exit: 65,
    message: /9 files are not as they were:\n.*nowhere, its working directory, is missing\n.*missing is missing\n.*replaced has been replaced by another file.*\n.*shorter has become shorter: 1 bytes, it had 10.*\n.*changed has another length.*\n.*touched has been changed.*\n.*loop cannot be examined \(ELOOP\)\n.*mapped is missing\n.*prefix has been changed in its first 10 bytes/,
  });
  t.same(readdirSync(directory).sort(), before);
  t.equal(readFileSync(path('grown'), 'utf8'), '0123456789more');
  await t.rejects(prepare([files[index('shorter')] as FileObject]), { message: /^cannot resume: .*shorter has become shorter/, remedy: /--files=keep/ });
});

t.test('--files=keep takes files as they are', async (t) => {
  const { path, prepare, directory } = begin(t);
  for (const name of ['shorter', 'replaced', 'grown']) writeFileSync(path(name), '0123456789');
  const files = ['shorter', 'replaced', 'grown'].map((name, id) => note(path(name), { id, written: true, ...(name === 'replaced' ? { ino: 1n } : {}) }));
  writeFileSync(path('shorter'), 'x');
  writeFileSync(path('grown'), '0123456789 more');
  (await prepare(files, { policy: 'keep' }))[Symbol.dispose]();
  t.equal(readFileSync(path('grown'), 'utf8'), '0123456789 more');
  t.same(readdirSync(directory).sort(), ['grown', 'replaced', 'shorter']);
  await t.rejects(prepare([{ ...(files[0] as FileObject), path: path('nowhere') }], { policy: 'keep' }), { code: 'PROCS_ERR_FILE_CHANGED', message: /nowhere is missing/ });
});

t.test('a file whose contents the image has comes back whole, in its own inode', async (t) => {
  const contents = Buffer.concat([Buffer.alloc(PAGE, 'a'), Buffer.alloc(PAGE), Buffer.from('tail')]);
  const store = new Store().put(4, 0, contents.subarray(0, PAGE)).put(4, 2 * PAGE, contents.subarray(2 * PAGE));
  const { path, prepare, told } = begin(t, store);
  writeFileSync(path('db'), contents);
  const file = note(path('db'), { written: true, space: 4 });
  (await prepare([file]))[Symbol.dispose]();
  t.same(told, [], 'it was as it should be');
  writeFileSync(path('db'), 'changed altogether');
  writeFileSync(path('db-journal'), 'of another state');
  (await prepare([file]))[Symbol.dispose]();
  t.ok(readFileSync(path('db')).equals(contents));
  t.equal(statSync(path('db'), { bigint: true }).ino, file.ino);
  t.equal(readFileSync(path('db.procs-saved-1'), 'utf8'), 'changed altogether');
  t.notOk(existsSync(path('db-journal')), 'a journal that came after the checkpoint is not believed');
  t.equal(readFileSync(path('db-journal.procs-saved-1'), 'utf8'), 'of another state');
  rmSync(path('db'));
  (await prepare([{ ...file, mode: 0o100640 }]))[Symbol.dispose]();
  t.ok(readFileSync(path('db')).equals(contents), 'one that is missing is made again');
  t.equal(statSync(path('db')).mode & 0o777, 0o640);
  (await prepare([{ ...file, ino: 1n }]))[Symbol.dispose]();
  t.ok(readFileSync(path('db')).equals(contents), 'another file that stands there goes aside');
  t.ok(readFileSync(path('db.procs-saved-2')).equals(contents));
});

t.test('a damaged image is found before a file is touched', async (t) => {
  const { path, prepare, directory } = begin(t, new Store().put(4, 0, Buffer.alloc(PAGE, 'a'), 1));
  writeFileSync(path('db'), 'precious');
  await t.rejects(prepare([note(path('db'), { size: 4096n, written: true, space: 4 })]), { code: 'PROCS_ERR_IMAGE_DAMAGED', message: /db are damaged/ });
  t.equal(readFileSync(path('db'), 'utf8'), 'precious');
  t.same(readdirSync(directory), ['db']);
});

t.test('parts that were mapped shared are written back, the rest of the file is not', async (t) => {
  const store = new Store().put(4, PAGE, Buffer.alloc(PAGE, 'm'));
  const { path, prepare } = begin(t, store);
  writeFileSync(path('map'), Buffer.alloc(4 * PAGE, 'x'));
  const file = note(path('map'), { space: 4, patches: [{ start: 4096n, end: 12288n }] });
  utimesSync(path('map'), 1, 1);
  (await prepare([file]))[Symbol.dispose]();
  t.ok(readFileSync(path('map')).equals(Buffer.concat([Buffer.alloc(PAGE, 'x'), Buffer.alloc(PAGE, 'm'), Buffer.alloc(PAGE), Buffer.alloc(PAGE, 'x')])), 'a page that is not stored is zero');
  writeFileSync(path('map'), 'short');
  await t.rejects(prepare([file]), { code: 'PROCS_ERR_FILE_CHANGED', message: /has become shorter/ });
});

t.test('a file that was mapped as a whole is made again where it is gone', async (t) => {
  const contents = Buffer.concat([Buffer.alloc(PAGE, 'm'), Buffer.alloc(PAGE)]);
  const { path, prepare } = begin(t, new Store().put(4, 0, contents.subarray(0, PAGE)));
  mkdirSync(path('counters'));
  writeFileSync(path('counters/17'), contents);
  const file = note(path('counters/17'), { space: 4, patches: [{ start: 4096n, end: 8192n }, { start: 0n, end: 4096n }] });
  rmSync(path('counters'), { recursive: true });
  await t.rejects(prepare([{ ...file, patches: [{ start: 4096n, end: 8192n }] }]), { code: 'PROCS_ERR_FILE_CHANGED', message: /17 is missing/ }, 'not if a part is unknown');
  await t.rejects(prepare([file], { policy: 'keep' }), { code: 'PROCS_ERR_FILE_CHANGED', message: /17 is missing/ });
  (await prepare([file]))[Symbol.dispose]();
  t.ok(readFileSync(path('counters/17')).equals(contents), 'with the directory it was in');
});

t.test('a clone writes to copies, and leaves the files themselves alone', async (t) => {
  const contents = Buffer.concat([Buffer.alloc(PAGE, 's'), Buffer.alloc(2 * PAGE)]);
  const { path, prepare, told, directory } = begin(t, new Store().put(4, 0, contents.subarray(0, PAGE)).put(5, 0, Buffer.alloc(PAGE, 'p')));
  writeFileSync(path('log'), 'before and after');
  writeFileSync(path('input'), 'read');
  writeFileSync(path('db'), 'changed');
  writeFileSync(path('map'), Buffer.alloc(2 * PAGE, 'x'));
  const files = [
    note(path('log'), { id: 0, written: true, size: 6n }),
    note(path('input'), { id: 1 }),
    note(path('db'), { id: 2, written: true, size: BigInt(contents.length), space: 4 }),
    note(path('map'), { id: 3, space: 5, patches: [{ start: 0n, end: 4096n }] }),
  ];
  for (const number of ['', '-2']) {
    const prepared = await prepare(files, { cloneName: 'sim-7' });
    t.same([...prepared.moved], [[0, `${path('log')}.sim-7${number}`], [2, `${path('db')}.sim-7${number}`], [3, `${path('map')}.sim-7${number}`]]);
    t.equal(readFileSync(`${path('log')}.sim-7${number}`, 'utf8'), 'before');
    t.ok(readFileSync(`${path('db')}.sim-7${number}`).equals(contents), 'zeros at the end too');
    t.ok(readFileSync(`${path('map')}.sim-7${number}`).equals(Buffer.concat([Buffer.alloc(PAGE, 'p'), Buffer.alloc(PAGE, 'x')])));
    prepared[Symbol.dispose]();
  }
  t.equal(readFileSync(path('log'), 'utf8'), 'before and after');
  t.equal(readFileSync(path('db'), 'utf8'), 'changed');
  t.equal(readdirSync(directory).length, 10);
  t.match(told[0], /this clone writes to .*log\.sim-7 instead of .*log$/);
});

t.test('files without a path are made again with their contents, and closed when not needed', async (t) => {
  const contents = Buffer.concat([Buffer.alloc(PAGE, 'z'), Buffer.from('end')]);
  const { path, prepare, directory } = begin(t, new Store().put(4, 0, contents));
  mkdirSync(path('d'));
  const prepared = await prepare([
    carried({ id: 0, space: 4, size: BigInt(contents.length) }),
    carried({ id: 1, type: 'deleted', path: path('d/gone'), space: 4, size: BigInt(contents.length) }),
    carried({ id: 2, type: 'anonymous', space: 4, size: 4096n }),
    carried({ id: 3, type: 'deleted', path: '/nowhere/at/all', size: 5n }),
  ]);
  t.same([...prepared.carried.keys()], [0, 1, 3], 'anonymous memory exists in memory only');
  const fds = [...prepared.carried.values()] as [number, number, number];
  t.ok(contentsOf(fds[0]).equals(contents));
  t.ok(contentsOf(fds[1]).equals(contents));
  t.ok(contentsOf(fds[2]).equals(Buffer.alloc(5)));
  t.match(readlinkSync(`/proc/self/fd/${fds[0]}`), '/memfd:ring (deleted)');
  t.ok(readlinkSync(`/proc/self/fd/${fds[1]}`).startsWith(path('d/')), 'where it was');
  t.same(readdirSync(directory), ['d']);
  t.same(readdirSync(path('d')), [], 'nothing is seen of it');
  prepared[Symbol.dispose]();
  for (const fd of fds) t.throws(() => contentsOf(fd));
});

t.test('a memfd can be sealed as it could before, and has its name', async (t) => {
  const { prepare } = begin(t);
  const name = Buffer.from('größe').toString('latin1');
  const prepared = await prepare([carried({ id: 0, seals: 0, path: name }), carried({ id: 1, seals: 1 /* F_SEAL_SEAL: made without MFD_ALLOW_SEALING */ }), carried({ id: 2, path: '\xff'.repeat(249) })]);
  const [open, closed, odd] = [...prepared.carried.values()] as [number, number, number];
  t.equal(readlinkSync(`/proc/self/fd/${open}`), '/memfd:größe (deleted)');
  t.ok(odd > 0, 'a name that is no UTF-8 is no failure');
  t.equal(native.fcntl(open, F_GET_SEALS, 0), 0, 'the program may seal it later');
  t.equal(native.fcntl(closed, F_ADD_SEALS, 1), 0, 'and its own seals can be set');
  t.equal(native.fcntl(closed, F_GET_SEALS, 0), 1);
  prepared[Symbol.dispose]();
});

t.test('a failure on the way names the file and leaves no descriptor', async (t) => {
  const { path, prepare } = begin(t);
  writeFileSync(path('log'), 'before and after');
  const count = (): number => readdirSync('/proc/self/fd').length;
  const before = count();
  mkdirSync(path('d'));
  await t.rejects(
    prepare([carried({ id: 0 }), carried({ id: 1, type: 'path', path: path('d'), space: 4, ino: statSync(path('d'), { bigint: true }).ino })]),
    { code: 'PROCS_ERR_SYSTEM', message: /cannot put back .*d from the image: EISDIR/ },
  );
  t.equal(count(), before);
});

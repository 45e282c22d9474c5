import fs from 'node:fs';
import { spawnSync } from 'node:child_process';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { ProcsError } from '../../supervisor/errors.js';
import { crc32c } from '../../supervisor/image/crc32c.js';
import { encodeExtents } from '../../supervisor/image/extents.js';
import { realFiles } from '../../supervisor/image/files.js';
import { Image } from '../../supervisor/image/image.js';
import { encodeHead, type Head } from '../../supervisor/image/layout.js';
import { differenceOf, PAGE, writeCheckpoint } from './story.js';

async function imageWith(t: Test, count: number): Promise<string> {
  const path = join(t.testdir(), 'job.procs');
  const image = await Image.create(path);
  for (let i = 0; i < count; i++) await writeCheckpoint(image, realFiles);
  image.close();
  return path;
}

t.test('a new image is private and holds what is committed', async (t) => {
  const path = await imageWith(t, 1);
  t.equal(fs.statSync(path).mode & 0o7777, 0o600);
  using image = Image.openForReading(path);
  t.equal(image.newest, 1);
  t.equal(image.id.length, 16);
  t.equal(image.architecture, process.arch === 'x64' ? 'x86_64' : 'aarch64');
  t.match(image.checkpoints, [{ number: 1, parent: 0, timeMs: 1000, dataBytes: 6 * PAGE, extentCount: 1, start: 8192 }]);
  t.equal(differenceOf(image, 1), undefined);
  t.strictSame([image.damage, image.notes], [[], []]);
});

t.test('a history of 200 checkpoints, written in several sittings, is all there', async (t) => {
  const path = await imageWith(t, 1);
  for (let sitting = 0; sitting < 4; sitting++) {
    using image = Image.openForWriting(path);
    while (image.newest < (sitting + 1) * 50) await writeCheckpoint(image, realFiles);
  }
  using image = Image.openForReading(path);
  t.strictSame(image.checkpoints.map(({ number, parent }) => [number, parent]), Array.from({ length: 200 }, (_, i) => [i + 1, i]));
  t.strictSame(image.checkpoints.map(({ number }) => differenceOf(image, number)).filter(Boolean), []);
  const { ok, checkedBytes } = await image.verify();
  t.ok(ok);
  t.equal(checkedBytes, (6 + 199) * PAGE, 'shared pages are read once');
});

t.test('a checkpoint can go on from an earlier one', async (t) => {
  const path = await imageWith(t, 3);
  using image = Image.openForWriting(path);
  using draft = image.begin();
  await draft.commit({ header: {}, records: [], extents: new Uint8Array(0), dataEnd: draft.dataOffset, parent: 1 });
  t.strictSame(image.checkpoints.map(({ number, parent }) => [number, parent]), [[1, 0], [2, 1], [3, 2], [4, 1]]);
  t.equal(image.read().extents.length, 0);
  t.equal(image.read(2).summary.number, 2);
  t.throws(() => image.read(9), { code: 'PROCS_ERR_USAGE', message: /no checkpoint 9 .* it has 1, 2, 3, 4/ });
});

t.test('an aborted or forgotten draft leaves no trace', async (t) => {
  const path = await imageWith(t, 1);
  const before = fs.readFileSync(path);
  using image = Image.openForWriting(path);
  const draft = image.begin();
  t.throws(() => image.begin(), { code: 'PROCS_ERR_INTERNAL' }, 'one at a time');
  fs.writeSync(draft.fd, Buffer.alloc(PAGE, 1), 0, PAGE, draft.dataOffset);
  draft.abort();
  draft.abort();
  {
    using forgotten = image.begin();
    fs.writeSync(forgotten.fd, Buffer.alloc(PAGE, 1), 0, PAGE, forgotten.dataOffset);
  }
  t.ok(before.equals(fs.readFileSync(path)));
  await t.rejects(draft.commit({ header: {}, records: [], extents: new Uint8Array(0), dataEnd: draft.dataOffset }), { code: 'PROCS_ERR_INTERNAL' });
});

t.test('what does not fit the draft is refused, and the image goes on', async (t) => {
  const path = await imageWith(t, 1);
  using image = Image.openForWriting(path);
  const base = { header: {}, records: [], extents: new Uint8Array(0) };
  const extent = { space: 1, address: 0n, pageCount: 1, storedLength: PAGE, crc32c: 0, codec: 0 };
  for (const [request, words] of [
    [{ ...base, dataEnd: 0 }, /cannot end at 0/], [{ ...base, dataEnd: 1 << 30 }, /the file is shorter/], [{ ...base, dataEnd: -1, parent: 0 }, /cannot end/],
    [{ ...base, parent: 2 }, /cannot have the parent 2/], [{ ...base, header: { a: undefined } }, /header\.a .*undefined/],
    [{ ...base, extents: encodeExtents([{ ...extent, fileOffset: 1 << 20 }]) }, /extent 0 is stored outside/],
  ] as const) {
    const draft = image.begin();
    await t.rejects(draft.commit({ dataEnd: draft.dataOffset, ...request }), { code: 'PROCS_ERR_INTERNAL', message: words });
  }
  await writeCheckpoint(image, realFiles);
  t.ok((await image.verify()).ok);
});

t.test('an image closed without a checkpoint is removed, another file of its name is not', async (t) => {
  const path = join(t.testdir(), 'job.procs');
  (await Image.create(path)).close();
  t.notOk(fs.existsSync(path));
  const image = await Image.create(path);
  fs.unlinkSync(path);
  fs.writeFileSync(path, 'mine');
  image.close();
  t.equal(fs.readFileSync(path, 'utf8'), 'mine');
});

t.test('close() during a commit lets it end first', async (t) => {
  const path = await imageWith(t, 1);
  const image = Image.openForWriting(path);
  const draft = image.begin();
  const writing = draft.commit({ header: { late: true }, records: [], extents: new Uint8Array(0), dataEnd: draft.dataOffset });
  image.close();
  t.throws(() => image.read(), { code: 'PROCS_ERR_INTERNAL' });
  t.doesNotThrow(() => fs.fstatSync(image.fd), 'the descriptor is open until then');
  await writing;
  t.throws(() => fs.fstatSync(image.fd), { code: 'EBADF' });
  using again = Image.openForReading(path);
  t.strictSame(again.read(2).header, { late: true });
});

t.test('create() does not overwrite, unless nothing was ever completed', async (t) => {
  const path = await imageWith(t, 1);
  await t.rejects(Image.create(path), { code: 'PROCS_ERR_IMAGE_EXISTS' });
  await t.rejects(Image.create(path, { replaceIncomplete: true }), { code: 'PROCS_ERR_IMAGE_EXISTS' });
  for (const [what, contents] of [['empty', Buffer.alloc(0)], ['zeros', Buffer.alloc(8192)], ['heads', fs.readFileSync(path).subarray(0, 0)]] as const) {
    fs.writeFileSync(path, contents);
    await t.rejects(Image.create(path), { code: 'PROCS_ERR_IMAGE_EXISTS' }, what);
    using image = await Image.create(path, { replaceIncomplete: true });
    await writeCheckpoint(image, realFiles);
    t.equal(differenceOf(image, 1), undefined, what);
  }
  fs.writeFileSync(path, 'a letter');
  await t.rejects(Image.create(path, { replaceIncomplete: true }), { code: 'PROCS_ERR_IMAGE_EXISTS' });
  t.equal(fs.readFileSync(path, 'utf8'), 'a letter');
});

t.test('an image without a checkpoint says so, and can be written to', async (t) => {
  const path = join(t.testdir(), 'job.procs');
  const copy = `${path}.copy`;
  const image = await Image.create(path);
  fs.copyFileSync(path, copy);
  image.close();
  t.throws(() => Image.openForReading(copy), { code: 'PROCS_ERR_IMAGE_EMPTY', exit: 65, message: /holds no complete checkpoint/ });
  using again = Image.openForWriting(copy);
  t.equal(again.newest, 0);
  await writeCheckpoint(again, realFiles);
  t.equal(differenceOf(again, 1), undefined);
});

t.test('openForWriting() cuts off what lies behind the newest checkpoint', async (t) => {
  const path = await imageWith(t, 2);
  const whole = fs.readFileSync(path);
  fs.appendFileSync(path, Buffer.alloc(100_000, 7));
  { using image = Image.openForReading(path); t.equal(differenceOf(image, 2), undefined, 'a reader leaves it'); }
  t.equal(fs.statSync(path).size, whole.length + 100_000);
  { using image = Image.openForWriting(path); t.equal(image.end, whole.length); }
  t.ok(whole.equals(fs.readFileSync(path)));
});

t.test('what is not an image is refused for what it is, without waiting', async (t) => {
  const folder = t.testdir({ folder: {}, text: 'x'.repeat(10_000), short: 'PRO', empty: '' });
  const at = (name: string) => join(folder, name);
  spawnSync('mkfifo', [at('fifo')]);
  const short = fs.mkdtempSync(join(tmpdir(), 'procs-')); // the path of a socket has at most 107 bytes
  const server = createServer().listen(join(short, 'socket'));
  await new Promise((resolve) => server.once('listening', resolve));
  t.teardown(() => {
    server.close();
    fs.rmSync(short, { recursive: true });
  });
  fs.symlinkSync('loop', at('loop'));
  fs.symlinkSync('nowhere', at('dangling'));
  fs.writeFileSync(at('zeros'), Buffer.alloc(20_000));
  for (const [path, code, words] of [
    [at('none'), 'PROCS_ERR_NO_IMAGE', /ENOENT/], [at('dangling'), 'PROCS_ERR_NO_IMAGE', /ENOENT/], [at('text/x'), 'PROCS_ERR_NO_IMAGE', /ENOTDIR/],
    [at('folder'), 'PROCS_ERR_IMAGE_FORMAT', /a directory/], [at('fifo'), 'PROCS_ERR_IMAGE_FORMAT', /a FIFO/], [join(short, 'socket'), 'PROCS_ERR_IMAGE_FORMAT', /a socket/],
    ['/dev/null', 'PROCS_ERR_IMAGE_FORMAT', /a device/], ['/dev/zero', 'PROCS_ERR_IMAGE_FORMAT', /a device/], ['/dev/tty', 'PROCS_ERR_IMAGE_FORMAT', /a device/],
    [at('empty'), 'PROCS_ERR_IMAGE_FORMAT', /it is empty/], [at('short'), 'PROCS_ERR_IMAGE_FORMAT', /it has 3 bytes/], [at('text'), 'PROCS_ERR_IMAGE_FORMAT', /does not begin with PROCSIMG/],
    [at('zeros'), 'PROCS_ERR_IMAGE_FORMAT', /does not begin with PROCSIMG/], [at('loop'), 'PROCS_ERR_IMAGE_OPEN', /ELOOP/], [at('x'.repeat(300)), 'PROCS_ERR_IMAGE_OPEN', /ENAMETOOLONG/],
    ['/proc/self/status', 'PROCS_ERR_IMAGE_FORMAT', /it is empty/], ['', 'PROCS_ERR_NO_IMAGE', /ENOENT/], ['a\0b', 'PROCS_ERR_IMAGE_OPEN', /null bytes/],
  ] as const) {
    for (const open of [Image.openForReading, Image.openForWriting]) {
      t.throws(() => open(path), { code, message: words, name: 'ProcsError' }, `${open.name} ${JSON.stringify(path.slice(-100))}`);
    }
  }
});

t.test('a symbolic link to an image is as good as the image', async (t) => {
  const path = await imageWith(t, 1);
  fs.symlinkSync(path, `${path}.link`);
  using image = Image.openForWriting(`${path}.link`);
  await writeCheckpoint(image, realFiles);
  t.equal(differenceOf(image, 2), undefined);
});

t.test('a newer version and another architecture are told apart from damage', async (t) => {
  const path = await imageWith(t, 1);
  const bytes = fs.readFileSync(path);
  const withHead = (change: (head: DataView) => void): void => {
    const head = Uint8Array.from(bytes.subarray(0, 4096));
    const view = new DataView(head.buffer);
    change(view);
    view.setUint32(4092, crc32c(head.subarray(0, 4092)), true);
    fs.writeFileSync(path, Buffer.concat([head, head, bytes.subarray(8192)]));
  };
  withHead((head) => head.setUint32(8, 2, true));
  t.throws(() => Image.openForReading(path), { code: 'PROCS_ERR_IMAGE_VERSION', message: /format version 2, this procs knows versions up to 1/ });
  t.throws(() => Image.openForWriting(path), { code: 'PROCS_ERR_IMAGE_VERSION' });
  await t.rejects(Image.create(path, { replaceIncomplete: true }), { code: 'PROCS_ERR_IMAGE_EXISTS' });
  for (const [number, name] of [[2, 'aarch64'], [77, 'unknown \\(number 77\\)']] as const) {
    withHead((head) => head.setUint32(12, number, true));
    t.throws(() => Image.openForReading(path, { architecture: 'x86_64' }), { code: 'PROCS_ERR_IMAGE_ARCH', message: new RegExp(`made on ${name}, and this is x86_64`) });
    using image = Image.openForReading(path, { architecture: 'any' });
    t.equal(differenceOf(image, 1), undefined, 'it can be looked at');
  }
});

t.test('a head with a good checksum and impossible numbers is damaged', async (t) => {
  const path = await imageWith(t, 1);
  const bytes = fs.readFileSync(path);
  const good: Head = {
    version: 1, architecture: 1, pageSize: 4096, sequence: 5, id: new Uint8Array(16), commitOffset: 8192, commitLength: 160,
    fileEnd: 16384, newest: 1, oldest: 1, previousCommitOffset: 0,
  };
  for (const wrong of [
    { version: 0 }, { pageSize: 0 }, { pageSize: 5000 }, { pageSize: 1 << 30 }, { sequence: 2 ** 60 }, { commitOffset: 2 ** 63 }, { commitOffset: 0 }, { commitOffset: 16000 },
    { commitLength: 2 ** 40 }, { fileEnd: 0 }, { fileEnd: 2 ** 62 }, { newest: 0 }, { newest: 2 ** 62 }, { oldest: 0 }, { oldest: 2 }, { previousCommitOffset: 9000 },
    { newest: 2 ** 52, commitOffset: 8192 }, { fileEnd: 2 ** 52, commitOffset: 2 ** 51 }, {},
  ]) {
    const head = encodeHead({ ...good, ...wrong });
    fs.writeFileSync(path, Buffer.concat([head, head, bytes.subarray(8192)]));
    t.throws(() => Image.openForReading(path, { architecture: 'x86_64' }), { code: 'PROCS_ERR_IMAGE_DAMAGED' }, JSON.stringify(wrong));
    t.throws(() => Image.openForWriting(path, { architecture: 'x86_64' }), { code: 'PROCS_ERR_IMAGE_DAMAGED' });
  }
});

t.test('another user is told whose image it is', { skip: process.geteuid!() !== 0 && 'only root can become another user' }, async (t) => {
  const path = await imageWith(t, 1);
  for (let folder = t.testdirName; folder !== '/'; folder = join(folder, '..')) {
    if ((fs.statSync(folder).mode & 0o005) !== 0o005) return void t.pass('EACCES', { skip: `others cannot enter ${folder}` });
  }
  const as = <T>(uid: number, act: () => T): T => {
    process.seteuid!(uid);
    try {
      return act();
    } finally {
      process.seteuid!(0);
    }
  };
  t.throws(() => as(65534, () => Image.openForReading(path)), { code: 'PROCS_ERR_IMAGE_OPEN', exit: 77, message: /EACCES/ });
  t.throws(() => as(65534, () => Image.openForWriting(path)), { code: 'PROCS_ERR_IMAGE_OPEN', exit: 77 });
  fs.chmodSync(path, 0o666);
  t.throws(() => as(65534, () => Image.openForWriting(path)), { code: 'PROCS_ERR_IMAGE_OPEN', exit: 77, message: /belongs to user 0, and this is user 65534/ });
  const image = as(65534, () => Image.openForReading(path));
  t.equal(image.ownerUid, 0);
  image.close();
  await t.rejects(as(65534, () => Image.create(join(path, '../other.procs'))), { code: 'PROCS_ERR_IMAGE_WRITE', exit: 73, message: /EACCES/ });
});

t.test('create() where nothing can be made says why', async (t) => {
  const folder = t.testdir({ file: '' });
  for (const [path, words] of [
    [join(folder, 'none/job.procs'), /ENOENT/], [join(folder, 'file/job.procs'), /ENOTDIR/], [join(folder, 'x'.repeat(300)), /ENAMETOOLONG/], ['/proc/job.procs', /ENOENT|EACCES|EPERM/],
  ] as const) {
    await t.rejects(Image.create(path), { code: 'PROCS_ERR_IMAGE_WRITE', exit: 73, message: words });
  }
});

t.test('dropBefore() gives back what no kept checkpoint uses', async (t) => {
  const path = await imageWith(t, 20);
  const punched: [number, number][] = [];
  const punchHole = (fd: number, offset: number, length: number): void => {
    punched.push([offset, length]);
    fs.writeSync(fd, Buffer.alloc(length), 0, length, offset); // what reading a hole gives
  };
  {
    using image = Image.openForWriting(path);
    t.ok((await image.dropBefore(10, punchHole)) > 0);
    t.strictSame(image.checkpoints.map(({ number }) => number), Array.from({ length: 11 }, (_, i) => i + 10));
    await writeCheckpoint(image, realFiles);
  }
  t.ok(punched.length > 1);
  t.ok(punched.every(([offset, length]) => offset % PAGE === 0 && length % PAGE === 0 && offset >= 8192));
  using image = Image.openForReading(path);
  t.strictSame(image.checkpoints.map(({ number }) => differenceOf(image, number)).filter(Boolean), []);
  t.ok((await image.verify()).ok);
  t.throws(() => image.read(9), { code: 'PROCS_ERR_USAGE' });
});

t.test('dropBefore() works where there are no holes', async (t) => {
  using image = Image.openForWriting(await imageWith(t, 5));
  const refused = (): void => { throw Object.assign(new Error('no'), { code: 'EOPNOTSUPP' }); };
  t.equal(await image.dropBefore(5, refused), 0);
  t.strictSame(image.checkpoints.map(({ number }) => number), [5]);
  t.ok((await image.verify()).ok);
});

t.test('verify() reports progress, takes another checksum, looks at some checkpoints only, and can be ended', async (t) => {
  using image = Image.openForReading(await imageWith(t, 4));
  const seen: number[] = [];
  const { ok } = await image.verify({ onProgress: ({ doneBytes }) => seen.push(doneBytes) });
  t.ok(ok);
  t.strictSame(seen, [0, 6, 7, 8, 9].map((pages) => pages * PAGE));
  const wrong = await image.verify({ checksumRange: async () => 1, checkpoints: [3] });
  t.strictSame(wrong.checkpoints.map(({ number, problems }) => [number, problems.length]), [[3, 3]]);
  t.match(wrong.checkpoints[0]!.problems[0], /page data at 8192 \(24576 bytes, first used at 0x7ffff0000000 of space 1\) is damaged: its checksum is 0x00000001/);
  await t.rejects(image.verify({ signal: AbortSignal.abort(new ProcsError('PROCS_ERR_SYSTEM', 'enough')) }), { message: 'enough' });
});

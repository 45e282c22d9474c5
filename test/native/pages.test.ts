/** native/src/pages.cc and descriptor.cc: pages are found, copied and checked. */
import { closeSync, openSync, readFileSync, readSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { t, type Test } from 'tap';
import { crc32c } from '../../supervisor/image/crc32c.js';
import { type Extent, decodeExtents } from '../../supervisor/image/extents.js';
import { O_DIRECT } from '../../supervisor/linux.js';
import { SELECT, native } from '../../supervisor/native.js';
import { compileProbe } from '../compile-probe.js';
import { currentUser, spawnAs, workdir } from '../harness.js';

const PAGE = 4096n;

t.test('the checksum of C is that of TypeScript', (t) => {
  const bytes = Buffer.alloc(20_000);
  for (let index = 0, state = 1; index < bytes.length; index++) bytes[index] = (state = (state * 1103515245 + 12345) >>> 0) >>> 24;
  t.equal(native.checksum(Buffer.from('123456789'), 0), 0xe3069283, 'the check value of CRC-32C, RFC 3720');
  const wrong: string[] = [];
  for (const length of [...Array(300).keys(), 1023, 1024, 1025, 4095, 4096, 4097, 8191, 8192, 12_288, 12_300, 16_384, 19_000]) {
    for (const offset of [0, 1, 7]) {
      for (const seed of [0, 0xffffffff, 0x12345678]) {
        const part = bytes.subarray(offset, offset + length);
        if (native.checksum(part, seed) !== crc32c(part, seed)) wrong.push(`${length} bytes at ${offset}, seed ${seed}`);
      }
    }
  }
  t.same(wrong, []);
  t.equal(native.checksum(bytes.subarray(5000), native.checksum(bytes.subarray(0, 5000), 0)), native.checksum(bytes, 0), 'it goes on from a seed');
  t.end();
});

const probe = compileProbe(t, 'test/native/memory-probe.c');

/** A process with known memory. Page n of `data` is filled with n + 1, but pages 3 and 4 with zeros, and page 7 was never touched. */
async function knownMemory(t: Test) {
  const running = spawnAs(t, currentUser(), [probe]);
  const [, ...addresses] = await running.waitStdout(/^data (\w+) none (\w+) end$/m);
  const [data = 0n, none = 0n] = addresses.map((address) => BigInt(`0x${address}`));
  return { pid: running.pid, data, none };
}

const COUNT = 200n;

t.test('both ways to look for pages find the same', async (t) => {
  const { pid, data, none } = await knownMemory(t);
  const scan = (start: bigint, pages: bigint, useIoctl: boolean) => [...native.scanPages(pid, start, start + pages * PAGE, SELECT.PRIVATE, useIoctl)];
  const wanted = [data, data + 7n * PAGE, data + 8n * PAGE, data + COUNT * PAGE];
  t.same(scan(data, COUNT, true), wanted);
  t.same(scan(data, COUNT, false), wanted);
  for (const useIoctl of [true, false]) {
    t.same(scan(none, 4n, useIoctl), [none, none + 2n * PAGE], 'memory that cannot be read is looked at too');
    t.same(scan(data + 7n * PAGE, 1n, useIoctl), []);
    t.same([...native.scanPages(pid, data, data + COUNT * PAGE, SELECT.GUARD, useIoctl)], []);
    t.same([...native.scanPages(pid, data, data + COUNT * PAGE, SELECT.ALL, useIoctl)], [data, data + COUNT * PAGE]);
  }
  t.throws(() => native.scanPages(4_194_303, 0n, PAGE, SELECT.PRIVATE, true), { code: 'ENOENT' });
});

interface Written {
  readonly extents: Extent[];
  readonly pages: number;
  readonly zeroPages: number;
  readonly end: number;
  /** The stored bytes of a page of the space; undefined where it is not stored. */
  page(address: bigint): Buffer | undefined;
}

async function write(request: Partial<Parameters<typeof native.writePages>[0]>, sources: readonly bigint[], sync = false): Promise<Written> {
  const imageFd = native.memfd('image', 1);
  try {
    const whole = { pid: 0, sourceFd: -1, forceMem: false, useIoctl: true, imageFd, offset: 8192, threads: 3, sources: BigUint64Array.from(sources), ...request };
    const { extents: table, ...rest } = sync ? native.writePagesSync(whole) : await native.writePages(whole);
    const extents = decodeExtents(table);
    const image = Buffer.alloc(rest.end);
    readSync(imageFd, image, 0, image.length, 0);
    for (const extent of extents) {
      const stored = image.subarray(extent.fileOffset, extent.fileOffset + extent.storedLength);
      if (crc32c(stored) !== extent.crc32c || stored.length !== extent.pageCount * Number(PAGE)) throw new Error(`a wrong extent at ${extent.address}`);
    }
    return {
      ...rest,
      extents,
      page(address) {
        const found = extents.find((extent) => address >= extent.address && address < extent.address + BigInt(extent.pageCount) * PAGE);
        if (found === undefined) return undefined;
        const at = found.fileOffset + Number(address - found.address);
        return image.subarray(at, at + Number(PAGE));
      },
    };
  } finally {
    closeSync(imageFd);
  }
}

t.test('every page of a process comes back, zeros are left out', async (t) => {
  const { pid, data } = await knownMemory(t);
  for (const [useIoctl, forceMem, sync] of [[true, false, false], [false, false, true], [true, true, false]] as const) {
    const written = await write({ pid, useIoctl, forceMem }, [data, data + COUNT * PAGE, 0x7000_0000n, 5n, SELECT.PRIVATE], sync);
    t.match(written, { pages: Number(COUNT) - 1, zeroPages: 2, end: 8192 + (Number(COUNT) - 3) * 4096 });
    const wrong: bigint[] = [];
    for (let page = 0n; page < COUNT; page++) {
      const stored = written.page(0x7000_0000n + page * PAGE);
      const isRight = page === 3n || page === 4n || page === 7n ? stored === undefined : stored?.equals(Buffer.alloc(4096, Number(page) + 1)) === true;
      if (!isRight) wrong.push(page);
    }
    t.same(wrong, []);
    t.ok(written.extents.every(({ space, codec, pageCount }) => space === 5 && codec === 0 && pageCount <= 64), 'of its space, raw, in pieces of 256 KiB at most');
  }
});

t.test('with CHANGED a page of zeros is a page', async (t) => {
  const { pid, data } = await knownMemory(t);
  const written = await write({ pid }, [data, data + 8n * PAGE, 0n, 0n, SELECT.CHANGED]);
  t.ok(written.page(3n * PAGE)?.equals(Buffer.alloc(4096)));
  t.equal(written.page(7n * PAGE), undefined, 'one that was never touched is none');
});

t.test('pages without PROT_READ come through mem, and only so', async (t) => {
  const { pid, none } = await knownMemory(t);
  const sources = [none, none + 4n * PAGE, none, 0n, SELECT.PRIVATE];
  const written = await write({ pid, forceMem: true }, sources);
  t.equal(written.pages, 2);
  t.ok(written.page(none)?.equals(Buffer.alloc(4096, 0xa5)));
  t.ok(written.page(none + PAGE)?.equals(Buffer.alloc(4096, 0xa6)));
  await t.rejects(write({ pid, forceMem: false }, sources), { code: 'EFAULT', syscall: 'process_vm_readv' });
  t.throws(() => native.writePagesSync({ pid: 4_194_303, sourceFd: -1, forceMem: false, useIoctl: true, imageFd: 1, offset: 0, threads: 1, sources: BigUint64Array.from(sources) }), { code: 'ENOENT' });
});

t.test('pages of a file: what it lacks behind its end is zero', async (t) => {
  const fd = native.memfd('source', 1);
  writeSync(fd, Buffer.concat([Buffer.alloc(4096, 1), Buffer.alloc(4096), Buffer.alloc(100, 2)]));
  const written = await write({ sourceFd: fd }, [0n, 4n * PAGE, 0n, 9n, SELECT.ALL]);
  t.ok(written.page(0n)?.equals(Buffer.alloc(4096, 1)));
  t.ok(written.page(2n * PAGE)?.equals(Buffer.concat([Buffer.alloc(100, 2), Buffer.alloc(3996)])));
  t.same([written.page(PAGE), written.page(3n * PAGE)], [undefined, undefined]);
  await t.rejects(write({ sourceFd: -1 }, [0n, PAGE, 0n, 0n, SELECT.ALL]), { code: 'EBADF', syscall: 'pread' });
  await t.rejects(write({ sourceFd: fd, imageFd: openSync('/dev/full', 'w') }, [0n, PAGE, 0n, 0n, SELECT.ALL]), { code: /ENOSPC|ESPIPE/ });
  closeSync(fd);
});

t.test('what is in the image already is described and checked', async (t) => {
  const path = join(workdir(t), 'f');
  const bytes = Buffer.alloc(300 * 4096, 'procs ');
  writeFileSync(path, bytes);
  const fd = openSync(path, 'r+');
  const extents = decodeExtents(await native.describeRange(fd, 4096, 299 * 4096, 6));
  t.same(extents.map(({ pageCount }) => pageCount), [64, 64, 64, 64, 43]);
  t.ok(extents.every((extent) => extent.space === 6 && extent.fileOffset === Number(extent.address) + 4096 && crc32c(bytes.subarray(extent.fileOffset, extent.fileOffset + extent.storedLength)) === extent.crc32c));
  t.equal(await native.checksumRange(fd, 10, 1_000_000), crc32c(bytes.subarray(10, 1_000_010)));
  await t.rejects(native.checksumRange(fd, 0, bytes.length + 1), { code: 'ENODATA' });
  await t.rejects(native.describeRange(fd, 0, bytes.length + 4096, 0), { code: 'ENODATA' });
  const copy = native.memfd('copy', 1);
  t.equal(native.copyRange(fd, 5, copy, 3, 700_000), crc32c(bytes.subarray(5, 700_005)));
  t.ok(readFileSync(`/proc/self/fd/${copy}`).equals(Buffer.concat([Buffer.alloc(3), bytes.subarray(5, 700_005)])));
  t.throws(() => native.copyRange(fd, bytes.length - 1, copy, 0, 2), { code: 'ENODATA' });
  native.zeroRange(copy, 10, 5);
  t.ok(readFileSync(`/proc/self/fd/${copy}`).subarray(10, 15).equals(Buffer.alloc(5)));
  t.equal(native.reflinkInto(fd, copy, 0), false, 'a file system without reflinks, here between two of them');
  const shm = openSync('/dev/shm', 0o20200002 /* O_TMPFILE | O_RDWR */, 0o600);
  t.equal(native.reflinkInto(shm, shm, 4096), false, 'tmpfs');
  for (const one of [shm, copy, fd]) closeSync(one);
});

t.test('what waits in a pipe is seen and stays in it', (t) => {
  const [read, write_] = native.pipePair();
  t.same(native.pipeContents(read, false), []);
  writeSync(write_, 'hello ');
  writeSync(write_, 'world');
  for (const round of [1, 2]) t.equal(Buffer.concat(native.pipeContents(read, false)).toString(), 'hello world', `round ${round}`);
  const room = Buffer.alloc(100);
  t.equal(room.toString('latin1', 0, readSync(read, room)), 'hello world', 'it is all still there');
  const full = Buffer.alloc(native.fcntl(write_, 1031 /* F_SETPIPE_SZ */, 1 << 18), 'x');
  writeSync(write_, full);
  t.ok(Buffer.concat(native.pipeContents(read, false)).equals(full), 'a full and enlarged one');
  closeSync(read);
  closeSync(write_);
  t.end();
});

t.test('packets of a pipe stay apart', (t) => {
  const [read, write_] = native.pipePair();
  native.fcntl(write_, 4 /* F_SETFL */, O_DIRECT);
  for (const packet of ['one', 'two', 'three']) writeSync(write_, packet);
  t.same(native.pipeContents(read, true).map(String), ['one', 'two', 'three']);
  closeSync(read);
  closeSync(write_);
  t.end();
});

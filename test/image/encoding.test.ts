import t from 'tap';
import { crc32c } from '../../supervisor/image/crc32c.js';
import { decodeExtents, encodeExtents, ExtentTable, joinExtents, pagesOffset, type Extent } from '../../supervisor/image/extents.js';
import { decodeMetadata, encodeMetadata, type ImageRecord } from '../../supervisor/image/metadata.js';

t.test('crc32c() agrees with RFC 3720, appendix B.4', async (t) => {
  const ascending = Uint8Array.from({ length: 32 }, (_, i) => i);
  t.equal(crc32c(new Uint8Array(32)), 0x8a9136aa);
  t.equal(crc32c(new Uint8Array(32).fill(0xff)), 0x62a8ab43);
  t.equal(crc32c(ascending), 0x46dd794e);
  t.equal(crc32c(ascending.toReversed()), 0x113fdb5c);
  t.equal(crc32c(Buffer.from('123456789')), 0xe3069283);
  t.equal(crc32c(new Uint8Array(0)), 0);
});

t.test('crc32c() of parts, one seeding the other, is that of the whole', async (t) => {
  const bytes = Uint8Array.from({ length: 100 }, (_, i) => (i * 37) & 0xff);
  const whole = crc32c(bytes);
  for (let cut = 0; cut <= bytes.length; cut++) {
    if (crc32c(bytes.subarray(cut), crc32c(bytes.subarray(0, cut))) !== whole) t.fail(`cut at ${cut}`);
  }
  t.pass('at every cut');
});

const metadataOf = (fields: Record<string, unknown>) => ({ header: {}, records: [{ kind: 'x', version: 1, ...fields }] });

t.test('metadata comes back as it was, bigints as bigints', async (t) => {
  const record: ImageRecord = {
    kind: 'x', version: 3, zero: 0n, one: 1n, minus: -1n, byte: 255n, high: 0xffff_ffff_ff60_0000n, top: 2n ** 64n - 1n, negative: -(2n ** 63n),
    number: 1, negativeNumber: -5, large: Number.MAX_SAFE_INTEGER, huge: 2 ** 70, half: 0.5, text: 'naïve 💾', empty: '', none: null, yes: true,
    bytes: Uint8Array.from([0, 1, 255]), nothing: new Uint8Array(0), list: [1, [2n, []]], map: { a: {}, __proto: 1 },
  };
  const { header, records } = decodeMetadata(encodeMetadata({ header: { job: 'sim' }, records: [record] }));
  t.strictSame(header, { job: 'sim' });
  t.strictSame(records, [record]);
});

t.test('a key named __proto__ is a key like others', async (t) => {
  const environment = JSON.parse('{"__proto__": {"evil": true}}') as Record<string, unknown>;
  const { records } = decodeMetadata(encodeMetadata(metadataOf({ environment })));
  t.strictSame(Object.keys(records[0]!['environment'] as object), ['__proto__']);
  t.equal((records[0]!['environment'] as Record<string, unknown>)['evil'], undefined);
});

t.test('a Buffer comes back as a Uint8Array of its own', async (t) => {
  const { records } = decodeMetadata(encodeMetadata(metadataOf({ bytes: Buffer.from('abc') })));
  const bytes = records[0]!['bytes'] as Uint8Array;
  t.equal(Object.getPrototypeOf(bytes), Uint8Array.prototype);
  t.equal(bytes.buffer.byteLength, 3);
});

t.test('encodeMetadata() refuses what would not come back, and says where it is', async (t) => {
  const circular: Record<string, unknown> = {};
  circular['self'] = circular;
  for (const [value, what] of [
    [undefined, 'undefined'], [NaN, 'NaN'], [Infinity, 'Infinity'], [new Map(), 'Map'], [new Date(0), 'Date'], ['\ud800', 'surrogate'],
    [() => 1, 'function'], [Symbol('s'), 'symbol'], [new Uint16Array(1), 'Uint16Array'], [2n ** 300n, '32 bytes'], [circular, 'nested'],
  ] as const) {
    t.throws(() => encodeMetadata(metadataOf({ inner: [{ field: value }] })), { code: 'PROCS_ERR_INTERNAL', message: new RegExp(`record 0 \\(x\\)\\.inner\\[0\\]\\.field.*${what}`) });
  }
  t.throws(() => encodeMetadata({ header: {}, records: [{ kind: '', version: 1 }] }), /has no kind/);
  t.throws(() => encodeMetadata({ header: {}, records: [{ kind: 'x', version: 0 }] }), /version is 0/);
});

t.test('decodeMetadata() refuses CBOR that no procs writes', async (t) => {
  const hex = (text: string) => Uint8Array.from(Buffer.from(text.replaceAll(' ', ''), 'hex'));
  const headerOf = (item: string) => hex(`a2 66 686561646572 a1 61 61 ${item} 67 7265636f726473 80`);
  t.strictSame(decodeMetadata(headerOf('01')), { header: { a: 1 }, records: [] }, 'the frame itself is good');
  for (const [item, what] of [
    ['f7', 'undefined'], ['1801', 'an integer in more bytes than needed'], ['1b 0020000000000000', 'an untagged integer above 2^53'], ['c2 42 0001', 'a bignum with a leading zero'],
    ['c2 01', 'a bignum that is no byte string'], [`c2 58 21 ${'11'.repeat(33)}`, 'a bignum too long'], ['c1 01', 'another tag'], ['9f ff', 'an indefinite length'], ['fb 7ff8000000000000', 'NaN'],
    ['f9 7c00', 'Infinity'], ['a2 61 62 01 61 62 02', 'a repeated key'], ['a1 01 01', 'a key that is no text'], ['5b 0000000100000000', 'a byte string of 4 GiB'], ['9b 0000010000000000', 'a list of 2^40'],
  ] as const) {
    t.throws(() => decodeMetadata(headerOf(item)), /metadata/, what);
  }
  t.throws(() => decodeMetadata(hex('')), /metadata/, 'nothing');
  t.throws(() => decodeMetadata(hex('01')), /no header and records/);
  t.throws(() => decodeMetadata(hex('a2 66 686561646572 a0 67 7265636f726473 81 01')), /record 0/);
  t.throws(() => decodeMetadata(hex('a2 66 686561646572 a0 67 7265636f726473 81 a1 64 6b696e64 61 78')), /version is undefined/);
  t.throws(() => decodeMetadata(new Uint8Array(3_000_000).fill(0x81)), /nested too deeply/, 'three million lists in each other');
});

const bounds = { pageSize: 4096, dataEnd: 1 << 30 };
const extent = (fields: Partial<Extent> = {}): Extent => ({
  space: 1, address: 0x1000n, pageCount: 2, fileOffset: 8192, storedLength: 8192, crc32c: 7, codec: 0, firstPage: 0, ...fields,
});

t.test('extents come back as they were', async (t) => {
  const extents = [extent(), extent({ space: 2, address: 0xffff_ffff_ffff_e000n, crc32c: 0xffff_ffff, fileOffset: 2 ** 52 })];
  t.strictSame(decodeExtents(encodeExtents(extents)), extents);
  t.strictSame([...ExtentTable.check(encodeExtents(extents), { ...bounds, dataEnd: 2 ** 53 - 1 })], extents);
});

t.test('ExtentTable.sort() puts any order in order', async (t) => {
  const extents = Array.from({ length: 500 }, (_, i) => extent({ space: i % 3, address: (0xffff_8000_0000_0000n + BigInt(i) * 0x2000n) & (2n ** 64n - 1n) }));
  const shuffled = extents.toSorted((a, b) => ((Number(a.address >> 13n) * 7919) % 503) - ((Number(b.address >> 13n) * 7919) % 503));
  const table = ExtentTable.sort(encodeExtents(shuffled), bounds);
  t.strictSame([...table], extents.toSorted((a, b) => a.space - b.space || Number(a.address - b.address)));
  t.throws(() => ExtentTable.check(encodeExtents(shuffled), bounds), /extent \d+ (overlaps|is not in the order)/);
});

t.test('a table answers by space', async (t) => {
  const table = ExtentTable.sort(encodeExtents([extent({ space: 9 }), extent({ space: 0xffff_ffff }), extent(), extent({ address: 0x3000n, pageCount: 1 })]), bounds);
  t.strictSame(table.spaces(), [1, 9, 0xffff_ffff]);
  t.equal([...table.ofSpace(1)].length, 2);
  t.equal([...table.ofSpace(2)].length, 0);
  t.equal([...table.ofSpace(0xffff_ffff)].length, 1);
  t.equal(table.pageCount(), 7);
  t.equal(table.pageCount(1), 3);
  t.equal(table.bytesOfSpace(9).length, 40);
  t.strictSame(ExtentTable.empty.spaces(), []);
});

t.test('a table refuses entries that cannot be right', async (t) => {
  for (const [wrong, words] of [
    [{ pageCount: 0 }, /no pages/], [{ address: 0x1001n }, /page's address/], [{ address: 0xffff_ffff_ffff_f000n }, /beyond the address space/],
    [{ fileOffset: 0 }, /outside the page data/], [{ fileOffset: 1 << 30 }, /outside the page data/], [{ fileOffset: 2 ** 60 }, /2\^53/], [{ fileOffset: 8193 }, /multiple of 4096/],
    [{ storedLength: 4096 }, /pages 0 to 2/], [{ storedLength: 8193 }, /8193 bytes/], [{ firstPage: 1 }, /pages 1 to 3/], [{ firstPage: 0xffff_ffff }, /pages/], [{ pageCount: 0xffff_ffff }, /pages/],
    [{ codec: 3 }, /unknown codec 3/], [{ codec: 2, storedLength: 0 }, /0 compressed bytes/], [{ codec: 1, pageCount: 1000 }, /beyond 1048576/],
  ] as const) {
    t.throws(() => ExtentTable.check(encodeExtents([extent(wrong)]), bounds), words);
  }
  t.throws(() => ExtentTable.check(encodeExtents([extent(), extent({ address: 0x2000n })]), bounds), /overlaps/);
  t.throws(() => ExtentTable.check(new Uint8Array(41), bounds), /multiple of 40/);
  t.doesNotThrow(() => ExtentTable.check(encodeExtents([extent({ codec: 2, storedLength: 77, fileOffset: 9001 })]), bounds));
});

t.test('keep() shows the unchanged pages of a run that is written over in part', async (t) => {
  const table = ExtentTable.sort(encodeExtents([
    extent({ address: 0x10000n, pageCount: 8, storedLength: 8 * 4096 }),
    extent({ address: 0x20000n, pageCount: 2, fileOffset: 65536 }),
    extent({ space: 2, address: 0x10000n, fileOffset: 131072 }),
  ]), bounds);
  const kept = decodeExtents(table.keep([
    { space: 1, address: 0x10000n, pageCount: 3 }, // page 3 was written
    { space: 1, address: 0x14000n, pageCount: 0x10 }, // reaches over a hole into the second
    { space: 2, address: 0x0n, pageCount: 0x11, toSpace: 5 },
    { space: 3, address: 0x0n, pageCount: 5 },
  ]));
  t.strictSame(kept.map((e) => [e.space, e.address, e.pageCount, e.firstPage, e.fileOffset, pagesOffset(e, 4096)]), [
    [1, 0x10000n, 3, 0, 8192, 8192],
    [1, 0x14000n, 4, 4, 8192, 8192 + 4 * 4096],
    [1, 0x20000n, 2, 0, 65536, 65536],
    [5, 0x10000n, 1, 0, 131072, 131072],
  ]);
  const again = ExtentTable.sort(joinExtents(encodeExtents(kept), encodeExtents([extent({ address: 0x13000n, pageCount: 1, storedLength: 4096, fileOffset: 262144 })])), bounds);
  t.strictSame(decodeExtents(again.keep([{ space: 1, address: 0x15000n, pageCount: 1 }])).map((e) => [e.pageCount, e.firstPage]), [[1, 5]], 'a part of a part');
  t.strictSame(again.runs().map((run) => run.fileOffset), [8192, 65536, 131072, 262144], 'each run once');
});

/** resources/page-load.ts: an image says where the player writes, so what it says is checked. */
import { t } from 'tap';
import { type Extent, ExtentTable, encodeExtents } from '../../../supervisor/image/extents.js';
import { PageLoads, loadPages } from '../../../supervisor/resources/page-load.js';
import type { Restore } from '../../../supervisor/resources/resource.js';
import { LOAD_SIZE, Tape } from '../../../supervisor/tape/tape.js';

const PAGE = 4096;
const FORMAT = { code: 'PROCS_ERR_IMAGE_FORMAT' };

function extent(address: bigint, pageCount: number, extra: Partial<Extent> = {}): Extent {
  return { space: 0, address, pageCount, fileOffset: 1 << 20, storedLength: pageCount * PAGE, crc32c: 0, codec: 0, ...extra };
}

function loadsOf(extents: readonly Extent[], at?: bigint): PageLoads {
  return new PageLoads(ExtentTable.check(encodeExtents(extents), { pageSize: PAGE, dataEnd: 2 ** 52 }), 0, at);
}

t.test('each mapping takes its own pages, and nothing is left', (t) => {
  const loads = loadsOf([extent(0x10000n, 1), extent(0x11000n, 2), extent(0x7fff_ffff_0000n, 15)]);
  t.equal(loads.takeWithin(0x1000n, 0x2000n), false);
  t.equal(loads.takeWithin(0x10000n, 0x13000n), true);
  t.throws(() => loads.refuseRest(), FORMAT);
  t.equal(loads.takeWithin(0x20000n, 0x30000n), false);
  t.equal(loads.takeWithin(0x7fff_ffff_0000n, 0x7fff_ffff_f000n), true);
  t.doesNotThrow(() => loads.refuseRest());
  t.equal(loads.takeWithin(0x7fff_ffff_f000n, 0x8000_0000_0000n), false);
  t.end();
});

t.test('pages outside of every mapping are refused, with their address', (t) => {
  const refused = (extents: readonly Extent[], ranges: readonly (readonly [bigint, bigint])[], address: string): void => {
    const loads = loadsOf(extents);
    t.throws(() => {
      for (const [start, end] of ranges) loads.takeWithin(start, end);
      loads.refuseRest();
    }, { code: 'PROCS_ERR_IMAGE_FORMAT', message: `cannot use the image: pages at 0x${address} belong to no mapping` }, address);
  };
  refused([extent(0x1000n, 1)], [[0x2000n, 0x3000n]], '1000');
  refused([extent(0x1000n, 1)], [], '1000');
  refused([extent(0x2000n, 2)], [[0x2000n, 0x3000n]], '2000'); // reaches beyond its mapping
  refused([extent(0x2000n, 2)], [[0x2000n, 0x3000n], [0x3000n, 0x4000n]], '2000'); // and into the next, of another kind
  refused([extent(0x1000n, 2)], [[0x2000n, 0x3000n]], '1000'); // begins before it
  refused([extent(0x4000n, 1)], [[0x2000n, 0x3000n], [0x5000n, 0x6000n]], '4000'); // between two
  refused([extent(0xffff_ffff_ffff_f000n, 1)], [[0x2000n, 0x3000n]], 'fffffffffffff000');
  refused([extent(0x2000n, 1), extent(0x3000_0000_0000n, 1)], [[0x2000n, 0x3000n]], '300000000000'); // where the player stands
  t.end();
});

t.test('pages of a space are loaded where it is put; one that would wrap round is refused', (t) => {
  const at = 0x5000_0000_0000n;
  const loads = loadsOf([extent(0n, 1), extent(0x3000n, 1)], at);
  t.equal(loads.takeWithin(at, at + 0x4000n), true);
  loads.refuseRest();
  const [share] = loads.divide(1) as [Uint8Array];
  t.same([0, 1].map((index) => Buffer.from(share).readBigUInt64LE(index * LOAD_SIZE + 8)), [at, at + 0x3000n]);
  const wrapping = loadsOf([extent(0n, 1), extent(0xffff_ffff_f000_0000n, 1)], at);
  t.throws(() => {
    wrapping.takeWithin(at, at + 0x4000n);
    wrapping.refuseRest();
  }, FORMAT);
  t.end();
});

t.test('moving a space leaves the image\'s own table alone', (t) => {
  const table = ExtentTable.check(encodeExtents([extent(0x1000n, 1)]), { pageSize: PAGE, dataEnd: 2 ** 52 });
  void new PageLoads(table, 0, 0x10000n);
  t.equal(table.at(0).address, 0x1000n);
  t.end();
});

t.test('pages that are stored in another way are refused before anything is loaded', (t) => {
  for (const [what, odd] of [
    ['compressed', { codec: 1, storedLength: 100 }],
    ['a part of a run', { firstPage: 1, storedLength: 2 * PAGE }],
    ['more stored than shown', { storedLength: 2 * PAGE }],
  ] as const) t.throws(() => loadsOf([extent(0x1000n, 1, odd)]).takeWithin(0x1000n, 0x2000n), { code: 'PROCS_ERR_IMAGE_VERSION' }, what);
  t.end();
});

t.test('divide() gives every entry to one thread, in contiguous parts of about equal length', (t) => {
  const extents = Array.from({ length: 400 }, (_, index) => extent(BigInt(index) * 0x100000n, index % 3 === 0 ? 64 : 32));
  const loads = loadsOf(extents);
  const total = extents.reduce((sum, { pageCount }) => sum + pageCount * PAGE, 0);
  for (const most of [1, 2, 3, 8]) {
    const shares = loads.divide(most);
    t.ok(Buffer.concat(shares).equals(Buffer.from(encodeExtents(extents))), `${most}: all of them, in order`);
    t.equal(shares.length, Math.min(most, Math.floor(total / (8 << 20))));
    for (const share of shares) t.ok(Math.abs(share.length / LOAD_SIZE - 400 / shares.length) <= 400 / shares.length / 10, `${most}: a fair share (${share.length / LOAD_SIZE})`);
  }
  t.equal(loadsOf([extent(0n, 1)]).divide(8).length, 1, 'little is not worth a thread');
  t.same(loadsOf([]).divide(8), []);
  t.end();
});

t.test('loadPages() gives each share to a thread, with the ids that are free, and waits for all', (t) => {
  const tape = new Tape();
  const loads = loadsOf(Array.from({ length: 3 }, (_, index) => extent(BigInt(index) << 32n, 4096)));
  loadPages({ tape, work: { image: 70 }, loading: { threads: 3, tids: [5, 6] } } as unknown as Restore, loads);
  tape.end();
  const lines = tape.toText().trimEnd().split('\n').map((line) => line.replace(/^.*:= (\w+).*?(\d+)?\).*$/, '$1'));
  t.same(lines, ['spawn', 'spawn', 'load', 'barrier', 'jump', 'load', 'barrier', 'exit', 'load', 'barrier', 'exit', 'end']);
  t.match(tape.toText(), /0 {2}s0 := spawn\(data\+\d+, 88, op 5\)[^]*1 {2}s1 := spawn\(data\+\d+, 88, op 8\)[^]*jump\(op 11\)/);
  t.end();
});

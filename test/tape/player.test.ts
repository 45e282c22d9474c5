/** agent/player.c and start.c: tapes played by the real player. */
import { closeSync, openSync, writeFileSync, writeSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { t } from 'tap';
import { crc32c } from '../../supervisor/image/crc32c.js';
import { encodeExtents } from '../../supervisor/image/extents.js';
import { CLONE_FILES, CLONE_FS, CLONE_SIGHAND, CLONE_SYSVSEM, CLONE_THREAD, CLONE_VM, MAP_ANONYMOUS, MAP_FIXED_NOREPLACE, MAP_PRIVATE, O_DIRECT } from '../../supervisor/linux.js';
import { native } from '../../supervisor/native.js';
import { TAPE_HEADER } from '../../supervisor/tape/layout.js';
import { Load, Mark, SlotAddress, Tape } from '../../supervisor/tape/tape.js';
import { playerCode } from '../../supervisor/freeze/player.js';
import { workdir } from '../harness.js';
import { FIRST_FD, play, runAgent } from './play.js';

const { EBADF, EFAULT, EILSEQ, ENODATA, EINVAL } = constants.errno;
const THREAD = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;

/** An empty tape with a stack to begin on. */
function begin(vdsoDistances: readonly number[] = []): Tape {
  const tape = new Tape(vdsoDistances);
  tape.beginOn(tape.stack(4096));
  return tape;
}

function exit(tape: Tape, status = 0): Tape {
  tape.call('exit', 'exit_group', [status]);
  return tape;
}

t.test('calls are made with their arguments, and results are kept', async (t) => {
  const tape = begin();
  const pid = tape.call('ask', 'getpid', []);
  tape.call('tell', 'write', [1, new SlotAddress(pid), 8], { want: 8 });
  tape.call('say', 'write', [1, tape.text('hello'), 5], { want: 5 });
  const outcome = await play(exit(tape, 7));
  t.match(outcome, { code: 7, failure: undefined, stderr: '' });
  t.equal(outcome.stdout.readBigInt64LE(0), BigInt(outcome.pid));
  t.equal(outcome.stdout.toString('latin1', 8), 'hello');
});

t.test('all six arguments arrive, and an int32 in the tape can be one', async (t) => {
  const tape = begin();
  const at = 0x5000_0000_0000n;
  tape.call('map', 'mmap', [at, 4096, 3, MAP_PRIVATE | MAP_FIXED_NOREPLACE, FIRST_FD, 4096], { want: at });
  const pair = tape.reserve(8);
  tape.call('make a pipe', 'pipe2', [pair, 0]);
  tape.call('fill it', 'write', [new Load(pair.plus(4)), at, 4], { want: 4 });
  const room = tape.reserve(4);
  tape.call('empty it', 'read', [new Load(pair), room, 100], { want: 4 });
  tape.call('tell', 'write', [1, room, 4]);
  const path = join(workdir(t), 'file');
  writeFileSync(path, `${'a'.repeat(4096)}second page`);
  const fd = openSync(path, 'r');
  const outcome = await play(exit(tape), { descriptors: [fd] });
  closeSync(fd);
  t.match(outcome, { code: 0, failure: undefined });
  t.equal(outcome.stdout.toString(), 'seco');
});

t.test('a call that fails ends the tape with a record that names it', async (t) => {
  const tape = begin();
  tape.call('do something harmless', 'getpid', []);
  tape.call('close descriptor 77, /data/log.csv', 'close', [77]);
  tape.call('never reach this', 'write', [1, tape.text('x'), 1]);
  const outcome = await play(exit(tape));
  t.strictSame(outcome.failure, { label: 'close descriptor 77, /data/log.csv', error: EBADF, op: 1, result: BigInt(-EBADF) });
  t.equal(outcome.code, 125);
  t.equal(outcome.stdout.length, 0, 'nothing more was done');
});

t.test('a result that is not the wanted one ends the tape, though it is no error', async (t) => {
  const tape = begin();
  tape.call('write it all', 'write', [1, tape.text('abc'), 3], { want: 4 });
  t.match(await play(exit(tape)), { code: 125, failure: { label: 'write it all', error: 0, op: 0, result: 3n } });
});

t.test('what may fail is noted, and the tape goes on', async (t) => {
  const tape = begin();
  const closed = tape.call('close what is not there', 'close', [77], { mayFail: true });
  tape.call('tell', 'write', [1, new SlotAddress(closed), 8]);
  const outcome = await play(exit(tape));
  t.match(outcome, { code: 0, failure: undefined });
  t.equal(outcome.stdout.readBigInt64LE(0), BigInt(-EBADF));
});

t.test('a wanted error is right, another one is not', async (t) => {
  const right = begin();
  right.call('close', 'close', [77], { want: -EBADF });
  t.match(await play(exit(right)), { code: 0 });
  const wrong = begin();
  wrong.call('close', 'close', [77], { want: -EFAULT });
  t.match(await play(exit(wrong)), { code: 125, failure: { error: EBADF } });
});

t.test('a repeated read goes on after short ones', async (t) => {
  const tape = begin();
  const pair = tape.reserve(8);
  // In packet mode a read gives one packet at most: pipe(2).
  tape.call('make a pipe', 'pipe2', [pair, O_DIRECT]);
  for (const packet of ['one', 'three', 'eleven']) tape.call('put a packet', 'write', [new Load(pair.plus(4)), tape.text(packet), packet.length]);
  const room = tape.reserve(14);
  const got = tape.repeat('take them all', 'read', [new Load(pair), room, 14]);
  tape.call('tell', 'write', [1, room, 14]);
  tape.call('tell', 'write', [1, new SlotAddress(got), 8]);
  const outcome = await play(exit(tape));
  t.equal(outcome.stdout.toString('latin1', 0, 14), 'onethreeeleven');
  t.equal(outcome.stdout.readBigInt64LE(14), 14n);
});

t.test('a repeated read that meets the end is ENODATA', async (t) => {
  const tape = begin();
  const pair = tape.reserve(8);
  tape.call('make a pipe', 'pipe2', [pair, 0]);
  tape.call('fill it', 'write', [new Load(pair.plus(4)), tape.text('abc'), 3]);
  tape.call('end it', 'close', [new Load(pair.plus(4))]);
  tape.repeat('take four', 'read', [new Load(pair), tape.reserve(4), 4]);
  t.match(await play(exit(tape)), { code: 125, failure: { label: 'take four', error: ENODATA, op: 3 } });
});

t.test('a repeated pread moves its offset along', async (t) => {
  const tape = begin();
  const memory = native.memfd('m', 1);
  writeSync(memory, '0123456789');
  const room = tape.reserve(5);
  tape.repeat('read', 'pread64', [FIRST_FD, room, 5, 3]);
  tape.call('tell', 'write', [1, room, 5]);
  const outcome = await play(exit(tape), { descriptors: [memory] });
  closeSync(memory);
  t.equal(outcome.stdout.toString(), '34567');
});

/** A tape that loads runs of an image-like file, 2 + 1 pages, and prints a byte of each. */
async function loadPages(damage: { readonly crc?: boolean; readonly short?: boolean; readonly unmapped?: boolean } = {}) {
  const at = 0x5000_0000_0000n;
  const bytes = Buffer.concat(['a', 'b', 'c'].map((letter) => Buffer.alloc(4096, letter)));
  const memory = native.memfd('image', 1);
  for (const [offset, part] of [[8192, bytes.subarray(0, 8192)], [65536, bytes.subarray(8192)]] as const) writeSync(memory, part, 0, damage.short === true && offset === 65536 ? 4000 : part.length, offset);
  const common = { space: 0, codec: 0, firstPage: 0 };
  const table = encodeExtents([
    { ...common, address: at, pageCount: 2, fileOffset: 8192, storedLength: 8192, crc32c: crc32c(bytes.subarray(0, 8192)) },
    { ...common, address: at + 0x10000n, pageCount: 1, fileOffset: 65536, storedLength: 4096, crc32c: crc32c(bytes.subarray(8192)) + (damage.crc === true ? 1 : 0) },
  ]);
  const tape = begin();
  tape.call('map', 'mmap', [at, damage.unmapped === true ? 0x10000 : 0x20000, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0], { want: at });
  tape.load('load pages from the image', table, FIRST_FD);
  for (const place of [0n, 4096n, 0x10000n]) tape.call('tell', 'write', [1, at + place + 4095n, 1]);
  tape.call('tell what is behind', 'write', [1, at + 8192n, 1]);
  try {
    return await play(exit(tape), { descriptors: [memory] });
  } finally {
    closeSync(memory);
  }
}

t.test('pages are loaded where the table says', async (t) => {
  const outcome = await loadPages();
  t.match(outcome, { code: 0, failure: undefined });
  t.equal(outcome.stdout.toString(), 'abc\0');
});

t.test('pages that cannot be right end the tape', async (t) => {
  const label = 'load pages from the image';
  t.match(await loadPages({ crc: true }), { code: 125, failure: { label, error: EILSEQ, op: 1 } }, 'a wrong checksum');
  t.match(await loadPages({ short: true }), { code: 125, failure: { label, error: ENODATA } }, 'a file that is too short');
  t.match(await loadPages({ unmapped: true }), { code: 125, failure: { label, error: EFAULT } }, 'an address where nothing is mapped');
});

t.test('threads meet at a barrier', async (t) => {
  const tape = begin();
  const counter = tape.reserve(4);
  const marks = Array.from({ length: 5 }, () => new Mark());
  for (const mark of marks) tape.spawn('make a thread', { flags: THREAD, stack: tape.reserve(2048, 16), stackSize: 2048 }, mark);
  tape.barrier('wait', counter, marks.length + 1);
  tape.call('tell', 'write', [1, tape.text('!'), 1]);
  exit(tape);
  for (const mark of marks) {
    tape.place(mark);
    tape.call('tell', 'write', [1, tape.text('x'), 1]);
    tape.barrier('wait', counter, marks.length + 1);
    tape.call('end the thread', 'exit', [0]);
  }
  const outcome = await play(tape);
  t.match(outcome, { code: 0, failure: undefined });
  t.equal(outcome.stdout.toString(), 'xxxxx!');
});

t.test('a child goes on at its mark with the same tape, and a thread may fail for all', async (t) => {
  const tape = begin();
  const child = new Mark();
  tape.spawn('make a thread', { flags: THREAD, stack: tape.reserve(2048, 16), stackSize: 2048 }, child);
  tape.barrier('wait for ever', tape.reserve(4), 2);
  exit(tape);
  tape.place(child);
  tape.call('fail in the thread', 'close', [77]);
  t.match(await play(tape), { code: 125, failure: { label: 'fail in the thread', error: EBADF } });
});

t.test('a jump passes over what lies between, backwards too', async (t) => {
  const tape = begin();
  const [first, second, end] = [new Mark(), new Mark(), new Mark()];
  tape.jump('forwards', second);
  tape.place(first);
  tape.call('tell', 'write', [1, tape.text('b'), 1]);
  tape.jump('out', end);
  tape.call('never', 'write', [1, tape.text('?'), 1]);
  tape.place(second);
  tape.call('tell', 'write', [1, tape.text('a'), 1]);
  tape.jump('backwards', first);
  tape.place(end);
  const outcome = await play(exit(tape));
  t.equal(outcome.stdout.toString(), 'ab');
  t.equal(outcome.code, 0);
});

t.test('a tape that runs out, and an operation that is unknown, are failures and no crash', async (t) => {
  const tape = begin();
  tape.call('do the only step', 'getpid', []);
  const cut = await play(exit(tape), {
    damage: (region) => {
      region.writeUInt32LE(1, playerCode().length + TAPE_HEADER.op_count);
      return region;
    },
  });
  t.match(cut, { code: 125, failure: { op: 1, error: EINVAL } });
  const odd = await play(exit(begin()), {
    damage: (region) => {
      const header = playerCode().length;
      region.writeUInt16LE(4711, header + Number(region.readBigUInt64LE(header + TAPE_HEADER.ops)));
      return region;
    },
  });
  t.match(odd, { code: 125, failure: { op: 0, error: EINVAL } });
});

t.test('the loader finds the vDSO', async (t) => {
  const tape = begin([0, 4096]);
  tape.call('show it', 'write', [1, tape.vdsoSlot(0), 4], { want: 4 });
  tape.call('show the slots', 'write', [1, new SlotAddress(tape.vdsoSlot(0)), 16]);
  const { stdout } = await play(exit(tape));
  t.equal(stdout.toString('latin1', 0, 4), '\x7fELF');
  t.equal(stdout.readBigUInt64LE(4) - stdout.readBigUInt64LE(12), 4096n);
});

t.test('the loader maps nothing that is not a tape', async (t) => {
  const codeSize = playerCode().length;
  const refused: readonly (readonly [string, RegExp, (region: Buffer) => Buffer])[] = [
    ['no magic', /not one of this version/, (region) => (region.writeUInt32LE(0, codeSize), region)],
    ['another version', /not one of this version/, (region) => (region.writeUInt32LE(99, codeSize + TAPE_HEADER.version), region)],
    ['another base', /not one of this version/, (region) => (region.writeBigUInt64LE(0n, codeSize + TAPE_HEADER.base), region)],
    ['cut short', /not one of this version/, (region) => region.subarray(0, region.length - 4096)],
    ['nearly empty', /cannot read the tape's end/, () => Buffer.from('x')],
    ['empty', /cannot read the tape's end/, () => Buffer.alloc(0)],
  ];
  for (const [what, stderr, damage] of refused) t.match(await play(exit(begin()), { damage }), { code: 125, stderr, failure: undefined }, what);
  t.match(await runAgent([]), { code: 125, stderr: /of no use by itself/ });
  t.match(await runAgent(['/nowhere']), { code: 125, stderr: /cannot open the tape/ });
});

/** tape/tape.ts: what is encoded is what agent/tape.h describes. */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { t, type Test } from 'tap';
import { TAPE_HEADER, TAPE_HEADER_SIZE, TAPE_OP, TAPE_OP_SIZE } from '../../supervisor/tape/layout.js';
import { SYSCALL } from '../../supervisor/tape/syscalls.js';
import { DataRef, LOAD_SIZE, Load, Mark, SlotAddress, Tape, roundUp } from '../../supervisor/tape/tape.js';
import { compileProbe } from '../compile-probe.js';
import { workdir } from '../harness.js';

const PLACE = { base: 0x1000_0000_0000n, codeSize: 8192, reportFd: 63 };

interface Seen {
  readonly ops: readonly { kind: number; expect: number; label: number; number: number; slot: number; want: string; args: readonly [number, string][] }[];
  readonly first_slots: readonly string[];
  readonly [field: string]: unknown;
}

const probe = compileProbe(t, 'test/tape/tape-probe.c');

/** The tape as C reads it. */
function readByC(t: Test, tape: Tape, place = PLACE): Seen {
  const path = join(workdir(t), 'tape');
  writeFileSync(path, tape.encode(place));
  return JSON.parse(execFileSync(probe, [path], { encoding: 'utf8' })) as Seen;
}

t.test('the header is what C expects', (t) => {
  const tape = new Tape([4096, 16384]);
  tape.beginOn(tape.stack(4096));
  tape.end();
  const seen = readByC(t, tape);
  t.match(seen, {
    length: '8192', version: '1', op_count: '1', slots: String(seen['header_size']), report_fd: '63', failed: '0', vdso_slots: '2', base: String(PLACE.base), code_size: '8192', size: '16384',
    first_slots: ['4096', '16384'],
  });
  t.equal(seen['magic'], seen['magic_wanted']);
  t.equal(Number(seen['stack']), tape.dataOffset(new DataRef(4096)));
  t.equal(Number(seen['stack']) % 16, 0);
  t.match(readByC(t, tape, { ...PLACE, reportFd: -1 }), { report_fd: '-1' });
  t.end();
});

t.test('each way to make an argument', (t) => {
  const tape = new Tape();
  const first = tape.call('first', 'getpid', []);
  const here = tape.reserve(64);
  const mark = new Mark();
  tape.call('all', 'mmap', [-1, 0xffff_ffff_ffff_f000n, first, here.plus(24), new Load(here.plus(4)), new SlotAddress(first)]);
  tape.jump('there', mark);
  tape.place(mark);
  tape.end();
  const seen = readByC(t, tape);
  t.strictSame(seen.ops[1]?.args, [
    [0, String(2n ** 64n - 1n)],
    [0, String(0xffff_ffff_ffff_f000n)],
    [1, String(first.index)],
    [2, String(tape.dataOffset(here) + 24)],
    [3, String(tape.dataOffset(here) + 4)],
    [2, String(tape.slotOffset(first))],
  ]);
  t.strictSame(seen.ops[2]?.args[0], [0, '3'], 'a mark is the number of the operation behind it');
  t.end();
});

t.test('each kind of operation, and what its result has to be', (t) => {
  const tape = new Tape();
  const mark = new Mark();
  const table = Buffer.alloc(3 * LOAD_SIZE, 1);
  const counter = tape.reserve(4);
  tape.place(mark);
  tape.call('a', 'close', [7]);
  tape.call('b', 'close', [7], { mayFail: true });
  tape.call('c', 'close', [7], { want: -9 });
  tape.call('d', 'close', [7], { want: 0n, mayFail: true });
  tape.repeat('e', 'pread64', [3, counter, 100, 0]);
  tape.spawn('f', { flags: 0x100n }, mark);
  tape.barrier('g', counter, 5);
  tape.load('h', table, 9);
  tape.jump('a', mark);
  tape.leave('i', counter);
  tape.end();
  const { ops } = readByC(t, tape);
  t.strictSame(ops.map(({ kind }) => kind), [1, 1, 1, 1, 2, 3, 4, 5, 8, 6, 7]);
  t.strictSame(ops.slice(0, 4).map(({ expect, want }) => [expect, want]), [[1, '0'], [0, '0'], [2, '-9'], [2, '0']]);
  t.strictSame(ops.slice(0, 5).map(({ number }) => number), [SYSCALL.close, SYSCALL.close, SYSCALL.close, SYSCALL.close, SYSCALL.pread64]);
  t.strictSame(ops.map(({ slot }) => slot), ops.map((_, index) => index), 'each keeps its result in a slot of its own');
  t.equal(ops[8]?.label, ops[0]?.label, 'one number for one label');
  t.equal(tape.labelText(ops[9]?.label ?? -1), 'i');
  t.equal(tape.labelText(4711), 'do step 4711', 'a label that is not there is no crash');
  t.strictSame(ops[7]?.args.slice(1, 3), [[0, '3'], [0, '9']], 'a load: count of entries, descriptor');
  t.end();
});

t.test('struct clone_args is that of clone3(2)', (t) => {
  const tape = new Tape();
  const child = new Mark();
  const stack = tape.reserve(2048, 16);
  tape.spawn('make', { flags: 0x8000n, exitSignal: 17, stack, stackSize: 2048, tls: 0x7000n, setTid: [41, 42] }, child);
  tape.place(child);
  tape.end();
  const bytes = tape.encode(PLACE);
  const op = Number(bytes.readBigUInt64LE(TAPE_HEADER.ops));
  const at = Number(bytes.readBigUInt64LE(op + TAPE_OP.arg));
  const words = Array.from({ length: 11 }, (_, index) => bytes.readBigUInt64LE(at + index * 8));
  const header = PLACE.base + BigInt(PLACE.codeSize);
  t.strictSame(words.slice(0, 8), [0x8000n, 0n, 0n, 0n, 17n, header + BigInt(tape.dataOffset(stack)), 2048n, 0x7000n]);
  t.equal(words[9], 2n, 'two ids are wanted');
  const ids = Number((words[8] as bigint) - header);
  t.strictSame([bytes.readInt32LE(ids), bytes.readInt32LE(ids + 4)], [41, 42]);
  t.strictSame([1, 2].map((arg) => bytes.readBigUInt64LE(op + TAPE_OP.arg + arg * 8)), [88n, 1n], 'the size of the structure, and where the child goes on');
  t.end();
});

t.test('data keeps its bytes and alignment, whatever was added after it', (t) => {
  const tape = new Tape();
  const refs = [1, 8, 16, 64].map((alignment) => ({ alignment, ref: tape.data(Buffer.alloc(alignment + 1, alignment), alignment) }));
  const text = tape.text('größe');
  const words = tape.words([-1, 2n ** 63n, 7]);
  const pointer = tape.reserve(8);
  tape.pointer(pointer, text);
  const slot = tape.call('a', 'getpid', []);
  const slotPointer = tape.reserve(8);
  tape.pointer(slotPointer, new SlotAddress(slot));
  for (let index = 0; index < 100; index++) tape.call(`step ${index}`, 'getpid', []);
  const bytes = tape.encode(PLACE);
  for (const { alignment, ref } of refs) {
    const at = tape.dataOffset(ref);
    t.equal(at % alignment, 0);
    t.ok(bytes.subarray(at, at + alignment + 1).equals(Buffer.alloc(alignment + 1, alignment)), `bytes at alignment ${alignment}`);
  }
  t.equal(bytes.toString('utf8', tape.dataOffset(text), tape.dataOffset(text) + 8), 'größe\0');
  t.strictSame([0, 8, 16].map((at) => bytes.readBigUInt64LE(tape.dataOffset(words) + at)), [2n ** 64n - 1n, 2n ** 63n, 7n]);
  const header = PLACE.base + BigInt(PLACE.codeSize);
  t.equal(bytes.readBigUInt64LE(tape.dataOffset(pointer)), header + BigInt(tape.dataOffset(text)));
  t.equal(bytes.readBigUInt64LE(tape.dataOffset(slotPointer)), header + BigInt(tape.slotOffset(slot)));
  t.ok(tape.dataOffset(refs[0]?.ref as DataRef) >= TAPE_HEADER_SIZE + 101 * (8 + TAPE_OP_SIZE), 'behind the operations');
  t.end();
});

t.test('data is copied when the tape is encoded, not before', (t) => {
  const tape = new Tape();
  const bytes = Buffer.from('early');
  const ref = tape.data(bytes);
  bytes.write('later');
  t.equal(tape.encode(PLACE).toString('latin1', tape.dataOffset(ref), tape.dataOffset(ref) + 5), 'later');
  t.end();
});

t.test('a tape has whole pages, and the minimum length', (t) => {
  const tape = new Tape();
  tape.end();
  t.equal(tape.encode(PLACE).length, 4096);
  tape.minimumLength = 4097;
  t.equal(tape.encode(PLACE).length, 8192);
  tape.reserve(3 * 4096);
  t.equal(tape.encode(PLACE).length, 4 * 4096);
  t.equal(tape.encodedLength, 4 * 4096);
  t.strictSame([0, 1, 64, 65].map((value) => roundUp(value, 64)), [0, 64, 64, 128]);
  t.end();
});

t.test('a mark that was never placed is our own mistake', (t) => {
  const tape = new Tape();
  tape.jump('nowhere', new Mark());
  t.throws(() => tape.encode(PLACE), /never placed/);
  t.end();
});

t.test('toText() says what each operation does', (t) => {
  const tape = new Tape();
  const path = tape.text('/etc/hosts');
  const mark = new Mark();
  const opened = tape.call('open the file', 'openat', [-100, path, 0o100000, 0], { mayFail: true });
  const pair = tape.reserve(8);
  tape.call('hold it', 'dup3', [opened, new Load(pair), 0], { want: 7 });
  tape.repeat('read it', 'read', [7, pair.plus(4), 4]);
  tape.call('tell', 'write', [1, new SlotAddress(opened), 8]);
  tape.barrier('wait', pair, 2);
  tape.jump('go on', mark);
  tape.place(mark);
  tape.end();
  t.equal(tape.toText(), `\
    0  s0 := openat(-100, data+0, 0x8000, 0) = any   # open the file
    1  s1 := dup3(s0, *data+16, 0) = 7   # hold it
    2  s2 := read…(7, data+20, 4)   # read it
    3  s3 := write(1, &s0, 8)   # tell
    4  s4 := barrier(data+16, 2)   # wait
    5  s5 := jump(op 6)   # go on
    6  s6 := end()   # end the tape
`);
  t.end();
});

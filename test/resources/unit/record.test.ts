/** resources/record.ts: what an image holds is unproven. */
import { t } from 'tap';
import { FieldReader, readRecord } from '../../../supervisor/resources/record.js';
import { describeRecord } from '../../../supervisor/resources/index.js';

type Method = 'number' | 'bigint' | 'text' | 'flag' | 'bytes' | 'numbers' | 'bigints' | 'texts' | 'byteLists' | 'list' | 'map';

const RIGHT: Readonly<Record<Method, readonly unknown[]>> = {
  number: [0, -1, 2 ** 53 - 1],
  bigint: [0n, 2n ** 64n - 1n, -(2n ** 63n)],
  text: ['', '/data/größe'],
  flag: [true, false],
  bytes: [new Uint8Array(0), Buffer.from('x')],
  numbers: [[], [1, -2]],
  bigints: [[], [1n, 2n ** 64n - 1n]],
  texts: [[], ['a', '']],
  byteLists: [[], [new Uint8Array(3)]],
  list: [[], [{}], [{ a: 1 }, {}]],
  map: [{}, { a: 1 }],
};

const WRONG: Readonly<Record<Method, readonly unknown[]>> = {
  number: ['1', 1n, 1.5, NaN, Infinity, 2 ** 53, null, undefined, [1], {}, true],
  bigint: [1, '1', 2n ** 64n, -(2n ** 63n) - 1n, 2n ** 255n, null, undefined, [1n]],
  text: [1, null, undefined, ['a'], new Uint8Array(1), 'a\0b'],
  flag: [0, 1, 'true', null, undefined],
  bytes: ['x', [1, 2], null, undefined, {}, 7],
  numbers: [1, '12', [1, '2'], [1.5], [NaN], [1n], [null], null, undefined, {}],
  bigints: [1n, [1], [2n ** 64n], [null], null, undefined],
  texts: ['a', [1], [null], ['a\0b'], null, undefined],
  byteLists: [new Uint8Array(1), ['x'], [null], null, undefined],
  list: [{}, 'x', [1], [null], ['x'], [[]], [new Uint8Array(1)], null, undefined],
  map: [[], [{}], 'x', 1, null, undefined, new Uint8Array(1)],
};

for (const method of Object.keys(RIGHT) as Method[]) {
  t.test(`${method}() takes what it is for, and refuses all else by the field's name`, (t) => {
    for (const value of RIGHT[method]) t.doesNotThrow(() => new FieldReader({ place: value }, 'thread')[method]('place'), String(value));
    for (const value of WRONG[method]) {
      const read = (): unknown => new FieldReader(value === undefined ? {} : { place: value }, 'thread')[method]('place');
      t.throws(read, { code: 'PROCS_ERR_IMAGE_FORMAT', exit: 65, message: /record "thread".*\bplace\b/ }, `${typeof value} ${String(value)}`);
    }
    t.end();
  });
}

t.test('bytes() wants the right length', (t) => {
  const reader = new FieldReader({ set: Buffer.alloc(216) }, 'thread');
  t.equal(reader.bytes('set', 216).length, 216);
  t.throws(() => reader.bytes('set', 24), { code: 'PROCS_ERR_IMAGE_FORMAT', message: /field set is not 24 bytes/ });
  t.end();
});

t.test('bytes() is the part of a larger buffer that it was', (t) => {
  const whole = Buffer.from('0123456789');
  t.equal(new FieldReader({ b: whole.subarray(3, 6) }, 'x').bytes('b').toString(), '345');
  t.same(new FieldReader({ b: [whole.subarray(3, 6)] }, 'x').byteLists('b').map(String), ['345']);
  t.end();
});

t.test('a nested field is named with its place', (t) => {
  const reader = new FieldReader({ list: [{ a: 1 }, { a: 'x' }], map: { b: 1 } }, 'memory');
  t.throws(() => reader.list('list').map((item) => item.number('a')), { message: /"memory\.list\[1\]".*field a / });
  t.throws(() => reader.map('map').text('b'), { message: /"memory\.map".*field b / });
  t.end();
});

t.test('optional() is undefined where there is nothing, and no excuse for the wrong', (t) => {
  const reader = new FieldReader({ none: null, one: 1, wrong: 'x' }, 'file');
  const number = (r: FieldReader, name: string): number => r.number(name);
  t.equal(reader.optional('none', number), undefined);
  t.equal(reader.optional('absent', number), undefined);
  t.equal(reader.optional('one', number), 1);
  t.throws(() => reader.optional('wrong', number), { code: 'PROCS_ERR_IMAGE_FORMAT' });
  t.end();
});

t.test('a record of another version is refused as such', (t) => {
  t.throws(() => readRecord({ kind: 'pipe', version: 2 }, 1), { code: 'PROCS_ERR_IMAGE_VERSION', message: /"pipe".*version 2.*version 1/ });
  t.end();
});

t.test('every kind of record refuses an empty one of its kind, and says nothing of an unknown one', (t) => {
  for (const kind of ['process', 'memory', 'thread', 'file', 'signals', 'timers', 'device', 'directory', 'pipe', 'regular-file', 'stream']) {
    t.throws(() => describeRecord({ kind, version: 1 }), { code: 'PROCS_ERR_IMAGE_FORMAT', message: new RegExp(`"${kind}"`) }, kind);
    t.throws(() => describeRecord({ kind, version: 99 }), { code: 'PROCS_ERR_IMAGE_VERSION' }, kind);
  }
  t.equal(describeRecord({ kind: 'wormhole', version: 1 }), undefined);
  t.end();
});

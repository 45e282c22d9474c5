/** restore/layout.ts and isolation.ts. */
import { readFileSync } from 'node:fs';
import { t, type Test } from 'tap';
import { CLOCK_BOOTTIME, CLOCK_MONOTONIC } from '../../supervisor/linux.js';
import { native } from '../../supervisor/native.js';
import { chooseIsolation, clockOffsets } from '../../supervisor/restore/isolation.js';
import { findHole, ownKernelAreas } from '../../supervisor/restore/layout.js';
import { parseMaps } from '../../supervisor/proc/maps.js';

const GIB = 1n << 30n;
const TIB = 1n << 40n;

t.test('findHole() keeps a distance from every mapping', (t) => {
  const size = 1 << 30;
  const isFar = (start: bigint, areas: readonly { start: bigint; end: bigint }[]) => areas.every((area) => area.end <= start - GIB || area.start >= start + BigInt(size) + GIB);
  for (const areas of [
    [],
    [{ start: 16n * TIB, end: 16n * TIB + 4096n }],
    [{ start: 16n * TIB - GIB, end: 16n * TIB - GIB + 4096n }], // just within the margin
    [{ start: 16n * TIB + 2n * GIB - 4096n, end: 16n * TIB + 2n * GIB }],
    [{ start: 0n, end: 30n * TIB }], // a reservation of many TiB
    [{ start: 0n, end: 31n * TIB }, { start: 33n * TIB, end: 64n * TIB - 2n * TIB }],
    Array.from({ length: 40 }, (_, index) => ({ start: BigInt(16 + index) * TIB, end: BigInt(16 + index) * TIB + 4096n })),
  ]) {
    const start = findHole(areas, size);
    t.ok(isFar(start, areas), `0x${start.toString(16)}`);
    t.ok(isFar(start, [{ start: 0x200000000000n, end: 0x200000001000n }]), 'far from procs-agent itself');
    t.equal(start % 4096n, 0n);
  }
  const touching = [{ start: 0n, end: 16n * TIB - GIB }, { start: 16n * TIB + 2n * GIB, end: 64n * TIB }];
  t.equal(findHole(touching, size), 16n * TIB, 'a mapping may end where the margin begins');
  t.end();
});

t.test('findHole() says so where there is none', (t) => {
  t.throws(() => findHole([{ start: 4096n, end: 0x7fff_ffff_f000n }], 4096), { code: 'PROCS_ERR_MACHINE', message: /no hole of 4096 bytes/ });
  t.throws(() => findHole([], Number(100n * TIB)), { code: 'PROCS_ERR_MACHINE' }, 'the end of memory is in the way');
  t.end();
});

t.test('ownKernelAreas() are the vDSO and what stands before it, in order', (t) => {
  const areas = ownKernelAreas();
  t.equal(areas.at(-1)?.name, '[vdso]');
  t.ok(areas.length >= 2);
  const all = parseMaps(readFileSync('/proc/self/maps', 'latin1'));
  t.same(areas, all.filter(({ name }) => name.startsWith('[v') && name !== '[vsyscall]'));
  t.end();
});

/** The text for clocks that stand at given times. */
function offsetsAt(t: Test, now: { monotonic: bigint; boottime: bigint }, saved: { monotonicNs: bigint; boottimeNs: bigint }): string {
  const clock = t.intercept(native, 'clockNow', { value: (id: number) => (id === CLOCK_MONOTONIC ? now.monotonic : id === CLOCK_BOOTTIME ? now.boottime : t.fail(`clock ${id}`)) });
  try {
    return clockOffsets(saved);
  } finally {
    clock.restore();
  }
}

const own = (name: string): bigint => {
  const [, seconds = '0', nanoseconds = '0'] = new RegExp(`^${name}\\s+(-?\\d+)\\s+(\\d+)`, 'm').exec(readFileSync('/proc/self/timens_offsets', 'latin1')) ?? [];
  return BigInt(seconds) * 1_000_000_000n + BigInt(nanoseconds);
};

t.test('clockOffsets() lets clocks go on, forwards and backwards', { skip: own('monotonic') !== 0n && 'this process is in a time namespace' }, (t) => {
  const S = 1_000_000_000n;
  const now = { monotonic: 100n * S, boottime: 200n * S };
  t.equal(offsetsAt(t, now, { monotonicNs: 150n * S + 7n, boottimeNs: 250n * S }), 'monotonic 50 7\nboottime 50 0\n');
  t.equal(offsetsAt(t, now, { monotonicNs: 100n * S, boottimeNs: 200n * S }), 'monotonic 0 0\nboottime 0 0\n');
  // After a reboot the machine's clock is behind. Nanoseconds are never negative: proc_pid_timens_offsets(5).
  t.equal(offsetsAt(t, now, { monotonicNs: 40n * S, boottimeNs: 199n * S + 999_999_999n }), 'monotonic -60 0\nboottime -1 999999999\n');
  t.equal(offsetsAt(t, now, { monotonicNs: 99n * S + S / 2n, boottimeNs: 1n }), 'monotonic -1 500000000\nboottime -200 1\n');
  t.end();
});

t.test('chooseIsolation() keeps ids where that is permitted and they are free', (t) => {
  const free = 4_194_303; // the highest pid_max allows
  const isRoot = process.getuid?.() === 0;
  if (isRoot) {
    t.match(chooseIsolation('auto', [free]), { user: false, pid: false });
    t.match(chooseIsolation('auto', [process.pid]), { user: false, pid: true }, 'an id in use needs a namespace');
    t.throws(() => chooseIsolation('exact', [1, process.pid]), { code: 'PROCS_ERR_PIDS', message: new RegExp(`1, ${process.pid} are in use`) });
  } else {
    t.match(chooseIsolation('auto', [process.pid]), { user: true, pid: true });
  }
  t.match(chooseIsolation('namespace', [free]), { pid: true, user: !isRoot });
  t.end();
});

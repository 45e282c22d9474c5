/** restore/plan.ts: the records of a checkpoint that belong together, or are refused. */
import { t } from 'tap';
import { REGISTER_SET_SIZE } from '../../supervisor/proc/registers.js';
import type { Record_ } from '../../supervisor/resources/record.js';
import { readParts } from '../../supervisor/restore/plan.js';

const thread = (tid: number): Record_ => ({
  kind: 'thread', version: 1, tid, name: Buffer.from('main'), registers: Buffer.alloc(REGISTER_SET_SIZE), xstate: Buffer.alloc(512), xstatePermissions: 0n, interrupted: null, rseq: null, signalMask: 0n, pending: [],
  scheduling: { policy: 0, flags: 0n, nice: 0, priority: 0, runtime: 0n, deadline: 0n, period: 0n }, affinity: Buffer.alloc(8), robustHead: 0n, robustLength: 24, alternateStack: Buffer.alloc(24), clearChildTid: 0n,
  timerSlackNs: 50000n, parentDeathSignal: 0, ioPriority: 0, capabilities: [0n, 0n, 0n, 0n, 0n],
});
const process_: Record_ = {
  kind: 'process', version: 1, pid: 41, uids: [0, 0, 0, 0], gids: [0, 0, 0, 0], groups: [], umask: 18, directory: '/', personality: 0, oomScoreAdj: 0, coredumpFilter: 0x33, limits: [], noNewPrivileges: false,
  childSubreaper: false, dumpable: 1, keepCapabilities: false, settings: [], thpDisabled: 0, monotonicNs: 0n, boottimeNs: 0n,
};
const area = (start: bigint, end: bigint): object => ({ start, end, protection: 3, shared: false, offset: 0n, file: null, name: '', flags: 'rd wr', guards: [] });
const memory: Record_ = {
  kind: 'memory', version: 1, space: 0, areas: [area(0x1000n, 0x2000n), area(0x2000n, 0x4000n)], kernelAreas: [], layout: Array.from({ length: 11 }, () => 0n), lockFuture: 'no', auxv: Buffer.alloc(16), exe: '/bin/x',
  commandLine: Buffer.from('x\0'),
};
const signals: Record_ = { kind: 'signals', version: 1, actions: [], pending: [] };
const timers: Record_ = { kind: 'timers', version: 1, intervals: [], posix: [] };
const device: Record_ = { kind: 'device', version: 1, fds: [0], closeOnExec: [], path: '/dev/null', flags: 0 };
const WHOLE = [process_, memory, thread(42), thread(41), thread(43), signals, timers, device];

t.test('a whole checkpoint is read, its first thread first', (t) => {
  const parts = readParts(WHOLE);
  t.same(parts.threads.map(({ tid }) => tid), [41, 42, 43]);
  t.same(parts.descriptors.map(([kind]) => kind.kind), ['device']);
  t.equal(parts.memory.areas.length, 2);
  t.end();
});

t.test('a record that is missing, or there twice, is a wrong image', (t) => {
  for (const one of [process_, memory, signals, timers]) {
    t.throws(() => readParts(WHOLE.filter((record) => record !== one)), { code: 'PROCS_ERR_IMAGE_FORMAT', message: new RegExp(`has 0 records of kind "${one.kind}"`) }, one.kind);
    t.throws(() => readParts([...WHOLE, one]), { code: 'PROCS_ERR_IMAGE_FORMAT', message: new RegExp(`has 2 records of kind "${one.kind}"`) }, one.kind);
  }
  t.throws(() => readParts([]), { code: 'PROCS_ERR_IMAGE_FORMAT' });
  t.throws(() => readParts(WHOLE.filter(({ tid }) => tid !== 41)), { code: 'PROCS_ERR_IMAGE_FORMAT', message: /first thread is missing/ });
  t.end();
});

t.test('a kind that is unknown is of a newer version', (t) => {
  t.throws(() => readParts([...WHOLE, { kind: 'wormhole', version: 1 }]), { code: 'PROCS_ERR_IMAGE_VERSION', message: /"wormhole"/, remedy: /newer/ });
  t.throws(() => readParts([{ ...process_, version: 2 }, ...WHOLE.slice(1)]), { code: 'PROCS_ERR_IMAGE_VERSION', message: /"process".*version 2/ });
  t.end();
});

t.test('a memory map that is out of order, overlapping, unaligned or endless is refused', (t) => {
  const withAreas = (...areas: object[]): (() => unknown) => () => readParts(WHOLE.map((record) => (record === memory ? { ...memory, areas } : record)));
  t.doesNotThrow(withAreas());
  for (const areas of [
    [area(0x2000n, 0x3000n), area(0x1000n, 0x2000n)],
    [area(0x1000n, 0x3000n), area(0x2000n, 0x4000n)],
    [area(0x1000n, 0x1000n)],
    [area(0x3000n, 0x2000n)],
    [area(0x1001n, 0x2000n)],
    [area(0x1000n, 0x2001n)],
    [{ ...area(0x1000n, 0x2000n), offset: 5n }],
    [area(-4096n, 0x2000n)],
    [area(0x1000n, 1n << 60n)],
  ]) t.throws(withAreas(...areas), { code: 'PROCS_ERR_IMAGE_FORMAT', message: /out of order or not of whole pages/ });
  t.throws(() => readParts(WHOLE.map((record) => (record === memory ? { ...memory, layout: [0n] } : record))), { code: 'PROCS_ERR_IMAGE_FORMAT', message: /1 addresses, 11 are wanted/ });
  t.throws(() => readParts(WHOLE.map((record) => (record === memory ? { ...memory, lockFuture: 'maybe' } : record))), { code: 'PROCS_ERR_IMAGE_FORMAT', message: /"maybe"/ });
  t.end();
});

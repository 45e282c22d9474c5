/** proc/status.ts: stat, status, fdinfo and timers of real kernels. */
import { chmodSync, copyFileSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { t } from 'tap';
import { field, innermostId, parseFields, parseStat, parseTimers } from '../../supervisor/proc/status.js';
import { currentUser, spawnAs, workdir } from '../harness.js';

/** Kernel 6.1, 52 fields. */
const AFTER_NAME =
  'S 4100 4121 4100 34816 4121 4194304 1103 0 2 0 17 5 0 0 20 0 3 0 8812345 93401088 2209 18446744073709551615 94001122334455 94001122399999 140723000111000 0 0 0 0 4096 17442 0 0 0 17 1 0 0 0 0 0 94001122400000 94001122411111 94001144000000 140723000112000 140723000112050 140723000112050 140723000113000 0';

t.test('parseStat() takes its fields by their numbers in proc_pid_stat(5)', (t) => {
  t.strictSame(parseStat(`4121 (cat) ${AFTER_NAME}\n`), {
    state: 'S', parent: 4100, group: 4121, session: 4100, terminal: 34816, threadCount: 3, startTime: 8812345n, processor: 1,
    startCode: 94001122334455n, endCode: 94001122399999n, startStack: 140723000111000n, startData: 94001122400000n, endData: 94001122411111n,
    startBrk: 94001144000000n, argStart: 140723000112000n, argEnd: 140723000112050n, envStart: 140723000112050n, envEnd: 140723000113000n,
  });
  t.end();
});

t.test('parseStat() is not misled by a name', (t) => {
  for (const name of ['', ' ', ')', '(', 'a) S 1 1 1', '((sd-pam))', 'tmux: server', 'x)\nR 1 (y', 'é\\012']) {
    t.match(parseStat(`4121 (${name}) ${AFTER_NAME}\n`), { state: 'S', parent: 4100, envEnd: 140723000113000n }, JSON.stringify(name));
  }
  t.end();
});

t.test('parseStat() of a process with a name that looks like fields', async (t) => {
  const path = join(workdir(t), 'a) R 1 2 (b');
  copyFileSync('/bin/cat', path);
  chmodSync(path, 0o755);
  const running = spawnAs(t, currentUser(), [path]);
  running.stdin?.write('ready\n');
  await running.waitStdout(/ready/);
  const stat = parseStat(readFileSync(`/proc/${running.pid}/stat`, 'latin1'));
  t.match(stat, { state: /^[RS]$/, parent: process.pid, threadCount: 1 });
  t.ok(stat.argStart > 0n && stat.argStart < stat.argEnd && stat.argEnd <= stat.envStart, 'the addresses are there');
  t.ok(stat.startStack > stat.startBrk);
});

t.test('parseStat() wants 51 fields and says how many there are', (t) => {
  const short = AFTER_NAME.split(' ').slice(0, 42).join(' ');
  t.throws(() => parseStat(`4121 (cat) ${short}\n`), { code: 'PROCS_ERR_PROC_FORMAT', message: /44 fields/ });
  t.throws(() => parseStat(''), { code: 'PROCS_ERR_PROC_FORMAT' });
  t.end();
});

const STATUS = `\
Name:\ta: b\\012c
Umask:\t0022
State:\tS (sleeping)
Tgid:\t4121
Pid:\t4121
NSpid:\t4121\t17\t1
Groups:\t 
CapEff:\t000001ffffffffff
Seccomp:\t0
Speculation_Store_Bypass:\tthread vulnerable
`;

t.test('parseFields() splits at the first colon and trims', (t) => {
  const fields = parseFields(STATUS);
  t.equal(field(fields, 'Name'), 'a: b\\012c');
  t.equal(field(fields, 'Groups'), '');
  t.equal(field(fields, 'CapEff'), '000001ffffffffff');
  t.equal(innermostId(field(fields, 'NSpid')), 1);
  t.equal(innermostId('4121'), 4121);
  t.throws(() => field(fields, 'NoNewPrivs'), { code: 'PROCS_ERR_PROC_FORMAT', message: /NoNewPrivs/ });
  t.end();
});

t.test('parseFields() of fdinfo', (t) => {
  const fields = parseFields('pos:\t8192\nflags:\t02100001\nmnt_id:\t29\nino:\t1966337\nlock:\t1: POSIX  ADVISORY  WRITE 4711 fe:00:1234 0 EOF\n');
  t.equal(field(fields, 'pos'), '8192');
  t.equal(parseInt(field(fields, 'flags'), 8), 0o2100001);
  t.end();
});

t.test('parseTimers() understands every way of telling', (t) => {
  const timers = parseTimers(`\
ID: 1
signal: 60/00007fff86e452a8
notify: signal/tid.2634
ClockID: 0
ID: 0
signal: 60/00007fff86e452a8
notify: signal/pid.2634
ClockID: 1
ID: 17
signal: 0/0000000000000000
notify: none/pid.2634
ClockID: -6
ID: 18
signal: 32/ffffffffffffffff
notify: thread/pid.2634
ClockID: 9
`);
  t.strictSame(timers, [
    { id: 1, signal: 60, value: 0x7fff86e452a8n, notify: 4, target: 2634, clock: 0 },
    { id: 0, signal: 60, value: 0x7fff86e452a8n, notify: 0, target: 2634, clock: 1 },
    { id: 17, signal: 0, value: 0n, notify: 1, target: 2634, clock: -6 },
    { id: 18, signal: 32, value: 0xffffffffffffffffn, notify: 2, target: 2634, clock: 9 },
  ]);
  t.strictSame(parseTimers(''), []);
  t.end();
});

t.test('parseTimers() refuses what it does not understand', (t) => {
  const refused = { code: 'PROCS_ERR_PROC_FORMAT' };
  t.throws(() => parseTimers('ID: 0\nsignal: 10/0\nnotify: carrier-pigeon\nClockID: 1\n'), refused);
  t.throws(() => parseTimers('ID: 0\nsignal: 10\nnotify: signal/pid.1\nClockID: 1\n'), refused);
  t.throws(() => parseTimers('ID: 0\nsignal: 10/zz\nnotify: signal/pid.1\nClockID: 1\n'), refused, 'a value that is not hexadecimal');
  t.throws(() => parseTimers('ID: 0\nsignal: 10/0\nnotify: pigeon/pid.1\nClockID: 1\n'), refused, 'a way of telling that is unknown');
  t.end();
});

/** registry/lock.ts: one holder at a time, whatever becomes of the holder. */
import fs from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { t, type Test } from 'tap';
import { thisProcess } from '../../supervisor/registry/identity.js';
import { acquireImageLock, imageHolder, lockDirectory } from '../../supervisor/registry/lock.js';
import { currentUser, packageRoot, spawnAs, until, workdir, type Running } from '../harness.js';

const me = { name: 'sim', command: './sim input.dat' };
const lockModule = pathToFileURL(join(packageRoot, 'dist/registry/lock.js')).href;

/** Another process that runs a script with `acquireImageLock`, `path` and `say`. */
function contender(t: Test, path: string, script: string): Running {
  const source = `
    import { acquireImageLock } from ${JSON.stringify(lockModule)};
    const path = process.argv[1];
    const say = (text) => process.stdout.write(text + '\\n');
    ${script}`;
  return spawnAs(t, currentUser(), [process.execPath, '--input-type=module', '-e', source, path]);
}

const HOLD = `
  await acquireImageLock(path, { name: 'other', command: './other 1 2' });
  say('locked');
  setInterval(() => undefined, 1000);`;

function leaveDeadHolder(path: string, changes: Record<string, unknown> = {}): void {
  const directory = lockDirectory(path);
  fs.mkdirSync(directory);
  const dead = { ...thisProcess(), startTime: '1', uid: 0, ...me, imagePath: path, ...changes };
  fs.writeFileSync(join(directory, '1-0000000000000000.json'), JSON.stringify(dead));
}

t.test('acquireImageLock() holds a lock until it is released', async (t) => {
  const path = join(workdir(t), 'sim.procs');
  const lock = await acquireImageLock(path, { ...me, socket: '/run/x.sock' });
  t.match(imageHolder(path), { pid: process.pid, ...me, imagePath: path, socket: '/run/x.sock' }, 'the holder is known');
  await t.rejects(acquireImageLock(path, me), { code: 'PROCS_ERR_IMAGE_IN_USE' }, 'not even to this process once more');
  lock.release();
  lock.release();
  t.notOk(fs.existsSync(lockDirectory(path)), 'nothing is left');
  t.equal(imageHolder(path), undefined, 'nobody holds it');
  const again = await acquireImageLock(path, me);
  again.release();
  t.same(fs.readdirSync(dirname(path)), [], 'nothing is left after the second time');
});

t.test('acquireImageLock() names the holder', async (t) => {
  const path = join(workdir(t), 'sim.procs');
  const other = contender(t, path, HOLD);
  await other.waitStdout(/locked/);
  await t.rejects(
    acquireImageLock(path, me),
    { code: 'PROCS_ERR_IMAGE_IN_USE', message: new RegExp(`in use by process ${other.pid} on .+: ./other 1 2$`), remedy: /--clone/ },
    'pid, host, command and what to do',
  );
});

t.test('a lock is taken over at once from a holder that was killed', async (t) => {
  const path = join(workdir(t), 'sim.procs');
  const other = contender(t, path, HOLD);
  await other.waitStdout(/locked/);
  other.kill('SIGKILL');
  await other.exit;
  t.ok(fs.existsSync(lockDirectory(path)), 'it is left behind');
  t.equal(imageHolder(path), undefined, 'but holds no one off');
  (await acquireImageLock(path, me)).release();
  t.notOk(fs.existsSync(lockDirectory(path)), 'it was taken over, and released');
});

t.test('a lock ends with its process, however that ends by itself', async (t) => {
  for (const end of ['process.exit(3)', 'process.kill(process.pid, "SIGTERM"); setInterval(() => 0, 1000)', 'throw new Error("x")', '']) {
    const path = join(workdir(t), 'sim.procs');
    const other = contender(t, path, `await acquireImageLock(path, { name: 'n', command: 'c' }); ${end}`);
    await other.exit;
    t.same(fs.readdirSync(dirname(path)), [], `after: ${end || 'the end of the script'}`);
  }
});

t.test('a supervisor that is stopped keeps its lock, and goes on with it', async (t) => {
  const path = join(workdir(t), 'sim.procs');
  const other = contender(
    t,
    path,
    `const lock = await acquireImageLock(path, { name: 'n', command: 'c' }, { staleMs: 2000, onLost: (why) => say('lost ' + why) });
     say('locked');
     process.stdin.once('data', () => { say('lost: ' + lock.lost); process.stdin.once('data', () => { lock.release(); process.exit(0); }); });`,
  );
  await other.waitStdout(/locked/);
  other.kill('SIGSTOP');
  const old = new Date(Date.now() - 3600_000);
  fs.utimesSync(lockDirectory(path), old, old); // as if for an hour
  await t.rejects(acquireImageLock(path, me, { staleMs: 2000 }), { code: 'PROCS_ERR_IMAGE_IN_USE' }, 'it is not taken');
  other.kill('SIGCONT');
  // The heartbeat finds another time than its own, and begins anew.
  await until('the heartbeat goes on', () => fs.statSync(lockDirectory(path)).mtimeMs > Date.now() - 60_000);
  other.stdin?.write('\n');
  await other.waitStdout(/lost: undefined/);
  other.stdin?.write('\n');
  t.same((await other.exit).code, 0, 'it did not die of it');
  t.notOk(fs.existsSync(lockDirectory(path)), 'and released it');
});

t.test('a lock that is taken away is lost, not a crash', async (t) => {
  const path = join(workdir(t), 'sim.procs');
  let reason = '';
  const lock = await acquireImageLock(path, me, { staleMs: 2000, onLost: (why) => (reason = why) });
  fs.rmSync(dirname(path), { recursive: true });
  await until('it is noticed', () => reason !== '');
  t.match(reason, /sim\.procs\.lock is gone/);
  t.equal(lock.lost, reason);
  lock.release();
  fs.mkdirSync(dirname(path));
});

t.test('a lock whose directory was removed is made again', async (t) => {
  const path = join(workdir(t), 'sim.procs');
  const lock = await acquireImageLock(path, me, { staleMs: 2000, onLost: (why) => t.fail(why) });
  fs.rmSync(lockDirectory(path), { recursive: true });
  await until('it is back', () => imageHolder(path) !== undefined);
  t.equal(lock.lost, undefined);
  await delay(10);
  lock.release();
  t.notOk(fs.existsSync(lockDirectory(path)));
});

t.test('a reboot ends every lock of this host', async (t) => {
  const path = join(workdir(t), 'sim.procs');
  leaveDeadHolder(path, { pid: process.pid, startTime: thisProcess().startTime, bootId: 'another' });
  (await acquireImageLock(path, me)).release();
  t.notOk(fs.existsSync(lockDirectory(path)), 'it was taken over, and released');
});

t.test('a pid that was used again is not the holder', async (t) => {
  const path = join(workdir(t), 'sim.procs');
  leaveDeadHolder(path, { pid: process.pid });
  (await acquireImageLock(path, me)).release();
  t.notOk(fs.existsSync(lockDirectory(path)), 'it was taken over, and released');
});

for (const [where, changes] of [
  ['another host', { host: 'elsewhere', bootId: 'another' }],
  ['another container', { space: 'pid:[1] time:[1]', pid: 999999 }],
] as const) {
  t.test(`a holder on ${where} counts as alive until its time is stale`, async (t) => {
    const path = join(workdir(t), 'sim.procs');
    leaveDeadHolder(path, changes);
    await t.rejects(acquireImageLock(path, me), { code: 'PROCS_ERR_IMAGE_IN_USE', remedy: /wait/ });
    const old = new Date(Date.now() - 61_000);
    fs.utimesSync(lockDirectory(path), old, old);
    (await acquireImageLock(path, me)).release();
    t.notOk(fs.existsSync(lockDirectory(path)));
  });
}

t.test('an unreadable holder counts as alive until its time is stale', async (t) => {
  const path = join(workdir(t), 'sim.procs');
  fs.mkdirSync(lockDirectory(path));
  fs.writeFileSync(join(lockDirectory(path), 'x.json'), '{"pid":');
  await t.rejects(acquireImageLock(path, me), { code: 'PROCS_ERR_IMAGE_IN_USE', message: /does not say by whom/, remedy: /remove/ });
  const old = new Date(Date.now() - 61_000);
  fs.utimesSync(lockDirectory(path), old, old);
  (await acquireImageLock(path, me)).release();
  t.notOk(fs.existsSync(lockDirectory(path)), 'it was taken over, and released');
});

t.test('an empty lock directory holds no one off', async (t) => {
  const path = join(workdir(t), 'sim.procs');
  fs.mkdirSync(lockDirectory(path));
  (await acquireImageLock(path, me)).release();
  t.notOk(fs.existsSync(lockDirectory(path)), 'it was taken over, and released');
});

t.test('leftovers of those killed while they made a lock are removed', async (t) => {
  const path = join(workdir(t), 'sim.procs');
  leaveDeadHolder(path);
  fs.cpSync(lockDirectory(path), `${lockDirectory(path)}.77-0123456789abcdef`, { recursive: true });
  fs.mkdirSync(`${lockDirectory(path)}.other`);
  (await acquireImageLock(path, me)).release();
  t.same(fs.readdirSync(dirname(path)), ['sim.procs.lock.other'], 'and nothing else');
});

t.test('of many who want a dead lock, exactly one gets it', async (t) => {
  for (let round = 0; round < 4; round++) {
    const path = join(workdir(t), 'sim.procs');
    leaveDeadHolder(path);
    const contenders = Array.from({ length: 12 }, () =>
      contender(
        t,
        path,
        `say('ready');
         await new Promise((resolve) => process.stdin.once('data', resolve));
         try { await acquireImageLock(path, { name: 'n', command: 'c' }); say('won'); }
         catch (error) { say(error.code); }
         setInterval(() => undefined, 1000);`,
      ),
    );
    await Promise.all(contenders.map((one) => one.waitStdout(/ready/)));
    for (const one of contenders) one.stdin?.write('\n');
    const outcomes = await Promise.all(contenders.map(async (one) => (await one.waitStdout(/won|PROCS_\w+|E[A-Z]+/))[0]));
    t.same(outcomes.filter((outcome) => outcome === 'won').length, 1, `round ${round}: one won`);
    t.same(outcomes.filter((outcome) => outcome === 'PROCS_ERR_IMAGE_IN_USE').length, 11, 'the others were told');
    for (const one of contenders) one.kill('SIGKILL');
  }
});

t.test('nobody holds a lock together with another, over many hand-overs and kills', async (t) => {
  const directory = workdir(t);
  const path = join(directory, 'sim.procs');
  const witness = join(directory, 'witness');
  const contenders = Array.from({ length: 6 }, (_, i) =>
    contender(
      t,
      path,
      `import fs from 'node:fs';
       const end = Date.now() + 3000;
       let count = 0;
       while (Date.now() < end) {
         let lock;
         try { lock = await acquireImageLock(path, { name: 'n', command: 'c' }); }
         catch (error) { if (error.code !== 'PROCS_ERR_IMAGE_IN_USE') throw error; continue; }
         count++;
         // While the lock is ours, nobody else appends.
         const before = fs.existsSync(${JSON.stringify(witness)}) ? fs.readFileSync(${JSON.stringify(witness)}, 'utf8') : '';
         fs.writeFileSync(${JSON.stringify(witness)}, before + '${i}');
         await new Promise((resolve) => setTimeout(resolve, Math.random() * 4));
         if (fs.readFileSync(${JSON.stringify(witness)}, 'utf8') !== before + '${i}') say('NOT ALONE');
         ${i < 2 ? 'if (count === 20) process.kill(process.pid, "SIGKILL");' : ''}
         lock.release();
       }
       say('count ' + count);`,
    ),
  );
  const exits = await Promise.all(contenders.map((one) => one.exit));
  t.notOk(contenders.some((one) => /NOT ALONE/.test(one.stdout())), 'each was alone');
  t.same(contenders.map((one) => one.stderr()).join(''), '', 'no errors');
  t.ok(exits.slice(2).every(({ code }) => code === 0), 'those not killed came to their end');
  const total = fs.readFileSync(witness, 'utf8').length;
  t.ok(total > 50, `${total} hand-overs`);
});

t.test('where no lock can be made, the error says where and why', async (t) => {
  const directory = workdir(t);
  await t.rejects(acquireImageLock(join(directory, 'gone/sim.procs'), me), {
    code: 'PROCS_ERR_IMAGE_WRITE',
    exit: 73,
    message: /^cannot lock the image .*: cannot make .*sim\.procs\.lock: No such file or directory$/,
  });
  await t.rejects(acquireImageLock('/proc/sim.procs', me), { code: 'PROCS_ERR_IMAGE_WRITE', remedy: /--image/ });
  fs.writeFileSync(join(directory, 'sim.procs.lock'), '');
  await t.rejects(acquireImageLock(join(directory, 'sim.procs'), me), { code: 'PROCS_ERR_IMAGE_WRITE', message: /Not a directory/ });
});

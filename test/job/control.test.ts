/** job/control.ts: requests reach the job, junk does not. */
import fs from 'node:fs';
import net from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { t, type Test } from 'tap';
import { ProcsError } from '../../supervisor/errors.js';
import { requestCheck, requestCheckpoint, serveControl, type ControlAddress } from '../../supervisor/job/control.js';
import type { CheckpointReport, JobControl, Progress, Refusal } from '../../supervisor/job/types.js';
import { currentUser, packageRoot, spawnAs, until, workdir } from '../harness.js';

const REPORT: CheckpointReport = {
  number: 3, name: 'sim', imagePath: '/x/sim.procs', bytes: 4096, pauseMs: 1.5, durationMs: 20, processes: 1, threads: 2, stopped: false,
};

async function serve(t: Test, control: Partial<JobControl> = {}): Promise<ControlAddress> {
  const socket = join(workdir(t), 'c.sock');
  const server = serveControl(socket, {
    checkpoint: ({ stop }) => Promise.resolve({ ...REPORT, stopped: stop }),
    check: () => Promise.resolve([]),
    ...control,
  });
  await server.ready;
  t.teardown(() => server.close());
  return { pid: process.pid, name: 'sim', socket };
}

/** Sends bytes, and gives what comes back until the end. */
async function say(address: ControlAddress, ...chunks: readonly (string | Buffer)[]): Promise<string> {
  const socket = net.connect(address.socket);
  const received: Buffer[] = [];
  socket.on('data', (chunk) => received.push(chunk));
  socket.on('error', () => undefined);
  for (const chunk of chunks) socket.write(chunk);
  await new Promise((resolve) => socket.once('close', resolve));
  return Buffer.concat(received).toString();
}

t.test('a checkpoint is asked for, with progress and a report', async (t) => {
  const address = await serve(t, {
    checkpoint: async ({ stop }, onProgress) => {
      onProgress({ phase: 'freeze', bytes: 0, totalBytes: 0 });
      for (let bytes = 0; bytes < 1000; bytes++) onProgress({ phase: 'write', bytes, totalBytes: 1000 });
      await delay(1);
      onProgress({ phase: 'commit', bytes: 1000, totalBytes: 1000 });
      return { ...REPORT, stopped: stop };
    },
  });
  const seen: Progress[] = [];
  t.same(await requestCheckpoint(address, { stop: true }, (progress) => seen.push(progress)), { ...REPORT, stopped: true });
  t.same(seen.map(({ phase }) => phase), ['freeze', 'write', 'commit'], 'each phase, and not every page');
  t.match(await requestCheckpoint(address, { stop: false }), { stopped: false });
  t.equal(fs.statSync(address.socket).mode & 0o777, 0o600, 'nobody else may ask');
});

t.test('a check gives all refusals', async (t) => {
  const refusals: Refusal[] = Array.from({ length: 5000 }, (_, fd) => ({ pid: 7, where: `descriptor ${fd}`, what: 'a "socket"\nof é', remedy: 'close it' }));
  t.same(await requestCheck(await serve(t, { check: () => Promise.resolve(refusals) })), refusals);
});

t.test('errors travel with code, message, remedy and exit status', async (t) => {
  const fail = (error: Error) => serve(t, { checkpoint: () => Promise.reject(error) });
  const refused = new ProcsError('PROCS_ERR_REFUSED', 'a\nb', { remedy: 'do c', exit: 70 });
  await t.rejects(requestCheckpoint(await fail(refused), { stop: false }), { name: 'ProcsError', code: 'PROCS_ERR_REFUSED', message: 'a\nb', remedy: 'do c', exit: 70 });
  await t.rejects(requestCheckpoint(await fail(new Error('oops')), { stop: false }), { code: 'PROCS_ERR_INTERNAL', message: 'oops' });
});

t.test('junk is answered or dropped, and does not reach the job', async (t) => {
  let requests = 0;
  const control = () => {
    requests++;
    return Promise.resolve([]);
  };
  const address = await serve(t, { check: control, checkpoint: () => (requests++, Promise.resolve(REPORT)) });
  t.match(JSON.parse(await say(address, 'hello\n')), { procs: 1, error: { code: 'PROCS_ERR_USAGE' } }, 'no JSON');
  for (const value of [null, 1, '"x"', '[]', '{}', '{"procs":1}', '{"procs":1,"request":"explode"}', '{"procs":1,"request":"checkpoint","stop":"yes"}', '{"procs":1,"request":["check"]}']) {
    t.match(JSON.parse(await say(address, `${value}\n`)), { error: { code: 'PROCS_ERR_USAGE' } }, String(value));
  }
  t.match(JSON.parse(await say(address, '{"procs":2,"request":"check"}\n')), { error: { message: /version 1.*not 2/, remedy: /version of procs/ } }, 'another version');
  t.equal(await say(address, Buffer.alloc(5000, 0x20), '\n'), '', 'a line too long is dropped');
  t.equal(await say(address, Buffer.alloc(10_000_000)), '', 'a flood is dropped');
  t.match(JSON.parse(await say(address, Buffer.from([0xff, 0xfe, 0x00, 0x0a]))), { error: {} }, 'no text');
  const gone = net.connect(address.socket);
  await new Promise((resolve) => gone.once('connect', resolve));
  gone.destroy();
  const half = net.connect(address.socket);
  half.end('{"procs":1,"requ');
  t.equal(await new Promise((resolve) => half.once('close', () => resolve('closed'))), 'closed', 'half a request is dropped');
  t.equal(requests, 0, 'none of it reached the job');
  t.same(await requestCheck(address), [], 'which still answers');
  t.match(JSON.parse(await say(address, '{"procs":1,', '"request":"check"}\nand more\n')), { refusals: [] }, 'a request in pieces is one');
});

t.test('connections beyond measure do not stop the others for good', async (t) => {
  const address = await serve(t);
  const idle = Array.from({ length: 200 }, () => net.connect(address.socket).on('error', () => undefined));
  await until('some are dropped', () => idle.some(({ closed }) => closed));
  for (const one of idle) one.destroy();
  for (let tries = 0; ; tries++) {
    try {
      t.same(await requestCheck(address), []);
      break;
    } catch (error) {
      if (tries > 100) throw error;
      await delay(10);
    }
  }
});

t.test('a client that goes away does not cancel the checkpoint', async (t) => {
  let finish: (() => void) | undefined;
  let isDone = false;
  const address = await serve(t, {
    checkpoint: async (_, onProgress) => {
      await new Promise<void>((resolve) => (finish = resolve));
      onProgress({ phase: 'commit', bytes: 1, totalBytes: 1 });
      isDone = true;
      return REPORT;
    },
  });
  const client = net.connect(address.socket);
  client.write('{"procs":1,"request":"checkpoint","stop":false}\n');
  await until('it has begun', () => finish !== undefined);
  client.destroy();
  await delay(5);
  finish?.();
  await until('it is done', () => isDone);
  t.same(await requestCheck(address), [], 'and the job still answers');
});

t.test('close() delivers the answer of a checkpoint that is just done', async (t) => {
  const socket = join(workdir(t), 'c.sock');
  const big = 'x'.repeat(1_000_000);
  let hasArrived = false;
  const checkpoint = (): Promise<CheckpointReport> => {
    hasArrived = true;
    return Promise.resolve({ ...REPORT, name: big });
  };
  const server = serveControl(socket, { checkpoint, check: () => Promise.resolve([]) });
  await server.ready;
  const asked = requestCheckpoint({ pid: process.pid, name: 'sim', socket }, { stop: true });
  await until('the request has arrived', () => hasArrived);
  await Promise.all([server.close(), server.close()]);
  t.equal((await asked).name.length, big.length);
  t.notOk(fs.existsSync(socket), 'and removes the socket');
  await t.rejects(requestCheck({ pid: process.pid, name: 'sim', socket }), { code: 'PROCS_ERR_NO_JOB', remedy: /kill -USR1/ });
});

const controlModule = pathToFileURL(join(packageRoot, 'dist/job/control.js')).href;

function otherSupervisor(t: Test, socket: string) {
  const source = `
    import { serveControl } from ${JSON.stringify(controlModule)};
    const server = serveControl(${JSON.stringify(socket)}, {
      checkpoint: (_, onProgress) => { onProgress({ phase: 'write', bytes: 1, totalBytes: 2 }); process.stdout.write('asked\\n'); return new Promise(() => undefined); },
      check: () => Promise.resolve([]),
    });
    await server.ready;
    process.stdout.write('ready\\n');
    setInterval(() => undefined, 1000);`;
  return spawnAs(t, currentUser(), [process.execPath, '--input-type=module', '-e', source]);
}

t.test('a supervisor that is killed meanwhile is a clear error', async (t) => {
  const socket = join(workdir(t), 'c.sock');
  const other = otherSupervisor(t, socket);
  await other.waitStdout(/ready/);
  const address = { pid: other.pid, name: 'sim', socket };
  const asked = requestCheckpoint(address, { stop: false }).catch((error: unknown) => error);
  await other.waitStdout(/asked/);
  other.kill('SIGKILL');
  t.match(await asked, { code: 'PROCS_ERR_NO_JOB', exit: 75, message: `the supervisor of sim (process ${other.pid}) ended before the checkpoint was durable` });
  await other.exit; // a dying process still takes connections
  await t.rejects(requestCheck(address), { code: 'PROCS_ERR_NO_JOB', exit: 66 }, 'its socket is there, and nobody answers');
});

t.test('a supervisor that is stopped is a clear error', async (t) => {
  const socket = join(workdir(t), 'c.sock');
  const other = otherSupervisor(t, socket);
  await other.waitStdout(/ready/);
  other.kill('SIGSTOP');
  await t.rejects(requestCheck({ pid: other.pid, name: 'sim', socket }), { code: 'PROCS_ERR_NO_JOB', message: /is stopped/, remedy: new RegExp(`kill -CONT ${other.pid}`) });
  other.kill('SIGCONT');
});

t.test('answers that are none are not understood', async (t) => {
  for (const [what, text] of [['no JSON', 'hi\n'], ['another version', '{"procs":9,"report":{}}\n']] as const) {
    const socket = join(workdir(t), 'c.sock');
    const server = net.createServer((connection) => connection.end(text)).listen(socket);
    await t.rejects(requestCheck({ pid: 1, name: 'x', socket }), { code: 'PROCS_ERR_INTERNAL', message: /not understood/ }, what);
    server.close();
  }
  const socket = join(workdir(t), 'c.sock');
  const server = net.createServer((connection) => connection.end('{"procs":1,"error":{"code":"PROCS_ERR_NEW","message":"m","exit":77}}\n')).listen(socket);
  await t.rejects(requestCheck({ pid: 1, name: 'x', socket }), { code: 'PROCS_ERR_SYSTEM', message: 'm', exit: 77 }, 'a code of a newer version');
  server.close();
});

t.test('a socket that cannot be made is told, and harms nothing', async (t) => {
  const server = serveControl('/nonexistent/c.sock', { checkpoint: () => Promise.resolve(REPORT), check: () => Promise.resolve([]) });
  await t.rejects(server.ready, { code: 'PROCS_ERR_SYSTEM' });
  await server.close();
});

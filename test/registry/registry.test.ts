/** registry/registry.ts: running jobs and known images. */
import fs from 'node:fs';
import { basename, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { t, type Test } from 'tap';
import { makeRuntimeDirectory } from '../../supervisor/registry/directories.js';
import { thisProcess } from '../../supervisor/registry/identity.js';
import { acquireImageLock } from '../../supervisor/registry/lock.js';
import { findJob, findJobs, forgetImage, listImages, listJobs, newestImage, registerJob, rememberImage } from '../../supervisor/registry/registry.js';
import { currentUser, packageRoot, spawnAs, workdir, type Running } from '../harness.js';

const registryModule = pathToFileURL(join(packageRoot, 'dist/registry/registry.js')).href;

/** A machine of one's own: nothing is seen of this user's real jobs and images, and nothing left there. */
function isolate(t: Test): string {
  const directory = workdir(t);
  const saved = { ...process.env };
  fs.mkdirSync(join(directory, 'run'), { mode: 0o700 });
  process.env['XDG_RUNTIME_DIR'] = join(directory, 'run');
  process.env['XDG_STATE_HOME'] = join(directory, 'state');
  process.env['TMPDIR'] = directory;
  t.teardown(() => {
    for (const name of ['XDG_RUNTIME_DIR', 'XDG_STATE_HOME', 'TMPDIR', 'HOME']) {
      if (saved[name] === undefined) delete process.env[name];
      else process.env[name] = saved[name];
    }
  });
  return directory;
}

function otherJob(t: Test, name: string, imagePath: string): Running {
  const source = `
    import { registerJob } from ${JSON.stringify(registryModule)};
    registerJob({ name: ${JSON.stringify(name)}, imagePath: ${JSON.stringify(imagePath)}, command: './other' });
    process.stdout.write('ready\\n');
    setInterval(() => undefined, 1000);`;
  return spawnAs(t, currentUser(), [process.execPath, '--input-type=module', '-e', source]);
}

t.test('registerJob() makes a job known until it is removed', (t) => {
  const directory = isolate(t);
  const job = registerJob({ name: 'sim', imagePath: join(directory, 'sim.procs'), command: './sim 1' });
  const entry = { pid: process.pid, name: 'sim', command: './sim 1', imagePath: join(directory, 'sim.procs'), socket: job.socket };
  const mine = (): readonly unknown[] => listJobs().filter(({ pid }) => pid === process.pid);
  t.match(mine(), [entry]);
  t.equal(fs.statSync(join(directory, 'run/procs')).mode & 0o777, 0o700, 'the directory is private');
  for (const file of fs.readdirSync(join(directory, 'run/procs'))) t.equal(fs.statSync(join(directory, 'run/procs', file)).mode & 0o777, 0o600, 'the entry too');
  t.match(findJob('sim'), entry, 'by name');
  t.match(findJob(String(process.pid)), entry, 'by pid');
  t.match(findJob(join(directory, 'sim.procs')), entry, 'by image');
  job.remove();
  job.remove();
  t.same(mine(), []);
  t.same(fs.readdirSync(join(directory, 'run/procs')), [], 'nothing is left');
  t.throws(() => findJob('sim'), { code: 'PROCS_ERR_NO_JOB', exit: 66 });
  t.end();
});

t.test('jobs of the same name are told apart', async (t) => {
  const directory = isolate(t);
  const others = ['a', 'b'].map((one) => otherJob(t, 'sim', join(directory, one, 'sim.procs')));
  await Promise.all(others.map((one) => one.waitStdout(/ready/)));
  t.equal(findJobs('sim').length, 2);
  t.throws(() => findJob('sim'), { code: 'PROCS_ERR_USAGE', message: new RegExp(`${others[0]?.pid}  ./other  \\(.*a/sim.procs\\)`) }, 'the error lists them');
  t.equal(findJob(String(others[1]?.pid)).pid, others[1]?.pid, 'a pid is unambiguous');
  t.equal(findJob(join(directory, 'b/sim.procs')).pid, others[1]?.pid, 'an image is, too');
});

t.test('a supervisor that was killed is forgotten', async (t) => {
  const directory = isolate(t);
  const other = otherJob(t, 'sim', join(directory, 'sim.procs'));
  await other.waitStdout(/ready/);
  t.equal(findJob('sim').pid, other.pid);
  other.kill('SIGKILL');
  await other.exit;
  t.same(findJobs('sim'), []);
  t.same(fs.readdirSync(join(directory, 'run/procs')), [], 'its entry is removed');
});

t.test('a job in another runtime directory is found by its image', async (t) => {
  const directory = isolate(t);
  const path = join(directory, 'sim.procs');
  const lock = await acquireImageLock(path, { name: 'sim', command: './sim', socket: '/elsewhere/1.sock' });
  t.match(findJob(path), { pid: process.pid, socket: '/elsewhere/1.sock' });
  lock.release();
});

t.test('junk in the runtime directory is passed over', (t) => {
  const directory = isolate(t);
  const job = registerJob({ name: 'sim', imagePath: join(directory, 'sim.procs'), command: './sim' });
  const junk = join(directory, 'run/procs');
  fs.writeFileSync(join(junk, '1-1.json'), '{"pid":1');
  fs.writeFileSync(join(junk, '2-2.json'), JSON.stringify({ ...thisProcess(), name: 'x' }));
  fs.mkdirSync(join(junk, '3-3.json'));
  fs.writeFileSync(join(junk, 'README'), '');
  t.same(findJobs('x'), []);
  t.equal(findJob('sim').pid, process.pid);
  job.remove();
  t.end();
});

t.test('makeRuntimeDirectory()', (t) => {
  const directory = isolate(t);
  const env = (runtime: string | undefined, tmp: string): NodeJS.ProcessEnv => ({ XDG_RUNTIME_DIR: runtime, TMPDIR: tmp });
  const uid = process.getuid?.() ?? 0;
  const fallback = join(directory, `procs-${uid}`);
  const expected = fs.existsSync(`/run/user/${uid}`) ? `/run/user/${uid}/procs` : fallback;

  t.equal(makeRuntimeDirectory(env(join(directory, 'run'), directory)), join(directory, 'run/procs'), 'takes $XDG_RUNTIME_DIR');
  t.equal(makeRuntimeDirectory(env(undefined, directory)), expected, 'or $TMPDIR');
  t.equal(makeRuntimeDirectory(env('/proc/self', directory)), expected, 'where that cannot be written to');
  t.equal(makeRuntimeDirectory(env('relative', directory)), expected, 'where that is not absolute');

  fs.rmSync(join(directory, 'run/procs'), { recursive: true });
  fs.symlinkSync('/', join(directory, 'run/procs'));
  t.equal(makeRuntimeDirectory(env(join(directory, 'run'), directory)), expected, 'never through a symbolic link');
  fs.unlinkSync(join(directory, 'run/procs'));
  fs.mkdirSync(join(directory, 'run/procs'), { mode: 0o755 });
  makeRuntimeDirectory(env(join(directory, 'run'), directory));
  t.equal(fs.statSync(join(directory, 'run/procs')).mode & 0o777, 0o700, 'closes it to others');
  if (uid === 0) {
    fs.chownSync(join(directory, 'run/procs'), 1, 1);
    t.equal(makeRuntimeDirectory(env(join(directory, 'run'), directory)), expected, "never another user's");
    fs.chownSync(join(directory, 'run'), 1, 1);
    t.equal(makeRuntimeDirectory(env(join(directory, 'run'), directory)), expected, 'nor in a session of another user, as under sudo');
  }
  const long = join(directory, 'x'.repeat(80));
  fs.mkdirSync(long);
  t.not(basename(makeRuntimeDirectory(env(long, directory))), long, 'nor where no socket can be');
  t.end();
});

t.test('rememberImage() makes an image known by name', (t) => {
  const directory = isolate(t);
  const image = (path: string, newestMs: number, name = 'sim') => {
    const imagePath = join(directory, path);
    fs.writeFileSync(imagePath, '');
    rememberImage({ name, imagePath, newestMs, checkpoint: 1, command: './sim' });
  };
  t.equal(newestImage('sim'), undefined);
  image('a.procs', 1000);
  image('b.procs', 3000);
  image('c.procs', 2000);
  image('d.procs', 9000, 'other');
  t.match(newestImage('sim'), { imagePath: join(directory, 'b.procs'), newestMs: 3000 }, 'the newest of that name');
  image('a.procs', 4000);
  t.match(newestImage('sim'), { imagePath: join(directory, 'a.procs') }, 'with the time of its newest checkpoint');
  t.equal(listImages().length, 4, 'each once');
  fs.unlinkSync(join(directory, 'a.procs'));
  t.match(newestImage('sim'), { imagePath: join(directory, 'b.procs') }, 'that is still there');
  forgetImage(join(directory, 'b.procs'));
  t.match(newestImage('sim'), { imagePath: join(directory, 'c.procs') }, 'and was not forgotten');
  t.end();
});

t.test('many may remember at once', async (t) => {
  const directory = isolate(t);
  const source = `
    import fs from 'node:fs';
    import { rememberImage, listImages } from ${JSON.stringify(registryModule)};
    for (let i = 0; i < 50; i++) {
      const imagePath = ${JSON.stringify(directory)} + '/' + (i % 10) + '.procs';
      fs.writeFileSync(imagePath, '');
      rememberImage({ name: 'n', imagePath, newestMs: Date.now(), checkpoint: i, command: 'c' });
      if (listImages().length === 0) throw new Error('none');
    }`;
  const all = Array.from({ length: 6 }, () => spawnAs(t, currentUser(), [process.execPath, '--input-type=module', '-e', source]));
  t.same((await Promise.all(all.map(({ exit }) => exit))).map(({ code }) => code), [0, 0, 0, 0, 0, 0]);
  t.equal(listImages().length, 10);
  t.same(fs.readdirSync(join(directory, 'state/procs/images')).filter((name) => !/^[0-9a-f]{32}\.json$/.test(name)), [], 'nothing half-written is left');
});

t.test('without a home to write to, nothing is remembered and nothing fails', (t) => {
  const directory = isolate(t);
  for (const state of ['/proc/self/nowhere', join(directory, 'file/state')]) {
    fs.writeFileSync(join(directory, 'file'), '');
    process.env['XDG_STATE_HOME'] = state;
    rememberImage({ name: 'sim', imagePath: join(directory, 'file'), newestMs: 1, checkpoint: 1, command: 'c' });
    t.same(listImages(), []);
  }
  delete process.env['XDG_STATE_HOME'];
  process.env['HOME'] = '/nonexistent';
  rememberImage({ name: 'sim', imagePath: join(directory, 'file'), newestMs: 1, checkpoint: 1, command: 'c' });
  t.same(listImages(), []);
  t.end();
});

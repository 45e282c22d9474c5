/** cli/job-options.ts, cli/image-choice.ts, cli/progress.ts, format.ts: what is resolved before a job begins. */
import fs from 'node:fs';
import { join } from 'node:path';
import { t, type Test } from 'tap';
import { chooseImage, clearForNewRun, freeCloneOf, hasCheckpoint } from '../../supervisor/cli/image-choice.js';
import { isBatchJob, nameOfProgram, parseSignal, resolveAbsorb, resolveJobOptions, type GivenOptions } from '../../supervisor/cli/job-options.js';
import { progressLine } from '../../supervisor/cli/progress.js';
import { formatBytes, formatDuration, formatTable, printable, toJson } from '../../supervisor/format.js';
import { acquireImageLock, lockDirectory } from '../../supervisor/registry/lock.js';
import { rememberImage } from '../../supervisor/registry/registry.js';
import { workdir } from '../harness.js';
import { makeImage } from './image-fixture.js';

const given: GivenOptions = { stopStatus: 85, files: 'rewind', pids: 'auto' };

/** A working directory, and a home in which no images are known. */
function enter(t: Test): string {
  const directory = fs.realpathSync(workdir(t));
  const before = process.cwd();
  const state = process.env['XDG_STATE_HOME'];
  process.chdir(directory);
  process.env['XDG_STATE_HOME'] = join(directory, 'state');
  t.teardown(() => {
    process.chdir(before);
    if (state === undefined) delete process.env['XDG_STATE_HOME'];
    else process.env['XDG_STATE_HOME'] = state;
  });
  return directory;
}

t.test('resolveJobOptions() gives every value', (t) => {
  const directory = enter(t);
  t.same(resolveJobOptions(given, nameOfProgram('/opt/bin/sim')), {
    name: 'sim', imagePath: join(directory, 'sim.procs'), quiet: false, stopStatus: 85, files: 'rewind', pids: 'auto', removeImage: false, trace: false,
  });
  t.match(resolveJobOptions({ ...given, name: 'night' }, 'sim'), { name: 'night', imagePath: join(directory, 'night.procs') }, '--name names the image too');
  t.match(resolveJobOptions({ ...given, name: 'night', image: '../x' }, 'sim'), { name: 'night', imagePath: join(directory, '../x') }, '--image does not name the job');
  t.end();
});

t.test('the checkpoint signals are absorbed in batch jobs', (t) => {
  for (const env of [{ SLURM_JOB_ID: '1' }, { PBS_JOBID: '1.x' }, { LSB_JOBID: '1' }, { _CONDOR_SCRATCH_DIR: '/x' }, { JOB_ID: '1', SGE_ROOT: '/x' }]) {
    t.ok(isBatchJob(env), Object.keys(env).join());
    t.same(resolveAbsorb(given, env), [10, 12]);
  }
  t.notOk(isBatchJob({ JOB_ID: '1' }), 'JOB_ID alone may be anything');
  t.same(resolveAbsorb(given, {}), [], 'and not elsewhere');
  t.same(resolveAbsorb({ ...given, absorb: [15, 15] }, { SLURM_JOB_ID: '1' }), [15], 'unless told otherwise');
  t.same(resolveAbsorb({ ...given, absorb: ['none'] }, { SLURM_JOB_ID: '1' }), []);
  t.end();
});

t.test('parseSignal() knows names and numbers', (t) => {
  for (const text of ['USR1', 'SIGUSR1', 'usr1', '10']) t.equal(parseSignal(text), 10, text);
  t.equal(parseSignal('64'), 64);
  for (const text of ['', '0', '65', 'FOO', 'toString', 'KILL', '19', '-1', '1e1']) t.throws(() => parseSignal(text), { code: 'commander.invalidArgument' }, `"${text}"`);
  t.end();
});

t.test('chooseImage()', async (t) => {
  const directory = enter(t);
  await makeImage(join(directory, 'sim.procs'));
  fs.mkdirSync('other');
  await makeImage(join(directory, 'other/far.procs'));
  await makeImage(join(directory, 'plain'));
  await makeImage(join(directory, 'x@3.procs'));
  fs.writeFileSync('sim', '#!/bin/sh\n');
  rememberImage({ name: 'far', imagePath: join(directory, 'other/far.procs'), newestMs: 1, checkpoint: 1, command: 'c' });
  const chosen = (argument: string) => {
    const { path, checkpoint } = chooseImage(argument);
    return [path.slice(directory.length + 1), checkpoint];
  };
  t.same(chosen('sim'), ['sim.procs', undefined], 'by name');
  t.same(chosen('./sim'), ['sim.procs', undefined], 'by program');
  t.same(chosen('/usr/bin/sim'), ['sim.procs', undefined], 'by program elsewhere');
  t.same(chosen('sim.procs'), ['sim.procs', undefined], 'by file');
  t.same(chosen('sim@2'), ['sim.procs', 2], 'with a checkpoint');
  t.same(chosen('sim.procs@12'), ['sim.procs', 12], 'with a checkpoint, by file');
  t.same(chosen('x@3'), ['x@3.procs', undefined], 'a name with @ in it');
  t.same(chosen('x@3@4'), ['x@3.procs', 4], 'and a checkpoint');
  t.same(chosen('other/far'), ['other/far.procs', undefined], 'beside the program');
  t.same(chosen('plain'), ['plain', undefined], 'a file without suffix');
  t.same(chosen('far'), ['other/far.procs', undefined], 'from the known images');
  fs.unlinkSync('sim.procs');
  fs.unlinkSync('other/far.procs');
  t.throws(() => chooseImage('sim'), { code: 'PROCS_ERR_NO_IMAGE', message: /sim\.procs\n.*known images\n.*sim, which is not an image/ }, 'says where was looked');
  t.throws(() => chooseImage('other@3'), { code: 'PROCS_ERR_NO_IMAGE', message: /other, which is a folder/ });
});

t.test('checkpoints of an earlier run are not lost', async (t) => {
  const directory = enter(t);
  const path = join(directory, 'sim.procs');
  await clearForNewRun(path, false, 'procs resume sim');
  t.notOk(hasCheckpoint(path), 'there is none');
  fs.writeFileSync(path, '');
  await clearForNewRun(path, false, 'procs resume sim');
  fs.unlinkSync(path);

  await makeImage(path, { checkpoints: 2 });
  t.ok(hasCheckpoint(path));
  await t.rejects(clearForNewRun(path, false, 'procs resume sim'), {
    code: 'PROCS_ERR_IMAGE_EXISTS', message: /sim\.procs holds 2 checkpoints of an earlier run/, remedy: /"procs resume sim".*--overwrite/,
  });
  t.ok(fs.existsSync(path));
  const before = fs.readFileSync(path);
  await clearForNewRun(path, true, 'procs resume sim');
  t.same(fs.readFileSync(`${path}.old`), before, '--overwrite sets them aside');
  t.same(fs.readdirSync(directory), ['sim.procs.old']);

  fs.writeFileSync(path, 'my thesis');
  await t.rejects(clearForNewRun(path, false, ''), { code: 'PROCS_ERR_IMAGE_EXISTS', message: /not an image/ }, 'nor is a file that is no image');
  fs.unlinkSync(path);
  fs.mkdirSync(path);
  await t.rejects(clearForNewRun(path, true, ''), { code: 'PROCS_ERR_IMAGE_EXISTS' }, 'nor a folder');
});

t.test('an image in use is not set aside', async (t) => {
  const path = join(enter(t), 'sim.procs');
  await makeImage(path);
  const lock = await acquireImageLock(path, { name: 'sim', command: './sim' });
  await t.rejects(clearForNewRun(path, true, ''), { code: 'PROCS_ERR_IMAGE_IN_USE' });
  lock.release();
});

t.test('freeCloneOf() passes over images and locks', (t) => {
  const directory = enter(t);
  t.equal(freeCloneOf(join(directory, 'sim.procs')), join(directory, 'sim-2.procs'));
  fs.writeFileSync('sim-2.procs', '');
  fs.mkdirSync(lockDirectory('sim-3.procs'));
  t.equal(freeCloneOf(join(directory, 'sim.procs')), join(directory, 'sim-4.procs'));
  t.equal(freeCloneOf('/proc/self/sim.procs'), join(directory, 'sim-4.procs'), 'here, where the image cannot have a neighbor');
  t.end();
});

t.test('numbers for people', (t) => {
  t.same([0, 1023, 1024, 1536, 1048575, 5 * 2 ** 30].map(formatBytes), ['0 bytes', '1023 bytes', '1.0 KiB', '1.5 KiB', '1.0 MiB', '5.0 GiB']);
  t.same([0.04, 12.34, 999, 1400, 125_000].map(formatDuration), ['0.0 ms', '12.3 ms', '999 ms', '1.4 s', '2 min 5 s']);
  t.equal(formatTable([['a', 'bbb'], ['aaa', 'b']], ' '), ' a    bbb\n aaa  b\n');
  t.equal(printable('a\x1b[2J\n\u202eé'), 'a\\u{1b}[2J\\u{a}\\u{202e}é');
  t.equal(JSON.parse(toJson({ a: 2n ** 63n, b: Uint8Array.of(255), c: Buffer.from('a') })).a, '9223372036854775808');
  t.match(JSON.parse(toJson({ b: Uint8Array.of(255), c: Buffer.from('a') })), { b: 'ff', c: '61' });
  t.equal(progressLine({ phase: 'write', bytes: 512, totalBytes: 1024 }), 'writing [############............]  50 %  512 bytes of 1.0 KiB');
  t.equal(progressLine({ phase: 'write', bytes: 9, totalBytes: 0 }), 'writing 9 bytes');
  t.end();
});

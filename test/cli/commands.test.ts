/** The commands, as a user types them: help, statuses, and what is said of jobs and images. */
import fs from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { t, type Test } from 'tap';
import { asUsers, currentUser, killAll, runBare, runProcs, spawnAs, spawnProcs, workdir, type RunOptions, type Running, type User } from '../harness.js';
import { makeImage } from './image-fixture.js';

/** A working directory that is also home, runtime directory and TMPDIR. */
function place(t: Test, user: User): RunOptions & { readonly cwd: string } {
  const cwd = workdir(t, user);
  fs.chmodSync(cwd, 0o700);
  return { cwd, env: { XDG_RUNTIME_DIR: cwd, XDG_STATE_HOME: join(cwd, 'state'), HOME: cwd, TMPDIR: cwd } };
}

/** A supervisor without a program. It is not of the bundle, so only this user can run it. */
async function fakeJob(t: Test, user: User, options: RunOptions & { cwd: string }, name = 'sim'): Promise<Running> {
  const url = (path: string): string => JSON.stringify(pathToFileURL(join(user.root, 'dist', path)).href);
  const source = `
    import { registerJob } from ${url('registry/registry.js')};
    import { acquireImageLock } from ${url('registry/lock.js')};
    import { serveControl } from ${url('job/control.js')};
    import { ProcsError } from ${url('errors.js')};
    const imagePath = process.cwd() + '/${name}.procs';
    const job = registerJob({ name: '${name}', imagePath, command: './${name} 1' });
    await acquireImageLock(imagePath, { name: '${name}', command: './${name} 1', socket: job.socket });
    const server = serveControl(job.socket, {
      checkpoint: async ({ stop }) => {
        if ('${name}' === 'bad') throw new ProcsError('PROCS_ERR_REFUSED', 'cannot checkpoint: a socket', { remedy: 'close it' });
        return { number: 1, name: '${name}', imagePath, bytes: 2048, pauseMs: 1, durationMs: 2, processes: 1, threads: 1, stopped: stop };
      },
      check: async () => '${name}' === 'bad' ? [{ pid: 7, where: 'descriptor 3', what: 'a socket', remedy: 'close it' }] : [],
    });
    await server.ready;
    process.stdout.write('ready\\n');
    setInterval(() => undefined, 1000);`;
  const job = spawnAs(t, user, [process.execPath, '--input-type=module', '-e', source], options);
  await job.waitStdout(/ready/);
  return job;
}

t.test('help is for newcomers', async (t) => {
  const user = currentUser();
  const options = { cwd: workdir(t) };
  const all = await runProcs(t, user, ['--help'], options);
  t.match(all, { code: 0, stderr: '', stdout: /procs start \.\/simulate/ });
  const names = [...all.stdout.matchAll(/^ {2}([a-z]+) {2,}/gm)].map(([, name]) => name as string).filter((name) => name !== 'help' && name !== 'procs');
  t.same(names, ['start', 'resume', 'run', 'checkpoint', 'check', 'inspect', 'verify', 'list', 'doctor']);
  for (const name of names) {
    const help = await runProcs(t, user, ['help', name], options);
    t.match(help, { code: 0, stderr: '', stdout: new RegExp(`^Usage: procs ${name} `) }, name);
    t.equal((await runProcs(t, user, [name, '-h'], options)).stdout, help.stdout, 'in both ways');
    const text = help.stdout.split('\nExamples:')[0] as string;
    t.ok(text.split('\n').every((line) => line.length <= 80), 'fits a terminal');
  }
});

t.test('usage errors', async (t) => {
  const user = currentUser();
  const options = { cwd: workdir(t) };
  const cases: readonly (readonly [readonly string[], number, RegExp])[] = [
    [[], 64, /^Usage/],
    [['bogus'], 64, /^procs: unknown command 'bogus'\n {7}"procs --help"/],
    [['--bogus'], 64, /^procs: unknown option '--bogus'/],
    [['list', 'x'], 64, /^procs: too many arguments/],
    [['checkpoint'], 64, /^procs: missing required argument 'job'\n {7}"procs checkpoint --help"/],
    [['start'], 125, /^procs: missing required argument/],
    [['start', '--bogus', 'true'], 125, /^procs: unknown option '--bogus'/],
    [['resume', '--pids', 'maybe', 'x'], 125, /auto, exact, namespace/],
    [['run', '--stop-status', '256', 'x'], 125, /A number from 0 to 255 is wanted/],
    [['start', '--name', 'a/b', 'x'], 125, /A name without slashes is wanted/],
    [['start', '--absorb', 'KILL', 'x'], 125, /cannot be ignored/],
  ];
  for (const [args, code, stderr] of cases) t.match(await runProcs(t, user, args, options), { code, stderr, stdout: '' }, args.join(' '));
});

t.test('resume says where it looked', async (t) => {
  const options = place(t, currentUser());
  t.match(await runProcs(t, currentUser(), ['resume', 'nothing'], options), {
    code: 125,
    stderr: /^procs: cannot find an image for nothing: looked for\n {2}.*\/nothing\.procs\n {2}an image of the name nothing.*\n {2}.*\/nothing\n {7}name the image/,
  });
});

t.test('start leaves an earlier image alone', async (t) => {
  const options = place(t, currentUser());
  await makeImage(join(options.cwd, 'true.procs'));
  const before = fs.readFileSync(join(options.cwd, 'true.procs'));
  t.match(await runProcs(t, currentUser(), ['start', 'true'], options), { code: 125, stderr: /holds a checkpoint of an earlier run.*\n.*procs resume .*--overwrite/ });
  t.same(fs.readFileSync(join(options.cwd, 'true.procs')), before);
});

t.test('jobs are listed, checked and checkpointed', async (t) => {
  const user = currentUser();
  const options = place(t, user);
  // Jobs of this user that run elsewhere, other tests' for example, are listed too.
  t.match(await runProcs(t, user, ['list'], options), { code: 0, stdout: /\n\nno known images\n$/ });
  const job = await fakeJob(t, user, options);
  t.match((await runProcs(t, user, ['list'], options)).stdout, new RegExp(`^${job.pid} +sim +.*sim\\.procs +\\./sim 1$`, 'm'));
  const { jobs, images } = JSON.parse((await runProcs(t, user, ['list', '--json'], options)).stdout) as { jobs: { pid: number; name: string }[]; images: unknown[] };
  t.match({ jobs: jobs.filter(({ pid }) => pid === job.pid), images }, { jobs: [{ name: 'sim' }], images: [] });
  for (const name of ['sim', String(job.pid), 'sim.procs', join(options.cwd, 'sim.procs')]) {
    t.match(
      await runProcs(t, user, ['checkpoint', name], options),
      { code: 0, stdout: 'checkpoint 1 of sim: 2.0 KiB, paused 1.0 ms, done in 2.0 ms\n', stderr: '' },
      name,
    );
  }
  t.match(await runProcs(t, user, ['checkpoint', '-q', 'sim'], options), { code: 0, stdout: '', stderr: '' });
  t.match(JSON.parse((await runProcs(t, user, ['checkpoint', '--json', '--stop', 'sim'], options)).stdout), { number: 1, stopped: true });
  t.match(await runProcs(t, user, ['check', 'sim'], options), { code: 0, stdout: 'sim can be checkpointed\n' });
  t.match(await runProcs(t, user, ['start', '--image', 'sim.procs', 'true'], options), {
    code: 125, stderr: new RegExp(`in use by process ${job.pid} on .*: ./sim 1\n.*--image`),
  });

  await fakeJob(t, user, options, 'bad');
  t.match(await runProcs(t, user, ['checkpoint', 'bad'], options), { code: 69, stderr: 'procs: cannot checkpoint: a socket\n       close it\n', stdout: '' });
  t.match(await runProcs(t, user, ['check', 'bad'], options), { code: 69, stdout: /for one reason:\n {2}process 7, descriptor 3: a socket\n {4}close it/ });
  t.match(JSON.parse((await runProcs(t, user, ['check', '--json', 'bad'], options)).stdout), { ok: false, refusals: [{ pid: 7 }] });

  await killAll(job);
  t.match(await runProcs(t, user, ['checkpoint', 'sim'], options), { code: 66, stderr: /^procs: there is no running job sim\n/ });
});

t.test('inspect and verify', (t) =>
  asUsers(t, async (t, user) => {
    const options = place(t, user);
    const path = join(options.cwd, 'sim.procs');
    await makeImage(path, { checkpoints: 3, owner: user, header: { command: ['./sim', 'a b', '\x1b[2J'] } });
    const shown = await runProcs(t, user, ['inspect', 'sim.procs'], options);
    t.match(shown, { code: 0, stderr: '' });
    for (const wanted of [/^ {2}2 +2026-01-0\d/m, /checkpoint 3, 2026/, /command +\.\/sim 'a b' '\\u\{1b\}\[2J'/, /of-the-future, version 7, of a kind that/, /color +blue/, /bytes +"0102"/]) {
      t.match(shown.stdout, wanted);
    }
    t.match(JSON.parse((await runProcs(t, user, ['inspect', '--json', '--checkpoint', '2', 'sim.procs'], options)).stdout), {
      checkpoints: [{ number: 1 }, { number: 2 }, { number: 3 }],
      checkpoint: { number: 2, header: { host: 'here' }, records: [{ kind: 'of-the-future', big: '5' }] },
    });
    t.match(await runProcs(t, user, ['inspect', '--checkpoint', '9', 'sim.procs'], options), { code: 64, stderr: /9/ }, 'no such checkpoint');

    const verified = await runProcs(t, user, ['verify', path], options);
    t.match(verified, { code: 0, stderr: '', stdout: /^checkpoint 1 .*whole.*\ncheckpoint 2 .*whole.*\ncheckpoint 3 .*whole/ });
    const bytes = fs.readFileSync(path);
    const middle = bytes.indexOf('of-the-future', bytes.indexOf('of-the-future') + 1);
    bytes[middle] = (bytes[middle] as number) ^ 1;
    fs.writeFileSync(path, bytes);
    t.match(await runProcs(t, user, ['verify', path], options), { code: 65, stdout: /^checkpoint 1 .*whole.*\ncheckpoint 2 .*DAMAGED.*\ncheckpoint 3 .*whole/ });
    t.match(await runProcs(t, user, ['verify', '-q', path], options), { code: 65, stdout: /^checkpoint 2 .*DAMAGED.*\n$/ });

    fs.writeFileSync(join(options.cwd, 'text'), 'x'.repeat(10_000));
    fs.writeFileSync(join(options.cwd, 'empty'), '');
    for (const [file, code] of [['text', 65], ['empty', 65], ['.', 65], ['gone', 66]] as const) {
      for (const command of ['inspect', 'verify']) {
        const ran = await runProcs(t, user, [command, file], options);
        t.match(ran, { code, stdout: '', stderr: /^procs: .*\n/ }, `${command} ${file}`);
      }
    }
  }),
);

t.test('doctor ends with a verdict', (t) =>
  asUsers(t, async (t, user) => {
    const options = place(t, user);
    const ran = await runProcs(t, user, ['doctor'], options);
    t.match(ran, { stderr: '', stdout: /\n\n(programs can|procs cannot) .*\n$/ });
    const { findings, usable, verdict } = JSON.parse((await runProcs(t, user, ['doctor', '--json'], options)).stdout);
    t.equal(ran.code, usable ? 0 : 69);
    t.ok(ran.stdout.endsWith(`${verdict}\n`));
    for (const id of ['kernel', 'ptrace', 'userns', 'pidns', 'timens', 'pids', 'pagemap-scan', 'userfaultfd', 'overcommit', 'rlimit-nproc', 'cgroup-memory', 'thp', 'io-uring', 'zstd', 'lz4']) {
      t.match(findings.find((finding: { id: string }) => finding.id === id), { permission: /^(yes|limited|no)$/, found: /./, means: /./ }, id);
    }
  }),
);

t.test('doctor says so when namespaces are closed', async (t) => {
  const user = currentUser();
  const options = place(t, user);
  fs.mkdirSync(join(options.cwd, 'bin'));
  fs.writeFileSync(join(options.cwd, 'bin/unshare'), '#!/bin/sh\necho "unshare: unshare failed: Operation not permitted" >&2\nexit 1\n', { mode: 0o755 });
  const ran = spawnProcs(t, user, ['doctor', '--json'], { ...options, env: { ...options.env, PATH: `${options.cwd}/bin:${process.env['PATH']}` } });
  await ran.exit;
  t.match(JSON.parse(ran.stdout()).findings.find(({ id }: { id: string }) => id === 'pidns'), { permission: 'no', found: /Operation not permitted/ });
});

t.test('endAs() ends as the program ended', async (t) => {
  const user = currentUser();
  const cwd = workdir(t);
  const end = (outcome: object, prefix: readonly string[] = []) => {
    const source = `
      import { endAs } from ${JSON.stringify(pathToFileURL(join(user.root, 'dist/cli/exit.js')).href)};
      import { acquireImageLock } from ${JSON.stringify(pathToFileURL(join(user.root, 'dist/registry/lock.js')).href)};
      await acquireImageLock('sim.procs', { name: 'n', command: 'c' });
      endAs(${JSON.stringify(outcome)});`;
    return runBare(t, user, [...prefix, process.execPath, '--input-type=module', '-e', source], { cwd });
  };
  t.match(await end({ kind: 'exited', status: 0 }), { code: 0, signal: null });
  t.match(await end({ kind: 'exited', status: 200 }), { code: 200, signal: null });
  for (const [signal, name] of [[9, 'SIGKILL'], [11, 'SIGSEGV'], [15, 'SIGTERM'], [2, 'SIGINT'], [10, 'SIGUSR1'], [13, 'SIGPIPE']] as const) {
    t.match(await end({ kind: 'killed', signal }), { code: null, signal: name, stderr: '' }, name);
  }
  // Node has no name for it, and calls it status 0.
  t.match(await end({ kind: 'killed', signal: 40 }, ['sh', '-c', '"$@"; echo $?', 'sh']), { stdout: /^168$/m }, 'a real-time signal');
  t.same(fs.readdirSync(cwd), [], 'no lock is left, and no core');
});

/** bin/procs: what it writes down before Node starts. The bundle is replaced by a script that prints it. */
import { chmodSync, closeSync, copyFileSync, mkdirSync, openSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { t } from 'tap';
import { asUsers, currentUser, packageRoot, program, runBare, runProcs, spawnAs, spawnProcs, until, workdir, killAll, isAlive, treeOf, type User } from './harness.js';

const { version } = JSON.parse(readFileSync(join(packageRoot, 'package.json'), 'utf8')) as { version: string };

/** A package of the launcher alone, in a directory with an awkward name. */
function fakePackage(directory: string): string {
  const root = join(directory, `it's a "package" $HOME`);
  mkdirSync(join(root, 'bin'), { recursive: true });
  mkdirSync(join(root, 'dist/bundle'), { recursive: true });
  copyFileSync(join(packageRoot, 'bin/procs'), join(root, 'bin/procs'));
  chmodSync(join(root, 'bin/procs'), 0o755);
  writeFileSync(
    join(root, 'dist/bundle/procs.cjs'),
    `const { env, argv } = process;
     const told = Object.fromEntries(Object.entries(env).filter(([name]) => name.startsWith('PROCS_')));
     const environ = Buffer.from(env.PROCS_ENVIRON ?? '', 'base64').toString().split('\\0');
     require('fs').writeFileSync(env.OUT, JSON.stringify({ told, environ, args: argv.slice(2), options: env.NODE_OPTIONS }));`,
  );
  return root;
}

interface Told {
  readonly told: Readonly<Record<string, string>>;
  readonly environ: readonly string[];
  readonly args: readonly string[];
  readonly options?: string;
}

t.test('bin/procs --version prints the version of package.json', (t) =>
  asUsers(t, async (t, user: User) => {
    const { stdout, stderr, code } = await runProcs(t, user, ['--version'], { cwd: '/' });
    t.same({ stdout, stderr, code }, { stdout: `${version}\n`, stderr: '', code: 0 }, 'and nothing else');
  }),
);

for (const shell of ['dash', 'bash']) {
  t.test(`bin/procs under ${shell}`, async (t) => {
    const user = currentUser();
    const directory = workdir(t);
    const root = fakePackage(directory);
    const out = join(directory, 'out.json');
    const tell = async (script: string, env: Record<string, string> = {}, descriptors: number[] = []): Promise<Told> => {
      const ran = await runBare(t, user, ['bash', '-c', script, 'bash', shell, join(root, 'bin/procs')], { env: { OUT: out, ...env }, descriptors });
      t.match(ran, { code: 0, stderr: '' }, 'starts');
      return JSON.parse(readFileSync(out, 'utf8')) as Told;
    };

    t.same((await tell('exec "$1" "$2" a "b  c" "" "*"')).args, ['a', 'b  c', '', '*'], 'passes arguments as they are');
    t.equal((await tell('exec "$1" "$2" <&-')).told['PROCS_CLOSED'], '0', 'sees a closed stdin');
    t.equal((await tell('exec "$1" "$2" <&- >&- 2>&-')).told['PROCS_CLOSED'], '0 1 2', 'sees all three closed');
    t.equal((await tell('exec "$1" "$2"')).told['PROCS_CLOSED'], '', 'sees none closed');

    const nothingElse = (await tell('exec "$1" "$2"')).told['PROCS_FDS']?.split(' ') ?? [];
    const file = openSync('/dev/null', 'r');
    const more = (await tell('exec "$1" "$2" 10<&3', {}, [file])).told['PROCS_FDS']?.split(' ') ?? [];
    closeSync(file);
    t.same(more.filter((fd) => !nothingElse.includes(fd)), ['10', '3'].filter((fd) => !nothingElse.includes(fd)), 'lists inherited descriptors');

    const ignored = (await tell(`trap '' INT PIPE; exec "$1" "$2"`)).told['PROCS_SIGIGN'];
    t.equal(BigInt(`0x${ignored}`) & 0x1006n, 0x1002n, 'sees ignored signals, and not those of the shell');

    const limits = (await tell('ulimit -Sn 256; ulimit -Hn 512; exec "$1" "$2"')).told['PROCS_NOFILE'];
    t.equal(limits, '256 512', 'sees the limits of open files, which Node raises');

    const options = await tell('exec "$1" "$2"', { NODE_OPTIONS: '--bogus', 'BASH_FUNC_f%%': '() { :; }' });
    t.equal(options.options, undefined, 'keeps NODE_OPTIONS from the supervisor');
    t.ok(options.environ.some((line) => line.startsWith('BASH_FUNC_f%%=')), 'hands over names that are not identifiers');

    symlinkSync(join(root, 'bin/procs'), join(directory, 'link to procs'));
    const linked = await runBare(t, user, [shell, './link to procs'], { cwd: directory, env: { OUT: out } });
    t.equal(linked.code, 0, 'is found through a symbolic link');

    const noNode = await runBare(t, user, [`/bin/${shell}`, join(root, 'bin/procs')], { env: { PATH: '/nonexistent' } });
    t.match(noNode, { code: 125, stderr: /^procs: cannot find node in PATH: .*\n$/ }, 'says that node is missing');
  });
}

t.test('a checkpoint signal that comes while Node starts waits until it is understood', (t) =>
  asUsers(t, async (t, user) => {
    const cwd = workdir(t, user);
    const run = (...args: string[]) => spawnProcs(t, user, ['start', ...args, '--', program('counter', user), join(cwd, 'go'), '1000', '10'], { cwd });
    for (const [signal, name] of [['SIGUSR1', 'runs-on'], ['SIGUSR2', 'ends']] as const) {
      const job = run('--name', name);
      await until('both are held back', () => /^SigBlk:.*a00$/m.test(readFileSync(`/proc/${job.pid}/status`, 'latin1')));
      job.kill(signal);
      await job.waitStderr(new RegExp(`^procs: checkpoint 1 of ${name}:`, 'm'));
      t.notMatch(job.stderr(), /Debugger/, 'Node did not take it for its own');
      if (signal === 'SIGUSR2') t.same(await job.exit, { code: 85, signal: null }, 'the program was ended');
      else await killAll(job);
    }
  }),
);

t.test('the library that holds signals back is for Node alone', async (t) => {
  const cwd = workdir(t);
  const run = async (env: Record<string, string | undefined>) =>
    (await runProcs(t, currentUser(), ['start', '--', 'sh', '-c', 'echo "$LD_PRELOAD"; grep -c hold /proc/self/maps; grep Sig /proc/self/status'], { cwd, env })).stdout;
  const plain = await run({ LD_PRELOAD: undefined });
  t.match(plain, /^\/.*\/libprocs\.so\n0\n/, 'the program has the shim and nothing else');
  const masks = [...plain.matchAll(/^Sig(?:Blk|Ign):\s([0-9a-f]+)$/gm)].map(([, mask]) => BigInt(`0x${mask}`) & 0xa00n);
  t.same(masks, [0n, 0n], 'neither of the two signals blocked or ignored');
  t.match(await run({ LD_PRELOAD: 'libm.so.6' }), /libprocs\.so:libm\.so\.6\n0\n/, 'and what the user preloads');
  t.match(await run({ LD_PRELOAD: 'libm.so.6', LONG: 'x'.repeat(120_000) }), /libprocs\.so:libm\.so\.6\n0\n/, 'also where the environment is too long to be handed over whole');
});

t.test('killAll() ends a whole tree', async (t) => {
  const job = spawnAs(t, currentUser(), ['sh', '-c', 'setsid sleep 1000 & sleep 1000 & echo ready; wait']);
  await job.waitStdout(/ready/);
  const tree = treeOf(job.pid);
  t.ok(tree.length >= 3, 'there is a tree');
  await killAll(job);
  t.notOk(tree.some(isAlive), 'nothing of it is left');
  t.match(await job.exit, { signal: 'SIGKILL' }, 'the first was killed');
});

t.test('waitStdout() fails when the process ends without the line', async (t) => {
  const job = spawnAs(t, currentUser(), ['sh', '-c', 'echo something']);
  await t.rejects(job.waitStdout(/ready/), /the process ended first \(status 0\).*something/);
});

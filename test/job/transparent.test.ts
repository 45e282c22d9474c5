/**
 * `procs start PROGRAM` is as `PROGRAM` alone: exit status, streams, environment, attributes, signals,
 * terminal. Most of it by running the same command bare and under procs, and comparing.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import type { Test } from 'tap';
import { type Finished, type Running, asUsers, currentUser, runBare, spawnAs, treeOf, until, workdir } from '../harness.js';

const user = currentUser();
const procs = join(user.root, 'bin/procs');

/** The command line, where `$PROCS` starts a program: with procs, or as nothing. */
async function both(own: Test, script: string, env: Record<string, string | undefined> = {}): Promise<{ bare: Finished; under: Finished }> {
  const cwd = workdir(own, user);
  const run = (start: string): Promise<Finished> => runBare(own, user, ['/bin/bash', '-c', script], { cwd, env: { ...env, PROCS: start } });
  return { bare: await run(''), under: await run(`${procs} start --quiet --`) };
}

/** Its output and status are the same. */
function same(name: string, script: string): void {
  t.test(name, async (own) => {
    const { bare, under } = await both(own, script);
    own.match({ stdout: under.stdout, code: under.code, signal: under.signal }, { stdout: bare.stdout, code: bare.code, signal: bare.signal }, script);
  });
}

for (const status of [0, 3, 255]) same(`a program's exit status ${status} is that of procs`, `$PROCS sh -c 'exit ${status}'`);
for (const signal of ['TERM', 'SEGV', 'KILL']) {
  same(`a shell sees a program that SIG${signal} has ended as 128+N`, `$PROCS sh -c 'kill -${signal} $$' 2>/dev/null; echo $?`);
  t.test(`procs ends of SIG${signal} as its program did`, async (own) => {
    const { signal: ended } = await runBare(own, user, [procs, 'start', '--', 'sh', '-c', `kill -${signal} $$`], { cwd: workdir(own, user) });
    own.equal(ended, `SIG${signal}`);
  });
}
same('a program that is not there is status 127', '$PROCS ./nowhere 2>/dev/null; echo $?; $PROCS no-such-program-anywhere 2>/dev/null; echo $?');
same('a program that cannot be executed is status 126', 'touch file; $PROCS ./file 2>/dev/null; echo $?; $PROCS /etc 2>/dev/null; echo $?');
same('a file without #! is a shell script', "printf 'echo script $0 $*\\n' >script; chmod +x script; $PROCS ./script a b");
t.test("procs' own failure is status 125", async (own) => {
  const { code, stderr } = await runBare(own, user, [procs, 'start', '--image', '/nowhere/at/all', 'true'], { cwd: workdir(own, user) });
  own.equal(code, 125);
  own.match(stderr, /cannot lock the image \/nowhere\/at\/all/);
});

same('standard streams are those given', 'echo in >in; $PROCS sh -c "cat; echo out; echo err >&2" <in >out 2>err; cat out err');
same('a closed standard stream is closed', 'for fds in "0<&-" "1>&-" "2>&-" "0<&- 2>&-"; do eval "\\$PROCS sh -c \'for fd in 0 1 2; do [ -e /proc/\\$\\$/fd/\\$fd ] && echo \\$fd; done >>list\' $fds"; done; cat list');
same('standard input is not read by procs', 'printf "a\\nb\\nc\\n" | (read x; $PROCS true; $PROCS sh -c "read y; echo $x \\$y"; cat)');
same('here documents and pipelines', '$PROCS cat <<X | $PROCS tr a-z A-Z\nhello\nX\nyes | $PROCS head -1; $PROCS yes 2>/dev/null | head -1; echo ${PIPESTATUS[0]}');
same('inherited descriptors keep their numbers, and no other is added', '$PROCS sh -c "ls /proc/\\$\\$/fd; readlink /proc/\\$\\$/fd/5 /proc/\\$\\$/fd/27" 5</etc/passwd 27>/dev/null');
same('the environment is passed on byte for byte', String.raw`env -i A=1 B=$'x\ny' "C D=3" E=$'\xff\xfe' EMPTY= $PROCS /usr/bin/env -u LD_PRELOAD -0 | od -c`);
same('an empty environment is empty', 'env -i $PROCS /usr/bin/env -u LD_PRELOAD');
same('arguments that look like options are the program\'s', "$PROCS sh -c 'echo \"$@\"' x --quiet -- --name y");
same('umask, directory, nice value, processors, personality', "umask 027; cd /tmp; $PROCS sh -c 'umask; pwd'; nice -n 3 $PROCS nice; taskset 1 $PROCS nproc; setarch -R $PROCS cat /proc/self/personality");
same('limits', '(ulimit -c 100; ulimit -S -n 77; ulimit -s 4096; $PROCS bash -c "ulimit -a"; ulimit -Hn; ulimit -n 40; $PROCS bash -c "ulimit -Hn")');
same('process group, session, terminal', "$PROCS sh -c 'cut -d\" \" -f5-7 /proc/$$/stat' >own; cut -d' ' -f5-7 /proc/$$/stat | cmp - own && echo the same");
same('signal masks and ignored signals', "for list in '' HUP 'INT USR1 PIPE' 'QUIT TSTP WINCH 40'; do (trap '' ${list:-URG}; $PROCS grep -E 'Sig(Blk|Ign)' /proc/self/status); done");
same('other attributes', '$PROCS grep -E "^(Cap|NoNewPrivs|Seccomp:|THP|Cpus_allowed)" /proc/self/status; for f in oom_score_adj timerslack_ns coredump_filter limits cgroup; do $PROCS cat /proc/self/$f; done');
same('programs in the background', '$PROCS sleep 0.1 & wait $!; echo $?; $PROCS sh -c "exit 9" & wait $!; echo $?');
same('timeout(1)', 'timeout 1 $PROCS sleep 20; echo $?');

/** Tells of the signals it handles, until there is a file "stop"; builtins only, so that it is one process. */
const COUNTER = `
trap 'echo got TERM' TERM; trap 'echo got INT' INT; trap 'echo got HUP' HUP; trap 'echo got QUIT' QUIT; trap 'echo got CONT' CONT; trap 'echo got WINCH' WINCH
echo ready
until [ -e stop ]; do :; done
echo end`;

function stopCounter(cwd: string): void {
  writeFileSync(join(cwd, 'stop'), '');
}

async function startCounter(own: Test, cwd: string): Promise<Running> {
  const job = spawnAs(own, user, [procs, 'start', '--', 'bash', '-c', COUNTER], { cwd });
  await job.waitStdout(/ready/);
  return job;
}

for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT', 'SIGCONT', 'SIGWINCH'] as const) {
  t.test(`${signal} to procs alone reaches the program, once`, async (own) => {
    const cwd = workdir(own, user);
    const job = await startCounter(own, cwd);
    job.kill(signal);
    await job.waitStdout(/got /);
    stopCounter(cwd);
    own.equal((await job.exit).code, 0);
    own.equal(job.stdout(), `ready\ngot ${signal.slice(3)}\nend\n`);
  });
}

t.test('checkpoint signals go to procs, and the program does not notice', async (own) => {
  const cwd = workdir(own, user);
  const job = await startCounter(own, cwd);
  job.kill('SIGUSR1');
  await job.waitStderr(/checkpoint 1 of/);
  stopCounter(cwd);
  own.equal((await job.exit).code, 0);
  own.equal(job.stdout(), 'ready\nend\n');
});

t.test('signals while a checkpoint is written are not lost', async (own) => {
  const job = await startCounter(own, workdir(own, user));
  job.kill('SIGUSR1');
  job.kill('SIGTERM');
  await job.waitStderr(/checkpoint 1 of/);
  await job.waitStdout(/got TERM/);
  job.kill('SIGUSR1');
  job.kill('SIGUSR1');
  await job.waitStderr(/checkpoint 2 of/);
  job.kill('SIGUSR2');
  own.equal((await job.exit).code, 85);
  own.match(job.stderr(), /checkpoint 3 of/);
});

t.test('SIGUSR2 ends the program after a checkpoint, with the status asked for', async (own) => {
  for (const [options, status] of [[[], 85], [['--stop-status', '7'], 7]] as const) {
    const cwd = workdir(own, user);
    const job = spawnAs(own, user, [procs, 'start', '--quiet', ...options, '--', 'bash', '-c', 'echo ready; read line; echo "$line"'], { cwd });
    await job.waitStdout(/ready/);
    job.kill('SIGUSR2');
    own.same(await job.exit, { code: status, signal: null });
    own.equal(job.stderr(), '', '--quiet says nothing');
    const resumed = spawnAs(own, user, [procs, 'resume', '--quiet', 'bash'], { cwd, stdin: { text: 'end\n' } });
    own.same(await resumed.exit, { code: 0, signal: null });
    own.equal(resumed.stdout(), 'end\n', 'goes on with the streams of the resumer');
  }
});

t.test('--absorb: a checkpoint signal sent to every process does not end the program', async (own) => {
  const cwd = workdir(own, user);
  for (const [options, env] of [[['--absorb', 'USR1'], {}], [[], { SLURM_JOB_ID: '1' }]] as const) {
    const job = spawnAs(own, user, [procs, 'start', ...options, '--image', `${options.length}.procs`, '--', 'sh', '-c', 'echo ready; read line; echo $line'], { cwd, env });
    await job.waitStdout(/ready/);
    process.kill(-job.pid, 'SIGUSR1');
    await job.waitStderr(/checkpoint 1 of/);
    job.stdin?.write('alive\n');
    own.equal((await job.exit).code, 0);
    own.equal(job.stdout(), 'ready\nalive\n');
  }
});

t.test('a program that stops itself stops procs, and is continued with it', async (own) => {
  const job = spawnAs(own, user, [procs, 'start', '--', 'sh', '-c', 'kill -STOP $$; echo goes on'], { cwd: workdir(own, user) });
  const state = (): string => /\) (.)/.exec(readFileSync(`/proc/${job.pid}/stat`, 'latin1'))?.[1] ?? '';
  await until('procs is stopped', () => state() === 'T');
  job.kill('SIGCONT');
  own.equal((await job.exit).code, 0);
  own.equal(job.stdout(), 'goes on\n');
});

t.test('procs run in a restart loop, as a batch system has it', async (own) => {
  await asUsers(own, async (test, who) => {
    const cwd = workdir(test, who);
    const program = 'for i in 1 2 3 4 5 6; do echo step $i; for ((k = 0; k < 100000; k++)); do :; done; done; exit 4';
    writeFileSync(join(cwd, 'loop.sh'), 'while :; do "$1" run --quiet --image job.procs -- bash program.sh >>out; s=$?; echo "ended with $s"; [ $s -eq 85 ] || exit $s; done');
    writeFileSync(join(cwd, 'program.sh'), program);
    const loop = spawnAs(test, who, ['bash', 'loop.sh', join(who.root, 'bin/procs')], { cwd });
    for (const step of [2, 4]) {
      await until(`step ${step}`, () => existsSync(join(cwd, 'out')) && readFileSync(join(cwd, 'out'), 'utf8').includes(`step ${step}`));
      const ended = loop.waitStdout(new RegExp(`(ended with 85\\s+){${step / 2}}`));
      spawnSync('pkill', ['-USR2', '-P', String(loop.pid)]);
      await ended;
    }
    test.equal((await loop.exit).code, 4);
    test.equal(readFileSync(join(cwd, 'out'), 'utf8'), 'step 1\nstep 2\nstep 3\nstep 4\nstep 5\nstep 6\n');
  });
});

/** An interactive shell in a pseudo-terminal, by script(1). */
t.test('job control in a terminal', { skip: spawnSync('script', ['--version']).status !== 0 && 'script(1) is not installed' }, async (own) => {
  for (const start of ['', `${procs} start -- `]) {
    const cwd = workdir(own, user);
    writeFileSync(join(cwd, 'count.sh'), COUNTER);
    const terminal = spawnAs(own, user, ['script', '-qfc', 'bash --norc -i', '/dev/null'], { cwd, env: { PS1: 'shell> ', TERM: 'dumb', HISTFILE: '/dev/null', PS0: undefined, PROMPT_COMMAND: undefined } });
    const type = (text: string): void => void terminal.stdin?.write(text);
    const name = start === '' ? 'bare' : 'under procs';
    await terminal.waitStdout(/\S+[$#>] /);
    type(`${start}bash count.sh; echo status"="$?\n`);
    await terminal.waitStdout(/ready/);
    type('\x03');
    await terminal.waitStdout(/got INT/);
    type('\x1a');
    await terminal.waitStdout(/Stopped/);
    await terminal.waitStdout(/status=148/);
    own.pass(`${name}: Ctrl-C reaches the program, Ctrl-Z stops it`);
    type('fg\n');
    await terminal.waitStdout(/got CONT/);
    stopCounter(cwd);
    await terminal.waitStdout(/end\r\n/);
    type(`${start}sleep 30\n`);
    await until('sleep runs', () => treeOf(terminal.pid).some((pid) => spawnSync('cat', [`/proc/${pid}/comm`], { encoding: 'latin1' }).stdout === 'sleep\n'));
    type('\x03');
    // An interactive shell gives up the whole line when a program ends by SIGINT.
    await terminal.waitStdout(/sleep 30\s+\^C\s+\S+[$#>] /);
    type('echo status"="$?\n');
    await terminal.waitStdout(/status=130/);
    for (const signal of ['INT', 'CONT']) own.equal(terminal.stdout().match(new RegExp(`got ${signal}`, 'g'))?.length, 1, `${name}: SIG${signal} once`);
    type('exit\n');
    await terminal.exit;
  }
});

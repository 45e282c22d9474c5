/**
 * `npm run demo`: shows the main job on a real program. It is started, checkpointed, killed together with
 * procs, and resumed; its output is compared with that of an uninterrupted run. Takes about ten seconds,
 * works in a temporary folder, ends with 0 if the outputs are equal.
 *
 * `node scripts/demo.mjs FOLDER` shows it with the procs in FOLDER instead of this checkout's.
 */
import { spawn, spawnSync } from 'node:child_process';
import { closeSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const TIMEOUT_MS = 180_000;

/** The first that this machine has. Each prints lines for a few seconds, every line as soon as it is known. */
const PROGRAMS = [
  {
    name: 'python3',
    file: 'pi.py',
    computes: 'digits of pi',
    source: `
def digits():  # Gibbons' spigot: unbounded integers, all of its state is in memory
    q, r, t, k, n, l = 1, 0, 1, 1, 3, 3
    while True:
        if 4 * q + r - t < n * t:
            yield n
            q, r, n = 10 * q, 10 * (r - n * t), (10 * (3 * q + r)) // t - 10 * n
        else:
            q, r, t, k, n, l = q * k, (2 * q + r) * l, t * l, k + 1, (q * (7 * k + 2) + r * l) // (t * l), l + 2

pi = digits()
for line in range(110):
    print("".join(str(next(pi)) for _ in range(50)), flush=True)
`,
  },
  {
    name: 'perl',
    file: 'primes.pl',
    computes: 'prime numbers',
    source: `
$| = 1;
my ($n, @primes) = (1, 2);
for my $line (1 .. 240) {
  for (my $found = 0; $found < 500; ) {
    $n += 2;
    my $is = 1;
    for (@primes) { last if $_ * $_ > $n; unless ($n % $_) { $is = 0; last } }
    if ($is) { push @primes, $n; $found++ }
  }
  print "prime number ", 500 * $line + 1, " is $n\\n";
}
`,
  },
  {
    name: 'awk',
    file: 'primes.awk',
    flag: '-f',
    computes: 'prime numbers',
    source: `
BEGIN {
  n = 1; count = 1; prime[1] = 2
  for (line = 1; line <= 150; line++) {
    for (found = 0; found < 500; ) {
      n += 2; is = 1
      for (i = 1; prime[i] * prime[i] <= n; i++) if (n % prime[i] == 0) { is = 0; break }
      if (is) { prime[++count] = n; found++ }
    }
    print "prime number " count " is " n; fflush()
  }
}
`,
  },
];

// What a terminal or an editor has left open is no part of this: a checkpoint would be refused for a pipe to the outside.
const O_CLOEXEC = 0o2000000;
for (const fd of readdirSync('/proc/self/fd').map(Number).filter((number) => number > 2)) {
  try {
    const flags = Number.parseInt(/^flags:\s*(\d+)/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1'))?.[1] ?? '0', 8);
    if ((flags & O_CLOEXEC) === 0) closeSync(fd);
  } catch {
    // The one that the folder was read with.
  }
}

const folder = mkdtempSync(join(tmpdir(), 'procs-demo-'));
const env = { ...process.env, PATH: `${process.argv[2] ?? join(root, 'bin')}:${process.env.PATH}`, XDG_STATE_HOME: join(folder, 'state') };
delete env.NODE_OPTIONS;
const groups = new Set();
process.on('exit', () => {
  for (const pid of groups) kill(-pid);
  rmSync(folder, { recursive: true, force: true });
});
setTimeout(() => fail(`this takes too long: given up after ${TIMEOUT_MS / 1000} s`), TIMEOUT_MS).unref();

const { command, name, computes } = chooseProgram();
say(`The program: ${name}, which computes ${computes}. It knows nothing of procs.`);

step('Run it without procs, for comparison');
const begun = performance.now();
await run(`${command} >expected.txt`);
say(`It took ${((performance.now() - begun) / 1000).toFixed(1)} s and printed ${lines('expected.txt')} lines.`);

step('Start it under procs, its output in a file');
const job = run(`procs start --name demo -- ${command} >output.txt`);
await until(() => lines('output.txt') >= lines('expected.txt') / 4);
say(`It runs as process ${programOf(job.pid)}; procs, beside it, is process ${job.pid}. Lines so far: ${lines('output.txt')}.`);

step('Checkpoint: send SIGUSR1 to procs');
show(`kill -USR1 ${job.pid}`);
process.kill(job.pid, 'SIGUSR1');
await until(() => job.text().includes('checkpoint 1'), job);
say(`All of the program is in demo.procs now, ${Math.ceil(statSync(join(folder, 'demo.procs')).size / 1024)} KiB. It runs on:`);
const atCheckpoint = lines('output.txt');
await until(() => lines('output.txt') >= atCheckpoint + 5, job);
say(`${lines('output.txt')} lines.`);

step('Kill both without warning, as a power failure would');
const victims = [job.pid, programOf(job.pid)];
show(`kill -KILL ${victims.join(' ')}`);
victims.forEach(kill);
await job.ended.catch(() => undefined);
say(`Gone. The output has ${lines('output.txt')} of ${lines('expected.txt')} lines.`);

step('Resume it');
await run('procs resume demo');
say('It went on where it was at the checkpoint, with the same process id, and ran to its end.');

step('Compare');
const same = spawnSync('cmp', ['expected.txt', 'output.txt'], { cwd: folder, stdio: ['ignore', 'inherit', 'inherit'] }).status === 0;
show('cmp expected.txt output.txt');
if (!same) fail('The outputs differ: this must not be.');
say(`Equal, byte for byte: ${lines('output.txt')} lines, none lost, none twice.\n`);
process.exit(0);

function chooseProgram() {
  const found = PROGRAMS.find(({ name }) => spawnSync('sh', ['-c', `command -v ${name}`], { stdio: 'ignore' }).status === 0);
  if (found !== undefined) {
    writeFileSync(join(folder, found.file), found.source);
    return { command: [found.name, found.flag, found.file].filter(Boolean).join(' '), ...found };
  }
  const counter = 'test/programs/build/counter';
  spawnSync('make', ['-s', counter], { cwd: root, stdio: 'inherit' });
  writeFileSync(join(folder, 'go'), '');
  return { command: `${join(root, counter)} go 60 50`, name: 'a counter in C', computes: 'the next number' };
}

/** Runs a command line and shows what it says on stderr; rejects unless it ends with 0. */
function run(line) {
  show(line);
  const child = spawn('sh', ['-c', `exec ${line}`], { cwd: folder, env, stdio: ['ignore', 'inherit', 'pipe'], detached: true });
  groups.add(child.pid);
  let text = '';
  child.stderr.on('data', (bytes) => {
    text += bytes;
    process.stdout.write(String(bytes).replaceAll(/^(?=.)/gm, '    '));
  });
  const ended = new Promise((resolve, reject) => {
    child.once('close', (status, signal) => {
      groups.delete(child.pid);
      if (status === 0) resolve();
      else reject(new Error(`${line}: ${signal ?? `status ${status}`}`));
    });
  });
  ended.catch(() => undefined);
  return { pid: child.pid, text: () => text, ended, then: (...args) => ended.then(...args) };
}

/** The only child of procs. */
function programOf(pid) {
  return Number(readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1').trim().split(' ')[0]);
}

function kill(pid) {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended.
  }
}

async function until(holds, job) {
  let hasEnded = false;
  job?.ended.then(() => (hasEnded = true), () => (hasEnded = true));
  while (!holds()) {
    if (hasEnded) fail('procs ended too early.');
    if (job?.text().includes('cannot checkpoint')) fail('The checkpoint was refused: "procs doctor" says what this machine permits.');
    await delay(5);
  }
}

function lines(name) {
  try {
    return readFileSync(join(folder, name), 'latin1').split('\n').length - 1;
  } catch {
    return 0;
  }
}

function say(text) {
  console.log(text);
}

function step(text) {
  step.number = (step.number ?? 0) + 1;
  console.log(`\n${step.number}. ${text}`);
}

function show(line) {
  console.log(`    $ ${line.replaceAll(`${root}/`, '')}`);
}

function fail(text) {
  console.log(`\n${text}`);
  process.exit(1);
}

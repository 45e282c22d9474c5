/**
 * Other checkpointers, where they are on PATH and work here: measured in the same rounds.
 * A peer that cannot be used says why; nothing is measured of it.
 */
import { spawn, spawnSync } from 'node:child_process';
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { endTarget, largestGap, settle } from './checkpoints.mjs';
import { Running, now, program } from './programs.mjs';

/** @returns {Promise<{ usable: object[], notUsable: { name: string, reason: string }[] }>} */
export async function findPeers() {
  const usable = [];
  const notUsable = [];
  for (const [command, tool] of [['criu', criu], ['dmtcp_launch', dmtcp]]) {
    const reason = isOnPath(command) ? await tool.whyNot() : `${command} is not on PATH`;
    if (reason === undefined) usable.push(tool);
    else notUsable.push({ name: tool.name, reason });
  }
  return { usable, notUsable };
}

function isOnPath(command) {
  return spawnSync('/bin/sh', ['-c', `command -v ${command}`], { stdio: 'ignore' }).status === 0;
}

/** One small round: what works once is measured. */
async function whyNotByTrial(tool) {
  const directory = mkdtempSync(join(tmpdir(), 'procs-bench-'));
  try {
    await tool.round({ mebibytes: 1, kind: 'random', directory });
    return undefined;
  } catch (error) {
    const lines = error.message.trim().split('\n').map((line) => line.trim()).filter(Boolean);
    const errors = lines.filter((line) => /error/i.test(line) && !line.endsWith('exited, status=1')).map((line) => line.replace(/^Error \([^)]*\): /, ''));
    return (errors.length > 0 ? errors.slice(0, 3) : lines.slice(-1)).join('; ');
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function runOrThrow(argv, options) {
  const begun = performance.now();
  const [file, ...args] = argv;
  const { status, stdout, stderr, error } = spawnSync(file, args, { encoding: 'utf8', timeout: 120_000, ...options });
  if (error) throw error;
  if (status !== 0) throw new Error(`${stderr}${stdout}`.trim() || `${file}: status ${status}`);
  return performance.now() - begun;
}

function sizeOf(directory) {
  return readdirSync(directory).reduce((sum, name) => sum + statSync(join(directory, name)).blocks * 512, 0);
}

/**
 * Programs run as they are; dumping needs root. Node's pipes are sockets, whose other end CRIU would have to
 * be told of: the program reads nothing and writes to a file. `sync` is part of "durable".
 */
const criu = {
  name: 'CRIU',
  whyNot: () => (process.getuid() === 0 ? whyNotByTrial(criu) : Promise.resolve('it needs root')),
  async round({ mebibytes, kind, directory }) {
    const images = join(directory, 'images');
    mkdirSync(images);
    const output = join(directory, 'output');
    const fd = openSync(output, 'a');
    const job = spawn(program('ticker'), [String(mebibytes), kind], { stdio: ['ignore', fd, 'ignore'], detached: true });
    closeSync(fd);
    const ended = new Promise((resolve) => job.once('close', resolve));
    const measured = {};
    try {
      await lineIn(output, /^ready/);
      await settle();
      const from = linesIn(output).length;
      measured.durable = runOrThrow(['criu', 'dump', '--images-dir', images, '--tree', String(job.pid), '--leave-running']) + runOrThrow(['sync', '-f', images]);
      await settle();
      measured.pause = largestGap(linesIn(output, from));
      measured.bytes = sizeOf(images);
    } finally {
      job.kill('SIGKILL');
      await ended;
    }
    // What it said after the dump is not part of the file that the dump knows.
    const from = linesIn(output).length;
    await settle();
    const begun = now();
    try {
      runOrThrow(['criu', 'restore', '--images-dir', images, '--restore-detached']);
      const { match } = await lineIn(output, /^(?:resumed (\d+)|gap \d+ (\d+))/, from);
      measured.resume = Number(match[1] ?? match[2]) / 1e6 - begun;
    } finally {
      await endTarget(job.pid);
    }
    return measured;
  },
};

function linesIn(path, from = 0) {
  return readFileSync(path, 'latin1')
    .split('\n')
    .slice(from)
    .map((text) => ({ text }));
}

async function lineIn(path, pattern, from = 0) {
  for (let waited = 0; waited < 10_000; waited += 5) {
    for (const { text } of linesIn(path, from)) {
      const match = pattern.exec(text);
      if (match !== null) return { match };
    }
    await delay(5);
  }
  throw new Error(`no line ${pattern} in ${path}`);
}

/** Without gzip, which takes it ten times as long. */
const dmtcp = {
  name: 'DMTCP',
  whyNot: () => whyNotByTrial(dmtcp),
  runPrefix: (directory) => ['dmtcp_launch', '--quiet', '--quiet', '--no-gzip', '--new-coordinator', '--coord-port', '0', '--ckptdir', directory],
  async round({ mebibytes, kind, directory }) {
    const portFile = join(directory, 'port');
    const options = ['--coord-port', '0', '--port-file', portFile];
    const launch = ['dmtcp_launch', '--quiet', '--quiet', '--no-gzip', '--new-coordinator', ...options, '--ckptdir', directory];
    const job = new Running([...launch, program('ticker'), String(mebibytes), kind], { cwd: directory });
    const measured = {};
    let pid;
    try {
      pid = Number((await job.line(/^ready (\d+)/)).match[1]);
      await settle();
      const from = job.lines.length;
      const port = readFileSync(portFile, 'latin1').trim();
      measured.durable = runOrThrow(['dmtcp_command', '--coord-port', port, '--bcheckpoint']) + runOrThrow(['sync', '-f', directory]);
      await settle();
      measured.pause = largestGap(job.lines.slice(from));
      measured.bytes = sizeOf(directory);
    } finally {
      await job.kill();
    }
    await settle();
    const image = readdirSync(directory).find((name) => name.endsWith('.dmtcp'));
    const resumed = new Running(['dmtcp_restart', '--quiet', '--quiet', '--new-coordinator', ...options, join(directory, image)], { cwd: directory });
    try {
      const { match } = await resumed.line(/^(?:resumed (\d+)|gap \d+ (\d+))/);
      measured.resume = Number(match[1] ?? match[2]) / 1e6 - resumed.begun;
    } finally {
      await resumed.kill();
      if (pid !== undefined) await endTarget(pid);
    }
    return measured;
  },
};

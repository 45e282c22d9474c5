/**
 * Other checkpointers, where they are on PATH and work here: measured in the same rounds.
 * A peer that cannot be used says why; nothing is measured of it.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { endTarget, largestGap, settle } from './checkpoints.mjs';
import { Running, program } from './programs.mjs';

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
    return lines.find((line) => /error/i.test(line)) ?? lines.at(-1);
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

/** Programs run as they are; dumping needs root. What it writes it does not sync: `sync -f` is part of "durable". */
const criu = {
  name: 'CRIU',
  whyNot: () => (process.getuid() === 0 ? whyNotByTrial(criu) : Promise.resolve('it needs root')),
  async round({ mebibytes, kind, directory }) {
    const job = new Running([program('ticker'), String(mebibytes), kind], { stdio: ['pipe', 'pipe', 'ignore'], cwd: directory });
    const measured = {};
    const dump = ['criu', 'dump', '--shell-job', '--images-dir', directory, '--tree', String(job.pid)];
    // A pipe to the outside has to be named to be left out, and to be given anew.
    const ends = [0, 1].map((fd) => readFd(job.pid, fd));
    const externals = ends.flatMap((name) => ['--external', name]);
    try {
      await job.line(/^ready/);
      await settle();
      const from = job.lines.length;
      measured.durable = runOrThrow([...dump, ...externals, '--leave-running']) + runOrThrow(['sync', '-f', directory]);
      await settle();
      measured.pause = largestGap(job.lines.slice(from));
      measured.bytes = sizeOf(directory);
    } finally {
      await job.kill();
      await endTarget(job.pid);
    }
    await settle();
    const inherit = ends.flatMap((name, fd) => ['--inherit-fd', `fd[${fd}]:${name}`]);
    const resumed = new Running(['criu', 'restore', '--shell-job', '--images-dir', directory, ...inherit], { cwd: directory });
    try {
      const { match } = await resumed.line(/^(?:resumed (\d+)|gap \d+ (\d+))/);
      measured.resume = Number(match[1] ?? match[2]) / 1e6 - resumed.begun;
    } finally {
      resumed.child.stdin.destroy();
      await endTarget(job.pid);
      await resumed.ended;
    }
    return measured;
  },
};

function readFd(pid, fd) {
  const { ino } = statSync(`/proc/${pid}/fd/${fd}`);
  return `pipe:[${ino}]`;
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

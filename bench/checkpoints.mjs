/**
 * A program of some size is checkpointed twice, killed and resumed: how long it stood still as it felt it
 * itself, when the checkpoint was durable, how large the image is, when the program went on. Beside
 * each, at the same time, what the machine can do at best.
 */
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Running, procs, program, run, timeOf } from './programs.mjs';
import { digits, summarize, table, withRange } from './statistics.mjs';

const TICK_MS = 1;

/** What one round of one tool yields, all in milliseconds but `bytes`. */
const FIELDS = ['pause', 'pauseAgain', 'durable', 'durableAgain', 'resume', 'bytes', 'resident'];
const LIMITS = ['fork', 'write', 'durable', 'read', 'readFresh', 'node'];

export async function measureCheckpoints({ sizes, kinds, roundsOf, directory, peers, note }) {
  const tools = [procsTool, ...peers.filter((peer) => peer.round)];
  const results = [];
  for (const mebibytes of sizes) {
    for (const kind of kinds) {
      const limits = Object.fromEntries(LIMITS.map((field) => [field, []]));
      const samples = new Map(tools.map((tool) => [tool.name, Object.fromEntries(FIELDS.map((field) => [field, []]))]));
      const rounds = roundsOf(mebibytes);
      for (let round = 0; round < rounds; round++) {
        note(`checkpoints: ${mebibytes} MiB ${kind}, round ${round + 1} of ${rounds}`);
        for (const tool of tools) {
          const workspace = mkdtempSync(join(directory, 'round-'));
          try {
            const measured = await tool.round({ mebibytes, kind, directory: workspace });
            for (const field of FIELDS) if (measured[field] !== undefined) samples.get(tool.name)[field].push(measured[field]);
          } finally {
            rmSync(workspace, { recursive: true, force: true });
          }
        }
        const limit = JSON.parse(run([program('limits'), String(mebibytes), kind, join(directory, 'limits.bin')]));
        for (const [field, ns] of Object.entries(limit)) limits[field].push(ns / 1e6);
        limits.node.push(timeOf([process.execPath, '-e', '0']));
      }
      const summarizeAll = (values) => Object.fromEntries(Object.entries(values).map(([field, list]) => [field, list.length === 0 ? undefined : summarize(list)]));
      results.push({ mebibytes, kind, limits: summarizeAll(limits), tools: Object.fromEntries([...samples].map(([name, values]) => [name, summarizeAll(values)])) });
    }
  }
  return results;
}

const procsTool = {
  name: 'procs',
  async round({ mebibytes, kind, directory }) {
    const image = join(directory, 'ticker.procs');
    const job = new Running([procs, 'start', '--image', image, program('ticker'), String(mebibytes), kind], { cwd: directory });
    let target;
    const measured = {};
    try {
      target = Number((await job.line(/^ready (\d+)/)).match[1]);
      await settle();
      measured.resident = residentOf(target, kind === 'zero' ? mebibytes * 2 ** 20 : 0);
      for (const [number, pause, durable] of [[1, 'pause', 'durable'], [2, 'pauseAgain', 'durableAgain']]) {
        const from = job.lines.length;
        const asked = performance.now();
        job.child.kill('SIGUSR1');
        await job.line(new RegExp(`^procs: checkpoint ${number} of`));
        measured[durable] = performance.now() - asked;
        if (number === 1) measured.bytes = allocated(image);
        await settle();
        measured[pause] = largestGap(job.lines.slice(from));
      }
    } finally {
      await job.kill();
      if (target !== undefined) await endTarget(target);
    }
    await settle();
    const resumed = new Running([procs, 'resume', image], { cwd: directory });
    try {
      const { match } = await resumed.line(/^(?:resumed (\d+)|gap \d+ (\d+))/);
      measured.resume = Number(match[1] ?? match[2]) / 1e6 - resumed.begun;
    } finally {
      // The program ends with its standard input, and its supervisor with it.
      resumed.child.stdin.destroy();
      await resumed.ended;
    }
    return measured;
  },
};

/** Writing back what was just written, and reaping what was just killed, is not part of what comes next. */
export async function settle() {
  await delay(250);
}

/** The longest that a ticker found itself standing still, beyond the tick itself. */
export function largestGap(lines) {
  const gaps = lines.map(({ text }) => /^gap (\d+)/.exec(text)).map((match) => (match === null ? 0 : Number(match[1]) / 1e6 - TICK_MS));
  return Math.max(0, ...gaps);
}

/** A target dies by itself when its supervisor is killed; where it does not, it is ended. */
export async function endTarget(pid) {
  try {
    process.kill(pid, 'SIGKILL');
    for (;;) {
      if (/^State:\s*Z/m.test(readFileSync(`/proc/${pid}/status`, 'latin1'))) return;
      await delay(5);
    }
  } catch {
    // It is gone.
  }
}

/** Bytes in memory that no file holds: what an image cannot do without. */
function residentOf(pid, zeroBytes) {
  const anonymous = /^Anonymous:\s*(\d+) kB/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'latin1'));
  return Number(anonymous[1]) * 1024 - zeroBytes;
}

function allocated(path) {
  return statSync(path).blocks * 512;
}

export function checkpointTables(results) {
  const tools = Object.keys(results[0]?.tools ?? {});
  const row = (result) => `${result.mebibytes} MiB ${result.kind}`;
  const of = (result, tool, field) => withRange(result.tools[tool]?.[field]);
  const middle = (summary) => summary?.median ?? NaN;
  return [
    {
      title: 'Pause as the program feels it, ms',
      text: table(
        ['memory', ...tools.flatMap((tool) => [`${tool}, first`, `${tool}, second`]), 'fork itself', 'target'],
        results.map((result) => [
          row(result),
          ...tools.flatMap((tool) => [of(result, tool, 'pause'), of(result, tool, 'pauseAgain')]),
          withRange(result.limits.fork),
          `< ${digits(middle(result.limits.fork) + 10)}`,
        ]),
      ),
    },
    {
      title: 'From the signal to a durable checkpoint, ms',
      text: table(
        ['memory', ...tools.flatMap((tool) => [`${tool}, first`, `${tool}, second`]), 'write', 'write+fsync', 'target'],
        results.map((result) => [
          row(result),
          ...tools.flatMap((tool) => [of(result, tool, 'durable'), of(result, tool, 'durableAgain')]),
          withRange(result.limits.write),
          withRange(result.limits.durable),
          result.kind === 'zero' ? '' : `< ${digits(middle(result.limits.durable) * 1.15)}`,
        ]),
      ),
    },
    {
      title: 'Image size, MiB',
      text: table(
        ['memory', ...tools, 'touched, not zero, in no file', 'target'],
        results.map((result) => [
          row(result),
          ...tools.map((tool) => digits(middle(result.tools[tool].bytes) / 2 ** 20)),
          digits(middle(result.tools.procs.resident) / 2 ** 20),
          `< ${digits(middle(result.tools.procs.resident) / 2 ** 20 + 1)}`,
        ]),
      ),
    },
    {
      title: 'From typing the resume to the program\'s next instruction, ms',
      text: table(
        ['memory', ...tools, 'plain read', 'read into fresh memory', 'node -e 0', 'target'],
        results.map((result) => [
          row(result),
          ...tools.map((tool) => of(result, tool, 'resume')),
          withRange(result.limits.read),
          withRange(result.limits.readFresh),
          withRange(result.limits.node),
          `< ${digits(60 + 1.3 * (result.kind === 'zero' ? 0 : middle(result.limits.read)))}`,
        ]),
      ),
    },
  ];
}

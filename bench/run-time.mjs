/**
 * Run time under a checkpointer against the bare program: `procs start` should not be felt.
 */
import { join } from 'node:path';
import { program, procs, run } from './programs.mjs';
import { digits, ratioOfPairs, summarize, table, withRange } from './statistics.mjs';

/** Turns of each loop: about 150 ms. And by how much its factor may exceed 1. */
const LOOPS = [
  { name: 'compute', count: 100_000_000, target: 1.02 },
  { name: 'syscall', count: 1_000_000, target: 1.02 },
  { name: 'open-read-close', count: 50_000, target: 1.02 },
  { name: 'malloc-free', count: 3_000_000, target: 1.02 },
  { name: 'mmap-munmap', count: 15_000, target: 1.02 },
  { name: 'clock-gettime', count: 6_000_000, target: 1.02 },
  { name: 'mutex', count: 20_000_000, target: 1.02 },
  { name: 'mutex-hand-over', count: 10_000, target: 1.02 },
  { name: 'fork', count: 500, target: 1.02 },
  { name: 'fork-exec', count: 150, target: 1.1 },
];

export async function measureRunTime({ rounds, directory, peers, note }) {
  const runners = [
    { name: 'procs', prefix: () => [procs, 'start', '--quiet', '--overwrite', '--image', join(directory, 'loops.procs'), '--'] },
    ...peers.filter((peer) => peer.runPrefix).map((peer) => ({ name: peer.name, prefix: () => peer.runPrefix(directory) })),
  ];
  const results = [];
  for (const loop of LOOPS) {
    note(`run time: ${loop.name}`);
    const argv = [program('loops'), loop.name, String(loop.count)];
    const bare = [];
    const bareAgain = [];
    const under = new Map(runners.map(({ name }) => [name, []]));
    for (let round = 0; round < rounds; round++) {
      bare.push(Number(run(argv)));
      for (const { name, prefix } of runners) under.get(name).push(Number(run([...prefix(), ...argv], { cwd: directory })));
      // The bare program against itself: what the machine's noise alone makes.
      bareAgain.push(Number(run(argv)));
    }
    results.push({
      loop: loop.name,
      target: loop.target,
      bareNs: summarize(bare),
      noise: ratioOfPairs(bareAgain, bare),
      // Where neighbours disturb, their share is least in the quickest round.
      quickest: Object.fromEntries(runners.map(({ name }) => [name, Math.min(...under.get(name)) / Math.min(...bare, ...bareAgain)])),
      factors: Object.fromEntries(runners.map(({ name }) => [name, ratioOfPairs(under.get(name), bare.map((first, index) => (first + bareAgain[index]) / 2))])),
    });
  }
  return results;
}

export function runTimeTable(results) {
  const names = Object.keys(results[0]?.factors ?? {});
  return table(
    ['loop', 'bare, ns a turn', ...names.flatMap((name) => [`factor ${name}`, 'of the quickest']), 'bare against itself', 'target'],
    results.map(({ loop, target, bareNs, noise, factors, quickest }) => [loop, digits(bareNs.median), ...names.flatMap((name) => [withRange(factors[name]), digits(quickest[name])]), withRange(noise), `< ${target}`]),
  );
}

/**
 * `npm run bench`: measures procs on this machine, beside what the machine can do at best.
 *
 *     npm run bench -- [--quick] [--only run-time,start-up,checkpoints] [--sizes 64,512,2048]
 *                      [--kinds random,text,zero] [--rounds N] [--directory DIR] [--json FILE]
 *
 * Tables go to standard output, what is being done to standard error. --quick is three rounds of
 * 64 MiB in a minute or two; all of it takes twenty minutes, 6 GiB of memory and 10 GiB of disk.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { checkpointTables, measureCheckpoints } from './checkpoints.mjs';
import { describeMachine, machineText, warmMemory } from './machine.mjs';
import { findPeers } from './peers.mjs';
import { closeInherited, procs, root } from './programs.mjs';
import { measureRunTime, runTimeTable } from './run-time.mjs';
import { measureStartUp, startUpTable } from './start-up.mjs';

closeInherited();
const { values: given } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    only: { type: 'string', default: 'run-time,start-up,checkpoints' },
    sizes: { type: 'string' },
    kinds: { type: 'string' },
    rounds: { type: 'string' },
    directory: { type: 'string', default: tmpdir() },
    json: { type: 'string' },
  },
});
const parts = given.only.split(',');
const sizes = (given.sizes ?? (given.quick ? '64' : '64,512,2048')).split(',').map(Number);
const kinds = (given.kinds ?? (given.quick ? 'random,zero' : 'random,text,zero')).split(',');
const rounds = given.rounds === undefined ? undefined : Number(given.rounds);

const built = spawnSync('make', ['-C', join(root, 'bench/programs'), '--no-print-directory', '-s'], { stdio: ['ignore', 2, 2] });
if (built.status !== 0) throw new Error('the programs of the benchmark cannot be built');
if (!existsSync(join(root, 'dist/bundle/procs.cjs'))) throw new Error(`${procs} is not built: run npm ci`);

const directory = mkdtempSync(join(resolve(given.directory), 'procs-bench-'));
const note = (text) => process.stderr.write(`bench: ${text}\n`);
const report = { machine: describeMachine(directory), date: new Date().toISOString().slice(0, 10), peers: {} };
try {
  console.log(`${machineText(report.machine)}\nMedians (smallest-largest).\n`);
  const largest = parts.includes('checkpoints') ? Math.max(...sizes) : 64;
  note('touching memory');
  warmMemory(4 * largest * 2 ** 20);
  const { usable: peers, notUsable } = await findPeers();
  for (const { name, reason } of notUsable) console.log(`${name}: not usable: ${reason}`);
  report.peers = { used: peers.map(({ name }) => name), notUsable };

  if (parts.includes('start-up')) {
    report.startUp = await measureStartUp({ rounds: rounds ?? (given.quick ? 5 : 15), directory, note });
    show('Start-up', startUpTable(report.startUp));
  }
  if (parts.includes('run-time')) {
    report.runTime = await measureRunTime({ rounds: rounds ?? (given.quick ? 3 : 11), directory, peers, note });
    show('Run time under procs start, as a factor of the bare program\'s', runTimeTable(report.runTime));
  }
  if (parts.includes('checkpoints')) {
    const roundsOf = (mebibytes) => rounds ?? (given.quick ? 3 : mebibytes <= 64 ? 11 : mebibytes <= 512 ? 7 : 3);
    report.checkpoints = await measureCheckpoints({ sizes, kinds, roundsOf, directory, peers, note });
    for (const { title, text } of checkpointTables(report.checkpoints)) show(title, text);
  }
} finally {
  rmSync(directory, { recursive: true, force: true });
}
if (given.json !== undefined) writeFileSync(given.json, `${JSON.stringify(report, undefined, 1)}\n`);

function show(title, text) {
  console.log(`\n## ${title}\n\n${text}`);
}

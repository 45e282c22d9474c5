/**
 * What a command costs before it does anything: `node -e 0`, procs, and a whole `procs start true`.
 */
import { join } from 'node:path';
import { procs, timeOf } from './programs.mjs';
import { summarize, table, withRange } from './statistics.mjs';

export async function measureStartUp({ rounds, directory, note }) {
  note('start-up');
  const commands = {
    '/bin/true': ['/bin/true'],
    'node -e 0': [process.execPath, '-e', '0'],
    'procs --version': [procs, '--version'],
    'procs start /bin/true': [procs, 'start', '--quiet', '--image', join(directory, 'true.procs'), '/bin/true'],
  };
  const samples = Object.fromEntries(Object.keys(commands).map((name) => [name, []]));
  for (let round = -1; round < rounds; round++) {
    for (const [name, argv] of Object.entries(commands)) {
      const taken = timeOf(argv, { cwd: directory });
      if (round >= 0) samples[name].push(taken);
    }
  }
  return Object.entries(samples).map(([name, values]) => ({ command: name, ms: summarize(values) }));
}

export function startUpTable(results) {
  return table(['command', 'ms to its end'], results.map(({ command, ms }) => [command, withRange(ms)]));
}

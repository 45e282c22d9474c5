/**
 * The program `procs`, as bin/procs starts it: reads the command line and runs one command of cli/.
 */
import { readFileSync } from 'node:fs';
import { Command } from 'commander';

const program = new Command('procs')
  .description('Checkpoint running programs to a file, and resume them later')
  .version(packageVersion());

// The bundle is a CommonJS script, for V8's code cache: no top-level await in supervisor/.
void program.parseAsync();

function packageVersion(): string {
  // dist/main.js and dist/bundle/supervisor.cjs are one and two levels below the package.
  for (const up of ['../package.json', '../../package.json']) {
    try {
      return (JSON.parse(readFileSync(new URL(up, import.meta.url), 'utf8')) as { version: string }).version;
    } catch {
      // Not at this level.
    }
  }
  return 'unknown';
}

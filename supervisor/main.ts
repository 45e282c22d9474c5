/**
 * The program `procs`, as bin/procs starts it: reads the command line and runs one command of cli/, of which
 * only that one's file is loaded.
 */
import { readFileSync } from 'node:fs';
import { Command } from 'commander';
import { newCommand, reportError } from './cli/command.js';

interface CommandFile {
  command(): Command;
}

interface CommandRow {
  readonly name: string;
  readonly summary: string;
  readonly load: () => Promise<CommandFile>;
  /** Its exit status is the program's, with 125 to 127 for itself. */
  readonly isLauncher?: boolean;
}

const COMMANDS: readonly CommandRow[] = [
  { name: 'start', summary: 'run a program so that it can be checkpointed', load: () => import('./cli/start.js'), isLauncher: true },
  { name: 'resume', summary: 'go on from a checkpoint', load: () => import('./cli/resume.js'), isLauncher: true },
  { name: 'run', summary: 'resume if there is a checkpoint, else start: for batch jobs', load: () => import('./cli/run.js'), isLauncher: true },
  { name: 'checkpoint', summary: 'have a running job write a checkpoint', load: () => import('./cli/checkpoint.js') },
  { name: 'check', summary: 'say whether a process can be checkpointed', load: () => import('./cli/check.js') },
  { name: 'inspect', summary: 'show what is in an image', load: () => import('./cli/inspect.js') },
  { name: 'verify', summary: 'read all of an image and compare checksums', load: () => import('./cli/verify.js') },
  { name: 'list', summary: 'show running jobs and known images', load: () => import('./cli/list.js') },
  { name: 'doctor', summary: 'say what this machine permits', load: () => import('./cli/doctor.js') },
];

// The bundle is a CommonJS script, for V8's code cache: no top-level await in supervisor/.
void main(process.argv.slice(2));

async function main(args: readonly string[]): Promise<void> {
  // `procs help start` is `procs start --help`.
  const [first, second] = args;
  const given = first === 'help' ? (second === undefined ? ['--help'] : [second, '--help']) : [...args];
  const chosen = COMMANDS.find(({ name }) => name === given[0]);
  try {
    const program = newCommand('procs', 'COMMAND [options] …', 'Checkpoint running programs to a file, and resume them later.', [
      ['procs start ./simulate input.dat', 'runs it; ./simulate.procs will hold its checkpoints'],
      ['procs checkpoint simulate', 'writes one, while the program runs on'],
      ['procs resume simulate', 'goes on from there, after a crash or a reboot, or elsewhere'],
    ])
      .version(packageVersion(), '-V, --version', 'show the version')
      .helpCommand('help [command]', 'show the help of a command')
      .enablePositionalOptions();
    for (const row of COMMANDS) program.addCommand(row === chosen ? (await row.load()).command().summary(row.summary) : new Command(row.name).summary(row.summary));
    if (given.length === 0) {
      process.stderr.write(program.helpInformation());
      process.exitCode = 64;
      return;
    }
    await program.parseAsync(given, { from: 'user' });
  } catch (error) {
    const status = reportError(error, { command: chosen?.name, isLauncher: chosen?.isLauncher ?? false });
    // A launcher leaves nothing that would keep the event loop going.
    if (chosen?.isLauncher === true) process.exit(status);
    process.exitCode = status;
  }
}

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

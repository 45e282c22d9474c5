/**
 * What every command has in common: its commander object, and how its errors are shown.
 */
import { Command, CommanderError, InvalidArgumentError } from 'commander';
import { ERRORS, EXIT, messageOf, ProcsError } from '../errors.js';

/**
 * @param name  `start`.
 * @param usage  What follows the name: `[options] PROGRAM [ARGS…]`.
 * @param examples  Pairs of a command line and what it does.
 */
export function newCommand(name: string, usage: string, description: string, examples: readonly (readonly [string, string])[] = []): Command {
  const width = Math.max(...examples.map(([line]) => line.length));
  const command = new Command(name)
    .usage(usage)
    .description(description)
    .helpOption('-h, --help', 'show this help')
    .showHelpAfterError(false)
    .exitOverride()
    .configureOutput({ writeErr: () => undefined }); // errors are shown in one place: reportError
  if (examples.length > 0) {
    command.addHelpText('after', `\nExamples:\n${examples.map(([line, what]) => `  ${line.padEnd(width)}  # ${what}`).join('\n')}`);
  }
  return command;
}

export interface ReportOptions {
  /** Of the command, for the hint of a usage error. */
  readonly command: string | undefined;
  /** start, resume, run: the exit statuses below 125 are the program's. */
  readonly isLauncher: boolean;
}

/** Shows an error, and returns the exit status it stands for. Help and version, which commander throws too, are no errors. */
export function reportError(error: unknown, options: ReportOptions): number {
  if (error instanceof CommanderError && error.exitCode === 0) return EXIT.OK;
  const known = toProcsError(error, options.command);
  process.stderr.write(`procs: ${known.message.trimEnd()}\n`);
  if (known.remedy !== undefined) process.stderr.write(`       ${known.remedy.replaceAll('\n', '\n       ')}\n`);
  const isInternal = known.code === 'PROCS_ERR_INTERNAL' || /\bprocs\b/.test(process.env['NODE_DEBUG'] ?? '');
  if (isInternal) process.stderr.write(`${stackOf(known)}\n`);
  if (!options.isLauncher || known.exit === EXIT.CANNOT_EXECUTE || known.exit === EXIT.NOT_FOUND) return known.exit;
  return EXIT.PROCS;
}

function toProcsError(error: unknown, command: string | undefined): ProcsError {
  if (error instanceof ProcsError) return error;
  if (error instanceof CommanderError) {
    const [message = '', hint] = error.message.replace(/^error: /, '').split('\n');
    return new ProcsError('PROCS_ERR_USAGE', message, {
      remedy: `${hint === undefined || hint === '' ? '' : `${hint}\n`}"procs ${command === undefined ? '' : `${command} `}--help" shows what is possible`,
    });
  }
  return new ProcsError('PROCS_ERR_INTERNAL', `internal error: ${messageOf(error)}`, { cause: error, remedy: ERRORS.PROCS_ERR_INTERNAL.remedy });
}

function stackOf(error: ProcsError): string {
  const cause = error.cause instanceof Error ? `\ncause: ${error.cause.stack ?? ''}` : '';
  return `${error.code} ${error.stack ?? ''}${cause}`;
}

/** An option's value that is not one of those wanted: commander names the option. */
export function refuseValue(wanted: string): never {
  throw new InvalidArgumentError(wanted);
}

/** Everything that was found out about the current directory is that it is gone. */
export function currentDirectory(): string {
  try {
    return process.cwd();
  } catch (error) {
    throw new ProcsError('PROCS_ERR_SYSTEM', 'cannot tell the current directory: it was removed', { cause: error, remedy: 'change to another one' });
  }
}

/**
 * The options that start, resume and run share, and how they are resolved: once, here.
 */
import { basename, resolve } from 'node:path';
import { Option, type Command } from 'commander';
import { EXIT, ProcsError } from '../errors.js';
import { SIGNAL, SIGNAL_COUNT } from '../linux.js';
import type { FilesPolicy, JobOptions, PidsPolicy } from '../job/types.js';
import { currentDirectory, refuseValue } from './command.js';

/** As commander gives them. */
export interface GivenOptions {
  readonly name?: string;
  readonly image?: string;
  readonly quiet?: boolean;
  readonly stopStatus: number;
  readonly files: FilesPolicy;
  readonly pids: PidsPolicy;
  readonly rm?: boolean;
  readonly trace?: boolean;
  readonly absorb?: readonly (number | 'none')[];
  readonly overwrite?: boolean;
  readonly clone?: boolean;
}

export function addJobOptions(command: Command): Command {
  return command
    .addOption(new Option('--name <name>', 'what the job is called (default: the program\'s name)').argParser(parseName))
    .option('--image <file>', 'where checkpoints are kept (default: ./NAME.procs)')
    .option('-q, --quiet', 'no line on stderr for each checkpoint')
    .addOption(
      new Option('--stop-status <status>', 'exit status after a checkpoint that ends the program').argParser(parseStatus).default(EXIT.STOPPED),
    )
    .addOption(
      new Option('--files <policy>', 'files that the program writes: put back on resume, left as they are, or saved in the image')
        .choices(['rewind', 'keep', 'snapshot'])
        .default('rewind'),
    )
    .option('--rm', 'remove the image when the program has ended by itself')
    .option('--trace', 'one line on stderr for each step, with its duration');
}

export function addAbsorbOption(command: Command): Command {
  return command.addOption(
    new Option('--absorb <signal>', 'ignored in the program unless it handles it; may be repeated; "none" (default: USR1 and USR2 in a batch job)').argParser(
      (text: string, before: readonly (number | 'none')[] | undefined) => [...(before ?? []), text === 'none' ? ('none' as const) : parseSignal(text)],
    ),
  );
}

export function addPidsOption(command: Command): Command {
  return command.addOption(
    new Option('--pids <how>', 'process ids: the same ones, if need be in a namespace; only directly; only in a namespace')
      .choices(['auto', 'exact', 'namespace'])
      .default('auto'),
  );
}

/** @param name  Where none is given. */
export function resolveJobOptions(given: GivenOptions, name: string, imagePath = imageOf(given.image, given.name ?? name)): JobOptions {
  return {
    name: given.name ?? name,
    imagePath,
    quiet: given.quiet ?? false,
    stopStatus: given.stopStatus,
    files: given.files,
    pids: given.pids ?? 'auto',
    removeImage: given.rm ?? false,
    trace: given.trace ?? false,
  };
}

export function imageOf(image: string | undefined, name: string): string {
  if (image === '') throw new ProcsError('PROCS_ERR_USAGE', 'the image has no name');
  return resolve(currentDirectory(), image ?? `${name}.procs`);
}

/** A job is named like its program: `simulate` for `./simulate`. */
export function nameOfProgram(program: string): string {
  return basename(program) || 'job';
}

/** Signals to ignore in the tree. Schedulers send theirs to every process of a step, not only to procs. */
export function resolveAbsorb(given: GivenOptions, env: NodeJS.ProcessEnv = process.env): readonly number[] {
  if (given.absorb !== undefined) return [...new Set(given.absorb.filter((signal) => signal !== 'none'))];
  return isBatchJob(env) ? [SIGNAL.SIGUSR1, SIGNAL.SIGUSR2] : [];
}

/** Slurm, PBS, LSF, Grid Engine, HTCondor. */
export function isBatchJob(env: NodeJS.ProcessEnv): boolean {
  const isSet = (name: string): boolean => (env[name] ?? '') !== '';
  return ['SLURM_JOB_ID', 'PBS_JOBID', 'LSB_JOBID', '_CONDOR_SCRATCH_DIR'].some(isSet) || (isSet('JOB_ID') && isSet('SGE_ROOT'));
}

/** `USR1`, `SIGUSR1`, `sigusr1` or `10`. */
export function parseSignal(text: string): number {
  const upper = text.toUpperCase();
  const name = upper.startsWith('SIG') ? upper : `SIG${upper}`;
  const number = /^\d+$/.test(text) ? Number(text) : Object.hasOwn(SIGNAL, name) ? SIGNAL[name as keyof typeof SIGNAL] : 0;
  if (number < 1 || number > SIGNAL_COUNT) refuseValue('A signal is wanted, such as USR1 or 10.');
  if (number === SIGNAL.SIGKILL || number === SIGNAL.SIGSTOP) refuseValue('This signal cannot be ignored.');
  return number;
}

function parseStatus(text: string): number {
  const status = /^\d{1,3}$/.test(text) ? Number(text) : 256;
  return status <= 255 ? status : refuseValue('A number from 0 to 255 is wanted.');
}

function parseName(text: string): string {
  const isUsable = text !== '' && text !== '.' && text !== '..' && !/[/\p{Cc}]/u.test(text) && Buffer.byteLength(text) <= 200;
  return isUsable ? text : refuseValue('A name without slashes is wanted.');
}

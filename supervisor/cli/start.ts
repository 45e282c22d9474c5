/** `procs start`: runs a program so that it can be checkpointed. */
import type { Command } from 'commander';
import type { StartRequest } from '../job/types.js';
import { newCommand } from './command.js';
import { clearForNewRun } from './image-choice.js';
import { addAbsorbOption, addJobOptions, nameOfProgram, resolveAbsorb, resolveJobOptions, type GivenOptions } from './job-options.js';

export function command(): Command {
  const start = newCommand(
    'start',
    '[options] [--] PROGRAM [ARGS…]',
    `Runs PROGRAM as if procs were not there, ready to be checkpointed any time:

  SIGUSR1 to procs       writes a checkpoint; the program runs on
  SIGUSR2 to procs       writes a checkpoint and ends the program
  procs checkpoint NAME  does either from another terminal, and waits for it

Ends as the program ends: with its exit status, or killed by the same signal.
125: procs itself failed; 126: PROGRAM cannot be executed; 127: it was not
found; 85 or --stop-status: the program was ended after a checkpoint.`,
    [
      ['procs start ./simulate input.dat', 'checkpoints go to ./simulate.procs'],
      ['procs resume simulate', 'later: goes on from the newest checkpoint'],
      ['procs start --name night --image /scratch/night.procs python3 job.py', 'elsewhere, under another name'],
    ],
  );
  addAbsorbOption(addJobOptions(start))
    .option('--overwrite', 'set an image of an earlier run aside as IMAGE.old')
    .argument('<program>')
    .argument('[args...]')
    .passThroughOptions()
    .action(async (program: string, args: readonly string[], given: GivenOptions) => {
      const request = startRequest(program, args, given);
      await clearForNewRun(request.imagePath, given.overwrite ?? false, `procs resume ${request.imagePath}`);
      await startAndEnd(request);
    });
  return start;
}

export function startRequest(program: string, args: readonly string[], given: GivenOptions): StartRequest {
  return { ...resolveJobOptions(given, nameOfProgram(program)), program, args, absorb: resolveAbsorb(given) };
}

/** Does not return: the supervisor ends as the program ended. */
export async function startAndEnd(request: StartRequest): Promise<never> {
  const [{ startJob }, { endAs }] = await Promise.all([import('../job/start.js'), import('./exit.js')]);
  return endAs(await startJob(request));
}

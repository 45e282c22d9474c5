/** `procs run`: resume if there is something to resume, else start. One command line for every attempt of a batch job. */
import type { Command } from 'commander';
import { newCommand } from './command.js';
import { hasCheckpoint } from './image-choice.js';
import { addAbsorbOption, addJobOptions, addPidsOption, type GivenOptions } from './job-options.js';
import { startAndEnd, startRequest } from './start.js';
import { resumeAndEnd } from './resume.js';

export function command(): Command {
  const run = newCommand(
    'run',
    '[options] [--] PROGRAM [ARGS…]',
    `Goes on from the newest checkpoint if there is one in ./NAME.procs (or --image
FILE), and starts PROGRAM otherwise: for batch systems, which give the same
command line again and again.

Exit statuses are those of "procs start". With --rm the image is removed when
the program has ended, so that the next run begins anew.`,
    [
      ['procs run --rm ./simulate input.dat', 'in a job script that may be requeued'],
      ['procs run --stop-status 99 ./simulate', 'Grid Engine: SIGUSR2 to procs means checkpoint and requeue'],
    ],
  );
  addPidsOption(addAbsorbOption(addJobOptions(run)))
    .argument('<program>')
    .argument('[args...]')
    .passThroughOptions()
    .action(async (program: string, args: readonly string[], given: GivenOptions) => {
      const request = startRequest(program, args, given);
      // Only this image: a known one elsewhere may be another run's.
      if (hasCheckpoint(request.imagePath)) {
        await resumeAndEnd({ path: request.imagePath, checkpoint: undefined }, undefined, { ...given, name: request.name, image: request.imagePath });
      }
      await startAndEnd(request);
    });
  return run;
}

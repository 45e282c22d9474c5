/** `procs resume`: goes on from a checkpoint. */
import { basename } from 'node:path';
import type { Command } from 'commander';
import { ProcsError } from '../errors.js';
import type { ResumeRequest } from '../job/types.js';
import { refuseIfHeld } from '../registry/lock.js';
import { newCommand } from './command.js';
import { chooseImage, clearForNewRun, freeCloneOf, type ImageChoice } from './image-choice.js';
import { addJobOptions, addPidsOption, imageOf, resolveJobOptions, type GivenOptions } from './job-options.js';

export function command(): Command {
  const resume = newCommand(
    'resume',
    '[options] PROGRAM|NAME|FILE[@N] [ARGS…]',
    `Goes on from the newest checkpoint of an image, or from checkpoint N: after a
crash, a reboot, on another machine, any number of times. The image is
./NAME.procs, else the newest one known of that name, else FILE. Afterwards all
is as after "procs start": SIGUSR1 checkpoints again.

ARGS, where given, are only what ps shows; the program has its own.`,
    [
      ['procs resume simulate', 'from ./simulate.procs'],
      ['procs resume /scratch/night.procs@3', 'from its third checkpoint'],
      ['procs resume --clone simulate', 'one more copy, with an image of its own'],
    ],
  );
  addPidsOption(addJobOptions(resume))
    .option('--clone', 'write later checkpoints to the next free NAME-2.procs: the image is in use, or is to stay as it is')
    .argument('<image>')
    .argument('[args...]')
    .passThroughOptions()
    .action(async (argument: string, args: readonly string[], given: GivenOptions) => {
      const shownArgs = args.length > 0 ? [argument, ...args] : undefined;
      await resumeAndEnd(chooseImage(argument), shownArgs, given);
    });
  return resume;
}

/** Does not return: the supervisor ends as the program ended. */
export async function resumeAndEnd(source: ImageChoice, shownArgs: readonly string[] | undefined, given: GivenOptions): Promise<never> {
  const [{ resumeJob }, { endAs }] = await Promise.all([import('../job/resume.js'), import('./exit.js')]);
  if (given.clone !== true || given.image !== undefined) {
    const imagePath = given.image === undefined ? source.path : imageOf(given.image, '');
    // Before anything is said about what is in it: its supervisor may be about to write the first checkpoint.
    refuseIfHeld(imagePath);
    if (imagePath !== source.path) await clearForNewRun(imagePath, false, `procs resume ${imagePath}`);
    return endAs(await resumeJob(resumeRequest(source, imagePath, shownArgs, given)));
  }
  for (let number = 2; ; number++) {
    const imagePath = freeCloneOf(source.path, number);
    try {
      return endAs(await resumeJob(resumeRequest(source, imagePath, shownArgs, given)));
    } catch (error) {
      // Another clone was quicker. A job that has its lock cannot fail like this.
      if (!(error instanceof ProcsError && error.code === 'PROCS_ERR_IMAGE_IN_USE')) throw error;
    }
  }
}

function resumeRequest(source: ImageChoice, imagePath: string, shownArgs: readonly string[] | undefined, given: GivenOptions): ResumeRequest {
  const isSameImage = imagePath === source.path;
  return {
    ...resolveJobOptions(given, basename(imagePath, '.procs'), imagePath),
    name: given.name ?? (isSameImage ? undefined : basename(imagePath, '.procs')),
    sourcePath: source.path,
    checkpoint: source.checkpoint,
    shownArgs,
  };
}

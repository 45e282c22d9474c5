/** `procs checkpoint`: has a running job write a checkpoint, and waits until it is durable. */
import type { Command } from 'commander';
import { requestCheckpoint } from '../job/control.js';
import { describeReport } from '../job/report.js';
import { findJob } from '../registry/registry.js';
import { newCommand } from './command.js';
import { toJson } from '../format.js';
import { progressBar } from './progress.js';

export function command(): Command {
  return newCommand(
    'checkpoint',
    '[options] NAME|PID|FILE',
    `Has a running job write a checkpoint, and waits. Exits 0 only when the
checkpoint is on disk. The job is named by its name, by the process id of its
procs, or by its image.`,
    [
      ['procs checkpoint simulate', 'the program runs on'],
      ['procs checkpoint --stop simulate', 'the program is ended, to be resumed later'],
    ],
  )
    .option('--stop', 'end the program after the checkpoint')
    .option('--json', 'print what was done as JSON')
    .option('-q, --quiet', 'print nothing, and show no progress')
    .argument('<job>')
    .action(async (argument: string, given: { stop?: boolean; json?: boolean; quiet?: boolean }) => {
      const job = findJob(argument);
      const bar = progressBar(given.quiet !== true);
      try {
        const report = await requestCheckpoint(job, { stop: given.stop ?? false }, bar.show);
        bar.clear();
        if (given.json === true) process.stdout.write(toJson(report));
        else if (given.quiet !== true) process.stdout.write(`${describeReport(report)}\n`);
      } finally {
        bar.clear();
      }
    });
}

/** `procs check`: whether a checkpoint would succeed now, without writing one. */
import type { Command } from 'commander';
import { EXIT } from '../errors.js';
import { requestCheck } from '../job/control.js';
import type { Refusal } from '../job/types.js';
import { findJob, findJobs } from '../registry/registry.js';
import { newCommand } from './command.js';
import { printable, toJson } from '../format.js';

export function command(): Command {
  return newCommand(
    'check',
    '[options] NAME|PID|FILE',
    `Says whether a running job can be checkpointed now, and if not, all the
reasons. PID may be any process of yours, whether procs started it or not. The
program stands still for a moment.

Exits 0 if it can be checkpointed, 69 if not.`,
    [
      ['procs check simulate', 'a job'],
      ['procs check 4711', 'any process'],
    ],
  )
    .option('--json', 'print the answer as JSON')
    .argument('<job>')
    .action(async (argument: string, given: { json?: boolean }) => {
      const refusals = await check(argument);
      if (given.json === true) process.stdout.write(toJson({ ok: refusals.length === 0, refusals }));
      else process.stdout.write(describeAnswer(argument, refusals));
      process.exitCode = refusals.length === 0 ? EXIT.OK : EXIT.UNAVAILABLE;
    });
}

async function check(argument: string): Promise<readonly Refusal[]> {
  if (/^[1-9]\d*$/.test(argument) && findJobs(argument).length === 0) {
    const { checkProcess } = await import('../job/check.js');
    return checkProcess(Number(argument));
  }
  return requestCheck(findJob(argument));
}

function describeAnswer(argument: string, refusals: readonly Refusal[]): string {
  if (refusals.length === 0) return `${argument} can be checkpointed\n`;
  const lines = refusals.map(({ pid, where, what, remedy }) => `  process ${pid}, ${where}: ${printable(what)}\n    ${printable(remedy)}\n`);
  const count = refusals.length === 1 ? 'one reason' : `${refusals.length} reasons`;
  return `${argument} cannot be checkpointed now, for ${count}:\n${lines.join('')}`;
}

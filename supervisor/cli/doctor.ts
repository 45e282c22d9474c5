/** `procs doctor`: what this machine permits, and what follows. */
import type { Command } from 'commander';
import { EXIT } from '../errors.js';
import { diagnose } from '../job/machine.js';
import { newCommand } from './command.js';
import { formatTable, toJson } from '../format.js';

export function command(): Command {
  return newCommand('doctor', '[options]', `Tries what this machine permits, says what follows for procs, and ends with a
verdict. Exits 0 if programs can be checkpointed and resumed here, 69 if not.`)
    .option('--json', 'print the findings as JSON')
    .action(async (given: { json?: boolean }) => {
      const diagnosis = await diagnose();
      process.exitCode = diagnosis.usable ? EXIT.OK : EXIT.UNAVAILABLE;
      if (given.json === true) return void process.stdout.write(toJson(diagnosis));
      const rows = diagnosis.findings.map(({ subject, permission, found, means }) => [[permission, subject, found], ['', '', `-> ${means}`]]);
      process.stdout.write(`${formatTable(rows.flat())}\n${diagnosis.verdict}\n`);
    });
}

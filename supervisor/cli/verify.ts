/** `procs verify`: reads every byte of an image and says which checkpoints are whole. */
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { EXIT } from '../errors.js';
import { Image } from '../image/image.js';
import { native } from '../native.js';
import { currentDirectory, newCommand } from './command.js';
import { formatBytes, formatTime, toJson } from '../format.js';
import { progressBar } from './progress.js';

export function command(): Command {
  return newCommand(
    'verify',
    '[options] FILE',
    `Reads everything in an image and compares checksums: one line per checkpoint.
Exits 0 if all are whole, 65 if anything is damaged.`,
    [['procs verify simulate.procs', 'before the original is deleted, say']],
  )
    .option('--json', 'print the result as JSON')
    .option('-q, --quiet', 'print only what is damaged')
    .argument('<file>')
    .action(async (argument: string, given: { json?: boolean; quiet?: boolean }) => {
      using image = Image.openForReading(resolve(currentDirectory(), argument), { architecture: 'any' });
      const bar = progressBar(given.quiet !== true);
      const result = await image.verify({
        checksumRange: (fd, offset, length) => native.checksumRange(fd, offset, length),
        onProgress: ({ doneBytes, totalBytes }) => bar.show({ phase: 'write', bytes: doneBytes, totalBytes }),
      });
      bar.clear();
      process.exitCode = result.ok ? EXIT.OK : EXIT.BAD_IMAGE;
      if (given.json === true) return void process.stdout.write(toJson(result));
      for (const { number, summary, problems, pageCount } of result.checkpoints) {
        const when = summary === undefined ? '' : ` of ${formatTime(summary.timeMs)}`;
        const pages = formatBytes(pageCount * image.pageSize);
        if (problems.length === 0 && given.quiet !== true) process.stdout.write(`checkpoint ${number}${when}: whole, ${pages} of memory\n`);
        for (const problem of problems) process.stdout.write(`checkpoint ${number}${when}: DAMAGED: ${problem}\n`);
      }
      for (const problem of result.problems) process.stdout.write(`${argument}: DAMAGED: ${problem}\n`);
      if (given.quiet !== true) for (const note of result.notes) process.stdout.write(`${argument}: ${note}\n`);
    });
}

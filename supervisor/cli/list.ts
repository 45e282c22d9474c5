/** `procs list`: the running jobs and known images of this user. */
import fs from 'node:fs';
import type { Command } from 'commander';
import { listImages, listJobs } from '../registry/registry.js';
import { newCommand } from './command.js';
import { formatBytes, formatTable, formatTime, printable, toJson } from '../format.js';

export function command(): Command {
  return newCommand('list', '[options]', 'Shows your running jobs on this host, and the images that are known.')
    .option('--json', 'print them as JSON')
    .action((given: { json?: boolean }) => {
      const jobs = listJobs();
      const images = listImages().map((image) => ({ ...image, bytes: sizeOnDisk(image.imagePath) }));
      if (given.json === true) return void process.stdout.write(toJson({ jobs, images }));
      if (jobs.length === 0) process.stdout.write('no running jobs\n');
      else {
        const rows = jobs.map((job) => [String(job.pid), printable(job.name), formatTime(job.startedMs), printable(job.imagePath), printable(job.command)]);
        process.stdout.write(formatTable([['PID', 'NAME', 'STARTED', 'IMAGE', 'COMMAND'], ...rows]));
      }
      if (images.length === 0) process.stdout.write('\nno known images\n');
      else {
        const rows = images.map((image) => [
          printable(image.name), String(image.checkpoint), formatTime(image.newestMs), formatBytes(image.bytes), printable(image.imagePath),
        ]);
        process.stdout.write(`\n${formatTable([['NAME', 'CHECKPOINT', 'WRITTEN', 'SIZE', 'IMAGE'], ...rows])}`);
      }
    });
}

/** Dropped checkpoints leave holes: not the length counts. */
function sizeOnDisk(path: string): number {
  try {
    return fs.statSync(path).blocks * 512;
  } catch {
    return 0;
  }
}

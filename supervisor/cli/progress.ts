/** One line that shows how far a checkpoint has come, on a terminal only. */
import type { Progress } from '../job/types.js';
import { formatBytes } from '../format.js';

export interface ProgressBar {
  readonly show: (progress: Progress) => void;
  /** Removes the line; safe to call twice. */
  readonly clear: () => void;
}

const BAR_WIDTH = 24;

export function progressBar(isWanted: boolean, stream: NodeJS.WriteStream = process.stderr): ProgressBar {
  if (!isWanted || !stream.isTTY) return { show: () => undefined, clear: () => undefined };
  let isShown = false;
  return {
    show: (progress) => {
      isShown = true;
      stream.write(`\r\x1b[K${progressLine(progress).slice(0, Math.max(10, stream.columns - 1))}`);
    },
    clear: () => {
      if (isShown) stream.write('\r\x1b[K');
      isShown = false;
    },
  };
}

/** `writing [#####.....]  42 %  5.0 MiB of 12.0 MiB`. */
export function progressLine({ phase, bytes, totalBytes }: Progress): string {
  if (phase === 'freeze') return 'freezing';
  if (phase === 'commit') return 'making it durable';
  if (totalBytes <= 0) return `writing ${formatBytes(bytes)}`;
  const part = Math.min(1, Math.max(0, bytes / totalBytes));
  const filled = Math.round(part * BAR_WIDTH);
  const bar = '#'.repeat(filled) + '.'.repeat(BAR_WIDTH - filled);
  return `writing [${bar}] ${String(Math.floor(part * 100)).padStart(3)} %  ${formatBytes(bytes)} of ${formatBytes(totalBytes)}`;
}

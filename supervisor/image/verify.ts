/** Reading everything of an image that its checkpoints can reach, page data included. */

import { messageOf, ProcsError } from '../errors.js';
import { checksumWords } from './layout.js';
import type { Extent } from './extents.js';
import type { CheckpointSummary, Image } from './image.js';

export interface VerifyOptions {
  readonly onProgress?: (progress: VerifyProgress) => void;
  /** crc32c of a range of the file; the addon's is faster. Default: this process reads it. */
  readonly checksumRange?: (fd: number, offset: number, length: number) => Promise<number>;
  /** Ends the verification by throwing its reason. */
  readonly signal?: AbortSignal;
}

export interface VerifyProgress {
  readonly doneBytes: number;
  readonly totalBytes: number;
}

export interface CheckpointVerification {
  readonly number: number;
  /** Undefined where not even the commit record can be used. */
  readonly summary: CheckpointSummary | undefined;
  /** Empty: every byte of this checkpoint is as it was written. */
  readonly problems: readonly string[];
  readonly recordCount: number;
  readonly pageCount: number;
}

export interface Verification {
  /** Ascending. Where a range of checkpoints is lost at once, only the last of it is listed. */
  readonly checkpoints: readonly CheckpointVerification[];
  /** What is wrong with the file as a whole. */
  readonly problems: readonly string[];
  /** What is wrong and costs nothing. */
  readonly notes: readonly string[];
  /** Page data read, each byte once however many checkpoints share it. */
  readonly checkedBytes: number;
  readonly ok: boolean;
}

interface Draft {
  number: number;
  summary: CheckpointSummary | undefined;
  problems: string[];
  recordCount: number;
  pageCount: number;
}

interface Run {
  readonly extent: Extent;
  /** Indices into the list of checkpoints. */
  readonly users: Set<number>;
}

type Hooks = Required<Pick<VerifyOptions, 'onProgress' | 'checksumRange'>> & { readonly signal: AbortSignal | undefined };

/** @internal Use `image.verify()`. */
export async function verifyImage(image: Image, { onProgress, checksumRange, signal }: Hooks): Promise<Verification> {
  const checkpoints: Draft[] = [];
  // Extents that show parts of the same run, in one checkpoint or in several, are checked once.
  const runs = new Map<string, Run>();
  for (const summary of image.checkpoints) {
    const result: Draft = { number: summary.number, summary, problems: [], recordCount: 0, pageCount: 0 };
    const index = checkpoints.push(result) - 1;
    try {
      const { records, extents } = image.read(summary.number);
      result.recordCount = records.length;
      result.pageCount = extents.pageCount();
      for (const extent of extents) {
        const key = `${extent.fileOffset} ${extent.storedLength} ${extent.crc32c}`;
        const run = runs.get(key);
        if (run === undefined) runs.set(key, { extent, users: new Set([index]) });
        else run.users.add(index);
      }
    } catch (error) {
      result.problems.push(problemOf(error));
    }
  }

  const ordered = [...runs.values()].sort((a, b) => a.extent.fileOffset - b.extent.fileOffset);
  const totalBytes = ordered.reduce((sum, { extent }) => sum + extent.storedLength, 0);
  let doneBytes = 0;
  onProgress({ doneBytes, totalBytes });
  for (const { extent, users } of ordered) {
    signal?.throwIfAborted();
    const problem = await checkRun(image.fd, extent, checksumRange);
    if (problem !== undefined) for (const index of users) checkpoints[index]!.problems.push(problem);
    doneBytes += extent.storedLength;
    onProgress({ doneBytes, totalBytes });
  }

  const problems: string[] = [];
  for (const { checkpoints: lost, reason } of image.damage) {
    if (lost === undefined) problems.push(reason);
    else {
      const others = lost[0] < lost[1] ? `; with it, checkpoints ${lost[0]} to ${lost[1] - 1} are lost` : '';
      checkpoints.push({ number: lost[1], summary: undefined, problems: [reason + others], recordCount: 0, pageCount: 0 });
    }
  }
  checkpoints.sort((a, b) => a.number - b.number);
  return {
    checkpoints,
    problems,
    notes: image.notes,
    checkedBytes: doneBytes,
    ok: problems.length === 0 && checkpoints.every((checkpoint) => checkpoint.problems.length === 0),
  };
}

async function checkRun(fd: number, extent: Extent, checksumRange: Hooks['checksumRange']): Promise<string | undefined> {
  const where = `the page data at ${extent.fileOffset} (${extent.storedLength} bytes, first used at 0x${extent.address.toString(16)} of space ${extent.space})`;
  try {
    const computed = await checksumRange(fd, extent.fileOffset, extent.storedLength);
    return computed === extent.crc32c ? undefined : `${where} is damaged: ${checksumWords(extent.crc32c, computed)}`;
  } catch (error) {
    return `${where} cannot be read: ${problemOf(error)}`;
  }
}

function problemOf(error: unknown): string {
  if (error instanceof ProcsError && error.code === 'PROCS_ERR_INTERNAL') throw error;
  return messageOf(error);
}

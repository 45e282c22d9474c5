/** Reading everything of an image that its checkpoints can reach, page data included. */

import { messageOf, ProcsError } from '../errors.js';
import { checksumWords } from './layout.js';
import type { Run } from './extents.js';
import type { CheckpointSummary, Image } from './image.js';

export interface VerifyOptions {
  readonly onProgress?: (progress: VerifyProgress) => void;
  /** crc32c of a range of the file; the addon's is faster. Default: this process reads it. */
  readonly checksumRange?: (fd: number, offset: number, length: number) => Promise<number>;
  /** Numbers of those to look at; default: all. */
  readonly checkpoints?: readonly number[];
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

interface UsedRun extends Run {
  readonly users: Draft[];
}

type Hooks = Pick<VerifyOptions, 'signal' | 'checkpoints' | 'onProgress'> & Required<Pick<VerifyOptions, 'checksumRange'>>;

/** @internal Use `image.verify()`. */
export async function verifyImage(image: Image, { onProgress, checksumRange, signal, checkpoints: wanted }: Hooks): Promise<Verification> {
  const checkpoints: Draft[] = [];
  // A run that several checkpoints use is read once.
  const runs = new Map<string, UsedRun>();
  for (const summary of image.checkpoints) {
    if (wanted !== undefined && !wanted.includes(summary.number)) continue;
    const result: Draft = { number: summary.number, summary, problems: [], recordCount: 0, pageCount: 0 };
    checkpoints.push(result);
    try {
      const { records, extents } = image.read(summary.number);
      result.recordCount = records.length;
      result.pageCount = extents.pageCount();
      for (const run of extents.runs()) {
        const key = `${run.fileOffset} ${run.storedLength} ${run.crc32c}`;
        const known = runs.get(key);
        if (known === undefined) runs.set(key, { ...run, users: [result] });
        else known.users.push(result);
      }
    } catch (error) {
      result.problems.push(problemOf(error));
    }
  }

  const ordered = [...runs.values()].sort((a, b) => a.fileOffset - b.fileOffset);
  const totalBytes = ordered.reduce((sum, { storedLength }) => sum + storedLength, 0);
  let doneBytes = 0;
  onProgress?.({ doneBytes, totalBytes });
  for (const run of ordered) {
    signal?.throwIfAborted();
    const problem = await checkRun(image.fd, run, checksumRange);
    if (problem !== undefined) for (const { problems } of run.users) problems.push(problem);
    doneBytes += run.storedLength;
    onProgress?.({ doneBytes, totalBytes });
  }

  const problems: string[] = [];
  for (const { checkpoints: lost, reason } of image.damage) {
    if (lost === undefined) problems.push(reason);
    else if (wanted === undefined || wanted.some((number) => lost[0] <= number && number <= lost[1])) {
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

async function checkRun(fd: number, run: Run, checksumRange: Hooks['checksumRange']): Promise<string | undefined> {
  const { fileOffset, storedLength, extent } = run;
  const where = `the page data at ${fileOffset} (${storedLength} bytes, first used at 0x${extent.address.toString(16)} of space ${extent.space})`;
  try {
    const computed = await checksumRange(fd, fileOffset, storedLength);
    return computed === run.crc32c ? undefined : `${where} is damaged: ${checksumWords(run.crc32c, computed)}`;
  } catch (error) {
    return `${where} cannot be read: ${problemOf(error)}`;
  }
}

function problemOf(error: unknown): string {
  if (error instanceof ProcsError && error.code === 'PROCS_ERR_INTERNAL') throw error;
  return messageOf(error);
}

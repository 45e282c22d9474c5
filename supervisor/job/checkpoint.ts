/**
 * The story of a checkpoint: look, freeze, snapshot, thaw, write, commit.
 *
 * Whatever fails, the program runs on and the checkpoint before is whole.
 */
import { open } from 'node:fs/promises';
import { hostname, release } from 'node:os';
import { ProcsError, errnoName } from '../errors.js';
import { readOwnText, readText, rehearse } from '../freeze/ask.js';
import { type PageSink, type Snapshot, encodeSources, takeSnapshot, writeDefaults } from '../freeze/snapshot.js';
import type { PlayerRegion } from '../freeze/player.js';
import { WaitTimes } from '../freeze/waiting.js';
import { joinExtents } from '../image/extents.js';
import type { CheckpointSummary, Image } from '../image/image.js';
import { SIGNAL } from '../linux.js';
import { SELECT, native } from '../native.js';
import { AreaFlags, type Vma, parseVmFlags } from '../proc/maps.js';
import { pathBytes, pathText } from '../proc/path.js';
import type { FileObject } from '../resources/file.js';
import { isNotForked, isProgramMemory, memoryRecord, sourcesOfTwin } from '../resources/memory.js';
import { captureProcess } from '../resources/process.js';
import type { PageSource } from '../resources/resource.js';
import type { Record_ } from '../resources/record.js';
import { captureSignals } from '../resources/signal.js';
import { captureThreads } from '../resources/thread.js';
import { captureTimers } from '../resources/timer.js';
import type { FilesPolicy, Progress } from './types.js';
import { log } from './log.js';

/** What one checkpoint leaves for the next. */
export interface Tracked {
  readonly pid: number;
  region: PlayerRegion | undefined;
  waits: WaitTimes | undefined;
  /** Where the program's own arguments are, when ps is shown others. */
  readonly args: readonly [start: bigint, end: bigint] | undefined;
}

export interface CheckpointOptions {
  readonly target: Tracked;
  readonly image: Image;
  readonly files: FilesPolicy;
  /** What the image says of the job: its name, its command. */
  readonly header: Readonly<Record<string, unknown>>;
  /** The checkpoint that the program goes on from. */
  readonly parent: number;
  readonly onProgress: (progress: Progress) => void;
  /** End the program once the checkpoint is durable; it does not run in between. */
  readonly stop: boolean;
}

export interface CheckpointResult {
  readonly summary: CheckpointSummary;
  readonly pauseMs: number;
  readonly threads: number;
  /** Why the pages were written while the program stood still. */
  readonly refusedTwin: string | undefined;
}

/** How often a freeze is repeated when the memory map changed its advice under our eyes. */
const MAX_TRIES = 4;

export async function writeCheckpoint(options: CheckpointOptions): Promise<CheckpointResult> {
  const { target, image } = options;
  for (let attempt = 1; ; attempt++) {
    const draft = image.begin();
    const sink: PageSink = { fd: draft.fd, offset: draft.dataOffset, extents: [], shared: [] };
    let snapshot: Snapshot | undefined;
    try {
      log.step('rehearse', () => rehearse(target.pid));
      const flags = log.step('look at the memory map', () => parseVmFlags(readOwnText(target.pid, 'smaps')));
      const waits = WaitTimes.before(target.pid, target.waits);
      snapshot = log.step('freeze', () => takeSnapshot({ pid: target.pid, region: target.region, waits, flags, sink, files: options.files, hold: options.stop }));
      target.region = snapshot.region;
      target.waits = waits;
      if (snapshot.refusedTwin === undefined) log.note(`paused for ${snapshot.pauseMs().toFixed(2)} ms`);

      const seen = log.step('look at the twin', () => lookAtTwin(snapshot as Snapshot, flags));
      if (seen === undefined && attempt < MAX_TRIES) {
        draft.abort();
        continue;
      }
      const records = log.step('build records', () => buildRecords(snapshot as Snapshot, seen ?? flags, target.args));
      await log.stepAsync('write pages', () => writePages(snapshot as Snapshot, seen ?? flags, sink, options.onProgress));
      snapshot.pages.end();
      records.push(...(await log.stepAsync('sync files', () => settleFiles(snapshot as Snapshot))));
      options.onProgress({ phase: 'commit', bytes: sink.offset - draft.dataOffset, totalBytes: sink.offset - draft.dataOffset });
      const summary = await log.stepAsync('commit', () =>
        draft.commit({
          header: { ...options.header, host: hostname(), kernel: release(), pauseUs: Math.round((snapshot as Snapshot).pauseMs() * 1000) },
          records,
          extents: joinExtents(...sink.extents),
          dataEnd: sink.offset,
          parent: options.parent,
        }),
      );
      if (options.stop) native.sendSignal(target.pid, 0, SIGNAL.SIGKILL);
      return { summary, pauseMs: snapshot.pauseMs(), threads: snapshot.raw.threads.length, refusedTwin: snapshot.refusedTwin };
    } catch (error) {
      draft.abort();
      throw asWriteError(error, image.path);
    } finally {
      snapshot?.pages.end();
      snapshot?.release();
    }
  }
}

/** The addon reports an errno; the user wants to know what could not be written where. */
function asWriteError(error: unknown, path: string): unknown {
  const errno = errnoName(error);
  if (error instanceof ProcsError || errno === undefined) return error;
  const syscall = (error as { syscall?: unknown }).syscall;
  if (syscall !== 'pwrite') return error;
  const why = errno === 'ENOSPC' ? 'no space left on the device' : errno === 'EDQUOT' ? 'the disk quota is used up' : errno === 'EFBIG' ? 'the file would become too large' : errno;
  return new ProcsError('PROCS_ERR_IMAGE_WRITE', `cannot write the checkpoint to ${path}: ${why}; the program runs on and earlier checkpoints are whole`, {
    cause: error,
    remedy: 'make room, or start with --image on another file system',
  });
}

/**
 * The flags of the mappings as they were when the process stood still; undefined where
 * memory that fork does not copy has appeared since it was looked at.
 */
function lookAtTwin(snapshot: Snapshot, before: AreaFlags): AreaFlags | undefined {
  const ofTwin = parseVmFlags(readText(`/proc/${snapshot.pages.pid}/smaps`));
  const flags = new AreaFlags();
  for (const vma of snapshot.raw.vmas) {
    if (!isProgramMemory(vma)) continue;
    const then = before.of(vma);
    const now = ofTwin.of(vma) ?? (vma.shared ? then : undefined);
    if (now !== undefined && (vma.shared || !isNotForked(now))) {
      // Locked pages are not inherited, so those flags are taken from the process itself.
      const locked = ['lo', 'lf'].filter((flag) => then?.has(flag) === true);
      flags.add(vma.start, vma.end, new Set([...now, ...locked]));
    } else if (isNotForked(then) && then !== undefined) {
      flags.add(vma.start, vma.end, then);
    } else {
      log.note(`memory at ${vma.start.toString(16)} is not forked, which was not known; once more`);
      return undefined;
    }
  }
  return flags;
}

function buildRecords(snapshot: Snapshot, flags: AreaFlags, args: Tracked['args']): Record_[] {
  const { pages } = snapshot;
  const raw = args === undefined ? snapshot.raw : { ...snapshot.raw, stat: { ...snapshot.raw.stat, argStart: args[0], argEnd: args[1] } };
  const guardsOf = (vma: Vma): bigint[] => {
    // Only private memory can have them, and a kernel that shows the flag tells where not to look.
    if (vma.shared || vma.inode !== 0n) return [];
    if (flags.of(vma)?.has('dc') === true) return [];
    return [...native.scanPages(pages.pid, vma.start, vma.end, SELECT.GUARD, true)];
  };
  return [
    captureProcess(raw),
    ...captureThreads(raw, (address, length) => native.readMemory(pages.pid, address, length)),
    memoryRecord(raw, snapshot.files, (vma) => [...(flags.of(vma) ?? [])].join(' '), guardsOf),
    captureSignals(raw),
    captureTimers(raw),
    ...snapshot.descriptors,
  ];
}

async function writePages(snapshot: Snapshot, flags: AreaFlags, sink: PageSink, onProgress: (progress: Progress) => void): Promise<void> {
  const { readable, unreadable } = sourcesOfTwin(snapshot.raw, flags);
  const begin = sink.offset;
  const total = Number([...readable, ...unreadable].reduce((sum, source) => sum + (source.end - source.start), 0n));
  onProgress({ phase: 'write', bytes: 0, totalBytes: total });
  const write = async (sources: readonly PageSource[], forceMem: boolean): Promise<void> => {
    if (sources.length === 0) return;
    const written = await native.writePages({ ...writeDefaults(sink), pid: snapshot.pages.pid, forceMem, sources: encodeSources(sources) });
    sink.extents.push(written.extents);
    sink.offset = written.end;
  };
  for (const { offset, length, space } of sink.shared) sink.extents.push(await native.describeRange(sink.fd, offset, length, space));
  await write(readable, false);
  await write(unreadable, true);
  onProgress({ phase: 'write', bytes: sink.offset - begin, totalBytes: total });
}

/** Up to this length a file's contents are all checked on resume; of a longer one the beginning and the end. */
const WHOLE_CHECK = 64 << 20;
const PART_CHECK = 1 << 20;

/**
 * Makes what the program has written durable (a checkpoint is no more than the files it
 * goes on with), and notes how each written file looked, to tell on resume whether the
 * part before its length was changed.
 */
async function settleFiles(snapshot: Snapshot): Promise<Record_[]> {
  const records = snapshot.files.records();
  for (const record of records) {
    const file = record as unknown as Omit<FileObject, 'space'> & { space: number | null };
    if ((!file.written && file.patches.length === 0) || file.type !== 'path') continue;
    try {
      const handle = await open(pathBytes(file.path), 'r');
      try {
        await handle.datasync();
        if (file.space !== null) continue;
        const size = Number(file.size);
        const ranges = size <= WHOLE_CHECK ? [[0, size]] : [[0, PART_CHECK], [size - PART_CHECK, PART_CHECK]];
        const checks = [];
        for (const [offset = 0, length = 0] of ranges) checks.push({ offset, length, crc: await native.checksumRange(handle.fd, offset, length) });
        (record as { checks?: unknown }).checks = checks;
      } finally {
        await handle.close();
      }
    } catch (error) {
      // The program has removed or cut the file since: resume will tell.
      log.note(`cannot settle ${pathText(file.path)}: ${errnoName(error) ?? 'changed'}`);
    }
  }
  return records;
}

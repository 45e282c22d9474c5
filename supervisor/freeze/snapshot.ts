/**
 * The stopped moment: freeze, ask, copy what fork does not copy, make the twin, thaw.
 *
 * One synchronous function. What it returns is enough to write the checkpoint while
 * the program runs on.
 */
import { closeSync, openSync, readlinkSync, statSync, fstatSync, ftruncateSync } from 'node:fs';
import { ProcsError } from '../errors.js';
import { type PageWriteResult, native } from '../native.js';
import { deviceText } from '../resources/device.js';
import { type OpenDescription, descriptorText, groupDescriptors, nameUnknown } from '../resources/descriptor.js';
import { FileTable } from '../resources/file.js';
import { DESCRIPTOR_KINDS } from '../resources/index.js';
import { captureSharedMemory, sourcesNotForked } from '../resources/memory.js';
import { refuseEntry, refuseProcess } from '../resources/process.js';
import type { RawDescriptor, RawProcess, RawStat } from '../resources/raw.js';
import type { Record_ } from '../resources/record.js';
import type { Frozen, PageSource, Reason } from '../resources/resource.js';
import { SELECT } from '../native.js';
import { type AreaFlags, type Vma, parseMaps } from '../proc/maps.js';
import { pathBytes } from '../proc/path.js';
import { ask, readText } from './ask.js';
import { Stubs, mendCalls } from './mend.js';
import { Player, type PlayerRegion } from './player.js';
import { StoppedProcess } from './stopped.js';
import { ForkRefused, type PageOwner, Twin } from './twin.js';
import type { WaitTimes } from './waiting.js';

const PAGE = 4096;
const PAGE_BYTES = BigInt(PAGE);

/** Where frozen contents go: the tail of the image. */
export interface PageSink {
  readonly fd: number;
  /** Where the next page goes; moves on. */
  offset: number;
  readonly extents: Uint8Array[];
  /** Files whose blocks the image shares; their extents are made after the thaw. */
  readonly shared: { readonly offset: number; readonly length: number; readonly space: number }[];
}

export interface SnapshotOptions {
  readonly pid: number;
  /** The player of the checkpoint before, in the same process. */
  readonly region: PlayerRegion | undefined;
  readonly waits: WaitTimes;
  /** VmFlags seen before the freeze. */
  readonly flags: AreaFlags;
  readonly sink: PageSink;
  readonly files: 'rewind' | 'keep' | 'snapshot';
  /** The process is not thawed before `release`. */
  readonly hold: boolean;
}

export interface Snapshot {
  readonly raw: RawProcess;
  /** The twin; or the process itself, standing still, where a twin was refused. */
  readonly pages: PageOwner;
  /** Why there is no twin. */
  readonly refusedTwin: string | undefined;
  readonly files: FileTable;
  readonly descriptors: readonly Record_[];
  readonly region: PlayerRegion;
  /** How long the process stood still; until now, where it still does. */
  pauseMs(): number;
  /** Thaws a process that was held. */
  release(): void;
}

/** Every reason why the process cannot be saved. */
export class RefusedError extends ProcsError {
  constructor(
    readonly pid: number,
    readonly reasons: readonly Reason[],
  ) {
    const lines = reasons.map((reason) => `  process ${pid}, ${reason.where}: ${reason.what}\n    ${reason.remedy}`);
    super('PROCS_ERR_REFUSED', `cannot checkpoint process ${pid}; it runs on. ${reasons.length === 1 ? 'The reason' : `All ${reasons.length} reasons`}:\n${lines.join('\n')}`);
  }
}

/**
 * @throws {RefusedError} and every error of freezing; the process runs on.
 */
export function takeSnapshot(options: SnapshotOptions): Snapshot {
  const begun = performance.now();
  const held: number[] = [];
  let twin: PageOwner | undefined;
  let stopped: StoppedProcess | undefined;
  try {
    stopped = StoppedProcess.stop(options.pid);
    const process = stopped;
    const forbidden = refuseEntry(statusTexts(stopped));
    if (forbidden.length > 0) throw new RefusedError(options.pid, forbidden);
    options.waits.markStop(stopped);
    const { player, vmas } = enter(stopped, options.region);
    const raw = askAndMend(stopped, player, vmas, options.waits);
    const files = new FileTable();
    const { frozen, reasons } = frozenView(raw, options, held);
    refuseProcess(frozen);
    const descriptors = captureDescriptors(frozen, files);
    captureSharedMemory(frozen, files);
    if (reasons.length > 0) throw new RefusedError(options.pid, reasons);
    frozen.storeMemory(sourcesNotForked(raw, options.flags));
    let refusedTwin: string | undefined;
    let thawed: number | undefined;
    const release = (): void => {
      process.thaw();
      thawed ??= performance.now();
    };
    try {
      twin = Twin.make(stopped, player);
    } catch (error) {
      if (!(error instanceof ForkRefused)) throw error;
      refusedTwin = error.message;
      twin = { pid: options.pid, end: options.hold ? () => undefined : release };
    }
    if (!options.hold && refusedTwin === undefined) release();
    return { raw, pages: twin, refusedTwin, files, descriptors, region: player.region, pauseMs: () => (thawed ?? performance.now()) - begun, release };
  } catch (error) {
    stopped?.thaw();
    twin?.end();
    throw error;
  } finally {
    for (const fd of held) closeSync(fd);
  }
}

function statusTexts(stopped: StoppedProcess): string[] {
  return stopped.threads.map(({ tid }) => readText(`/proc/${stopped.pid}/task/${tid}/status`));
}

/** The player, and the memory map with it in it: a new mapping may have been merged with a neighbour. */
function enter(stopped: StoppedProcess, region: PlayerRegion | undefined): { player: Player; vmas: Vma[] } {
  const read = (): Vma[] => parseMaps(readText(`/proc/${stopped.pid}/maps`));
  const vmas = read();
  const player = Player.enter(stopped, vmas, region);
  return { player, vmas: player.region === region ? vmas : read() };
}

/** The calls that the freeze has cut short are made again at the thaw, whatever comes in between. */
function askAndMend(stopped: StoppedProcess, player: Player, vmas: readonly Vma[], waits: WaitTimes): RawProcess {
  const raw = ask(stopped, player, vmas, waits);
  const stubs = (player.region.stubs ??= new Stubs());
  stopped.mendCalls = () => mendCalls(stopped, vmas, raw, stubs);
  return raw;
}

/** The same questions without a twin: what would refuse a checkpoint now. */
export function findReasons(options: Omit<SnapshotOptions, 'hold'>): Reason[] {
  const held: number[] = [];
  try {
    using stopped = StoppedProcess.stop(options.pid);
    const forbidden = refuseEntry(statusTexts(stopped));
    if (forbidden.length > 0) return forbidden;
    options.waits.markStop(stopped);
    const { player, vmas } = enter(stopped, options.region);
    const raw = askAndMend(stopped, player, vmas, options.waits);
    const { frozen, reasons } = frozenView(raw, options, held);
    const dry: Frozen = { ...frozen, storeFile: () => undefined, storeMemory: () => undefined };
    const files = new FileTable();
    refuseProcess(dry);
    captureDescriptors(dry, files);
    captureSharedMemory(dry, files);
    if (options.region === undefined) player.leave(vmas);
    return reasons;
  } finally {
    for (const fd of held) closeSync(fd);
  }
}

function captureDescriptors(frozen: Frozen, files: FileTable): Record_[] {
  const records: Record_[] = [];
  let open = groupDescriptors(frozen.raw.pid, frozen.raw.descriptors);
  for (const kind of DESCRIPTOR_KINDS) {
    const captured = kind.capture(open, frozen, files);
    const taken = new Set(captured.taken);
    open = open.filter((description) => !taken.has(description));
    records.push(...captured.records);
  }
  for (const description of open) {
    const fds = description.descriptors.map(({ fd }) => fd);
    frozen.refuse({ where: descriptorText(fds), ...nameUnknown(description), ...(isInherited(frozen.raw.pid, description) ? { remedy: `the program was given it: start procs with ${fds.map((fd) => `${fd}>&-`).join(' ')}` } : {}) });
  }
  return records;
}

/** Whether the supervisor was given the same: a descriptor that a shell or a scheduler has left open. */
function isInherited(pid: number, description: OpenDescription): boolean {
  return description.descriptors.some(({ fd, link }) => {
    try {
      // The links of anonymous inodes are all alike.
      return fd > 2 && readlinkSync(`/proc/self/fd/${fd}`, 'latin1') === link && native.compareFile(pid, fd, process.pid, fd) === 0;
    } catch {
      return false;
    }
  });
}

function frozenView(raw: RawProcess, options: Omit<SnapshotOptions, 'hold'>, held: number[]): { frozen: Frozen; reasons: Reason[] } {
  const reasons: Reason[] = [];
  const { sink } = options;
  let spaces = 0;
  let pidfd: number | undefined;
  const streams = ownStreams();

  const add = (written: PageWriteResult): void => {
    sink.extents.push(written.extents);
    sink.offset = written.end;
  };
  const frozen: Frozen = {
    raw,
    files: options.files,
    descriptor(fd) {
      if (pidfd === undefined) held.push((pidfd = native.pidfdOpen(raw.pid)));
      const duplicate = native.pidfdGetfd(pidfd, fd);
      held.push(duplicate);
      return duplicate;
    },
    isAt: (path, stat) => {
      const found = statSync(pathBytes(path), { bigint: true, throwIfNoEntry: false });
      return found !== undefined && found.ino === stat.ino && found.dev === stat.dev;
    },
    newSpace: () => ++spaces,
    storeFile(fd, length, space) {
      // The program's descriptor may be for writing only.
      const readable = openSync(`/proc/self/fd/${fd}`, 'r');
      held.push(readable);
      const end = Math.ceil(length / PAGE) * PAGE;
      if (end === 0) return;
      if (native.reflinkInto(readable, sink.fd, sink.offset)) {
        // The last block is padded with zeros.
        ftruncateSync(sink.fd, sink.offset + end);
        sink.shared.push({ offset: sink.offset, length: end, space });
        sink.offset += end;
        return;
      }
      // A hole reads as zeros, which are not stored; reading it all the same takes its time.
      const data = native.dataRanges(readable, end);
      const sources: bigint[] = [];
      for (let index = 0; index < data.length; index += 2) {
        const [start = 0n, stop = 0n] = data.subarray(index, index + 2);
        const [from, to] = [start - (start % PAGE_BYTES), stop + (PAGE_BYTES - 1n) - ((stop + (PAGE_BYTES - 1n)) % PAGE_BYTES)];
        const last = sources.at(-4);
        if (last !== undefined && last >= from) sources[sources.length - 4] = to;
        else sources.push(from, to, from, BigInt(space), SELECT.ALL);
      }
      if (sources.length > 0) add(native.writePagesSync({ ...writeDefaults(sink), pid: 0, sourceFd: readable, sources: BigUint64Array.from(sources) }));
    },
    storeMemory(sources, { forceMem = false } = {}) {
      if (sources.length === 0) return;
      add(native.writePagesSync({ ...writeDefaults(sink), pid: raw.pid, forceMem, sources: encodeSources(sources) }));
    },
    streamOf: (descriptor) => streamOf(descriptor, streams),
    refuse: (reason) => reasons.push(reason),
  };
  return { frozen, reasons };
}

/** The parts of a write request that are always the same. */
export function writeDefaults(sink: PageSink): { sourceFd: number; forceMem: boolean; useIoctl: boolean; imageFd: number; offset: number; threads: number } {
  return { sourceFd: -1, forceMem: false, useIoctl: true, imageFd: sink.fd, offset: sink.offset, threads: 2 };
}

export function encodeSources(sources: readonly PageSource[]): BigUint64Array {
  return BigUint64Array.from(sources.flatMap((source) => [source.start, source.end, source.address, BigInt(source.space), source.select]));
}

interface OwnStream {
  readonly link: string;
  readonly stat: RawStat | undefined;
}

/** The supervisor's own standard streams: what the program was given. */
function ownStreams(): OwnStream[] {
  return [0, 1, 2].map((fd) => {
    try {
      const stat = fstatSync(fd, { bigint: true });
      return {
        link: readlinkSync(`/proc/self/fd/${fd}`, 'latin1'),
        stat: { mode: Number(stat.mode), dev: stat.dev, ino: stat.ino, rdev: stat.rdev, size: stat.size, nlink: stat.nlink, mtimeNs: stat.mtimeNs },
      };
    } catch {
      return { link: '', stat: undefined };
    }
  });
}

const TERMINAL = /^(4|13[6-9]|14[0-3]):/;

/** Which of them a descriptor is: the one of its own number where several are the same. */
function streamOf(descriptor: RawDescriptor, streams: readonly OwnStream[]): number | undefined {
  const own = streams.map((stream) => isSame(descriptor, stream));
  if (descriptor.fd <= 2 && own[descriptor.fd] === true) return descriptor.fd;
  const first = own.indexOf(true);
  return first < 0 ? undefined : first;
}

function isSame(descriptor: RawDescriptor, stream: OwnStream): boolean {
  if (stream.stat === undefined) return false;
  if (TERMINAL.test(deviceText(descriptor.stat.rdev))) return stream.stat.rdev === descriptor.stat.rdev;
  return /^(pipe|socket):/.test(descriptor.link) ? descriptor.link === stream.link : isNamedPipe(descriptor) && stream.stat.ino === descriptor.stat.ino && stream.stat.dev === descriptor.stat.dev;
}

function isNamedPipe(descriptor: RawDescriptor): boolean {
  return (descriptor.stat.mode & 0o170000) === 0o010000;
}

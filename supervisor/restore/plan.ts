/**
 * What a checkpoint's records say of a process, and what is decided about making it
 * again: the input of the three files that compile its tape.
 */
import { ProcsError } from '../errors.js';
import type { ExtentTable } from '../image/extents.js';
import { type DescriptorKind, readPlacement } from '../resources/descriptor.js';
import { type FileObject, readFileRecord } from '../resources/file.js';
import { DESCRIPTOR_KINDS } from '../resources/index.js';
import { type MemoryRecord, readMemoryRecord } from '../resources/memory.js';
import { type ProcessRecord, readProcessRecord } from '../resources/process.js';
import { FieldReader, type Record_ } from '../resources/record.js';
import { type ThreadRecord, readThreadRecord } from '../resources/thread.js';

export const NAMESPACE_LABEL = 'make namespaces of its own';

/** How process ids are kept. */
export interface Isolation {
  readonly user: boolean;
  readonly pid: boolean;
  readonly time: boolean;
  /** The processes that play have capabilities that the program had not. */
  readonly dropCapabilities: boolean;
}

export interface CompileOptions {
  readonly records: readonly Record_[];
  readonly extents: ExtentTable;
  readonly isolation: Isolation;
  readonly uid: number;
  readonly gid: number;
  readonly supervisorPid: number;
  /** Descriptors of the supervisor. */
  readonly imageFd: number;
  readonly reportFd: number;
  readonly launchFd: number;
  /** Files that travelled, made again and opened by the supervisor: descriptor by file object. */
  readonly carried: ReadonlyMap<number, number>;
  /** Files that are opened under another path: by file object. */
  readonly moved: ReadonlyMap<number, string>;
  /** Text for /proc/self/timens_offsets. */
  readonly clockOffsets: string;
  readonly codeSize: number;
  /** What ps is to show instead of the command line. */
  readonly shownArgs: readonly string[] | undefined;
}

/** The hole that is looked for, and what stands in it behind the tape's region. */
export const REGION_LIMIT = 1 << 30;

/** The checkpoint's records by kind, each read once. */
export interface Parts {
  readonly process: ProcessRecord;
  readonly memoryRecord: Record_;
  readonly memory: MemoryRecord;
  readonly threads: readonly ThreadRecord[];
  readonly files: ReadonlyMap<number, FileObject>;
  readonly descriptors: readonly (readonly [DescriptorKind, Record_])[];
  readonly signals: Record_;
  readonly timers: Record_;
}

export function readParts(records: readonly Record_[]): Parts {
  const one = (kind: string): Record_ => {
    const found = records.filter((record) => record.kind === kind);
    if (found.length !== 1) throw new ProcsError('PROCS_ERR_IMAGE_FORMAT', `cannot use the image: it has ${found.length} records of kind "${kind}", one is wanted`);
    return found[0] as Record_;
  };
  const known = new Set(['process', 'memory', 'thread', 'file', 'signals', 'timers', ...DESCRIPTOR_KINDS.map(({ kind }) => kind)]);
  const unknown = records.find(({ kind }) => !known.has(kind));
  if (unknown !== undefined) throw new ProcsError('PROCS_ERR_IMAGE_VERSION', `cannot use the image: it has a record of kind ${JSON.stringify(unknown.kind)}, which this program does not know`);
  const process = readProcessRecord(one('process'));
  const threads = records.filter(({ kind }) => kind === 'thread').map(readThreadRecord);
  if (!threads.some(({ tid }) => tid === process.pid)) throw new ProcsError('PROCS_ERR_IMAGE_FORMAT', 'cannot use the image: its first thread is missing');
  return {
    process,
    memoryRecord: one('memory'),
    memory: readMemoryRecord(one('memory')),
    threads: [...threads].sort((a, b) => Number(b.tid === process.pid) - Number(a.tid === process.pid)),
    files: new Map(records.filter(({ kind }) => kind === 'file').map(readFileRecord).map((file) => [file.id, file])),
    descriptors: records.flatMap((record) => DESCRIPTOR_KINDS.filter(({ kind }) => kind === record.kind).map((kind) => [kind, record] as const)),
    signals: one('signals'),
    timers: one('timers'),
  };
}

export interface Work {
  readonly image: number;
  readonly report: number;
  readonly launch: number;
  readonly streams: readonly [number, number, number];
  /** Read and write end of the pipe that tells init that the target is there. */
  readonly gate: readonly [number, number];
  readonly exe: number;
  readonly carried: ReadonlyMap<number, number>;
  readonly first: number;
  /** Above all of them. */
  readonly above: number;
}

/** Numbers above every descriptor of the target. */
export function workDescriptors(parts: Parts, carried: ReadonlyMap<number, number>): Work {
  const used = parts.descriptors.flatMap(([, record]) => fdsOf(record));
  let next = Math.max(31, ...used) + 1;
  const first = next;
  return {
    image: next++,
    report: next++,
    launch: next++,
    streams: [next++, next++, next++],
    gate: [next++, next++],
    exe: next++,
    carried: new Map([...carried.keys()].map((id) => [id, next++])),
    first,
    above: next,
  };
}

function fdsOf(record: Record_): number[] {
  const reader = new FieldReader(record, record.kind);
  return record.kind === 'pipe' ? reader.list('ends').flatMap((end) => readPlacement(end).fds) : [...readPlacement(reader).fds];
}

/**
 * Files that a process has open or mapped, by identity: one record per inode, which
 * descriptors and mappings refer to by number.
 *
 * A file with a path is stored by reference and checked on resume. One that is deleted
 * travels: its contents are a space of the image, and it is made again, opened and
 * deleted. Shared anonymous memory and memfds are files of the kernel's own tmpfs.
 */
import { type BigIntStats, closeSync, openSync, readSync, statSync } from 'node:fs';
import { ProcsError, errnoName } from '../errors.js';
import { pathBytes, pathText } from '../proc/path.js';
import { type Vma, isDeleted, unescapePath, withoutDeleted } from '../proc/maps.js';
import { FieldReader, type Record_, readRecord } from './record.js';

const VERSION = 1;

/** `path`: by reference. The others carry their contents. */
export type FileType = 'path' | 'deleted' | 'memfd' | 'anonymous';

export interface FileObject {
  readonly id: number;
  readonly type: FileType;
  /** The path; of a deleted file the one it had; of a memfd its name. */
  readonly path: string;
  readonly dev: bigint;
  readonly ino: bigint;
  readonly mode: number;
  readonly size: bigint;
  readonly mtimeNs: bigint;
  /** Of an ELF file that has one, hexadecimal. */
  readonly buildId: string | undefined;
  /** Where the contents are, for a file that travels. */
  readonly space: number | undefined;
  /** F_GET_SEALS of a memfd. */
  readonly seals: number;
  /** The process writes it: its length is put back on resume. */
  readonly written: boolean;
  /** How parts of a written file looked at the checkpoint. */
  readonly checks: readonly { readonly offset: number; readonly length: number; readonly crc: number }[];
  /** Ranges that were mapped shared and writable: their contents are in the space, and written back. */
  readonly patches: readonly { readonly start: bigint; readonly end: bigint }[];
}

export function fileRecord(file: FileObject): Record_ {
  return { kind: 'file', version: VERSION, ...file, buildId: file.buildId ?? null, space: file.space ?? null };
}

export function readFileRecord(record: Record_): FileObject {
  const reader = readRecord(record, VERSION);
  const type = reader.text('type');
  if (type !== 'path' && type !== 'deleted' && type !== 'memfd' && type !== 'anonymous') {
    throw new ProcsError('PROCS_ERR_IMAGE_FORMAT', `cannot use the record "file" of the image: type ${JSON.stringify(type)} is unknown`);
  }
  return {
    id: reader.number('id'),
    type,
    path: reader.text('path'),
    dev: reader.bigint('dev'),
    ino: reader.bigint('ino'),
    mode: reader.number('mode'),
    size: reader.bigint('size'),
    mtimeNs: reader.bigint('mtimeNs'),
    buildId: reader.optional('buildId', (r: FieldReader, name) => r.text(name)),
    space: reader.optional('space', (r: FieldReader, name) => r.number(name)),
    seals: reader.number('seals'),
    written: reader.flag('written'),
    checks: reader.list('checks').map((check) => ({ offset: check.number('offset'), length: check.number('length'), crc: check.number('crc') })),
    patches: reader.list('patches').map((patch) => ({ start: patch.bigint('start'), end: patch.bigint('end') })),
  };
}

export function describeFile(record: Record_): string {
  const file = readFileRecord(record);
  const carried = file.space === undefined ? '' : ', contents in the image';
  return `file ${file.id}: ${file.type} ${pathText(file.path)}, ${file.size} bytes${carried}${file.written ? ', written by the program' : ''}`;
}

export type NewFile = Omit<FileObject, 'id' | 'buildId' | 'space' | 'seals' | 'written' | 'checks' | 'patches'> & Partial<Pick<FileObject, 'space' | 'seals' | 'patches'>>;

/** The files of one checkpoint, each once, by device and inode. */
export class FileTable {
  readonly #files: FileObject[] = [];
  readonly #byIdentity = new Map<string, number>();
  readonly #mapped = new Map<string, Pick<FileObject, 'dev' | 'ino' | 'mode' | 'size' | 'mtimeNs'>>();

  find(dev: bigint, ino: bigint): FileObject | undefined {
    const index = this.#byIdentity.get(`${dev}:${ino}`);
    return index === undefined ? undefined : this.#files[index];
  }

  /** Adds a file that `find` did not know. */
  add(file: NewFile): FileObject {
    const added: FileObject = { seals: 0, space: undefined, buildId: undefined, written: false, checks: [], patches: [], ...file, id: this.#files.length };
    this.#files.push(added);
    this.#byIdentity.set(`${file.dev}:${file.ino}`, added.id);
    return added;
  }

  /** What is known of the file behind a mapping. On some file systems st_dev is not the device that maps shows. */
  identityOf(vma: Vma): Pick<FileObject, 'dev' | 'ino' | 'mode' | 'size' | 'mtimeNs'> {
    const key = `${vma.device}:${vma.inode}`;
    let identity = this.#mapped.get(key);
    if (identity === undefined) {
      identity = { dev: deviceNumber(vma.device), ino: vma.inode, mode: 0, size: 0n, mtimeNs: 0n };
      if (!isDeleted(vma.name)) {
        const stat = statOf(nameOfMapping(vma).path);
        if (stat?.ino === vma.inode) identity = { dev: stat.dev, ino: stat.ino, mode: Number(stat.mode), size: stat.size, mtimeNs: stat.mtimeNs };
      }
      this.#mapped.set(key, identity);
    }
    return identity;
  }

  markWritten(id: number): void {
    const file = this.#files[id];
    if (file !== undefined && !file.written) this.#files[id] = { ...file, written: true };
  }

  /** Contents of ranges that are mapped shared go into a space; one that has a space already has them all. */
  patch(id: number, newSpace: () => number, ranges: readonly { readonly start: bigint; readonly end: bigint }[]): number | undefined {
    const file = this.#files[id];
    if (file === undefined || file.space !== undefined) return undefined;
    const space = newSpace();
    this.#files[id] = { ...file, space, patches: ranges };
    return space;
  }

  /** Identities that need the file itself are read now, when the program runs on. */
  records(): Record_[] {
    return this.#files.map((file) => fileRecord(file.type === 'path' ? { ...file, buildId: readBuildId(file.path) } : file));
  }
}

/** gnu_dev_makedev of the `major:minor` that maps and fdinfo show, in hexadecimal. */
function deviceNumber(device: string): bigint {
  const [major = 0n, minor = 0n] = device.split(':').map((part) => BigInt(`0x${part}`));
  return ((major & 0xfffn) << 8n) | (minor & 0xffn) | ((minor & ~0xffn) << 12n) | ((major & ~0xfffn) << 32n);
}

function statOf(path: string): BigIntStats | undefined {
  try {
    return statSync(pathBytes(path), { bigint: true });
  } catch {
    return undefined; // it cannot be reached by its path: what the mapping shows is all there is
  }
}

/** What the name of a mapping says about the file behind it. A path with the characters `\\012` looks like one with a newline. */
export function nameOfMapping(vma: Vma): { type: FileType; path: string } {
  const isLiteral = vma.name.includes('\\012') && statOf(vma.name)?.ino === vma.inode;
  return nameOfFile(isLiteral ? vma.name : unescapePath(vma.name));
}

/** What the link of a descriptor says about the file behind it. */
export function nameOfFile(link: string): { type: FileType; path: string } {
  if (link.startsWith('/memfd:')) return { type: 'memfd', path: withoutDeleted(link).slice('/memfd:'.length) };
  if (link === '/dev/zero (deleted)') return { type: 'anonymous', path: 'anonymous' };
  if (isDeleted(link)) return { type: 'deleted', path: withoutDeleted(link) };
  return { type: 'path', path: link };
}

/** The NT_GNU_BUILD_ID note of an ELF file, hexadecimal; undefined where there is none. elf(5) */
export function readBuildId(path: string): string | undefined {
  let fd: number;
  try {
    fd = openSync(pathBytes(path), 'r');
  } catch {
    return undefined;
  }
  try {
    const head = Buffer.alloc(64 * 1024);
    const length = readSync(fd, head, 0, head.length, 0);
    return buildIdOf(head.subarray(0, length));
  } catch {
    return undefined;
  } finally {
    closeSync(fd);
  }
}

const PT_NOTE = 4;
const NT_GNU_BUILD_ID = 3;

/** Pure part of readBuildId: looks at the beginning of a 64-bit little-endian ELF file. */
export function buildIdOf(head: Buffer): string | undefined {
  if (head.length < 64 || head.readUInt32BE(0) !== 0x7f454c46 || head[4] !== 2 || head[5] !== 1) return undefined;
  const headers = Number(head.readBigUInt64LE(32));
  const count = head.readUInt16LE(56);
  for (let index = 0; index < count; index++) {
    const at = headers + index * 56;
    if (at + 56 > head.length || head.readUInt32LE(at) !== PT_NOTE) continue;
    const start = Number(head.readBigUInt64LE(at + 8));
    const end = Math.min(start + Number(head.readBigUInt64LE(at + 32)), head.length);
    for (let note = start; note + 12 <= end; ) {
      const nameSize = head.readUInt32LE(note);
      const size = head.readUInt32LE(note + 4);
      const name = note + 12;
      const bytes = name + wordsOf(nameSize);
      if (head.readUInt32LE(note + 8) === NT_GNU_BUILD_ID && head.toString('latin1', name, name + 3) === 'GNU' && bytes + size <= end) {
        return head.toString('hex', bytes, bytes + size);
      }
      note = bytes + wordsOf(size);
    }
  }
  return undefined;
}

/** Sizes in a note are padded to four bytes. No bit operations: they end at 31 bits, and a size may be anything. */
function wordsOf(size: number): number {
  return Math.ceil(size / 4) * 4;
}

/**
 * Whether a file that is stored by reference is still the one it was.
 *
 * @returns What is wrong with it, in words that follow its name; undefined where it is the same.
 */
export function changedSince(file: FileObject): string | undefined {
  let stat;
  try {
    stat = statSync(pathBytes(file.path), { bigint: true });
  } catch (error) {
    return errnoName(error) === 'ENOENT' ? 'is missing' : `cannot be examined (${errnoName(error)})`;
  }
  if (file.buildId !== undefined) {
    const found = readBuildId(file.path);
    return found === file.buildId ? undefined : `has another build-id (${found ?? 'none'}, it was ${file.buildId})`;
  }
  if (stat.size !== file.size) return `has another length (${stat.size} bytes, it had ${file.size})`;
  return stat.mtimeNs === file.mtimeNs ? undefined : 'has been changed since the checkpoint';
}

/**
 * The files of a checkpoint, made ready for the program to go on with: those that
 * travelled are made again, those that it wrote are put back to their length, and those
 * that are not what they were are named.
 *
 * Everything is examined before anything is touched; what is cut off or replaced is
 * kept beside.
 */
import { closeSync, existsSync, fchmodSync, fstatSync, ftruncateSync, mkdirSync, openSync, renameSync, statSync, unlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { randomBytes } from '../random.js';
import { ProcsError, errnoName, messageOf } from '../errors.js';
import type { ExtentTable } from '../image/extents.js';
import { native } from '../native.js';
import { pathBytes, pathText } from '../proc/path.js';
import { type FileObject, changedSince } from '../resources/file.js';

const PAGE = 4096n;
const MFD_CLOEXEC = 1;
const MFD_ALLOW_SEALING = 2;

export interface PrepareOptions {
  /** The working directory that the program goes on in. */
  readonly directory: string;
  readonly files: readonly FileObject[];
  readonly policy: 'rewind' | 'keep' | 'snapshot';
  /** For a clone: files that the program writes are copied, under names with this in them, and left alone themselves. */
  readonly cloneName: string | undefined;
  readonly imageFd: number;
  readonly extents: ExtentTable;
  /** Says what was done to the user's files. */
  readonly tell: (line: string) => void;
}

/** Descriptors of the files that travelled, by file object. */
export class PreparedFiles {
  readonly carried = new Map<number, number>();
  /** Files that a clone has copies of: path by file object. */
  readonly moved = new Map<number, string>();

  [Symbol.dispose](): void {
    for (const fd of this.carried.values()) closeSync(fd);
    this.carried.clear();
  }
}

/** @throws {ProcsError} `PROCS_ERR_FILE_CHANGED` naming every file that is not as it must be; nothing was touched then. */
export async function prepareFiles(options: PrepareOptions): Promise<PreparedFiles> {
  const wrong: string[] = [];
  if (!isDirectory(options.directory)) wrong.push(`${pathText(options.directory)}, its working directory, is missing`);
  for (const file of options.files) {
    const reason = await whatIsWrong(file, options.policy).catch((error: unknown) => `cannot be examined (${errnoName(error) ?? messageOf(error)})`);
    if (reason !== undefined) wrong.push(`${pathText(file.path)} ${reason}`);
  }
  if (wrong.length > 0) {
    throw new ProcsError('PROCS_ERR_FILE_CHANGED', `cannot resume: ${wrong.length === 1 ? wrong[0] : `${wrong.length} files are not as they were:\n  ${wrong.join('\n  ')}`}`, {
      remedy: 'put it back as it was; or --files=keep takes files as they are now; or --files=snapshot at the start keeps their contents in the image',
    });
  }
  const prepared = new PreparedFiles();
  try {
    for (const file of options.files) {
      if (file.type === 'anonymous') continue; // exists in memory only
      if (file.type !== 'path') prepared.carried.set(file.id, remake(file, options));
      else if (options.cloneName !== undefined) copyForClone(file, options.cloneName, prepared, options);
      else if (options.policy !== 'keep') await putBack(file, options);
    }
    return prepared;
  } catch (error) {
    prepared[Symbol.dispose]();
    throw error;
  }
}

function isDirectory(path: string): boolean {
  try {
    return statSync(pathBytes(path)).isDirectory();
  } catch {
    return false;
  }
}

/** The image has all of its contents: they were stored, or all of it was mapped shared, as by those who keep counters there. */
function isWhole(file: FileObject): boolean {
  if (file.space === undefined) return false;
  if (file.patches.length === 0) return true;
  let end = 0n;
  for (const patch of [...file.patches].sort((a, b) => Number(a.start - b.start))) {
    if (patch.start > end) return false;
    if (patch.end > end) end = patch.end;
  }
  return end >= file.size;
}

/** Its contents were stored at the checkpoint, not only what is mapped. */
function isStored(file: FileObject): boolean {
  return file.space !== undefined && file.patches.length === 0;
}

async function whatIsWrong(file: FileObject, policy: PrepareOptions['policy']): Promise<string | undefined> {
  if (file.type !== 'path' || (isWhole(file) && policy !== 'keep')) return undefined;
  const stat = statSync(pathBytes(file.path), { bigint: true, throwIfNoEntry: false });
  if (stat === undefined) return 'is missing';
  if (policy === 'keep' || !stat.isFile()) return undefined;
  if (!file.written && file.patches.length === 0) return changedSince(file);
  if (stat.ino !== file.ino) return `has been replaced by another file (inode ${stat.ino}, it was ${file.ino})`;
  if (stat.size < file.size) return `has become shorter: ${stat.size} bytes, it had ${file.size} at the checkpoint`;
  // What is mapped shared goes on changing without a descriptor, so what it held is no proof.
  if (file.patches.length > 0) return undefined;
  const fd = openSync(pathBytes(file.path), 'r');
  try {
    for (const check of file.checks) {
      if ((await native.checksumRange(fd, check.offset, check.length)) !== check.crc) {
        return `has been changed in its first ${file.size} bytes, which the program had written before the checkpoint`;
      }
    }
  } finally {
    closeSync(fd);
  }
  return undefined;
}

/** Missing, or another stands there. */
function isGone(file: FileObject): boolean {
  return statSync(pathBytes(file.path), { bigint: true, throwIfNoEntry: false })?.ino !== file.ino;
}

/** A file by path: its contents where the image has them, else its length. */
async function putBack(file: FileObject, options: PrepareOptions): Promise<void> {
  if (isStored(file) || (isWhole(file) && isGone(file))) {
    await replaceContents(file, options);
    moveCompanions(file, options);
    return;
  }
  if (!file.written && file.patches.length === 0) return;
  let fd: number | undefined;
  try {
    fd = openSync(pathBytes(file.path), 'r+');
    const { size } = fstatSync(fd, { bigint: true });
    if (size > file.size) {
      const saved = savedName(file.path);
      copyInto(fd, Number(file.size), saved, Number(size - file.size));
      ftruncateSync(fd, Number(file.size));
      options.tell(`${pathText(file.path)} was put back to its ${file.size} bytes at the checkpoint; the ${size - file.size} bytes behind are kept in ${pathText(saved)}`);
    }
    for (const patch of file.patches) fillFrom(file, fd, options, patch);
  } catch (error) {
    throw asFileError(`put back ${pathText(file.path)}`, error);
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

/** The one who is cloned may be running, and go on writing. */
function copyForClone(file: FileObject, cloneName: string, prepared: PreparedFiles, options: PrepareOptions): void {
  if (!file.written && file.patches.length === 0) return;
  const path = freeName((number) => `${file.path}.${cloneName}${number === 1 ? '' : `-${number}`}`);
  try {
    const copy = openSync(pathBytes(path), 'wx+', file.mode & 0o7777);
    try {
      if (!isWhole(file)) {
        const original = openSync(pathBytes(file.path), 'r');
        try {
          native.copyRange(original, 0, copy, 0, Number(file.size));
        } finally {
          closeSync(original);
        }
      }
      // Pages of zeros are not stored, and the last one may be such.
      ftruncateSync(copy, Number(file.size));
      for (const range of file.patches.length > 0 ? file.patches : [{ start: 0n, end: file.size }]) fillFrom(file, copy, options, range);
    } finally {
      closeSync(copy);
    }
  } catch (error) {
    throw asFileError(`copy ${pathText(file.path)} for the clone`, error);
  }
  prepared.moved.set(file.id, path);
  options.tell(`this clone writes to ${pathText(path)} instead of ${pathText(file.path)}`);
}

/**
 * The whole file as it was; the present contents are kept beside. Made again apart first, so that
 * a damaged image is found before anything is touched. Written in place where the file is still
 * there: databases compare inodes to tell that theirs was not exchanged.
 */
async function replaceContents(file: FileObject, options: PrepareOptions): Promise<void> {
  let wanted: number | undefined;
  let fd: number | undefined;
  try {
    wanted = makeDeleted(file);
    fill(file, wanted, options);
    const present = statSync(pathBytes(file.path), { bigint: true, throwIfNoEntry: false });
    if (present !== undefined && present.ino !== file.ino) {
      const saved = savedName(file.path);
      renameSync(pathBytes(file.path), pathBytes(saved));
      options.tell(`${pathText(file.path)} was put back from the image; the other file that stood there is now ${pathText(saved)}`);
    }
    const isThere = present?.ino === file.ino;
    if (present === undefined) mkdirSync(pathBytes(dirname(file.path)), { recursive: true });
    fd = openSync(pathBytes(file.path), isThere ? 'r+' : 'wx+', file.mode & 0o7777);
    if (isThere) {
      if (await haveSameContents(fd, wanted, Number(file.size))) return;
      const saved = savedName(file.path);
      copyInto(fd, 0, saved, Number(present.size));
      options.tell(`${pathText(file.path)} was put back to its contents at the checkpoint; those it had are kept in ${pathText(saved)}`);
    } else {
      fchmodSync(fd, file.mode & 0o7777);
    }
    ftruncateSync(fd, 0);
    fill(file, fd, options);
  } catch (error) {
    throw asFileError(`put back ${pathText(file.path)} from the image`, error);
  } finally {
    if (wanted !== undefined) closeSync(wanted);
    if (fd !== undefined) closeSync(fd);
  }
}

async function haveSameContents(fd: number, other: number, size: number): Promise<boolean> {
  if (fstatSync(fd).size !== size) return false;
  const [one, two] = await Promise.all([fd, other].map((from) => native.checksumRange(from, 0, size)));
  return one === two;
}

/** The rest of a file from an offset on, to a new file. */
function copyInto(fd: number, offset: number, path: string, length: number): void {
  const beside = openSync(pathBytes(path), 'wx', 0o600);
  try {
    native.copyRange(fd, offset, beside, 0, length);
  } finally {
    closeSync(beside);
  }
}

/** What databases write beside a file and believe when they find it: sqlite's rollback journal, its log, the log's index. */
const COMPANIONS = ['-journal', '-wal', '-shm'];

/**
 * A file was put back to its contents at the checkpoint, so a journal that came after it speaks of
 * another state: believed, it would damage the file.
 */
function moveCompanions(file: FileObject, options: PrepareOptions): void {
  for (const ending of COMPANIONS) {
    const path = `${file.path}${ending}`;
    if (options.files.some((other) => other.path === path) || !existsSync(pathBytes(path))) continue;
    const saved = savedName(path);
    try {
      renameSync(pathBytes(path), pathBytes(saved));
    } catch (error) {
      throw asFileError(`move ${pathText(path)}, which came after the checkpoint, away`, error);
    }
    options.tell(`${pathText(path)} came after the checkpoint; it is now ${pathText(saved)}`);
  }
}

function savedName(path: string): string {
  return freeName((number) => `${path}.procs-saved-${number}`);
}

/** The first of numbered names that no file has. */
function freeName(name: (number: number) => string): string {
  for (let number = 1; ; number++) {
    if (!existsSync(pathBytes(name(number)))) return name(number);
  }
}

/** A memfd, shared anonymous memory, or a file that had been deleted. @returns a descriptor for reading and writing. */
function remake(file: FileObject, options: PrepareOptions): number {
  // One that may never be sealed has the seal F_SEAL_SEAL; seals are set when the program has it open (memfd_create(2)).
  const fd = file.type === 'deleted' ? makeDeleted(file) : native.memfd(memfdName(file), MFD_CLOEXEC | MFD_ALLOW_SEALING);
  try {
    if (file.type === 'memfd') fchmodSync(fd, file.mode & 0o777 || 0o777);
    fill(file, fd, options);
    return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** At most 249 bytes, as the program gave it; a name that is no UTF-8 cannot be given again. */
function memfdName(file: FileObject): string {
  const name = pathText(file.path);
  return Buffer.byteLength(name) <= 249 ? name : name.replace(/[^ -~]/g, '?').slice(0, 249);
}

/** Where it was, or where else one may write. */
function makeDeleted(file: FileObject): number {
  let last: unknown;
  for (const folder of [dirname(pathText(file.path)), process.cwd(), tmpdir()]) {
    const path = join(folder, `.${basename(pathText(file.path)).slice(0, 200)}.${randomBytes(6).toString('hex')}`);
    try {
      // The program has it open for writing even if its mode forbids that; the tape sets the mode when all is open.
      const fd = openSync(path, 'wx+', 0o600);
      unlinkSync(path);
      return fd;
    } catch (error) {
      last = error;
    }
  }
  throw asFileError(`make the deleted file ${pathText(file.path)} again`, last);
}

function fill(file: FileObject, fd: number, options: PrepareOptions): void {
  ftruncateSync(fd, Number(file.size));
  fillFrom(file, fd, options, { start: 0n, end: file.size });
}

/** Writes what the image has of a range of the file; what it has not is zero. */
function fillFrom(file: FileObject, fd: number, options: PrepareOptions, range: { readonly start: bigint; readonly end: bigint }): void {
  if (file.space === undefined) return;
  if (file.patches.length > 0) zero(fd, range, file.size);
  for (const extent of options.extents.ofSpace(file.space)) {
    if (extent.address < range.start || extent.address >= range.end) continue;
    if (extent.codec !== 0 || BigInt(extent.storedLength) !== BigInt(extent.pageCount) * PAGE) {
      throw new ProcsError('PROCS_ERR_IMAGE_VERSION', `cannot read the image: pages of ${pathText(file.path)} are stored in a way that is not known`);
    }
    const crc = native.copyRange(options.imageFd, extent.fileOffset, fd, Number(extent.address), extent.storedLength);
    if (crc !== extent.crc32c) throw new ProcsError('PROCS_ERR_IMAGE_DAMAGED', `cannot resume: the contents of ${pathText(file.path)} are damaged in the image`);
  }
  // The last page is stored whole.
  if (BigInt(fstatSync(fd).size) > file.size) ftruncateSync(fd, Number(file.size));
}

function zero(fd: number, range: { readonly start: bigint; readonly end: bigint }, size: bigint): void {
  const end = range.end < size ? range.end : size;
  if (range.start < end) native.zeroRange(fd, Number(range.start), Number(end - range.start));
}

function asFileError(what: string, error: unknown): unknown {
  if (error instanceof ProcsError) return error;
  return new ProcsError('PROCS_ERR_SYSTEM', `cannot ${what}: ${errnoName(error) ?? messageOf(error)}`, { cause: error });
}

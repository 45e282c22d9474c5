/**
 * Open regular files, memfds and files deleted while open: position, status flags,
 * locks. The file itself is a file object (file.ts).
 */
import { F_GET_SEALS, O_ACCMODE, O_APPEND, O_CREAT, O_EXCL, O_NOCTTY, O_PATH, O_RDONLY, O_RDWR, O_TMPFILE, O_TRUNC, SEEK_SET } from '../linux.js';
import { native } from '../native.js';
import { pathText } from '../proc/path.js';
import { type DescriptorKind, type OpenDescription, descriptorFields, descriptorText, place, readPlacement } from './descriptor.js';
import { type FileObject, type FileTable, nameOfFile } from './file.js';
import { refusedLock, restoreLock } from './file-lock.js';
import { readRecord } from './record.js';
import type { Frozen } from './resource.js';

const VERSION = 1;
const S_IFMT = 0o170000;
const S_IFREG = 0o100000;
/** Flags that act only when a file is opened. */
const OPENING_FLAGS = O_CREAT | O_EXCL | O_TRUNC | O_NOCTTY | O_TMPFILE;
/**
 * Contents of files that a program rewrites in place are kept up to so many bytes in all, under
 * `--files=rewind` too: their length alone would bring nothing back. Copied while the program stands
 * still, at some GiB/s, so this is some milliseconds.
 */
const REWRITTEN_LIMIT = 16 << 20;

export const regularFile: DescriptorKind = {
  kind: 'regular-file',

  capture(open, frozen, files) {
    const taken = open.filter(({ stat, link }) => (stat.mode & S_IFMT) === S_IFREG && (link.startsWith('/')));
    // What is kept of a file depends on how it is written, so those that write it tell first.
    const budget = { left: REWRITTEN_LIMIT };
    for (const description of taken.filter(isRewriting)) captureFile(description, frozen, files, budget);
    for (const description of taken.filter(isWriting)) captureFile(description, frozen, files, budget);
    const records = taken.map((description) => {
      for (const lock of description.locks) {
        const refused = refusedLock(lock);
        if (refused !== undefined) frozen.refuse({ where: where(description), what: `${refused} on ${pathText(description.link)}`, remedy: 'give it up before a checkpoint' });
      }
      const file = captureFile(description, frozen, files, budget);
      if (isWriting(description)) files.markWritten(file.id);
      return {
        kind: this.kind,
        version: VERSION,
        ...descriptorFields(description),
        file: file.id,
        path: file.path,
        flags: description.flags & ~OPENING_FLAGS,
        position: description.position,
        locks: description.locks,
      };
    });
    return { taken, records };
  },

  describe(record) {
    const reader = readRecord(record, VERSION);
    return [`${descriptorText(reader.numbers('fds'))}: file ${reader.number('file')}, ${pathText(reader.text('path'))}, at ${reader.bigint('position')}`];
  },

  restore(record, restore) {
    const reader = readRecord(record, VERSION);
    const placement = readPlacement(reader);
    const path = pathText(reader.text('path'));
    const what = `${descriptorText(placement.fds)}, ${path}`;
    const flags = reader.number('flags');
    const slot = restore.reopenFile(`reopen ${what}`, reader.number('file'), flags);
    if ((flags & O_PATH) === 0) restore.tape.call(`position ${what}`, 'lseek', [slot, reader.bigint('position'), SEEK_SET], { want: reader.bigint('position') });
    place(restore.tape, what, slot, placement, restore.work.above);
    const [first] = placement.fds;
    if (first === undefined) return;
    for (const lock of reader.texts('locks')) restore.later(() => restoreLock(restore.tape, first, path, lock));
  },
};

function where(description: OpenDescription): string {
  return descriptorText(description.descriptors.map(({ fd }) => fd));
}

function isWriting({ flags }: OpenDescription): boolean {
  return (flags & O_ACCMODE) !== O_RDONLY && (flags & O_PATH) === 0;
}

/** Reads what it writes, as a database does: it may change what stands there already. */
function isRewriting({ flags }: OpenDescription): boolean {
  return (flags & O_ACCMODE) === O_RDWR && (flags & (O_APPEND | O_PATH)) === 0;
}

/** Are the contents to be in the image? Otherwise a file by path is put back to its length alone. */
function isKept(description: OpenDescription, frozen: Frozen, budget: { left: number }): boolean {
  if (frozen.files === 'snapshot') return isWriting(description);
  if (frozen.files === 'keep' || !isRewriting(description) || Number(description.stat.size) > budget.left) return false;
  budget.left -= Number(description.stat.size);
  return true;
}

function captureFile(description: OpenDescription, frozen: Frozen, files: FileTable, budget: { left: number }): FileObject {
  const { stat } = description;
  const known = files.find(stat.dev, stat.ino);
  if (known !== undefined) return known;
  let { type, path } = nameOfFile(description.link);
  // A file whose name really ends in " (deleted)" still has that name.
  if (type === 'deleted' && stat.nlink > 0n && frozen.isAt(description.link, stat)) ({ type, path } = { type: 'path', path: description.link });
  const identity = { dev: stat.dev, ino: stat.ino, mode: stat.mode, size: stat.size, mtimeNs: stat.mtimeNs };
  if (type === 'path' && !isKept(description, frozen, budget)) return files.add({ type, path, ...identity });

  const fd = frozen.descriptor((description.descriptors[0] as { fd: number }).fd);
  const space = frozen.newSpace();
  frozen.storeFile(fd, Number(stat.size), space);
  const seals = type === 'memfd' ? native.fcntl(fd, F_GET_SEALS, 0) : 0;
  return files.add({ type, path, ...identity, space, seals });
}

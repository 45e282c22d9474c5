/**
 * Open directories: opened again, and put back to where reading them had come.
 * The position is the file system's own cookie; readdir(3), lseek(2).
 */
import { AT_FDCWD, O_DIRECTORY, O_PATH, SEEK_SET } from '../linux.js';
import { isDeleted } from '../proc/maps.js';
import { pathBytes, pathText } from '../proc/path.js';
import { type DescriptorKind, descriptorFields, descriptorText, place, readPlacement } from './descriptor.js';
import { readRecord } from './record.js';

const VERSION = 1;
const S_IFMT = 0o170000;
const S_IFDIR = 0o040000;
/** At least one struct linux_dirent64. */
const DIRENT_ROOM = 512;

export const directory: DescriptorKind = {
  kind: 'directory',

  capture(open, frozen) {
    const taken = open.filter(({ stat }) => (stat.mode & S_IFMT) === S_IFDIR);
    const records = taken.map((description) => {
      const where = descriptorText(description.descriptors.map(({ fd }) => fd));
      if (isDeleted(description.link) && description.stat.nlink === 0n) {
        frozen.refuse({ where, what: `the deleted directory ${pathText(description.link)}`, remedy: 'close it before a checkpoint' });
      }
      return {
        kind: this.kind,
        version: VERSION,
        ...descriptorFields(description),
        path: description.link,
        flags: description.flags,
        position: description.position,
      };
    });
    return { taken, records };
  },

  describe(record) {
    const reader = readRecord(record, VERSION);
    return [`${descriptorText(reader.numbers('fds'))}: directory ${pathText(reader.text('path'))}`];
  },

  restore(record, { tape, work }) {
    const reader = readRecord(record, VERSION);
    const placement = readPlacement(reader);
    const what = `${descriptorText(placement.fds)}, ${pathText(reader.text('path'))}`;
    const flags = reader.number('flags');
    const slot = tape.call(`reopen ${what}`, 'openat', [AT_FDCWD, tape.text(pathBytes(reader.text('path'))), flags | O_DIRECTORY, 0]);
    if ((flags & O_PATH) === 0 && reader.bigint('position') !== 0n) {
      // ext4 does not find the beginning again in a directory whose first read was at its end (ext4_dx_readdir, 6.18).
      tape.call(`begin to read ${what}`, 'getdents64', [slot, tape.reserve(DIRENT_ROOM), DIRENT_ROOM], { mayFail: true });
    }
    if ((flags & O_PATH) === 0) tape.call(`position ${what}`, 'lseek', [slot, reader.bigint('position'), SEEK_SET], { mayFail: true });
    place(tape, what, slot, placement, work.above);
  },
};

/**
 * Devices without state: null, zero, full, random, urandom, and the terminal of the
 * process under its general name /dev/tty. Opened again by their path.
 */
import { AT_FDCWD, O_NOCTTY } from '../linux.js';
import { pathBytes, pathText } from '../proc/path.js';
import { type DescriptorKind, descriptorFields, descriptorText, place, readPlacement } from './descriptor.js';
import { readRecord } from './record.js';

const VERSION = 1;
const S_IFMT = 0o170000;
const S_IFCHR = 0o020000;
/** Documentation/admin-guide/devices.txt: major 1 is memory, 5:0 the controlling terminal. */
const KNOWN = new Set(['1:3', '1:5', '1:7', '1:8', '1:9', '5:0']);

export const device: DescriptorKind = {
  kind: 'device',

  capture(open) {
    const taken = open.filter(({ stat, link }) => (stat.mode & S_IFMT) === S_IFCHR && link.startsWith('/') && KNOWN.has(deviceText(stat.rdev)));
    const records = taken.map((description) => ({
      kind: this.kind,
      version: VERSION,
      ...descriptorFields(description),
      path: description.link,
      flags: description.flags,
    }));
    return { taken, records };
  },

  describe(record) {
    const reader = readRecord(record, VERSION);
    return [`${descriptorText(reader.numbers('fds'))}: device ${pathText(reader.text('path'))}`];
  },

  restore(record, { tape, work }) {
    const reader = readRecord(record, VERSION);
    const placement = readPlacement(reader);
    const what = `${descriptorText(placement.fds)}, ${pathText(reader.text('path'))}`;
    const slot = tape.call(`reopen ${what}`, 'openat', [AT_FDCWD, tape.text(pathBytes(reader.text('path'))), reader.number('flags') | O_NOCTTY, 0]);
    place(tape, what, slot, placement, work.above);
  },
};

/** `major:minor` of a device number; gnu_dev_major, gnu_dev_minor. */
export function deviceText(rdev: bigint): string {
  const major = ((rdev >> 8n) & 0xfffn) | ((rdev >> 32n) & 0xfffff000n);
  const minor = (rdev & 0xffn) | ((rdev >> 12n) & 0xffffff00n);
  return `${major}:${minor}`;
}

/**
 * What a program has from whoever started it: a terminal, or a pipe or socket to the
 * outside, as one of its standard streams. On resume it becomes the resumer's own.
 */
import { type DescriptorKind, type OpenDescription, descriptorFields, descriptorText, readPlacement } from './descriptor.js';
import { O_CLOEXEC } from '../linux.js';
import { pathText } from '../proc/path.js';
import { readRecord } from './record.js';

const VERSION = 1;
const NAMES = ['standard input', 'standard output', 'standard error'] as const;

export const stream: DescriptorKind = {
  kind: 'stream',

  capture(open, frozen) {
    const taken: OpenDescription[] = [];
    const records = open.flatMap((description) => {
      const outer = description.descriptors.map((descriptor) => frozen.streamOf(descriptor));
      if (outer.every((index) => index === undefined)) return [];
      taken.push(description);
      const { fds, closeOnExec } = descriptorFields(description);
      return [{ kind: this.kind, version: VERSION, fds, closeOnExec, streams: outer.map((index) => index ?? 0), what: description.link }];
    });
    return { taken, records };
  },

  describe(record) {
    const reader = readRecord(record, VERSION);
    const streams = reader.numbers('streams').map((index) => NAMES[index] ?? '?');
    return [`${descriptorText(reader.numbers('fds'))}: ${pathText(reader.text('what'))}; on resume the resumer's ${[...new Set(streams)].join(' and ')}`];
  },

  restore(record, { tape, work }) {
    const reader = readRecord(record, VERSION);
    const { fds, closeOnExec } = readPlacement(reader);
    const streams = reader.numbers('streams');
    fds.forEach((fd, index) => {
      const from = work.streams[streams[index] ?? 0] ?? work.streams[0];
      // A stream that the resumer has closed stays closed.
      tape.call(`pass on ${NAMES[streams[index] ?? 0] ?? 'a stream'} as descriptor ${fd}`, 'dup3', [from, fd, closeOnExec.has(fd) ? O_CLOEXEC : 0], { mayFail: true });
    });
  },
};

/**
 * Pipes whose ends are all inside: contents, capacity, packet mode; pipe(7).
 */
import { F_GETPIPE_SZ, F_SETFL, F_SETPIPE_SZ, O_ACCMODE, O_CLOEXEC, O_DIRECT, O_NONBLOCK, O_RDONLY, O_WRONLY } from '../linux.js';
import { native } from '../native.js';
import { Load } from '../tape/tape.js';
import { type DescriptorKind, type OpenDescription, descriptorFields, descriptorText, place, readPlacement } from './descriptor.js';
import { readRecord } from './record.js';
import type { Frozen } from './resource.js';

const VERSION = 1;
const POLLERR = 8;
const POLLHUP = 16;

export const pipe: DescriptorKind = {
  kind: 'pipe',

  capture(open, frozen) {
    const taken: OpenDescription[] = [];
    const records = [...groupByPipe(open).values()].flatMap((ends) => {
      if (hasOutsideEnd(ends, frozen)) return [];
      taken.push(...ends);
      const [first] = ends as [OpenDescription];
      const reading = ends.find(({ flags }) => (flags & O_ACCMODE) === O_RDONLY);
      const fd = frozen.descriptor((first.descriptors[0] as { fd: number }).fd);
      const packets = ends.some(({ flags }) => (flags & O_DIRECT) !== 0);
      return [
        {
          kind: this.kind,
          version: VERSION,
          capacity: native.fcntl(fd, F_GETPIPE_SZ, 0),
          packets,
          // Nobody can read what is left in a pipe without a reading end.
          contents: reading === undefined ? [] : native.pipeContents(frozen.descriptor((reading.descriptors[0] as { fd: number }).fd), packets),
          ends: ends.map((end) => ({ ...descriptorFields(end), access: end.flags & O_ACCMODE, flags: end.flags & (O_NONBLOCK | O_DIRECT) })),
        },
      ];
    });
    return { taken, records };
  },

  describe(record) {
    const reader = readRecord(record, VERSION);
    const bytes = reader.byteLists('contents').reduce((sum, chunk) => sum + chunk.length, 0);
    return reader.list('ends').map((end) => `${descriptorText(end.numbers('fds'))}: ${end.number('access') === O_RDONLY ? 'reading' : 'writing'} end of a pipe with ${bytes} bytes in it`);
  },

  restore(record, { tape, work }) {
    const reader = readRecord(record, VERSION);
    const pair = tape.reserve(8);
    const [readEnd, writeEnd] = [new Load(pair), new Load(pair.plus(4))];
    const packets = reader.flag('packets');
    tape.call('make a pipe', 'pipe2', [pair, O_CLOEXEC | (packets ? O_DIRECT : 0)]);
    // An ordinary user may not go beyond pipe-max-size; what fitted once fits again.
    tape.call('set the capacity of a pipe', 'fcntl', [writeEnd, F_SETPIPE_SZ, reader.number('capacity')], { mayFail: true });
    for (const chunk of reader.byteLists('contents')) {
      tape.repeat('fill a pipe', 'write', [writeEnd, tape.data(chunk, 1), chunk.length]);
    }
    for (const [access, end] of [[O_RDONLY, readEnd], [O_WRONLY, writeEnd]] as const) {
      const open = reader.list('ends').filter((candidate) => candidate.number('access') === access);
      const [first, ...more] = open;
      if (first === undefined) {
        tape.call('close an end of a pipe that nobody has', 'close', [end]);
        continue;
      }
      const what = descriptorText(first.numbers('fds'));
      place(tape, `${what}, a pipe`, end, readPlacement(first), work.above);
      tape.call(`set the flags of ${what}`, 'fcntl', [first.numbers('fds')[0] ?? -1, F_SETFL, first.number('flags')]);
      for (const other of more) {
        const text = descriptorText(other.numbers('fds'));
        const path = tape.text(`/proc/self/fd/${first.numbers('fds')[0]}`);
        place(tape, `${text}, a pipe`, tape.call(`open a pipe again as ${text}`, 'openat', [-100, path, access | other.number('flags'), 0]), readPlacement(other), work.above);
      }
    }
  },
};

function groupByPipe(open: readonly OpenDescription[]): Map<string, OpenDescription[]> {
  const pipes = new Map<string, OpenDescription[]>();
  for (const description of open) {
    if (description.link.startsWith('pipe:[')) pipes.set(description.link, [...(pipes.get(description.link) ?? []), description]);
  }
  return pipes;
}

/** Where one end is missing inside, poll(2) tells whether anybody has it. */
function hasOutsideEnd(ends: readonly OpenDescription[], frozen: Frozen): boolean {
  const reading = ends.find(({ flags }) => (flags & O_ACCMODE) !== O_WRONLY);
  const writing = ends.find(({ flags }) => (flags & O_ACCMODE) !== O_RDONLY);
  const only = reading === undefined ? writing : writing === undefined ? reading : undefined;
  if (only === undefined) return false;
  const events = native.pollEvents(frozen.descriptor((only.descriptors[0] as { fd: number }).fd));
  return (events & (only === reading ? POLLHUP : POLLERR)) === 0;
}

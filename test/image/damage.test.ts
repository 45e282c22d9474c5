import t from 'tap';
import { ProcsError } from '../../supervisor/errors.js';
import { HEADS_END } from '../../supervisor/image/layout.js';
import { Image } from '../../supervisor/image/image.js';
import { Disk, randomNumbers } from './disk.js';
import { differenceOf, writeCheckpoint } from './story.js';

const COUNT = 4;

async function goodDisk(): Promise<Disk> {
  const disk = new Disk();
  const image = await Image.create('job.procs', { files: disk });
  for (let i = 0; i < COUNT; i++) await writeCheckpoint(image, disk);
  image.close();
  return disk;
}

interface Finding {
  readonly whole: readonly number[];
  readonly lost: readonly number[];
  readonly damage: number;
  readonly notes: number;
  readonly error?: string;
}

/** Which checkpoints can be read; anything but a ProcsError about the image is thrown on. */
function look(bytes: Uint8Array): Finding {
  const disk = new Disk(bytes);
  const whole: number[] = [];
  const lost: number[] = [];
  let damage = 0;
  let notes = 0;
  try {
    using image = Image.openForReading('job.procs', { files: disk });
    damage = image.damage.length;
    notes = image.notes.length;
    for (let number = 1; number <= COUNT; number++) {
      try {
        const difference = differenceOf(image, number);
        if (difference !== undefined) throw new Error(difference);
        whole.push(number);
      } catch (error) {
        expectImageError(error);
        lost.push(number);
      }
    }
  } catch (error) {
    expectImageError(error);
    return { whole, lost: [1, 2, 3, 4], damage, notes, error: (error as ProcsError).code };
  }
  if (disk.openCount !== 0) throw new Error('a descriptor was left open');
  return { whole, lost, damage, notes };
}

function expectImageError(error: unknown): void {
  if (!(error instanceof ProcsError) || !/^PROCS_ERR_IMAGE_/.test(error.code) || !error.message.includes('job.procs')) throw error;
}

t.test('a flipped bit anywhere is found, and costs only the checkpoints that use the byte', async (t) => {
  const disk = await goodDisk();
  const { checkpoints, parts } = describe(disk);
  const random = randomNumbers(1);
  const wrong: string[] = [];
  for (let offset = 0; offset < disk.bytes.length; offset++) {
    const part = parts.find(({ start, end }) => start <= offset && offset < end);
    const everyByteCounts = part !== undefined && part.name !== 'pages' && (part.name !== 'head' || offset % 4096 < 100 || offset % 4096 > 4088);
    if (!everyByteCounts && offset % 61 !== 0) continue; // page data, reserved bytes and gaps: a sample
    const bytes = disk.bytes.slice();
    bytes[offset]! ^= 1 << Math.floor(random() * 8);
    const found = look(bytes);
    const expected = part === undefined ? [] : part.name === 'pages' ? usersOf(offset, checkpoints) : part.checkpoint === undefined ? [] : [part.checkpoint];
    if (found.lost.join() !== expected.join()) wrong.push(`byte ${offset} (${part?.name ?? 'padding'}): lost ${found.lost.join()}, not ${expected.join()} ${found.error ?? ''}`);
    if (part?.name === 'head' && found.notes !== 1) wrong.push(`byte ${offset}: a damaged head is not noted`);
    if (part?.name === 'commit' && found.damage !== 1) wrong.push(`byte ${offset}: a damaged commit record is not told`);
  }
  t.strictSame(wrong.slice(0, 10), []);
});

t.test('both heads damaged is an error that says what is wrong with each', async (t) => {
  const { bytes } = await goodDisk();
  bytes[100]! ^= 1;
  bytes[4096 + 3]! ^= 1;
  t.throws(() => Image.openForReading('job.procs', { files: new Disk(bytes) }), {
    code: 'PROCS_ERR_IMAGE_DAMAGED',
    message: /neither of its heads can be used: the first, its checksum is 0x[0-9a-f]{8}, not 0x[0-9a-f]{8}; the second, it does not begin with PROCSIMG/,
  });
});

t.test('an image that ends early keeps the checkpoints that are still there', async (t) => {
  const disk = await goodDisk();
  const { checkpoints } = describe(disk);
  const random = randomNumbers(2);
  const lengths = new Set([0, 1, 7, 8, 4095, 4096, 4097, 8191, 8192, 8193]);
  for (const { start, end } of checkpoints) for (const near of [start, end]) for (let d = -2; d <= 2; d++) lengths.add(near + d);
  for (let i = 0; i < 500; i++) lengths.add(Math.floor(random() * disk.bytes.length));
  const wrong: string[] = [];
  for (const length of lengths) {
    if (length >= disk.bytes.length) continue;
    const found = look(disk.bytes.slice(0, length));
    const complete = checkpoints.filter(({ end }) => end <= length).map(({ number }) => number);
    // Two links back: more than one lost commit record at the end hides those before.
    const expected = complete.length >= COUNT - 1 ? complete : [];
    if (found.whole.join() !== expected.join()) wrong.push(`${length} bytes: whole ${found.whole.join()}, not ${expected.join()}`);
    if (found.error === undefined && found.damage === 0) wrong.push(`${length} bytes: no damage reported`);
    try {
      Image.openForWriting('job.procs', { files: new Disk(disk.bytes.slice(0, length)) }).close();
      wrong.push(`${length} bytes: opened for writing`);
    } catch (error) {
      expectImageError(error);
    }
  }
  t.strictSame(wrong.slice(0, 10), []);
  t.throws(() => Image.openForReading('job.procs', { files: new Disk(disk.bytes.slice(0, 8192)) }), { code: 'PROCS_ERR_IMAGE_DAMAGED', message: /cut short: it has 8192 bytes of \d+/ });
  t.throws(() => Image.openForReading('job.procs', { files: new Disk(disk.bytes.slice(0, 5000)) }), { code: 'PROCS_ERR_IMAGE_DAMAGED', message: /cut short/ });
});

t.test('a stretch of zeros, of 0xff or of noise never gives wrong bytes', async (t) => {
  const disk = await goodDisk();
  const random = randomNumbers(3);
  const findings = new Set<string>();
  for (let i = 0; i < 600; i++) {
    const bytes = disk.bytes.slice();
    const start = Math.floor(random() * bytes.length);
    const end = Math.min(bytes.length, start + Math.ceil(random() * 6000));
    if (i % 3 === 0) bytes.fill(0, start, end);
    else if (i % 3 === 1) bytes.fill(0xff, start, end);
    else for (let at = start; at < end; at++) bytes[at] = Math.floor(random() * 256);
    findings.add(look(bytes).whole.join());
  }
  t.ok(findings.size > 2, `${findings.size} different outcomes, none with a wrong byte`);
});

t.test('verify() names each damaged checkpoint and goes on to the others', async (t) => {
  const disk = await goodDisk();
  const { parts } = describe(disk);
  const at = (name: string, checkpoint: number) => parts.find((part) => part.name === name && part.checkpoint === checkpoint)!.start;
  disk.bytes[at('commit', 4)]! ^= 1;
  disk.bytes[at('metadata', 2)]! ^= 1;
  disk.bytes[HEADS_END + 5]! ^= 1; // page 0, used by 1 to 4
  disk.bytes[200]! ^= 1;
  using image = Image.openForReading('job.procs', { files: disk });
  const { checkpoints, problems, notes, ok } = await image.verify();
  t.notOk(ok);
  t.strictSame(problems, []);
  t.match(notes, [/the first head is not used: its checksum/]);
  t.match(checkpoints, [
    { number: 1, problems: [/page data at 8192 .* is damaged/], recordCount: 2, pageCount: 6 },
    { number: 2, problems: [/metadata of checkpoint 2 cannot be used: its checksum/] },
    { number: 3, problems: [/page data at 8192/] },
    { number: 4, summary: undefined, problems: [/commit record of checkpoint 4 cannot be used: it does not begin with PROCSCMT/] },
  ]);
  t.throws(() => image.read(), { code: 'PROCS_ERR_IMAGE_DAMAGED', message: /commit record of checkpoint 4/ }, 'the newest is not replaced by an older one in silence');
});

t.test('an image whose newest commit record is damaged is not appended to; an older one does not matter', async (t) => {
  const disk = await goodDisk();
  const { parts } = describe(disk);
  const at = (checkpoint: number) => parts.find((part) => part.name === 'commit' && part.checkpoint === checkpoint)!.start;
  const newest = disk.bytes.slice();
  newest[at(4)]! ^= 1;
  t.throws(() => Image.openForWriting('job.procs', { files: new Disk(newest) }), { code: 'PROCS_ERR_IMAGE_DAMAGED', message: /nothing can be appended/ });
  disk.bytes[at(2)]! ^= 1;
  using image = Image.openForWriting('job.procs', { files: disk });
  await writeCheckpoint(image, disk);
  t.strictSame(image.checkpoints.map(({ number }) => number), [1, 3, 4, 5]);
});

interface Part {
  readonly name: 'head' | 'pages' | 'metadata' | 'table' | 'commit';
  readonly start: number;
  readonly end: number;
  readonly checkpoint?: number;
}

/** What is where, from the good image. */
function describe(disk: Disk) {
  using image = Image.openForReading('job.procs', { files: disk });
  const parts: Part[] = [{ name: 'head', start: 0, end: 4096 }, { name: 'head', start: 4096, end: 8192 }];
  const checkpoints = image.checkpoints.map((summary) => ({ ...summary, runs: image.read(summary.number).extents.runs() }));
  for (const { number, start, end, dataBytes, metadataBytes, extentCount } of checkpoints) {
    const commit = end - 160;
    const metadata = start + dataBytes;
    const table = Math.ceil((metadata + metadataBytes) / 8) * 8;
    parts.push(
      { name: 'pages', start, end: start + dataBytes, checkpoint: number },
      { name: 'metadata', start: metadata, end: metadata + metadataBytes, checkpoint: number },
      { name: 'table', start: table, end: table + extentCount * 40, checkpoint: number },
      { name: 'commit', start: commit, end, checkpoint: number },
    );
  }
  return { checkpoints, parts };
}

function usersOf(offset: number, checkpoints: ReturnType<typeof describe>['checkpoints']): number[] {
  return checkpoints
    .filter(({ runs }) => runs.some((run) => run.fileOffset <= offset && offset < run.fileOffset + run.storedLength))
    .map(({ number }) => number);
}

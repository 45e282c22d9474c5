import t from 'tap';
import { ProcsError } from '../../supervisor/errors.js';
import { Image } from '../../supervisor/image/image.js';
import { crashed, Disk, randomNumbers } from './disk.js';
import { differenceOf, writeCheckpoint } from './story.js';

/** Checkpoints of an image that are all whole; throws where one is not. */
async function wholeCheckpoints(disk: Disk): Promise<number> {
  let image: Image;
  try {
    image = Image.openForReading('job.procs', { files: disk });
  } catch (error) {
    if (error instanceof ProcsError && (error.code === 'PROCS_ERR_IMAGE_EMPTY' || error.code === 'PROCS_ERR_IMAGE_FORMAT')) return 0;
    throw error;
  }
  using opened = image;
  if (opened.damage.length > 0) throw new Error(opened.damage.map(({ reason }) => reason).join('; '));
  for (const { number } of opened.checkpoints) {
    const difference = differenceOf(opened, number);
    if (difference !== undefined) throw new Error(difference);
  }
  if (opened.newest !== opened.checkpoints.length) throw new Error(`${opened.newest} checkpoints, ${opened.checkpoints.length} listed`);
  return opened.newest;
}

/** Takes up the image where it is and writes one more checkpoint. */
async function goOn(disk: Disk, whole: number): Promise<void> {
  disk.fault = () => undefined;
  using image = whole === 0 ? await Image.create('job.procs', { files: disk, replaceIncomplete: true }) : Image.openForWriting('job.procs', { files: disk });
  if (image.newest !== whole) throw new Error(`${image.newest} checkpoints, not ${whole}`);
  await writeCheckpoint(image, disk);
  if ((await wholeCheckpoints(disk)) !== whole + 1) throw new Error('the next checkpoint was not written');
}

t.test('after a crash at any instant, and another while going on, the image holds every committed checkpoint, whole, and can be written to', async (t) => {
  const disk = new Disk();
  const image = await Image.create('job.procs', { files: disk });
  const committedAt: number[] = [disk.changes.length];
  for (let i = 0; i < 4; i++) {
    await writeCheckpoint(image, disk);
    committedAt.push(disk.changes.length);
  }
  const random = randomNumbers(4);
  const fates: ((sectors: number) => number)[] = [
    () => 0,
    (sectors) => sectors,
    ...Array.from({ length: 12 }, () => (sectors: number) => (random() < 0.4 ? 0 : random() < 0.5 ? sectors : Math.floor(random() * (sectors + 1)))),
  ];
  const wrong: string[] = [];
  for (let length = 0; length <= disk.changes.length; length++) {
    const committed = committedAt.filter((at) => at <= length).length - 1;
    for (const [fate, survives] of fates.entries()) {
      try {
        const after = new Disk(crashed(disk.changes, length, survives));
        const whole = await wholeCheckpoints(after);
        if (whole < committed || whole > Math.max(committed, 0) + 1) throw new Error(`${whole} checkpoints, ${committed} were committed`);
        // A file of half a head is left to the user: it may be anything.
        if (committed < 0) continue;
        const before = after.bytes;
        await goOn(after, whole);
        if (committed < 1 || fate > 3) continue;
        for (let again = 0; again <= after.changes.length; again++) {
          const second = new Disk(crashed(after.changes, again, survives, before));
          const left = await wholeCheckpoints(second);
          if (left < whole) throw new Error(`${left} checkpoints after a second crash at ${again}, not ${whole}`);
        }
      } catch (error) {
        wrong.push(`after ${length} changes, fate ${fate}: ${String(error)}`);
      }
    }
  }
  t.strictSame(wrong.slice(0, 10), []);
  t.ok(disk.changes.length > 30, `${disk.changes.length} instants, ${fates.length} fates each`);
});

t.test('a crash while a dropped checkpoint is being forgotten loses none of the kept', async (t) => {
  const disk = new Disk();
  const image = await Image.create('job.procs', { files: disk });
  for (let i = 0; i < 4; i++) await writeCheckpoint(image, disk);
  const before = disk.changes.length;
  let punchedAt = Infinity;
  await image.dropBefore(3, () => { punchedAt = Math.min(punchedAt, disk.changes.length); });
  for (let length = before; length <= disk.changes.length; length++) {
    for (const survives of [() => 0, (sectors: number) => sectors, (sectors: number) => sectors >> 1]) {
      using after = Image.openForReading('job.procs', { files: new Disk(crashed(disk.changes, length, survives)) });
      const numbers = after.checkpoints.map(({ number }) => number).join();
      if (numbers !== '3,4' && (numbers !== '1,2,3,4' || length >= punchedAt)) t.fail(`after ${length} changes: ${numbers}`);
      if (differenceOf(after, 3) !== undefined || differenceOf(after, 4) !== undefined) t.fail(`after ${length} changes`);
    }
  }
  t.equal(punchedAt, disk.changes.length, 'holes are made only when both heads are durable');
});

for (const code of ['ENOSPC', 'EIO'] as const) {
  t.test(`${code} at each step of a commit is reported and leaves the image as it was`, async (t) => {
    const reference = new Disk();
    const image = await Image.create('job.procs', { files: reference });
    await writeCheckpoint(image, reference);
    await writeCheckpoint(image, reference);
    image.close();
    const wrong: string[] = [];
    let steps = 0;
    for (const done of ['nothing', 'half', 'all'] as const) {
      for (let lasting = 1; lasting <= 3; lasting++) {
        for (let step = 0, reached = true; reached; step++) {
          const disk = new Disk(reference.bytes.slice());
          const where = `${lasting} failing from step ${step}, ${done} done`;
          try {
            using writer = Image.openForWriting('job.procs', { files: disk });
            const first = disk.operations.length;
            const hit: string[] = [];
            disk.fault = (operation, index) => {
              if (!['write', 'sync', 'fstat', 'truncate'].includes(operation) || index < first + step || index >= first + step + lasting) return undefined;
              hit.push(operation);
              return { done, code };
            };
            const error = await writeCheckpoint(writer, disk).then(() => undefined, (reason: unknown) => reason);
            reached = hit.length > 0;
            steps++;
            disk.fault = () => undefined;
            const whole = await wholeCheckpoints(disk);
            if (error === undefined) {
              // Nothing failed, or only the second head's copy.
              if (whole !== 3) wrong.push(`${where}: committed, and ${whole} are there`);
              await writeCheckpoint(writer, disk);
              if ((await wholeCheckpoints(disk)) !== 4) wrong.push(`${where}: no fourth`);
              continue;
            }
            const isRaw = (error as { code?: string }).code === code; // the page data, written by this test itself
            if (!isRaw && (!(error instanceof ProcsError) || error.code !== 'PROCS_ERR_IMAGE_WRITE' || !error.message.includes(code))) throw error;
            if (whole !== 2 && whole !== 3) wrong.push(`${where}: ${whole} checkpoints are left`);
            let next: unknown;
            try {
              await writeCheckpoint(writer, disk);
            } catch (reason) {
              next = reason;
            }
            if (next === undefined) {
              if (whole !== 2 || (await wholeCheckpoints(disk)) !== 3) wrong.push(`${where}: ${whole} checkpoints, then another`);
            } else if (!(next instanceof ProcsError) || !/nothing more can be written/.test(next.message)) throw next;
            writer.close();
            await goOn(disk, await wholeCheckpoints(disk));
          } catch (error) {
            wrong.push(`${where}: ${String(error)}`);
            break;
          }
          if (disk.openCount !== 0) wrong.push(`${where}: a descriptor was left open`);
        }
      }
    }
    t.strictSame(wrong.slice(0, 10), []);
    t.ok(steps > 40, `${steps} failures`);
  });

  t.test(`${code} while an image is created leaves no file`, async (t) => {
    for (let step = 0, reached = true; reached; step++) {
      const disk = new Disk();
      reached = false;
      disk.fault = (operation, index) => {
        if (index !== step || operation === 'unlink') return undefined;
        reached = true;
        return { done: 'half', code };
      };
      const image = await Image.create('job.procs', { files: disk }).catch((error: unknown) => error);
      if (!reached) break;
      t.match(image, { code: 'PROCS_ERR_IMAGE_WRITE', exit: 73, message: new RegExp(code) });
      t.notOk(disk.exists && disk.bytes.length > 8192);
      t.equal(disk.openCount, 0);
    }
  });

  t.test(`${code} while an image is read is an error about reading, not about damage`, async (t) => {
    const disk = new Disk();
    const image = await Image.create('job.procs', { files: disk });
    await writeCheckpoint(image, disk);
    image.close();
    disk.operations = [];
    const read = (): string | undefined => {
      using opened = Image.openForReading('job.procs', { files: disk });
      return differenceOf(opened, 1);
    };
    t.equal(read(), undefined);
    for (const [step, operation] of disk.operations.slice().entries()) {
      if (operation !== 'read') continue;
      disk.operations = [];
      disk.fault = (_, index) => (index === step ? { done: 'nothing', code } : undefined);
      t.throws(read, { code: 'PROCS_ERR_IMAGE_READ', exit: 74, message: new RegExp(`cannot read the image job.procs.*${code}`) });
      t.equal(disk.openCount, 0);
    }
  });
}

/** Small images for tests of the command line: checkpoints without memory. */
import { chownSync } from 'node:fs';
import { Image } from '../../supervisor/image/image.js';
import type { User } from '../harness.js';

export interface FixtureOptions {
  readonly checkpoints?: number;
  readonly header?: Readonly<Record<string, unknown>>;
  readonly owner?: User;
}

export async function makeImage(path: string, { checkpoints = 1, header = {}, owner }: FixtureOptions = {}): Promise<void> {
  const image = await Image.create(path);
  for (let number = 1; number <= checkpoints; number++) {
    const draft = image.begin();
    await draft.commit({
      header: { name: 'sim', command: ['./sim', 'a b'], host: 'here', ...header },
      records: [{ kind: 'of-the-future', version: 7, color: 'blue', bytes: Uint8Array.of(1, 2), big: 5n }],
      extents: new Uint8Array(0),
      dataEnd: draft.dataOffset,
      timeMs: Date.UTC(2026, 0, number),
    });
  }
  image.close();
  if (owner !== undefined) chownSync(path, owner.uid, owner.gid);
}

/**
 * Random bytes for names and ids. node:crypto has them too, but loading it takes 4 ms of every start.
 */
import { closeSync, openSync, readSync } from 'node:fs';

/** From random(4), which never blocks after boot. */
export function randomBytes(count: number): Buffer {
  const bytes = Buffer.alloc(count);
  const fd = openSync('/dev/urandom', 'r');
  try {
    readSync(fd, bytes, 0, count, null);
    return bytes;
  } finally {
    closeSync(fd);
  }
}

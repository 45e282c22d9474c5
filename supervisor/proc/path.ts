/**
 * Paths are bytes. Read from /proc they are kept one byte a character (latin1), so
 * that a name in any encoding, or in none, survives; these two turn them back.
 */

/** For file system calls. */
export function pathBytes(path: string): Buffer {
  return Buffer.from(path, 'latin1');
}

/** For people. */
export function pathText(path: string): string {
  return pathBytes(path).toString('utf8');
}

/**
 * The file operations of an image, in one place so that tests can make each of them fail.
 *
 * What is short or touches only the page cache is synchronous; what waits for a disk is not.
 * Every function throws Node's own error, with its errno name in `code`.
 */

import fs from 'node:fs';
import { promisify } from 'node:util';

export interface ImageFiles {
  open(path: string, flags: number, mode?: number): number;
  close(fd: number): void;
  stat(path: string): fs.Stats;
  fstat(fd: number): fs.Stats;
  /** Bytes at an offset; fewer only at the end of the file. */
  read(fd: number, length: number, offset: number): Uint8Array;
  readAsync(fd: number, length: number, offset: number): Promise<Uint8Array>;
  /** Writes everything, or throws. */
  write(fd: number, bytes: Uint8Array, offset: number): Promise<void>;
  /** fdatasync(2): contents and length. */
  sync(fd: number): Promise<void>;
  truncate(fd: number, length: number): void;
  unlink(path: string): void;
  /** Makes a new name durable. */
  syncDirectory(path: string): void;
}

const fsRead = promisify(fs.read);
const fsWrite = promisify(fs.write);
const fsDatasync = promisify(fs.fdatasync);

export const realFiles: ImageFiles = {
  open: (path, flags, mode) => fs.openSync(path, flags, mode),
  close: (fd) => fs.closeSync(fd),
  stat: (path) => fs.statSync(path),
  fstat: (fd) => fs.fstatSync(fd),
  read(fd, length, offset) {
    const bytes = Buffer.allocUnsafeSlow(length);
    let done = 0;
    while (done < length) {
      const count = fs.readSync(fd, bytes, done, length - done, offset + done);
      if (count === 0) break;
      done += count;
    }
    return bytes.subarray(0, done);
  },
  async readAsync(fd, length, offset) {
    const bytes = Buffer.allocUnsafeSlow(length);
    let done = 0;
    while (done < length) {
      const { bytesRead } = await fsRead(fd, bytes, done, length - done, offset + done);
      if (bytesRead === 0) break;
      done += bytesRead;
    }
    return bytes.subarray(0, done);
  },
  async write(fd, bytes, offset) {
    let done = 0;
    while (done < bytes.length) {
      const { bytesWritten } = await fsWrite(fd, bytes, done, bytes.length - done, offset + done);
      done += bytesWritten;
    }
  },
  sync: (fd) => fsDatasync(fd),
  truncate: (fd, length) => fs.ftruncateSync(fd, length),
  unlink: (path) => fs.unlinkSync(path),
  syncDirectory(path) {
    const fd = fs.openSync(path, fs.constants.O_RDONLY | fs.constants.O_DIRECTORY);
    try {
      fs.fsyncSync(fd);
    } finally {
      fs.closeSync(fd);
    }
  },
};

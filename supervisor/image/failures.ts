/** What went wrong with an image, in words: one place for the errors of open, read and write. */

import { errnoName, EXIT, messageOf, ProcsError, type ErrorCode, type ProcsErrorOptions } from '../errors.js';

/** `the reason (ERRNO)`, for the errors that files are known for. */
export function errnoWords(error: unknown): string {
  const name = errnoName(error);
  const words = name === undefined ? undefined : ERRNO_WORDS[name];
  return words === undefined ? messageOf(error) : `${words} (${name})`;
}

const ERRNO_WORDS: Readonly<Record<string, string>> = {
  EACCES: 'permission denied',
  EDQUOT: 'your disk quota is used up',
  EFBIG: 'it would be larger than the file system or "ulimit -f" allows',
  EIO: 'the device reported an error',
  EISDIR: 'it is a directory',
  ELOOP: 'too many symbolic links',
  EMFILE: 'too many open files',
  ENAMETOOLONG: 'the name is too long',
  ENFILE: 'too many open files in the system',
  ENODEV: 'the device is gone',
  ENOENT: 'there is no such file or directory',
  ENOSPC: 'the file system is full',
  ENOTDIR: 'a part of the path is not a directory',
  ENXIO: 'there is no such device',
  EPERM: 'the operation is not permitted',
  EROFS: 'the file system is read-only',
  ESTALE: 'the network file system no longer has it',
  ETXTBSY: 'it is being executed',
};

const WRITE_REMEDIES: Readonly<Record<string, string>> = {
  EDQUOT: 'free some of it, or keep the image elsewhere',
  EFBIG: 'raise the limit, or keep the image on another file system',
  EIO: 'look at the kernel log, and keep the image on another device',
  ENOSPC: 'free some space, or keep the image elsewhere',
};

export function openFailure(path: string, error: unknown): ProcsError {
  const errno = errnoName(error);
  if (errno === 'ENOENT' || errno === 'ENOTDIR') return failure('PROCS_ERR_NO_IMAGE', `cannot open the image ${path}: ${errnoWords(error)}`, { cause: error });
  const denied = errno === 'EACCES' || errno === 'EPERM' || errno === 'EROFS';
  return failure('PROCS_ERR_IMAGE_OPEN', `cannot open the image ${path}: ${errnoWords(error)}`, {
    cause: error,
    ...(denied && { exit: EXIT.NOT_PERMITTED, remedy: 'images are private to the user who made them: use it as that user' }),
  });
}

export function createFailure(path: string, error: unknown): ProcsError {
  if (errnoName(error) === 'EEXIST') {
    return failure('PROCS_ERR_IMAGE_EXISTS', `cannot create the image ${path}: there is one of that name`, { cause: error });
  }
  return failure('PROCS_ERR_IMAGE_WRITE', `cannot create the image ${path}: ${errnoWords(error)}`, {
    cause: error,
    exit: EXIT.CANNOT_CREATE,
    remedy: WRITE_REMEDIES[errnoName(error) ?? ''] ?? 'name a folder that you can write to',
  });
}

export function readFailure(path: string, error: unknown): ProcsError {
  return failure('PROCS_ERR_IMAGE_READ', `cannot read the image ${path}: ${errnoWords(error)}`, { cause: error });
}

/** @param what  Such as `checkpoint 3`. */
export function writeFailure(path: string, what: string, error: unknown): ProcsError {
  const remedy = WRITE_REMEDIES[errnoName(error) ?? ''];
  return failure('PROCS_ERR_IMAGE_WRITE', `cannot write ${what} to the image ${path}: ${errnoWords(error)}`, {
    cause: error,
    ...(remedy !== undefined && { remedy }),
  });
}

export function damaged(path: string, why: string, options?: ProcsErrorOptions): ProcsError {
  return failure('PROCS_ERR_IMAGE_DAMAGED', `the image ${path} is damaged: ${why}`, options);
}

export function failure(code: ErrorCode, message: string, options?: ProcsErrorOptions): ProcsError {
  return new ProcsError(code, message, options);
}

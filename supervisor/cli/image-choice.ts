/**
 * Which image a command line means, and which one a new run may have.
 */
import fs from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { errnoName, messageOf, ProcsError } from '../errors.js';
import { Image } from '../image/image.js';
import { acquireImageLock, lockDirectory, refuseIfHeld } from '../registry/lock.js';
import { newestImage } from '../registry/registry.js';
import { currentDirectory } from './command.js';
import { formatTime, printable } from '../format.js';

export interface ImageChoice {
  /** Absolute. */
  readonly path: string;
  /** Undefined: the newest. */
  readonly checkpoint: number | undefined;
}

/**
 * The image that PROGRAM, NAME or FILE means, each with or without `@NUMBER` of a checkpoint.
 *
 * @throws {ProcsError} `PROCS_ERR_NO_IMAGE` that says where was looked.
 */
export function chooseImage(argument: string): ImageChoice {
  const lookedAt: string[] = [];
  const literal = findImage(argument, lookedAt);
  if (literal !== undefined) return { path: literal, checkpoint: undefined };
  const [, name, number] = /^(.+)@([1-9]\d{0,8})$/.exec(argument) ?? [];
  if (name !== undefined) {
    lookedAt.length = 0;
    const path = findImage(name, lookedAt);
    if (path !== undefined) return { path, checkpoint: Number(number) };
  }
  throw new ProcsError('PROCS_ERR_NO_IMAGE', `cannot find an image for ${argument}: looked for\n${lookedAt.map((line) => `  ${line}`).join('\n')}`, {
    remedy: 'name the image file itself, or see "procs list"',
  });
}

function findImage(argument: string, lookedAt: string[]): string | undefined {
  const directory = currentDirectory();
  const name = basename(argument);
  const asPath = resolve(directory, argument);
  if (argument.endsWith('.procs') && fs.existsSync(asPath)) return asPath;

  // Where start puts it, or beside the program that is named.
  for (const path of new Set([join(directory, `${name}.procs`), `${asPath}.procs`])) {
    if (fs.existsSync(path)) return path;
    lookedAt.push(path);
  }
  const known = newestImage(name.replace(/\.procs$/, ''));
  if (known !== undefined && !(argument.includes('/') && argument.endsWith('.procs'))) return known.imagePath;
  lookedAt.push(`an image of the name ${name} in the list of known images`);

  if (!fs.existsSync(asPath)) {
    lookedAt.push(asPath);
    return undefined;
  }
  const isOther = whyNoImage(asPath);
  if (isOther === undefined) return asPath;
  lookedAt.push(`${asPath}, which is ${isOther}`);
  return undefined;
}

/** A program or a folder of the name that was given is no mistake in the name; what is wrong with an image shows later. */
function whyNoImage(path: string): string | undefined {
  if (fs.statSync(path).isDirectory()) return 'a folder';
  try {
    Image.openForReading(path, { architecture: 'any' }).close();
  } catch (error) {
    if (error instanceof ProcsError && error.code === 'PROCS_ERR_IMAGE_FORMAT') return 'not an image';
  }
  return undefined;
}

/** Where `--clone` of an image writes its checkpoints: the first of NAME-2.procs, NAME-3.procs… that nobody has. */
export function freeCloneOf(path: string, from = 2): string {
  const directory = isWritable(dirname(path)) ? dirname(path) : currentDirectory();
  const base = basename(path, '.procs');
  for (let number = from; ; number++) {
    const candidate = join(directory, `${base}-${number}.procs`);
    if (!fs.existsSync(candidate) && !fs.existsSync(lockDirectory(candidate))) return candidate;
  }
}

/** Whether the file holds a checkpoint to resume. Damaged images do: what to do about those is the user's to decide. */
export function hasCheckpoint(path: string): boolean {
  if (!fs.existsSync(path)) return false;
  try {
    Image.openForReading(path, { architecture: 'any' }).close();
    return true;
  } catch (error) {
    if (error instanceof ProcsError && error.code === 'PROCS_ERR_IMAGE_EMPTY') return false;
    // Nothing was ever written.
    if (error instanceof ProcsError && error.code === 'PROCS_ERR_IMAGE_FORMAT' && fs.statSync(path).size === 0) return false;
    return true;
  }
}

/**
 * Makes sure that a new run may write to `path`. Checkpoints of an earlier run are not lost: they are refused,
 * or, when the user consents, set aside as `PATH.old`.
 *
 * @param resumeHint  A command line that would go on from them.
 * @throws {ProcsError} `PROCS_ERR_IMAGE_EXISTS`, `PROCS_ERR_IMAGE_IN_USE`.
 */
export async function clearForNewRun(path: string, overwrite: boolean, resumeHint: string): Promise<void> {
  refuseIfHeld(path);
  if (!hasCheckpoint(path)) return;
  if (!overwrite) {
    throw new ProcsError('PROCS_ERR_IMAGE_EXISTS', `${path} ${describeContents(path)}`, {
      remedy: `go on from there with "${resumeHint}", set it aside with --overwrite, or use another --image`,
    });
  }
  if (fs.statSync(path).isDirectory()) throw new ProcsError('PROCS_ERR_IMAGE_EXISTS', `${path} is a folder: it is not set aside`, { remedy: 'use another --image' });
  const lock = await acquireImageLock(path, { name: basename(path), command: 'procs start --overwrite' });
  try {
    fs.renameSync(path, `${path}.old`);
  } catch (error) {
    throw new ProcsError('PROCS_ERR_IMAGE_WRITE', `cannot set ${path} aside as ${path}.old: ${messageOf(error)}`, { cause: error });
  } finally {
    lock.release();
  }
}

function describeContents(path: string): string {
  try {
    using image = Image.openForReading(path, { architecture: 'any' });
    const newest = image.checkpoints.at(-1);
    const count = image.checkpoints.length;
    const name = printable(basename(path));
    return `holds ${count === 1 ? 'a checkpoint' : `${count} checkpoints`} of an earlier run, the newest of ${formatTime(newest?.timeMs ?? NaN)} (see "procs inspect ${name}")`;
  } catch (error) {
    return `exists already; it is not known what is in it: ${messageOf(error)}`;
  }
}

function isWritable(directory: string): boolean {
  try {
    fs.accessSync(directory, fs.constants.W_OK);
    return true;
  } catch (error) {
    if (errnoName(error) === undefined) throw error;
    return false;
  }
}

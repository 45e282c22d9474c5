/**
 * Which jobs run, and which images are known: the supervisor writes it down, `list`, `checkpoint`, `check`
 * and `resume` look it up.
 *
 * One small file per job and per image, each replaced as a whole by rename(2), so that any number of writers
 * need no lock. What is written here is a convenience: a job runs, and an image can be resumed, without it.
 */
import fs from 'node:fs';
import { createRequire } from 'node:module';
import { basename, dirname, join, resolve } from 'node:path';
import { errnoName, ProcsError } from '../errors.js';
import { randomBytes } from '../random.js';
import { atExit } from './cleanup.js';
import { existingRuntimeDirectories, makeRuntimeDirectory, stateDirectory } from './directories.js';
import { livenessOf, parseIdentity, thisProcess, type ProcessIdentity } from './identity.js';
import { imageHolder } from './lock.js';

/** A running supervisor and its program. */
export interface JobEntry extends ProcessIdentity {
  readonly name: string;
  /** Absolute. */
  readonly imagePath: string;
  /** The program and its arguments, for people. */
  readonly command: string;
  /** Path of the control socket. */
  readonly socket: string;
  readonly startedMs: number;
}

export interface JobDescription {
  readonly name: string;
  readonly imagePath: string;
  readonly command: string;
}

export interface JobRegistration {
  readonly entry: JobEntry;
  /** Where the control socket belongs. Nothing is there yet. */
  readonly socket: string;
  /** Removes the entry and the socket; safe to call twice. Also done when this process exits, unless it is killed. */
  remove(): void;
}

export interface KnownImage {
  readonly name: string;
  /** Absolute. */
  readonly imagePath: string;
  /** When its newest checkpoint was complete, in ms since 1970. */
  readonly newestMs: number;
  /** That checkpoint's number. */
  readonly checkpoint: number;
  readonly command: string;
}

/** Longer files are none of ours. */
const MAX_ENTRY_LENGTH = 1 << 20;
/** An image that cannot be seen may be on a disk that is not mounted: it is forgotten after 30 days. */
const FORGET_MS = 30 * 24 * 3600_000;

/**
 * Tells other procs of this user that this process supervises a job.
 *
 * @throws {ProcsError} `PROCS_ERR_SYSTEM` where there is no place for it. The job can run on without.
 */
export function registerJob(job: JobDescription): JobRegistration {
  const directory = makeRuntimeDirectory();
  const self = thisProcess();
  const path = join(directory, `${self.pid}-${self.startTime}`);
  const entry: JobEntry = { ...self, ...job, imagePath: resolve(job.imagePath), socket: `${path}.sock`, startedMs: Date.now() };
  for (const stale of readJobs([directory]).stale) removeFiles(stale);
  writeWhole(`${path}.json`, entry);
  let isRemoved = false;
  const remove = (): void => {
    if (isRemoved) return;
    isRemoved = true;
    forgetExit();
    removeFiles(path);
  };
  const forgetExit = atExit(remove);
  return { entry, socket: entry.socket, remove };
}

/** The running jobs of this user, oldest first. Entries left by supervisors that were killed are removed. */
export function listJobs(): readonly JobEntry[] {
  const { jobs, stale } = readJobs(existingRuntimeDirectories());
  for (const path of stale) removeFiles(path);
  return [...jobs].sort((a, b) => a.startedMs - b.startedMs);
}

/**
 * The running jobs that a user may mean: a job's name, a supervisor's pid, or an image file.
 * A job in the given image comes first, then the pid, then the name.
 */
export function findJobs(nameOrPidOrFile: string): readonly JobEntry[] {
  const jobs = listJobs();
  const path = resolve(nameOrPidOrFile);
  const byImage = jobs.filter((job) => isSameFile(job.imagePath, path));
  if (byImage.length > 0) return byImage;
  const byLock = jobHolding(path);
  if (byLock !== undefined) return [byLock];
  if (/^[1-9]\d*$/.test(nameOrPidOrFile)) {
    const byPid = jobs.filter((job) => job.pid === Number(nameOrPidOrFile));
    if (byPid.length > 0) return byPid;
  }
  return jobs.filter((job) => job.name === nameOrPidOrFile);
}

/**
 * The one running job that is meant.
 *
 * @throws {ProcsError} `PROCS_ERR_NO_JOB` where there is none, `PROCS_ERR_USAGE` where there are several.
 */
export function findJob(nameOrPidOrFile: string): JobEntry {
  const [job, ...others] = findJobs(nameOrPidOrFile);
  if (job === undefined) {
    throw new ProcsError('PROCS_ERR_NO_JOB', `there is no running job ${nameOrPidOrFile}`, {
      remedy: '"procs list" shows the running jobs; jobs of other users, and on other hosts, are not seen',
    });
  }
  if (others.length > 0) {
    const lines = [job, ...others].map((one) => `  ${one.pid}  ${one.command}  (${one.imagePath})`);
    throw new ProcsError('PROCS_ERR_USAGE', `${lines.length} running jobs are meant by ${nameOrPidOrFile}:\n${lines.join('\n')}`, {
      remedy: `name one by its process id, such as ${job.pid}`,
    });
  }
  return job;
}

/** Remembers where an image is, for `procs resume NAME` in another directory. Does nothing where there is no home to write to. */
export function rememberImage(image: KnownImage): void {
  const directory = stateDirectory();
  if (directory === undefined) return;
  const imagePath = resolve(image.imagePath);
  try {
    const images = join(directory, 'images');
    makeDirectories(images);
    writeWhole(join(images, entryName(imagePath)), { ...image, imagePath });
  } catch {
    // A read-only or missing home, a full disk: `resume` takes a path too.
  }
}

/** Forgets an image that was removed. */
export function forgetImage(imagePath: string): void {
  const directory = stateDirectory();
  if (directory !== undefined) tryUnlink(join(directory, 'images', entryName(resolve(imagePath))));
}

/** Images of this user that are still there, newest first. */
export function listImages(): readonly KnownImage[] {
  const directory = stateDirectory();
  if (directory === undefined) return [];
  const images: KnownImage[] = [];
  for (const file of namesIn(join(directory, 'images'))) {
    const path = join(directory, 'images', file);
    const image = parseImage(readEntry(path));
    if (image === undefined || file !== entryName(image.imagePath)) continue;
    if (fs.existsSync(image.imagePath)) images.push(image);
    else if (image.newestMs < Date.now() - FORGET_MS) tryUnlink(path);
  }
  return images.sort((a, b) => b.newestMs - a.newestMs);
}

/** The image of that name with the newest checkpoint, of those that are still there. */
export function newestImage(name: string): KnownImage | undefined {
  return listImages().find((image) => image.name === name);
}

/** @returns Also the paths, without suffix, of what belongs to supervisors that are gone. */
function readJobs(directories: readonly string[]): { jobs: readonly JobEntry[]; stale: readonly string[] } {
  const jobs: JobEntry[] = [];
  const stale: string[] = [];
  for (const directory of directories) {
    for (const file of namesIn(directory)) {
      const base = /^(\d+-\d+)\.json$/.exec(file)?.[1];
      if (base === undefined) continue;
      const path = join(directory, base);
      const job = parseJob(readEntry(`${path}.json`));
      // An entry that is not understood may be a newer version's.
      if (job === undefined || base !== `${job.pid}-${job.startTime}`) continue;
      const liveness = livenessOf(job);
      if (liveness === 'alive') jobs.push(job);
      else if (liveness === 'dead') stale.push(path);
    }
  }
  return { jobs, stale };
}

/** A job whose entry is in a directory that this environment does not lead to: its image's lock tells of it too. */
function jobHolding(imagePath: string): JobEntry | undefined {
  const holder = imageHolder(imagePath);
  if (holder?.socket === undefined || livenessOf(holder) !== 'alive') return undefined;
  // The lock is in a folder that others may write to.
  const uid = process.getuid?.();
  if (uid !== 0 && holder.uid !== uid) return undefined;
  return { ...holder, socket: holder.socket, startedMs: 0 };
}

function isSameFile(one: string, other: string): boolean {
  if (one === other) return true;
  try {
    const [a, b] = [fs.statSync(one), fs.statSync(other)];
    return a.dev === b.dev && a.ino === b.ino;
  } catch {
    return false;
  }
}

function parseJob(value: unknown): JobEntry | undefined {
  const identity = parseIdentity(value);
  if (!identity) return undefined;
  const { name, imagePath, command, socket, startedMs } = value as Record<string, unknown>;
  if (typeof name !== 'string' || typeof imagePath !== 'string' || typeof command !== 'string') return undefined;
  if (typeof socket !== 'string' || typeof startedMs !== 'number') return undefined;
  return { ...identity, name, imagePath, command, socket, startedMs };
}

function parseImage(value: unknown): KnownImage | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const { name, imagePath, newestMs, checkpoint, command } = value as Record<string, unknown>;
  if (typeof name !== 'string' || typeof imagePath !== 'string' || typeof newestMs !== 'number') return undefined;
  return {
    name,
    imagePath,
    newestMs,
    checkpoint: typeof checkpoint === 'number' ? checkpoint : 0,
    command: typeof command === 'string' ? command : basename(imagePath),
  };
}

function entryName(imagePath: string): string {
  // Loaded when an image is remembered or looked for: it takes some milliseconds, and a resume does neither.
  const { createHash } = createRequire(import.meta.url)('node:crypto') as typeof import('node:crypto');
  return `${createHash('sha256').update(imagePath).digest('hex').slice(0, 32)}.json`;
}

/** Node's own recursive mkdir does not end where mkdir(2) says ENOENT in a directory that exists, as in /proc. */
function makeDirectories(path: string): void {
  if (fs.existsSync(path)) return;
  if (dirname(path) !== path) makeDirectories(dirname(path));
  try {
    fs.mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    if (errnoName(error) !== 'EEXIST') throw error; // made by another meanwhile
  }
}

function writeWhole(path: string, value: unknown): void {
  const fresh = `${path}.${randomBytes(6).toString('hex')}`;
  try {
    fs.writeFileSync(fresh, `${JSON.stringify(value, undefined, 1)}\n`, { flag: 'wx', mode: 0o600 });
    fs.renameSync(fresh, path);
  } catch (error) {
    tryUnlink(fresh);
    throw error;
  }
}

function readEntry(path: string): unknown {
  try {
    if (fs.statSync(path).size > MAX_ENTRY_LENGTH) return undefined;
    return JSON.parse(fs.readFileSync(path, 'utf8')) as unknown;
  } catch {
    return undefined; // removed meanwhile, or cut off by a crash of the machine
  }
}

function namesIn(directory: string): readonly string[] {
  try {
    return fs.readdirSync(directory);
  } catch {
    return [];
  }
}

function removeFiles(path: string): void {
  for (const suffix of ['.json', '.sock']) tryUnlink(path + suffix);
}

function tryUnlink(path: string): void {
  try {
    fs.unlinkSync(path);
  } catch {
    // Gone, or never there.
  }
}

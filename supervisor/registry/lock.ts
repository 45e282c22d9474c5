/**
 * One supervisor at a time writes to an image: whoever holds the directory IMAGE.lock.
 *
 * proper-lockfile makes the directory and keeps its time fresh, which tells hosts that share a file system
 * that the holder lives. Alone that is not enough here: a supervisor may stand still for long (SIGSTOP,
 * a large checkpoint), and one that was killed should not block its image until a time has run out. So the
 * directory holds a file that says who holds the lock, and where that can be asked of the kernel, the answer
 * decides and the time does not.
 *
 * proper-lockfile is given file system functions that keep these rules:
 *
 *   mkdir  makes the directory elsewhere with the holder's file in it, and renames it into place: there is
 *          never a lock without a holder. rename(2) replaces an empty directory and no other.
 *   stat   shows a holder that is known to live as fresh, and one known to be dead as long stale.
 *   rmdir  unlinks the files of holders known to be dead, or one's own, then the directory if that is empty.
 *          Names are never used twice, so that of many who find the same dead holder each may remove it, no one
 *          removes a later holder, and one rename wins.
 */
import fs from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import lockfile from 'proper-lockfile';
import { errnoName, EXIT, messageOf, ProcsError } from '../errors.js';
import { errnoText } from '../linux.js';
import { randomBytes } from '../random.js';
import { atExit } from './cleanup.js';
import { livenessOf, parseIdentity, thisProcess, type Liveness, type ProcessIdentity } from './identity.js';

/** Who holds an image: the contents of the file in the lock directory. */
export interface ImageHolder extends ProcessIdentity {
  readonly uid: number;
  readonly name: string;
  readonly command: string;
  readonly imagePath: string;
  /** Of the job's control socket, if it has one. */
  readonly socket: string | undefined;
}

export interface HolderDescription {
  /** The job's name. */
  readonly name: string;
  /** The program and its arguments, for the error that others get. */
  readonly command: string;
  readonly socket?: string | undefined;
}

export interface LockOptions {
  /**
   * After how many ms without a sign of life a holder that cannot be asked (another host, another container)
   * counts as dead; default 60 000, at least 2000.
   */
  readonly staleMs?: number;
  /** Called once if the lock is lost: its directory was taken from outside. Default: nothing. */
  readonly onLost?: (reason: string) => void;
}

export interface ImageLock {
  readonly imagePath: string;
  /** Why it is no longer held although it was not released; else undefined. Write no more if it is set. */
  readonly lost: string | undefined;
  /** Safe to call twice. Also done when this process exits, unless it is killed. */
  release(): void;
}

const STALE_MS = 60_000;
const MAX_ATTEMPTS = 100;

/**
 * @throws {ProcsError} `PROCS_ERR_IMAGE_IN_USE` names the holder; `PROCS_ERR_IMAGE_WRITE` where the lock
 *   cannot be made.
 */
export async function acquireImageLock(imagePath: string, holder: HolderDescription, options: LockOptions = {}): Promise<ImageLock> {
  const path = resolve(imagePath);
  const attempt = new Attempt(path, {
    ...thisProcess(),
    uid: process.getuid?.() ?? -1,
    name: holder.name,
    command: holder.command,
    imagePath: path,
    socket: holder.socket,
  });
  for (let tries = 1; ; tries++) {
    try {
      await attempt.lock(options.staleMs ?? STALE_MS, options.onLost ?? (() => undefined));
      return attempt;
    } catch (error) {
      if ((error as { code?: unknown }).code !== 'ELOCKED') {
        attempt.release();
        throw lockFailure(path, error);
      }
      const found = readHolders(attempt.directory)[0];
      // Without a living holder: released, or taken over and not yet replaced, just now.
      const isGone = found === undefined ? !fs.existsSync(attempt.directory) : livenessOf(found.holder) === 'dead';
      if (isGone && tries < MAX_ATTEMPTS) await delay(1 + Math.random() * 10);
      else throw inUse(path, attempt.directory, found?.holder);
    }
  }
}

/** Who holds an image now, as far as can be told; undefined: no one. */
export function imageHolder(imagePath: string): ImageHolder | undefined {
  const found = readHolders(lockDirectory(resolve(imagePath))).find(({ holder }) => livenessOf(holder) !== 'dead');
  return found?.holder;
}

/** @throws {ProcsError} `PROCS_ERR_IMAGE_IN_USE`, as {@link acquireImageLock} would, if another process lives that holds the image. */
export function refuseIfHeld(imagePath: string): void {
  const path = resolve(imagePath);
  const holder = imageHolder(path);
  if (holder !== undefined && livenessOf(holder) === 'alive') throw inUse(path, lockDirectory(path), holder);
}

export function lockDirectory(imagePath: string): string {
  return `${imagePath}.lock`;
}

type Callback = (error: NodeJS.ErrnoException | null) => void;
type StatCallback = (error: NodeJS.ErrnoException | null, stat?: fs.Stats) => void;

/** An attempt at a lock, and the lock when it has succeeded. */
class Attempt implements ImageLock {
  readonly imagePath: string;
  readonly directory: string;
  readonly #holder: ImageHolder;
  readonly #fileName = `${process.pid}-${randomBytes(8).toString('hex')}.json`;
  #lost: string | undefined;
  #state: 'free' | 'held' | 'released' = 'free';
  /** Files of holders that were found dead. */
  #dead: readonly string[] = [];
  #forgetExit: (() => void) | undefined;

  constructor(imagePath: string, holder: ImageHolder) {
    this.imagePath = imagePath;
    this.directory = lockDirectory(imagePath);
    this.#holder = holder;
  }

  get lost(): string | undefined {
    return this.#lost;
  }

  async lock(staleMs: number, onLost: (reason: string) => void): Promise<void> {
    await lockfile.lock(this.imagePath, {
      realpath: false,
      stale: staleMs,
      fs: this.#fs,
      onCompromised: (error) => void this.#regain(staleMs, onLost, messageOf(error)),
    });
    this.#forgetExit ??= atExit(() => this.release());
  }

  release(): void {
    if (this.#state === 'released') return;
    const wasHeld = this.#state === 'held';
    this.#state = 'released';
    this.#forgetExit?.();
    if (!wasHeld) return;
    // proper-lockfile ends its timer at once, and calls rmdir, which finds nothing left to do.
    lockfile.unlock(this.imagePath, { realpath: false, fs: this.#fs }).catch(() => undefined);
    this.#removeOwn();
  }

  /**
   * proper-lockfile gave up the lock because the directory's time was changed from outside, or could not be
   * set. While the directory still holds our file, it is ours.
   */
  async #regain(staleMs: number, onLost: (reason: string) => void, why: string): Promise<void> {
    if (this.#state !== 'held') return;
    try {
      await this.lock(staleMs, onLost);
      return;
    } catch (error) {
      if (this.#state !== 'held') return;
      if (this.#hasOwnFile()) {
        // The time cannot be set. No process of this host takes the lock; for the others, try on.
        setTimeout(() => void this.#regain(staleMs, onLost, why), staleMs / 4).unref();
        return;
      }
      const taker = readHolders(this.directory)[0]?.holder;
      this.#lost = taker ? `the lock ${this.directory} was taken by ${describeHolder(taker)}` : `the lock ${this.directory} is gone: ${why}; ${messageOf(error)}`;
      onLost(this.#lost);
    }
  }

  readonly #fs = {
    mkdir: (path: string, callback: Callback): void => {
      // Again, after the heartbeat was lost.
      if (this.#state === 'held' && this.#hasOwnFile()) return callback(null);
      try {
        this.#makeDirectory(path);
        if (this.#dead.length > 0) removeLeftovers(path);
        if (this.#state === 'released') this.#removeOwn();
        else this.#state = 'held';
        callback(null);
      } catch (error) {
        callback(error as NodeJS.ErrnoException);
      }
    },
    stat: (path: string, callback: StatCallback): void => {
      fs.stat(path, (error, stat) => {
        if (!error && !(this.#state === 'held' && this.#hasOwnFile())) stat.mtime = this.#timeToShow(path, stat.mtime);
        callback(error, stat);
      });
    },
    utimes: (path: string, atime: Date, mtime: Date, callback: Callback): void => fs.utimes(path, atime, mtime, callback),
    rmdir: (path: string, callback: Callback): void => {
      try {
        this.#removeFiles(path);
        callback(null);
      } catch (error) {
        callback(error as NodeJS.ErrnoException);
      }
    },
    rmdirSync: (path: string): void => this.#removeFiles(path),
  };

  #makeDirectory(path: string): void {
    const fresh = `${path}.${this.#fileName.slice(0, -'.json'.length)}`;
    const file = join(fresh, this.#fileName);
    fs.mkdirSync(fresh);
    try {
      fs.writeFileSync(file, `${JSON.stringify(this.#holder, undefined, 1)}\n`, { flag: 'wx', mode: 0o644 });
      fs.renameSync(fresh, path);
    } catch (error) {
      ignore(['ENOENT'], () => fs.unlinkSync(file));
      ignore(['ENOENT'], () => fs.rmdirSync(fresh));
      throw errnoName(error) === 'ENOTEMPTY' ? Object.assign(error as Error, { code: 'EEXIST' }) : error;
    }
  }

  /** For proper-lockfile to judge by: `actual` only where the kernel cannot be asked. */
  #timeToShow(path: string, actual: Date): Date {
    const entries = readHolders(path);
    const known = entries.map(({ holder }): Liveness => livenessOf(holder));
    this.#dead = entries.filter((_, i) => known[i] === 'dead').map(({ fileName }) => fileName);
    if (known.includes('alive')) return new Date();
    if (known.includes('unknown')) {
      this.#dead = entries.map(({ fileName }) => fileName); // removed only if proper-lockfile finds the time stale
      return actual;
    }
    if (entries.length > 0) return new Date(0);
    // Empty, or what is in it cannot be read: left by a crash of the machine, or by another version.
    this.#dead = namesIn(path);
    return this.#dead.length > 0 ? actual : new Date(0);
  }

  #removeFiles(path: string): void {
    if (this.#state !== 'free') return this.#removeOwn();
    for (const name of this.#dead) ignore(['ENOENT', 'ENOTDIR'], () => fs.unlinkSync(join(path, name)));
    // Not empty: there is a new holder.
    ignore(['ENOENT', 'ENOTEMPTY', 'EEXIST'], () => fs.rmdirSync(path));
  }

  #removeOwn(): void {
    try {
      fs.unlinkSync(join(this.directory, this.#fileName));
      fs.rmdirSync(this.directory);
    } catch {
      // Taken, or removed with all its folder: nothing of ours is left. And the next one takes over what is.
    }
  }

  #hasOwnFile(): boolean {
    return fs.existsSync(join(this.directory, this.#fileName));
  }
}

interface HolderEntry {
  readonly fileName: string;
  readonly holder: ImageHolder;
}

function readHolders(directory: string): readonly HolderEntry[] {
  const entries: HolderEntry[] = [];
  for (const fileName of namesIn(directory)) {
    try {
      const holder = parseHolder(JSON.parse(fs.readFileSync(join(directory, fileName), 'utf8')));
      if (holder) entries.push({ fileName, holder });
    } catch {
      // Released meanwhile, not readable for us, or cut off by a crash of the machine.
    }
  }
  return entries;
}

function parseHolder(value: unknown): ImageHolder | undefined {
  const identity = parseIdentity(value);
  if (!identity) return undefined;
  const { uid, name, command, imagePath, socket } = value as Record<string, unknown>;
  const text = (field: unknown): string => (typeof field === 'string' ? field : '?');
  return {
    ...identity,
    uid: typeof uid === 'number' ? uid : -1,
    name: text(name),
    command: text(command),
    imagePath: text(imagePath),
    socket: typeof socket === 'string' ? socket : undefined,
  };
}

function namesIn(directory: string): readonly string[] {
  try {
    return fs.readdirSync(directory);
  } catch {
    return [];
  }
}

/** Directories of those who were killed between making one and renaming it into place. */
function removeLeftovers(directory: string): void {
  const prefix = `${basename(directory)}.`;
  for (const name of namesIn(dirname(directory))) {
    if (!name.startsWith(prefix) || !/^\d+-[0-9a-f]{16}$/.test(name.slice(prefix.length))) continue;
    const leftover = join(dirname(directory), name);
    const holders = readHolders(leftover);
    if (holders.length === 0 || holders.some(({ holder }) => livenessOf(holder) !== 'dead')) continue;
    ignore(['*'], () => fs.rmSync(leftover, { recursive: true }));
  }
}

function ignore(codes: readonly string[], action: () => void): void {
  try {
    action();
  } catch (error) {
    if (!codes.includes('*') && !codes.includes(errnoName(error) ?? '')) throw error;
  }
}

function inUse(imagePath: string, directory: string, holder: ImageHolder | undefined): ProcsError {
  if (holder === undefined) {
    return new ProcsError('PROCS_ERR_IMAGE_IN_USE', `the image ${imagePath} is in use: ${directory} does not say by whom`, {
      remedy: `try again in a minute; if surely no procs uses it, remove ${directory}`,
    });
  }
  const remedy =
    livenessOf(holder) === 'unknown'
      ? `end that job, or wait a minute if it is gone; or give this one an image of its own: "--image FILE", or "--clone" with resume`
      : `give this one an image of its own: "--image FILE", or "--clone" with resume`;
  return new ProcsError('PROCS_ERR_IMAGE_IN_USE', `the image ${imagePath} is in use by ${describeHolder(holder)}`, { remedy });
}

function describeHolder(holder: ImageHolder): string {
  return `process ${holder.pid} on ${holder.host}: ${holder.command}`;
}

function lockFailure(imagePath: string, error: unknown): ProcsError {
  const directory = lockDirectory(imagePath);
  const errno = (error as NodeJS.ErrnoException).errno;
  const why = errno === undefined ? messageOf(error) : errnoText(-errno);
  const cannotWrite = ['EACCES', 'EPERM', 'EROFS'].includes(errnoName(error) ?? '');
  return new ProcsError('PROCS_ERR_IMAGE_WRITE', `cannot lock the image ${imagePath}: cannot make ${directory}: ${why}`, {
    cause: error,
    exit: EXIT.CANNOT_CREATE,
    remedy: cannotWrite ? 'keep the image in a folder that you can write to: "--image FILE"' : 'name another folder: "--image FILE"',
  });
}

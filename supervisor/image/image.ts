/**
 * An image: the one file in which the checkpoints of a tree are.
 *
 * job/ opens one, begins a draft, lets the addon append the page data to the descriptor,
 * and commits; or reads a checkpoint of it to resume. Records are carried as they are:
 * their kinds are resources/' affair. One writer at a time is registry/'s affair.
 *
 * docs/IMAGE.md describes the file, and why each step is in its place.
 */

import fs from 'node:fs';
import { dirname } from 'node:path';
import { errnoName, messageOf, ProcsError } from '../errors.js';
import { randomBytes } from '../random.js';
import { crc32c } from './crc32c.js';
import { CODECS, EXTENT_LENGTH, ExtentTable, MAX_TABLE_LENGTH, pagesOffset, type Extent, type Run } from './extents.js';
import { createFailure, damaged, failure, readFailure, writeFailure } from './failures.js';
import { realFiles, type ImageFiles } from './files.js';
import {
  alignUp, ARCHITECTURES, BLOCK, checksumWords, COMMIT_LENGTH, encodeCommit, encodeHead, FORMAT_VERSION, HEAD_SLOT_LENGTH,
  HEADS_END, IMAGE_ID_LENGTH, slotOf, thisArchitecture, architectureName, type Architecture, type Head,
} from './layout.js';
import { decodeMetadata, encodeMetadata, MAX_METADATA_LENGTH, type CheckpointHeader, type ImageRecord, type Metadata } from './metadata.js';
import { isIncompleteImage, openImageFile, readExact, readHeads, readHistory, type Committed, type Damage } from './open.js';
import { verifyImage, type VerifyOptions, type Verification } from './verify.js';

export type { CheckpointHeader, Damage, Extent, ImageRecord, Verification, VerifyOptions };
export { ExtentTable } from './extents.js';

export interface OpenOptions {
  /** Refuses an image of another; default: this machine's. `any`, for those who only look. */
  readonly architecture?: Architecture | 'any';
  /** Default: the real ones. */
  readonly files?: ImageFiles;
}

export interface CreateOptions {
  /** Default: this machine's. */
  readonly architecture?: Architecture;
  /** Default: 4096. */
  readonly pageSize?: number;
  /** Whether to take the place of a file in which no checkpoint was ever completed; default: no. */
  readonly replaceIncomplete?: boolean;
  /** Default: the real ones. */
  readonly files?: ImageFiles;
}

export interface CheckpointSummary {
  readonly number: number;
  /** The checkpoint that it goes on from; 0: none. */
  readonly parent: number;
  /** When it was committed, in ms since 1970. */
  readonly timeMs: number;
  /** Page data written for it: pages that it shares with earlier ones are not counted. */
  readonly dataBytes: number;
  readonly metadataBytes: number;
  readonly extentCount: number;
  /** Where its part of the file begins and ends. */
  readonly start: number;
  readonly end: number;
}

/** A checkpoint as it was committed, every byte of it checked. */
export interface Checkpoint {
  readonly summary: CheckpointSummary;
  readonly header: CheckpointHeader;
  readonly records: readonly ImageRecord[];
  readonly extents: ExtentTable;
}

export interface CommitRequest {
  readonly header: CheckpointHeader;
  readonly records: readonly ImageRecord[];
  /** Encoded entries, in any order: those written for this draft, and those kept from earlier checkpoints. */
  readonly extents: Uint8Array;
  /** End of the page data written for this draft; `draft.dataOffset` if none was. */
  readonly dataEnd: number;
  /** Default: the newest checkpoint of the image. */
  readonly parent?: number;
  /** Default: now. */
  readonly timeMs?: number;
}

/** Frees a range of the file without changing its length: fallocate(2), FALLOC_FL_PUNCH_HOLE. */
export type PunchHole = (fd: number, offset: number, length: number) => void;

export class Image implements Disposable {
  readonly path: string;
  readonly id: Uint8Array;
  /** Open as long as the image is; the addon reads and writes page data through it, by pread and pwrite. */
  readonly fd: number;
  readonly pageSize: number;
  readonly architecture: string;
  readonly ownerUid: number;
  readonly #files: ImageFiles;
  readonly #writing: boolean;
  readonly #created: boolean;
  #head: Head;
  /** The slot in which the head is known to be durable. It is never the first to be written over. */
  #durableSlot: number;
  #commits: readonly Committed[];
  #damage: readonly Damage[];
  #notes: readonly string[];
  #draft: CheckpointDraft | undefined;
  /** Why nothing more can be written: what is on disk is not known. */
  #broken: string | undefined;
  #state: 'open' | 'closing' | 'closed' = 'open';

  private constructor(fields: {
    path: string; fd: number; ownerUid: number; files: ImageFiles; writing: boolean; created: boolean;
    head: Head; durableSlot: number; commits: readonly Committed[]; damage: readonly Damage[]; notes: readonly string[];
  }) {
    this.path = fields.path;
    this.fd = fields.fd;
    this.ownerUid = fields.ownerUid;
    this.#files = fields.files;
    this.#writing = fields.writing;
    this.#created = fields.created;
    this.#head = fields.head;
    this.#durableSlot = fields.durableSlot;
    this.#commits = fields.commits;
    this.#damage = fields.damage;
    this.#notes = fields.notes;
    this.id = fields.head.id;
    this.pageSize = fields.head.pageSize;
    this.architecture = architectureName(fields.head.architecture);
  }

  /**
   * Opens an image that has at least one checkpoint whose commit record is good. Where others
   * are not, `damage` says so, and `read` refuses them.
   */
  static openForReading(path: string, options: OpenOptions = {}): Image {
    return Image.#open(path, false, options);
  }

  /**
   * Opens an image to append to it, and cuts off what a failed or crashed write left behind the
   * newest checkpoint. An image without any checkpoint is accepted; one whose end is damaged is not.
   */
  static openForWriting(path: string, options: OpenOptions = {}): Image {
    return Image.#open(path, true, options);
  }

  static #open(path: string, writing: boolean, options: OpenOptions): Image {
    const files = options.files ?? realFiles;
    const architecture = options.architecture ?? machineArchitecture();
    const file = openImageFile(path, writing, files);
    try {
      const { head, durableSlot, notes } = readHeads(path, file, architecture, files);
      const { commits, damage } = readHistory(path, file, head, files);
      if (head.newest === 0 && !writing) {
        throw failure('PROCS_ERR_IMAGE_EMPTY', `the image ${path} holds no complete checkpoint`);
      }
      if (head.newest !== 0 && commits.length === 0) throw damaged(path, damage.map(({ reason }) => reason).join('; '), { remedy: 'use a copy of it' });
      if (writing) {
        if (file.size < head.fileEnd || commits.at(-1)?.number !== (head.newest || undefined)) {
          throw damaged(path, `${damage.map(({ reason }) => reason).join('; ')}; nothing can be appended`, {
            remedy: '"procs verify" lists the checkpoints that are whole; resume one of them into a new image',
          });
        }
        if (file.size > head.fileEnd) {
          try {
            files.truncate(file.fd, head.fileEnd);
          } catch (error) {
            throw writeFailure(path, 'anything', error);
          }
        }
      }
      return new Image({
        path, fd: file.fd, ownerUid: file.ownerUid, files, writing, created: false,
        head, durableSlot, commits, damage, notes,
      });
    } catch (error) {
      files.close(file.fd);
      throw error;
    }
  }

  /** Makes a new, private image. Closed without a checkpoint, it is removed again. */
  static async create(path: string, options: CreateOptions = {}): Promise<Image> {
    const files = options.files ?? realFiles;
    const pageSize = options.pageSize ?? BLOCK;
    const head: Head = {
      version: FORMAT_VERSION,
      architecture: ARCHITECTURES[options.architecture ?? machineArchitecture()],
      pageSize,
      sequence: 1,
      id: new Uint8Array(randomBytes(IMAGE_ID_LENGTH)),
      commitOffset: 0,
      commitLength: 0,
      fileEnd: HEADS_END,
      newest: 0,
      oldest: 0,
      previousCommitOffset: 0,
    };
    let fd: number | undefined;
    try {
      fd = createExclusively(path, options.replaceIncomplete ?? false, files);
      const slot = encodeHead(head);
      await files.write(fd, Buffer.concat([slot, slot]), 0);
      await files.sync(fd);
      syncDirectoryOf(path, files);
      return new Image({
        path, fd, ownerUid: files.fstat(fd).uid, files, writing: true, created: true,
        head, durableSlot: slotOf(head.sequence), commits: [], damage: [], notes: [],
      });
    } catch (error) {
      if (fd !== undefined) {
        removeOwn(path, fd, files);
        files.close(fd);
      }
      throw error instanceof ProcsError ? error : createFailure(path, error);
    }
  }

  /** Ascending; those kept whose commit record is good. */
  get checkpoints(): readonly CheckpointSummary[] {
    return this.#commits.map(summaryOf);
  }

  /** Number of the newest checkpoint, good or not; 0: none. Numbers are never used twice. */
  get newest(): number {
    return this.#head.newest;
  }

  /** What is known to be wrong, and which checkpoints are lost by it. */
  get damage(): readonly Damage[] {
    return this.#damage;
  }

  /** What is wrong and costs nothing, such as one damaged head out of two. */
  get notes(): readonly string[] {
    return this.#notes;
  }

  /** End of the file at the newest checkpoint. */
  get end(): number {
    return this.#head.fileEnd;
  }

  /**
   * Reads a checkpoint's metadata and extent table, and checks both.
   *
   * @param number  Default: the newest.
   * @throws {ProcsError} `PROCS_ERR_IMAGE_DAMAGED`; `PROCS_ERR_USAGE` where there is no such checkpoint.
   */
  read(number: number = this.newest): Checkpoint {
    this.#assertOpen();
    const commit = this.#commitOf(number);
    const bytes = this.#readSection(commit, 'metadata', commit.metadataOffset, commit.metadataLength, MAX_METADATA_LENGTH, commit.metadataCrc);
    const { header, records } = this.#understand(number, () => decodeMetadata(bytes));
    const extents = this.#readExtents(commit);
    return { summary: summaryOf(commit), header, records, extents };
  }

  /** Pages of one stored extent, checked; for looking at them. Restoring reads through the addon. */
  readPages(extent: Extent): Uint8Array {
    this.#assertOpen();
    if (extent.codec !== CODECS.raw) throw failure('PROCS_ERR_INTERNAL', `the extent at ${extent.fileOffset} is compressed: the addon reads it`);
    const bytes = readExact(this.path, this.fd, extent.fileOffset, extent.storedLength, this.#files);
    const computed = crc32c(bytes);
    if (computed !== extent.crc32c) throw damaged(this.path, `the page data at ${extent.fileOffset} cannot be used: ${checksumWords(extent.crc32c, computed)}`);
    const start = pagesOffset(extent, this.pageSize) - extent.fileOffset;
    return bytes.subarray(start, start + extent.pageCount * this.pageSize);
  }

  /** Reads everything that is reachable, page data included. Finding damage is a result, not an error. */
  async verify(options: VerifyOptions = {}): Promise<Verification> {
    this.#assertOpen();
    return verifyImage(this, { checksumRange: (fd, offset, length) => this.#checksumRange(fd, offset, length), ...options });
  }

  /**
   * Begins a checkpoint. Until it is committed or aborted there is no other.
   * Page data is appended at `dataOffset` by pwrite to `fd`; no one else may extend the file meanwhile.
   */
  begin(): CheckpointDraft {
    this.#assertWritable();
    if (this.#draft !== undefined) throw failure('PROCS_ERR_INTERNAL', `a checkpoint is being written to ${this.path} already`);
    const draft: CheckpointDraft = new CheckpointDraft({
      fd: this.fd,
      number: this.newest + 1,
      dataOffset: alignUp(this.#head.fileEnd, BLOCK),
      commit: (request) => this.#commit(draft, request),
      abort: () => this.#abort(draft),
    });
    this.#draft = draft;
    return draft;
  }

  /**
   * Drops all checkpoints before a given one, and gives back the space that no later one uses.
   *
   * @param punchHole  Where the file system has no holes (EOPNOTSUPP), the space stays in use.
   * @returns How many bytes were given back; those given back before are counted again.
   */
  async dropBefore(number: number, punchHole: PunchHole): Promise<number> {
    this.#assertWritable();
    if (this.#draft !== undefined) throw failure('PROCS_ERR_INTERNAL', `a checkpoint is being written to ${this.path}`);
    this.#commitOf(number);
    const kept = this.#commits.filter((commit) => commit.number >= number);
    const runs = kept.flatMap((commit) => this.#understand(commit.number, () => this.#readExtents(commit).runs()));
    const free = unusedRanges(kept, runs, this.#head.fileEnd);
    // Both heads say so, durably, before anything is gone: neither may lead to a hole.
    try {
      await this.#files.sync(this.fd); // The last commit's copy in the second head.
      await this.#writeHead({ ...this.#head, oldest: number });
      this.#commits = kept;
      await this.#writeHead(this.#head);
    } catch (error) {
      throw writeFailure(this.path, 'a head', error);
    }
    let bytes = 0;
    for (const [start, end] of free) {
      try {
        punchHole(this.fd, start, end - start);
      } catch (error) {
        if (errnoName(error) === 'EOPNOTSUPP' || errnoName(error) === 'ENOTSUP') break;
        throw writeFailure(this.path, 'a hole', error);
      }
      bytes += end - start;
    }
    return bytes;
  }

  /** Ends the life of this object; a draft that is not being committed is aborted. Safe to call twice. */
  close(): void {
    if (this.#state !== 'open') return;
    if (this.#draft?.state === 'committing') {
      this.#state = 'closing'; // The descriptor must not become another file's while a write is on its way.
      return;
    }
    this.#draft?.abort();
    this.#state = 'closed';
    if (this.#created && this.#commits.length === 0 && this.#broken === undefined) removeOwn(this.path, this.fd, this.#files);
    this.#files.close(this.fd);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** The three steps of a commit, each durable before the next. */
  async #commit(draft: CheckpointDraft, request: CommitRequest): Promise<CheckpointSummary> {
    const previous = this.#commits.at(-1);
    const { number } = draft;
    let commit: Committed;
    try {
      const { dataEnd, parent = this.newest, timeMs = Date.now() } = request;
      if (dataEnd < draft.dataOffset || dataEnd > this.#files.fstat(this.fd).size && dataEnd > draft.dataOffset) {
        throw failure('PROCS_ERR_INTERNAL', `the page data of checkpoint ${number} cannot end at ${dataEnd}: it begins at ${draft.dataOffset}, and the file is shorter`);
      }
      if (parent < 0 || parent >= number || !Number.isSafeInteger(parent)) throw failure('PROCS_ERR_INTERNAL', `checkpoint ${number} cannot have the parent ${parent}`);
      const metadata = encodeMetadata({ header: request.header, records: request.records });
      const table = this.#sortExtents(number, request.extents, dataEnd);
      const metadataOffset = alignUp(dataEnd, 8);
      const tableOffset = alignUp(metadataOffset + metadata.length, 8);
      commit = {
        id: this.id, number, parent, timeMs: Math.max(0, Math.trunc(timeMs)),
        metadataOffset, metadataLength: metadata.length, metadataCrc: crc32c(metadata),
        tableOffset, tableLength: table.length, tableCrc: crc32c(table),
        dataStart: draft.dataOffset, dataEnd,
        previousOffset: previous?.offset ?? 0,
        beforePreviousOffset: previous?.previousOffset ?? 0,
        offset: alignUp(tableOffset + table.length, 8),
      };
      if (!Number.isSafeInteger(commit.offset + COMMIT_LENGTH)) throw failure('PROCS_ERR_IMAGE_WRITE', `the image ${this.path} would be larger than 2^53 bytes`);
      await this.#files.write(this.fd, metadata, metadataOffset);
      await this.#files.write(this.fd, table, tableOffset);
      await this.#files.sync(this.fd);
      await this.#files.write(this.fd, encodeCommit(commit), commit.offset);
      await this.#files.sync(this.fd);
    } catch (error) {
      this.#release(draft, true);
      throw error instanceof ProcsError ? error : writeFailure(this.path, `checkpoint ${number}`, error);
    }
    const head: Head = {
      ...this.#head,
      commitOffset: commit.offset,
      commitLength: COMMIT_LENGTH,
      fileEnd: commit.offset + COMMIT_LENGTH,
      newest: number,
      oldest: this.#head.oldest || number,
      previousCommitOffset: commit.previousOffset,
    };
    try {
      await this.#writeHead(head);
    } catch (error) {
      // The tail may be cut only when no head on the disk leads there.
      this.#release(draft, this.#broken === undefined);
      throw writeFailure(this.path, `checkpoint ${number}`, error);
    }
    this.#commits = [...this.#commits, commit];
    this.#release(draft, false);
    return summaryOf(commit);
  }

  /**
   * Writes a head to the slot that is not known to be durable, and waits until it is: from then on it
   * counts. Then the other slot gets the same, so that no damage to a single one leads back to an older
   * checkpoint. That copy needs no sync of its own: the caller syncs before the next head is written.
   */
  async #writeHead(changed: Head): Promise<void> {
    const slot = 1 - this.#durableSlot;
    let sequence = this.#head.sequence + 1;
    if (slotOf(sequence) !== slot) sequence++;
    const head = { ...changed, sequence };
    const bytes = encodeHead(head);
    try {
      await this.#files.write(this.fd, bytes, slot * HEAD_SLOT_LENGTH);
      await this.#files.sync(this.fd);
    } catch (error) {
      await this.#restoreHead(slot, messageOf(error));
      throw error;
    }
    this.#head = head;
    this.#durableSlot = slot;
    try {
      await this.#files.write(this.fd, bytes, (1 - slot) * HEAD_SLOT_LENGTH);
    } catch {
      // The head is durable without its copy, and the copy's slot is written first the next time.
    }
  }

  /** Puts the head that counts back into a slot whose new contents may or may not have become durable. */
  async #restoreHead(slot: number, reason: string): Promise<void> {
    try {
      await this.#files.write(this.fd, encodeHead(this.#head), slot * HEAD_SLOT_LENGTH);
      await this.#files.sync(this.fd);
    } catch {
      this.#broken = `its head could not be written (${reason})`;
    }
  }

  #abort(draft: CheckpointDraft): void {
    this.#release(draft, true);
  }

  /** Ends a draft. What cannot be cut off now is unreferenced, and is cut off when the image is next opened for writing. */
  #release(draft: CheckpointDraft, cutTail: boolean): void {
    if (this.#draft === draft) this.#draft = undefined;
    if (cutTail && this.#state !== 'closed') {
      try {
        this.#files.truncate(this.fd, this.#head.fileEnd);
      } catch {
        // See above.
      }
    }
    if (this.#state === 'closing') {
      this.#state = 'open';
      this.close();
    }
  }

  #sortExtents(number: number, extents: Uint8Array, dataEnd: number): Uint8Array {
    try {
      return ExtentTable.sort(extents, { pageSize: this.pageSize, dataEnd }).bytes;
    } catch (error) {
      throw failure('PROCS_ERR_INTERNAL', `cannot write the extent table of checkpoint ${number}: ${messageOf(error)}`, { cause: error });
    }
  }

  #readExtents(commit: Committed): ExtentTable {
    const bytes = this.#readSection(commit, 'extent table', commit.tableOffset, commit.tableLength, MAX_TABLE_LENGTH, commit.tableCrc);
    return this.#understand(commit.number, () => ExtentTable.check(bytes, { pageSize: this.pageSize, dataEnd: commit.dataEnd }));
  }

  #readSection(commit: Committed, name: string, offset: number, length: number, limit: number, stored: number): Uint8Array {
    if (length > Math.min(limit, this.end)) throw damaged(this.path, `the ${name} of checkpoint ${commit.number} has ${length} bytes`);
    const bytes = readExact(this.path, this.fd, offset, length, this.#files);
    const computed = crc32c(bytes);
    if (computed !== stored) throw damaged(this.path, `the ${name} of checkpoint ${commit.number} cannot be used: ${checksumWords(stored, computed)}`);
    return bytes;
  }

  #understand<T>(number: number, decode: () => T): T {
    try {
      return decode();
    } catch (error) {
      if (error instanceof ProcsError) throw error;
      throw damaged(this.path, `checkpoint ${number} cannot be used: ${messageOf(error)}`, { cause: error });
    }
  }

  #commitOf(number: number): Committed {
    const commit = this.#commits.find((candidate) => candidate.number === number);
    if (commit !== undefined) return commit;
    const damage = this.#damage.find(({ checkpoints }) => checkpoints !== undefined && checkpoints[0] <= number && number <= checkpoints[1]);
    if (damage !== undefined) throw damaged(this.path, damage.reason);
    const have = this.#commits.length === 0 ? 'it has none' : `it has ${this.#commits.map((other) => other.number).join(', ')}`;
    throw failure('PROCS_ERR_USAGE', `there is no checkpoint ${number} in the image ${this.path}: ${have}`);
  }

  async #checksumRange(fd: number, offset: number, length: number): Promise<number> {
    const piece = 1024 * 1024;
    let crc = 0;
    for (let done = 0; done < length; done += piece) {
      const wanted = Math.min(piece, length - done);
      let bytes: Uint8Array;
      try {
        bytes = await this.#files.readAsync(fd, wanted, offset + done);
      } catch (error) {
        throw readFailure(this.path, error);
      }
      if (bytes.length < wanted) throw damaged(this.path, `it ends at ${offset + done + bytes.length}`);
      crc = crc32c(bytes, crc);
    }
    return crc;
  }

  #assertOpen(): void {
    if (this.#state !== 'open') throw failure('PROCS_ERR_INTERNAL', `the image ${this.path} is closed`);
  }

  #assertWritable(): void {
    this.#assertOpen();
    if (!this.#writing) throw failure('PROCS_ERR_INTERNAL', `the image ${this.path} is open for reading only`);
    if (this.#broken !== undefined) throw failure('PROCS_ERR_IMAGE_WRITE', `nothing more can be written to the image ${this.path}: ${this.#broken}`);
  }
}

interface DraftParts {
  readonly fd: number;
  readonly number: number;
  readonly dataOffset: number;
  readonly commit: (request: CommitRequest) => Promise<CheckpointSummary>;
  readonly abort: () => void;
}

/** A checkpoint being written. Left without a commit, it is aborted, and the image is as it was. */
export class CheckpointDraft implements Disposable {
  readonly fd: number;
  /** The number that the checkpoint will have. */
  readonly number: number;
  /** Where page data may be written from; a multiple of 4096. */
  readonly dataOffset: number;
  readonly #parts: DraftParts;
  #state: 'open' | 'committing' | 'done' = 'open';

  /** @internal Use `image.begin()`. */
  constructor(parts: DraftParts) {
    this.fd = parts.fd;
    this.number = parts.number;
    this.dataOffset = parts.dataOffset;
    this.#parts = parts;
  }

  get state(): 'open' | 'committing' | 'done' {
    return this.#state;
  }

  /**
   * Makes the checkpoint part of the image. It is durable when this returns; when it throws, the
   * image is as it was before `begin`, and the draft is done.
   *
   * @throws {ProcsError} `PROCS_ERR_IMAGE_WRITE`
   */
  async commit(request: CommitRequest): Promise<CheckpointSummary> {
    if (this.#state !== 'open') throw failure('PROCS_ERR_INTERNAL', `checkpoint ${this.number} was committed or aborted before`);
    this.#state = 'committing';
    try {
      return await this.#parts.commit(request);
    } finally {
      this.#state = 'done';
    }
  }

  /** Gives back what was written. Nothing may be writing page data any more. No effect on a draft that is done. */
  abort(): void {
    if (this.#state !== 'open') return;
    this.#state = 'done';
    this.#parts.abort();
  }

  [Symbol.dispose](): void {
    this.abort();
  }
}

/** Parts of the file that no kept checkpoint uses, in whole blocks. */
function unusedRanges(kept: readonly Committed[], runs: readonly Run[], end: number): [start: number, end: number][] {
  const used: [number, number][] = [
    ...kept.map((commit): [number, number] => [commit.metadataOffset, commit.offset + COMMIT_LENGTH]),
    ...runs.map(({ fileOffset, storedLength }): [number, number] => [fileOffset, fileOffset + storedLength]),
  ];
  used.sort((a, b) => a[0] - b[0]);
  const free: [number, number][] = [];
  let position = HEADS_END;
  for (const [start, stop] of [...used, [end, end] as const]) {
    const from = alignUp(position, BLOCK);
    const to = start - (start % BLOCK);
    if (to > from) free.push([from, to]);
    position = Math.max(position, stop);
  }
  return free;
}

function summaryOf(commit: Committed): CheckpointSummary {
  return {
    number: commit.number,
    parent: commit.parent,
    timeMs: commit.timeMs,
    dataBytes: commit.dataEnd - commit.dataStart,
    metadataBytes: commit.metadataLength,
    extentCount: Math.floor(commit.tableLength / EXTENT_LENGTH),
    start: commit.dataStart,
    end: commit.offset + COMMIT_LENGTH,
  };
}

function machineArchitecture(): Architecture {
  const architecture = thisArchitecture();
  if (architecture === undefined) throw failure('PROCS_ERR_MACHINE', `procs does not know this machine's architecture, ${process.arch}`);
  return architecture;
}

function createExclusively(path: string, replaceIncomplete: boolean, files: ImageFiles): number {
  const { O_CREAT, O_EXCL, O_RDWR } = fs.constants;
  try {
    return files.open(path, O_RDWR | O_CREAT | O_EXCL, 0o600);
  } catch (error) {
    if (errnoName(error) !== 'EEXIST' || !replaceIncomplete || !isIncompleteImage(path, files)) throw error;
  }
  files.unlink(path);
  return files.open(path, O_RDWR | O_CREAT | O_EXCL, 0o600);
}

/** Removes the file at a path if it is still the one that is open here. */
function removeOwn(path: string, fd: number, files: ImageFiles): void {
  try {
    const named = files.stat(path);
    const open = files.fstat(fd);
    if (named.dev === open.dev && named.ino === open.ino) files.unlink(path);
  } catch {
    // It stays, and is recognised as incomplete.
  }
}

function syncDirectoryOf(path: string, files: ImageFiles): void {
  try {
    files.syncDirectory(dirname(path));
  } catch (error) {
    // A folder that can be written but not read, or a file system that syncs no folders: no more can be done.
    if (!['EACCES', 'EINVAL', 'ENOTSUP', 'EOPNOTSUPP'].includes(errnoName(error) ?? '')) throw error;
  }
}

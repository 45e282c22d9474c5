/**
 * The metadata of a checkpoint: a header and a list of records, as one CBOR item.
 *
 * Deterministic CBOR (RFC 8949): definite lengths, shortest integers, no undefined, no
 * duplicate keys. A JavaScript number is a CBOR integer or float; a bigint, however small,
 * is a bignum (tag 2 or 3), so that each comes back as what it was. Bytes are Uint8Array.
 */

import { decode, encode, Token, Type, type DecodeOptions, type EncodeOptions } from 'cborg';
import { messageOf, ProcsError } from '../errors.js';

/** Anything that is saved: image/ knows only the kind's name and its version. */
export interface ImageRecord {
  readonly kind: string;
  readonly version: number;
  readonly [field: string]: unknown;
}

/** What job/ writes about a checkpoint as a whole: time, host, kernel, command… */
export interface CheckpointHeader {
  readonly [field: string]: unknown;
}

export interface Metadata {
  readonly header: CheckpointHeader;
  readonly records: readonly ImageRecord[];
}

/** More is refused, written or read: it would be memory contents, not metadata. */
export const MAX_METADATA_LENGTH = 256 * 1024 * 1024;
const MAX_DEPTH = 64;
const MAX_BIGNUM_LENGTH = 32;

const ENCODE_OPTIONS: EncodeOptions = { typeEncoders: { bigint: encodeBigint } };

const DECODE_OPTIONS: DecodeOptions = {
  strict: true,
  allowIndefinite: false,
  allowUndefined: false,
  allowInfinity: false,
  allowNaN: false,
  allowBigInt: false, // plain integers above 2^53; bigints are tagged
  rejectDuplicateMapKeys: true,
  tags: {
    2: (content) => decodeBigint(content()),
    3: (content) => -1n - decodeBigint(content()),
  },
};

/**
 * @throws {ProcsError} `PROCS_ERR_INTERNAL` on a value that would not come back as it is,
 *   with the path to it.
 */
export function encodeMetadata(metadata: Metadata): Uint8Array {
  checkValue(metadata.header, 'header', 1);
  metadata.records.forEach((record, i) => {
    checkRecord(record, (why) => new ProcsError('PROCS_ERR_INTERNAL', `cannot write record ${i} to an image: ${why}`));
    checkValue(record, `record ${i} (${record.kind})`, 1);
  });
  const bytes = encode({ header: metadata.header, records: metadata.records }, ENCODE_OPTIONS);
  if (bytes.length > MAX_METADATA_LENGTH) {
    throw new ProcsError('PROCS_ERR_IMAGE_WRITE', `cannot write the metadata: it has ${bytes.length} bytes, more than ${MAX_METADATA_LENGTH}`);
  }
  return bytes;
}

/** @throws {Error} with a phrase that fits after "because". */
export function decodeMetadata(bytes: Uint8Array): Metadata {
  let item: unknown;
  try {
    item = decode(bytes, DECODE_OPTIONS);
  } catch (error) {
    throw new Error(error instanceof RangeError ? 'its metadata is nested too deeply' : `its metadata is not understood (${messageOf(error)})`);
  }
  const { header, records } = isMap(item) ? item : {};
  if (!isMap(header) || !Array.isArray(records)) throw new Error('its metadata has no header and records');
  records.forEach((record: unknown, i) => {
    checkRecord(record, (why) => new Error(`record ${i} of its metadata is not one: ${why}`));
  });
  return { header, records: records as ImageRecord[] };
}

function checkRecord(record: unknown, failure: (why: string) => Error): void {
  if (!isMap(record)) throw failure('it is not a map');
  if (typeof record['kind'] !== 'string' || record['kind'] === '') throw failure('it has no kind');
  const version = record['version'];
  if (typeof version !== 'number' || !Number.isSafeInteger(version) || version < 1) throw failure(`its version is ${String(version)}`);
}

/** Only what decodes to the same value is let through. */
function checkValue(value: unknown, path: string, depth: number): void {
  const refuse = (what: string): never => {
    throw new ProcsError('PROCS_ERR_INTERNAL', `cannot write ${path} to an image: it is ${what}`);
  };
  if (depth > MAX_DEPTH) refuse(`nested deeper than ${MAX_DEPTH}`);
  switch (typeof value) {
    case 'boolean':
      return;
    case 'number':
      if (!Number.isFinite(value)) refuse(String(value));
      return;
    case 'bigint':
      if (BigInt.asIntN(8 * MAX_BIGNUM_LENGTH, value) !== value) refuse(`a bigint of more than ${MAX_BIGNUM_LENGTH} bytes`);
      return;
    case 'string':
      if (LONE_SURROGATE.test(value)) refuse('a string with half a surrogate pair');
      return;
    case 'object':
      if (value === null || value instanceof Uint8Array) return;
      if (Array.isArray(value)) {
        for (let i = 0; i < value.length; i++) checkValue(value[i], `${path}[${i}]`, depth + 1);
        return;
      }
      if (!isMap(value)) return refuse(`a ${value.constructor.name}`);
      for (const key of Object.keys(value)) checkValue(value[key], `${path}.${key}`, depth + 1);
      return;
    default:
      refuse(typeof value);
  }
}

const LONE_SURROGATE = /\p{Surrogate}/u;

function isMap(value: unknown): value is Record<string, unknown> {
  if (typeof value !== 'object' || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

function encodeBigint(value: bigint): Token[] {
  const magnitude = value < 0n ? -1n - value : value;
  const digits = magnitude === 0n ? '' : magnitude.toString(16);
  const bytes = Uint8Array.from(Buffer.from(digits.length % 2 === 1 ? `0${digits}` : digits, 'hex'));
  return [new Token(Type.tag, value < 0n ? 3 : 2), new Token(Type.bytes, bytes)];
}

function decodeBigint(content: unknown): bigint {
  if (!(content instanceof Uint8Array)) throw new Error('a bignum is not a byte string');
  if (content.length > MAX_BIGNUM_LENGTH) throw new Error(`a bignum has ${content.length} bytes`);
  if (content[0] === 0) throw new Error('a bignum begins with a zero byte');
  return content.length === 0 ? 0n : BigInt(`0x${Buffer.from(content).toString('hex')}`);
}

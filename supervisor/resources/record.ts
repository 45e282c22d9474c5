/**
 * Records: what an image holds of each resource. Whatever is read from one is
 * unproven, so every field is taken through a reader that checks its type.
 */
import { ProcsError } from '../errors.js';

/** One record of an image: its kind, its version, and fields of plain values. */
export interface Record_ {
  readonly kind: string;
  readonly version: number;
  readonly [field: string]: unknown;
}

export class FieldReader {
  constructor(
    private readonly fields: { readonly [field: string]: unknown },
    private readonly what: string,
  ) {}

  #refuse(name: string, wanted: string): never {
    throw new ProcsError('PROCS_ERR_IMAGE_FORMAT', `cannot use the record "${this.what}" of the image: field ${name} is not ${wanted}`);
  }

  number(name: string): number {
    const value = this.fields[name];
    return typeof value === 'number' && Number.isSafeInteger(value) ? value : this.#refuse(name, 'a whole number');
  }

  bigint(name: string): bigint {
    const value = this.fields[name];
    return isWord(value) ? value : this.#refuse(name, 'a 64-bit number');
  }

  text(name: string): string {
    const value = this.fields[name];
    return typeof value === 'string' && !value.includes('\0') ? value : this.#refuse(name, 'a text');
  }

  flag(name: string): boolean {
    const value = this.fields[name];
    return typeof value === 'boolean' ? value : this.#refuse(name, 'true or false');
  }

  /** @param length  The only right length, where there is one. */
  bytes(name: string, length?: number): Buffer {
    const value = this.fields[name];
    if (!(value instanceof Uint8Array)) return this.#refuse(name, 'bytes');
    if (length !== undefined && value.length !== length) return this.#refuse(name, `${length} bytes`);
    return Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  }

  numbers(name: string): number[] {
    const value = this.fields[name];
    return Array.isArray(value) && value.every((item) => Number.isSafeInteger(item)) ? (value as number[]) : this.#refuse(name, 'a list of numbers');
  }

  bigints(name: string): bigint[] {
    const value = this.fields[name];
    return Array.isArray(value) && value.every(isWord) ? (value as bigint[]) : this.#refuse(name, 'a list of 64-bit numbers');
  }

  texts(name: string): string[] {
    const value = this.fields[name];
    return Array.isArray(value) && value.every((item) => typeof item === 'string' && !item.includes('\0')) ? (value as string[]) : this.#refuse(name, 'a list of texts');
  }

  byteLists(name: string): Buffer[] {
    const value = this.fields[name];
    if (!Array.isArray(value) || !value.every((item) => item instanceof Uint8Array)) return this.#refuse(name, 'a list of bytes');
    return (value as Uint8Array[]).map((item) => Buffer.from(item.buffer, item.byteOffset, item.byteLength));
  }

  list(name: string): FieldReader[] {
    const value = this.fields[name];
    if (!Array.isArray(value)) return this.#refuse(name, 'a list');
    return value.map((item, index) => {
      if (!isMap(item)) return this.#refuse(`${name}[${index}]`, 'a map');
      return new FieldReader(item, `${this.what}.${name}[${index}]`);
    });
  }

  /** Undefined where the field is null or absent. */
  optional<T>(name: string, read: (reader: FieldReader, name: string) => T): T | undefined {
    const value = this.fields[name];
    return value === null || value === undefined ? undefined : read(this, name);
  }

  map(name: string): FieldReader {
    const value = this.fields[name];
    if (!isMap(value)) return this.#refuse(name, 'a map');
    return new FieldReader(value, `${this.what}.${name}`);
  }
}

/** An image's integers may have 256 bits; the kernel's, signed or not, have 64. */
function isWord(value: unknown): value is bigint {
  return typeof value === 'bigint' && value >= -(1n << 63n) && value < 1n << 64n;
}

function isMap(value: unknown): value is { [field: string]: unknown } {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array);
}

/** @throws {ProcsError} where the record is of a version that this program does not know. */
export function readRecord(record: Record_, version: number): FieldReader {
  if (record.version !== version) {
    throw new ProcsError('PROCS_ERR_IMAGE_VERSION', `cannot use the record "${record.kind}" of the image: it is of version ${record.version}, this program knows version ${version}`);
  }
  return new FieldReader(record, record.kind);
}

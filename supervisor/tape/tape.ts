/**
 * The tape encoder: collects system calls with their arguments, expected results and
 * data, and encodes them as the bytes that the player (agent/player.c) plays.
 *
 * Pure: nothing is read or run here. Layout: agent/tape.h, printed into layout.ts by
 * the build. A tape can be printed as text (`tapeToText`), the main debugging aid.
 */
import {
  TAPE_ARG_DATA,
  TAPE_ARG_IMMEDIATE,
  TAPE_ARG_LOAD,
  TAPE_ARG_SLOT,
  TAPE_BARRIER,
  TAPE_CALL,
  TAPE_END,
  TAPE_EXPECT_ANY,
  TAPE_EXPECT_EQUAL,
  TAPE_EXPECT_OK,
  TAPE_HEADER,
  TAPE_HEADER_SIZE,
  TAPE_JUMP,
  TAPE_LEAVE,
  TAPE_LOAD,
  TAPE_MAGIC,
  TAPE_OP,
  TAPE_OP_SIZE,
  TAPE_REPEAT,
  TAPE_SPAWN,
  TAPE_VERSION,
} from './layout.js';
import { SYSCALL, type SyscallName, syscallName } from './syscalls.js';

export const PAGE_SIZE = 4096;
/** sizeof(struct tape_load). */
export const LOAD_SIZE = 40;

/** A place in the tape's data, resolved when the tape is encoded. */
export class DataRef {
  constructor(readonly offset: number) {}
  /** The place `bytes` further on. */
  plus(bytes: number): DataRef {
    return new DataRef(this.offset + bytes);
  }
}

/** The result of an earlier operation. */
export class Slot {
  constructor(readonly index: number) {}
}

/** The int32 that a system call has written at a place of the tape's data. */
export class Load {
  constructor(readonly at: DataRef) {}
}

/** The address of a slot, for a call that sends results away. */
export class SlotAddress {
  constructor(readonly slot: Slot) {}
}

/** An operation's number, once it has been placed: where a child goes on. */
export class Mark {
  op = -1;
}

export type Arg = bigint | number | DataRef | Slot | Load | SlotAddress | Mark;

export interface CallOptions {
  /** A negative errno is noted and the tape goes on. */
  readonly mayFail?: boolean;
  /** The only result that is right. */
  readonly want?: bigint | number;
}

interface Op {
  readonly kind: number;
  readonly label: number;
  readonly number: number;
  readonly args: readonly Arg[];
  readonly expect: number;
  readonly want: bigint;
  readonly slot: Slot;
}

/** What happens around a tape when it is encoded. */
export interface EncodeOptions {
  /** Address of the whole region: player code, then the tape. */
  readonly base: bigint;
  /** Length of the player code in front of the header, a multiple of the page size. */
  readonly codeSize: number;
  /** Where a failure is written; -1 stops for the tracer. */
  readonly reportFd: number;
}

export class Tape {
  readonly #ops: Op[] = [];
  readonly #labels: string[] = [];
  readonly #labelNumbers = new Map<string, number>();
  readonly #chunks: { at: number; bytes: Uint8Array }[] = [];
  readonly #pointers: { at: DataRef; to: DataRef | SlotAddress }[] = [];
  #dataLength = 0;
  /** The region is at least this long: room for later tapes. */
  minimumLength = 0;
  readonly #vdsoDistances: readonly number[];
  #slots: number;
  #loaderStack: DataRef | undefined;
  #heal: { frame: DataRef; tid: number } | undefined;

  /**
   * @param vdsoDistances  For procs-agent: distances from mappings to the vDSO behind
   * them; it puts the address of each mapping into the slot of that index.
   */
  constructor(vdsoDistances: readonly number[] = []) {
    this.#vdsoDistances = vdsoDistances;
    this.#slots = vdsoDistances.length;
  }

  /** Where the loader has found the mapping of that distance. */
  vdsoSlot(index: number): Slot {
    return new Slot(index);
  }

  /** The stack on which procs-agent begins. */
  beginOn(stackTop: DataRef): void {
    this.#loaderStack = stackTop;
  }

  /** What was being done by operations with that label number: "reopen descriptor 7, /data/log.csv". */
  labelText(label: number): string {
    return this.#labels[label] ?? `do step ${label}`;
  }

  get opCount(): number {
    return this.#ops.length;
  }

  /** The frame on which the thread of that id goes on if the tracer dies while it plays. */
  healOn(frame: DataRef, tid: number): void {
    this.#heal = { frame, tid };
  }

  /** Puts bytes into the tape. They are copied when the tape is encoded. */
  data(bytes: Uint8Array, alignment = 8): DataRef {
    const ref = this.reserve(bytes.length, alignment);
    this.#chunks.push({ at: ref.offset, bytes });
    return ref;
  }

  /** A zero-terminated string. */
  text(value: string | Uint8Array): DataRef {
    const bytes = typeof value === 'string' ? Buffer.from(value) : value;
    return this.data(Buffer.concat([bytes, Buffer.from([0])]), 1);
  }

  /** 64-bit words. */
  words(values: readonly (bigint | number)[]): DataRef {
    const bytes = Buffer.alloc(values.length * 8);
    values.forEach((value, index) => bytes.writeBigUInt64LE(BigInt.asUintN(64, BigInt(value)), index * 8));
    return this.data(bytes);
  }

  /** Zeroed room in the tape, for results and stacks. */
  reserve(length: number, alignment = 8): DataRef {
    this.#dataLength = roundUp(this.#dataLength, alignment);
    const ref = new DataRef(this.#dataLength);
    this.#dataLength += length;
    return ref;
  }

  /** A stack; returns its top. */
  stack(length = 2048): DataRef {
    return this.reserve(length, 16).plus(length);
  }

  /** Writes the absolute address of `to` at `at` when the tape is encoded. */
  pointer(at: DataRef, to: DataRef | SlotAddress): void {
    this.#pointers.push({ at, to });
  }

  /** One system call. @returns its result's slot. */
  call(label: string, name: SyscallName, args: readonly Arg[], options: CallOptions = {}): Slot {
    return this.#add(TAPE_CALL, label, SYSCALL[name], args, options);
  }

  /** A read or write kind call, repeated until the whole length is moved. */
  repeat(label: string, name: SyscallName, args: readonly Arg[]): Slot {
    return this.#add(TAPE_REPEAT, label, SYSCALL[name], args, {});
  }

  /**
   * clone3(args, 88) whose child goes on at `child`. `fields` are those of struct
   * clone_args (clone3(2)): flags, exit_signal, stack, stack_size, set_tid…
   */
  spawn(label: string, fields: CloneFields, child: Mark): Slot {
    const setTid = fields.setTid ?? [];
    const tids = Buffer.alloc(setTid.length * 4);
    setTid.forEach((tid, index) => tids.writeInt32LE(tid, index * 4));
    const args = this.words([fields.flags, 0, 0, 0, fields.exitSignal ?? 0, 0, fields.stackSize ?? 0, fields.tls ?? 0, 0, setTid.length, 0]);
    if (fields.stack !== undefined) this.pointer(args.plus(5 * 8), fields.stack);
    if (setTid.length > 0) this.pointer(args.plus(8 * 8), this.data(tids));
    return this.#add(TAPE_SPAWN, label, 0, [args, 88, child], {});
  }

  /** Waits until `count` arrivals were counted at the u32 at `counter`. */
  barrier(label: string, counter: DataRef, count: number): void {
    this.#add(TAPE_BARRIER, label, 0, [counter, count], {});
  }

  /** Reads runs of bytes into memory, checking each. `table` holds entries of an image's extent table. */
  load(label: string, table: Uint8Array, fd: Arg): void {
    this.#add(TAPE_LOAD, label, 0, [this.data(table), table.length / LOAD_SIZE, fd], {});
  }

  /** Leaves by rt_sigreturn on a prepared frame: the program goes on. */
  leave(label: string, frame: DataRef): void {
    this.#add(TAPE_LEAVE, label, 0, [frame], {});
  }

  /** Goes on at `mark`. */
  jump(label: string, mark: Mark): void {
    this.#add(TAPE_JUMP, label, 0, [mark], {});
  }

  /** Stops for the tracer. */
  end(): void {
    this.#add(TAPE_END, 'end the tape', 0, [], {});
  }

  /** The next operation is where `mark` points. */
  place(mark: Mark): void {
    mark.op = this.#ops.length;
  }

  /** Where a slot will be found in the encoded tape, counted from the header. */
  slotOffset(slot: Slot): number {
    return TAPE_HEADER_SIZE + slot.index * 8;
  }

  /** Where data will be found in the encoded tape, counted from the header. Final once no operation is added. */
  dataOffset(ref: DataRef): number {
    return roundUp(TAPE_HEADER_SIZE + this.#slots * 8 + this.#ops.length * TAPE_OP_SIZE, 64) + ref.offset;
  }

  /** Length of the encoded tape without the player code, in whole pages. */
  get encodedLength(): number {
    return roundUp(Math.max(this.dataOffset(new DataRef(this.#dataLength)), this.minimumLength), PAGE_SIZE);
  }

  /** The tape's bytes, header first, in whole pages. */
  encode(options: EncodeOptions): Buffer {
    const bytes = Buffer.alloc(this.encodedLength);
    const opsOffset = TAPE_HEADER_SIZE + this.#slots * 8;
    bytes.writeBigUInt64LE(TAPE_MAGIC, TAPE_HEADER.magic);
    bytes.writeUInt32LE(TAPE_VERSION, TAPE_HEADER.version);
    bytes.writeUInt32LE(this.#ops.length, TAPE_HEADER.op_count);
    bytes.writeBigUInt64LE(BigInt(opsOffset), TAPE_HEADER.ops);
    bytes.writeBigUInt64LE(BigInt(TAPE_HEADER_SIZE), TAPE_HEADER.slots);
    bytes.writeInt32LE(options.reportFd, TAPE_HEADER.report_fd);
    bytes.writeBigUInt64LE(options.base, TAPE_HEADER.base);
    bytes.writeBigUInt64LE(BigInt(options.codeSize), TAPE_HEADER.code_size);
    bytes.writeBigUInt64LE(BigInt(options.codeSize + bytes.length), TAPE_HEADER.size);
    bytes.writeUInt32LE(this.#vdsoDistances.length, TAPE_HEADER.vdso_slots);
    this.#vdsoDistances.forEach((distance, index) => bytes.writeBigInt64LE(BigInt(distance), TAPE_HEADER_SIZE + index * 8));
    if (this.#loaderStack !== undefined) bytes.writeBigUInt64LE(BigInt(this.dataOffset(this.#loaderStack)), TAPE_HEADER.stack);

    if (this.#heal !== undefined) {
      bytes.writeBigUInt64LE(BigInt(this.dataOffset(this.#heal.frame)), TAPE_HEADER.heal);
      bytes.writeInt32LE(this.#heal.tid, TAPE_HEADER.heal_tid);
    }
    this.#ops.forEach((op, index) => this.#encodeOp(bytes, opsOffset + index * TAPE_OP_SIZE, op));
    for (const { at, bytes: chunk } of this.#chunks) bytes.set(chunk, this.dataOffset(new DataRef(at)));
    const header = options.base + BigInt(options.codeSize);
    for (const { at, to } of this.#pointers) {
      const offset = to instanceof DataRef ? this.dataOffset(to) : this.slotOffset(to.slot);
      bytes.writeBigUInt64LE(header + BigInt(offset), this.dataOffset(at));
    }
    return bytes;
  }

  #encodeOp(bytes: Buffer, at: number, op: Op): void {
    bytes.writeUInt16LE(op.kind, at + TAPE_OP.kind);
    bytes.writeUInt16LE(op.expect, at + TAPE_OP.expect);
    bytes.writeUInt32LE(op.label, at + TAPE_OP.label);
    bytes.writeUInt32LE(op.number, at + TAPE_OP.number);
    bytes.writeUInt32LE(op.slot.index, at + TAPE_OP.slot);
    op.args.forEach((arg, index) => {
      const [kind, value] = this.#encodeArg(arg);
      bytes[at + TAPE_OP.arg_kind + index] = kind;
      bytes.writeBigUInt64LE(value, at + TAPE_OP.arg + index * 8);
    });
    bytes.writeBigInt64LE(op.want, at + TAPE_OP.want);
  }

  #encodeArg(arg: Arg): [kind: number, value: bigint] {
    if (arg instanceof DataRef) return [TAPE_ARG_DATA, BigInt(this.dataOffset(arg))];
    if (arg instanceof Slot) return [TAPE_ARG_SLOT, BigInt(arg.index)];
    if (arg instanceof Load) return [TAPE_ARG_LOAD, BigInt(this.dataOffset(arg.at))];
    if (arg instanceof SlotAddress) return [TAPE_ARG_DATA, BigInt(this.slotOffset(arg.slot))];
    if (arg instanceof Mark) {
      if (arg.op < 0) throw new Error('a mark of the tape was never placed');
      return [TAPE_ARG_IMMEDIATE, BigInt(arg.op)];
    }
    return [TAPE_ARG_IMMEDIATE, BigInt.asUintN(64, BigInt(arg))];
  }

  #add(kind: number, label: string, number: number, args: readonly Arg[], options: CallOptions): Slot {
    let labelNumber = this.#labelNumbers.get(label);
    if (labelNumber === undefined) {
      labelNumber = this.#labels.push(label) - 1;
      this.#labelNumbers.set(label, labelNumber);
    }
    const expect = options.want !== undefined ? TAPE_EXPECT_EQUAL : options.mayFail === true ? TAPE_EXPECT_ANY : TAPE_EXPECT_OK;
    const slot = new Slot(this.#slots++);
    this.#ops.push({ kind, label: labelNumber, number, args, expect, want: BigInt(options.want ?? 0), slot });
    return slot;
  }

  /** Every operation as one line of text. */
  toText(): string {
    return this.#ops.map((op, index) => `${String(index).padStart(5)}  ${opToText(op)}   # ${this.labelText(op.label)}`).join('\n') + '\n';
  }
}

/** Fields of struct clone_args; clone3(2). */
export interface CloneFields {
  readonly flags: bigint;
  readonly exitSignal?: number;
  /** Lowest byte of the child's stack. */
  readonly stack?: DataRef;
  readonly stackSize?: number;
  readonly tls?: bigint;
  /** Wanted ids, innermost PID namespace first. */
  readonly setTid?: readonly number[];
}

const KIND_NAME: Record<number, string> = {
  [TAPE_SPAWN]: 'spawn',
  [TAPE_BARRIER]: 'barrier',
  [TAPE_LOAD]: 'load',
  [TAPE_LEAVE]: 'leave',
  [TAPE_END]: 'end',
  [TAPE_JUMP]: 'jump',
};

function opToText(op: Op): string {
  const name = op.kind === TAPE_CALL || op.kind === TAPE_REPEAT ? syscallName(op.number) : (KIND_NAME[op.kind] ?? `kind ${op.kind}`);
  const expect = op.expect === TAPE_EXPECT_EQUAL ? ` = ${op.want}` : op.expect === TAPE_EXPECT_ANY ? ' = any' : '';
  return `s${op.slot.index} := ${name}${op.kind === TAPE_REPEAT ? '…' : ''}(${op.args.map(argToText).join(', ')})${expect}`;
}

function argToText(arg: Arg): string {
  if (arg instanceof DataRef) return `data+${arg.offset}`;
  if (arg instanceof Slot) return `s${arg.index}`;
  if (arg instanceof Load) return `*data+${arg.at.offset}`;
  if (arg instanceof SlotAddress) return `&s${arg.slot.index}`;
  if (arg instanceof Mark) return `op ${arg.op}`;
  const value = BigInt(arg);
  return value > 4096n ? `0x${value.toString(16)}` : value.toString();
}

export function roundUp(value: number, multiple: number): number {
  return Math.ceil(value / multiple) * multiple;
}


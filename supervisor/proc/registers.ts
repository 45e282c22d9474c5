/**
 * The general register set of x86_64: struct user_regs_struct (sys/user.h), as
 * PTRACE_GETREGSET with NT_PRSTATUS gives it: 27 words of 8 bytes.
 */
const ORDER = [
  'r15', 'r14', 'r13', 'r12', 'rbp', 'rbx', 'r11', 'r10', 'r9', 'r8', 'rax', 'rcx', 'rdx', 'rsi', 'rdi', 'orig_rax', 'rip', 'cs',
  'eflags', 'rsp', 'ss', 'fs_base', 'gs_base', 'ds', 'es', 'fs', 'gs',
] as const;

export type RegisterName = (typeof ORDER)[number];

const INDEX = Object.fromEntries(ORDER.map((name, index) => [name, index])) as Record<RegisterName, number>;

export const REGISTER_SET_SIZE = ORDER.length * 8;

export function getRegister(set: Buffer, name: RegisterName): bigint {
  return set.readBigUInt64LE(INDEX[name] * 8);
}

/** The same, signed: for results of system calls. */
export function getResult(set: Buffer): bigint {
  return set.readBigInt64LE(INDEX.rax * 8);
}

/** A copy of the set with some registers replaced. */
export function withRegisters(set: Uint8Array, values: Partial<Record<RegisterName, bigint>>): Buffer {
  const copy = Buffer.from(set);
  for (const [name, value] of Object.entries(values)) {
    copy.writeBigUInt64LE(BigInt.asUintN(64, value), INDEX[name as RegisterName] * 8);
  }
  return copy;
}

/** Arguments of a system call, in order. */
export const ARGUMENT_REGISTERS = ['rdi', 'rsi', 'rdx', 'r10', 'r8', 'r9'] as const;

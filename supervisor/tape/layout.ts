// Made by the build from agent/tape.h (agent/tape-layout.c). Do not edit.

export const TAPE_MAGIC = 3550332122768298576n;
export const TAPE_VERSION = 1;
export const TAPE_NO_SLOT = 4294967295;
export const TAPE_STOP_SIGNAL = 28;
export const TAPE_STOP_VALUE = 1347568467;
export const TAPE_FAILURE_MAGIC = 1279869254;
export const TAPE_CALL = 1;
export const TAPE_REPEAT = 2;
export const TAPE_SPAWN = 3;
export const TAPE_BARRIER = 4;
export const TAPE_LEAVE = 6;
export const TAPE_END = 7;
export const TAPE_JUMP = 8;
export const TAPE_LOAD = 5;
export const TAPE_EXPECT_ANY = 0;
export const TAPE_EXPECT_OK = 1;
export const TAPE_EXPECT_EQUAL = 2;
export const TAPE_ARG_IMMEDIATE = 0;
export const TAPE_ARG_SLOT = 1;
export const TAPE_ARG_DATA = 2;
export const TAPE_ARG_LOAD = 3;
export const TAPE_OP_SIZE = 80;
export const TAPE_OP = {
  kind: 0,
  expect: 2,
  label: 4,
  number: 8,
  slot: 12,
  arg_kind: 16,
  arg: 24,
  want: 72,
} as const;
export const TAPE_HEADER_SIZE = 104;
export const TAPE_HEADER = {
  magic: 0,
  version: 8,
  op_count: 12,
  ops: 16,
  slots: 24,
  report_fd: 32,
  failed: 36,
  failed_label: 40,
  failed_errno: 44,
  failed_op: 48,
  vdso_slots: 52,
  base: 56,
  code_size: 64,
  size: 72,
  stack: 80,
  heal: 88,
  heal_tid: 96,
} as const;
export const TAPE_FAILURE_SIZE = 24;
export const TAPE_FAILURE = {
  magic: 0,
  label: 4,
  error: 8,
  op: 12,
  result: 16,
} as const;

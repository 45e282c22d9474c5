/* tape-layout.c - prints the numbers of tape.h as TypeScript; run by the build. */
#include "tape.h"

#include <stdio.h>

#define NUMBER(name)        printf("export const %s = %lld;\n", #name, (long long)(name))
#define OFFSET(type, field) printf("  %s: %zu,\n", #field, offsetof(struct type, field))

int main(void)
{
    puts("// Made by the build from agent/tape.h (agent/tape-layout.c). Do not edit.\n");
    printf("export const TAPE_MAGIC = %llun;\n", (unsigned long long)TAPE_MAGIC);
    NUMBER(TAPE_VERSION);
    NUMBER(TAPE_NO_SLOT);
    NUMBER(TAPE_STOP_SIGNAL);
    NUMBER(TAPE_STOP_VALUE);
    NUMBER(TAPE_FAILURE_MAGIC);
    NUMBER(TAPE_CALL);
    NUMBER(TAPE_REPEAT);
    NUMBER(TAPE_SPAWN);
    NUMBER(TAPE_BARRIER);
    NUMBER(TAPE_LEAVE);
    NUMBER(TAPE_END);
    NUMBER(TAPE_JUMP);
    NUMBER(TAPE_LOAD);
    NUMBER(TAPE_EXPECT_ANY);
    NUMBER(TAPE_EXPECT_OK);
    NUMBER(TAPE_EXPECT_EQUAL);
    NUMBER(TAPE_ARG_IMMEDIATE);
    NUMBER(TAPE_ARG_SLOT);
    NUMBER(TAPE_ARG_DATA);
    NUMBER(TAPE_ARG_LOAD);
    printf("export const TAPE_OP_SIZE = %zu;\n", sizeof(struct tape_op));
    puts("export const TAPE_OP = {");
    OFFSET(tape_op, kind);
    OFFSET(tape_op, expect);
    OFFSET(tape_op, label);
    OFFSET(tape_op, number);
    OFFSET(tape_op, slot);
    OFFSET(tape_op, arg_kind);
    OFFSET(tape_op, arg);
    OFFSET(tape_op, want);
    puts("} as const;");
    printf("export const TAPE_HEADER_SIZE = %zu;\n", sizeof(struct tape_header));
    puts("export const TAPE_HEADER = {");
    OFFSET(tape_header, magic);
    OFFSET(tape_header, version);
    OFFSET(tape_header, op_count);
    OFFSET(tape_header, ops);
    OFFSET(tape_header, slots);
    OFFSET(tape_header, report_fd);
    OFFSET(tape_header, failed);
    OFFSET(tape_header, failed_label);
    OFFSET(tape_header, failed_errno);
    OFFSET(tape_header, failed_op);
    OFFSET(tape_header, vdso_slots);
    OFFSET(tape_header, base);
    OFFSET(tape_header, code_size);
    OFFSET(tape_header, size);
    OFFSET(tape_header, stack);
    OFFSET(tape_header, heal);
    OFFSET(tape_header, heal_tid);
    puts("} as const;");
    printf("export const TAPE_FAILURE_SIZE = %zu;\n", sizeof(struct tape_failure));
    puts("export const TAPE_FAILURE = {");
    OFFSET(tape_failure, magic);
    OFFSET(tape_failure, label);
    OFFSET(tape_failure, error);
    OFFSET(tape_failure, op);
    OFFSET(tape_failure, result);
    puts("} as const;");
    return 0;
}

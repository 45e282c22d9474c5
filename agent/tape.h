/*
 * tape.h - the layout of a tape: a list of system calls, compiled by TypeScript
 * (supervisor/tape/) and played by the player (player.c) inside a process.
 *
 * The only definition of these numbers. tape-layout.c prints them as TypeScript
 * (supervisor/tape/layout.ts, made by the build), so nothing is written twice.
 *
 * A tape is one region of memory:
 *
 *   base                    base + code_size
 *   | player code (r-x) ... | header | slots | ops | data, stacks, frames ... |
 *
 * All offsets in the header and in TAPE_ARG_DATA arguments count from the header,
 * which stands at base + code_size, page-aligned.
 */
#ifndef PROCS_TAPE_H
#define PROCS_TAPE_H

#include <stddef.h>
#include <stdint.h>

#define TAPE_MAGIC   0x3145504154435250ull /* "PRCTAPE1", little-endian */
#define TAPE_VERSION 1

#define TAPE_NO_SLOT 0xffffffffu

/*
 * The end of a tape is a stop for the tracer: a signal that the thread queues to itself,
 * with this si_value. SIGWINCH, because without a tracer nothing must come of it: it is
 * ignored by default, and whoever handles it looks at the size of a window.
 */
#define TAPE_STOP_SIGNAL 28
#define TAPE_STOP_VALUE  0x50524353u

/* What an operation does. Values are stable and never reused. */
enum tape_kind {
    TAPE_CALL = 1,    /* one system call */
    TAPE_REPEAT = 2,  /* read/write kind call (fd, buffer, length[, offset]) until the length is complete */
    TAPE_SPAWN = 3,   /* clone3(args, size); the child goes on at operation arg[2] */
    TAPE_BARRIER = 4, /* wait until arg[1] arrivals were counted at the u32 arg[0] */
    TAPE_LOAD = 5,    /* read arg[1] struct tape_load at arg[0] from descriptor arg[2], checking each */
    TAPE_LEAVE = 6,   /* rt_sigreturn with the stack pointer at arg[0]: the tape ends, the program goes on */
    TAPE_END = 7,     /* stop for the tracer */
    TAPE_JUMP = 8,    /* go on at operation arg[0] */
};

/* What a result has to be. A negative errno outside it ends the tape. */
enum tape_expect {
    TAPE_EXPECT_ANY = 0,   /* anything; the result is only noted */
    TAPE_EXPECT_OK = 1,    /* not an error */
    TAPE_EXPECT_EQUAL = 2, /* exactly `want` */
};

/* How an argument is made. */
enum tape_arg {
    TAPE_ARG_IMMEDIATE = 0, /* the value itself */
    TAPE_ARG_SLOT = 1,      /* the result kept in that slot */
    TAPE_ARG_DATA = 2,      /* address of the header + the value */
    TAPE_ARG_LOAD = 3,      /* the int32 kept at header + value (a descriptor that pipe2 wrote there) */
};

struct tape_op {
    uint16_t kind;
    uint16_t expect;
    uint32_t label; /* what TypeScript calls this operation in an error */
    uint32_t number;
    uint32_t slot; /* where the result is kept, or TAPE_NO_SLOT */
    uint8_t arg_kind[6];
    uint8_t pad[2];
    uint64_t arg[6];
    int64_t want;
};

struct tape_header {
    uint64_t magic;
    uint32_t version;
    uint32_t op_count;
    uint64_t ops;   /* offset of the first operation */
    uint64_t slots; /* offset of the result slots, int64_t each */
    int32_t report_fd; /* where a failure is written before exit; -1: stop for the tracer instead */
    uint32_t failed;   /* set before the stop: 1 and the three fields below */
    uint32_t failed_label;
    int32_t failed_errno;
    uint32_t failed_op;
    uint32_t vdso_slots; /* start.c: that many first slots hold distances; slot = address of the vDSO - distance */
    uint64_t base;      /* where the loader puts the region (start.c) */
    uint64_t code_size; /* length of the player code in front of the header */
    uint64_t size;      /* length of the whole region, code included */
    uint64_t stack;     /* offset of the top of the stack that start.c gives the player */
    uint64_t heal;      /* offset of the frame on which thread heal_tid goes on if the tracer has died; 0: none */
    int32_t heal_tid;   /* as gettid(2) gives it */
    uint32_t pad;
};

/* One run of bytes to read into memory: an entry of an image's extent table as it is (docs/IMAGE.md). */
struct tape_load {
    uint32_t space; /* not looked at */
    uint32_t page_count;
    uint64_t address;
    uint64_t offset; /* in the file */
    uint32_t length;
    uint32_t crc; /* CRC-32C of the bytes */
    uint32_t codec;
    uint32_t first_page;
};

/* What is written to report_fd when an operation fails. */
struct tape_failure {
    uint32_t magic; /* TAPE_FAILURE_MAGIC */
    uint32_t label;
    int32_t error; /* a positive errno */
    uint32_t op;
    int64_t result;
};

#define TAPE_FAILURE_MAGIC 0x4c494146u /* "FAIL" */

#define TAPE_ASSERT(cond) _Static_assert(cond, #cond)

TAPE_ASSERT(sizeof(struct tape_op) == 80);
TAPE_ASSERT(offsetof(struct tape_op, label) == 4);
TAPE_ASSERT(offsetof(struct tape_op, number) == 8);
TAPE_ASSERT(offsetof(struct tape_op, slot) == 12);
TAPE_ASSERT(offsetof(struct tape_op, arg_kind) == 16);
TAPE_ASSERT(offsetof(struct tape_op, arg) == 24);
TAPE_ASSERT(offsetof(struct tape_op, want) == 72);
TAPE_ASSERT(sizeof(struct tape_header) == 104);
TAPE_ASSERT(offsetof(struct tape_header, ops) == 16);
TAPE_ASSERT(offsetof(struct tape_header, slots) == 24);
TAPE_ASSERT(offsetof(struct tape_header, report_fd) == 32);
TAPE_ASSERT(offsetof(struct tape_header, failed) == 36);
TAPE_ASSERT(offsetof(struct tape_header, failed_label) == 40);
TAPE_ASSERT(offsetof(struct tape_header, failed_errno) == 44);
TAPE_ASSERT(offsetof(struct tape_header, failed_op) == 48);
TAPE_ASSERT(offsetof(struct tape_header, vdso_slots) == 52);
TAPE_ASSERT(offsetof(struct tape_header, base) == 56);
TAPE_ASSERT(offsetof(struct tape_header, code_size) == 64);
TAPE_ASSERT(offsetof(struct tape_header, size) == 72);
TAPE_ASSERT(offsetof(struct tape_header, stack) == 80);
TAPE_ASSERT(offsetof(struct tape_header, heal) == 88);
TAPE_ASSERT(offsetof(struct tape_header, heal_tid) == 96);
TAPE_ASSERT(sizeof(struct tape_failure) == 24);
TAPE_ASSERT(sizeof(struct tape_load) == 40);
TAPE_ASSERT(offsetof(struct tape_load, length) == 24);

#endif

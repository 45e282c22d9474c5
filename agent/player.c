/*
 * player.c - play one tape.
 *
 * Runs inside the target: injected by the tracer, or in a process that `procs
 * resume` or `procs start` made, before it becomes the target. Assumes nothing but
 * the stack it was given: no libc, no thread-local storage, no writable globals, no
 * vector registers (the program's are still in them). Position-independent: the
 * build links it to one flat piece of code that is copied wherever a hole is.
 *
 * It knows no resource. What is hard is in the tape, where it can be printed and
 * tested. Ends by rt_sigreturn, by a stop for the tracer, or by a failure record
 * on report_fd and exit_group.
 */
#include "crc32c.h"
#include "syscall.h"
#include "tape.h"

#define NR_write      1
#define NR_futex      202
#define NR_exit_group 231
#define NR_getpid     39
#define NR_gettid     186
#define NR_rt_tgsigqueueinfo 297
#define NR_pread64    17
#define NR_madvise    28
#define MADV_POPULATE_WRITE 23 /* 5.14 */
#define FUTEX_WAIT    0
#define FUTEX_WAKE    1
#define ERRNO_MAX     4095
#define EINTR         4
#define EILSEQ        84
#define ENODATA       61
#define EINVAL        22

static uint64_t argument(struct tape_header *tape, const struct tape_op *op, int index)
{
    uint64_t value = op->arg[index];

    switch (op->arg_kind[index]) {
    case TAPE_ARG_SLOT:
        return ((uint64_t *)((char *)tape + tape->slots))[value];
    case TAPE_ARG_DATA:
        return (uint64_t)tape + value;
    case TAPE_ARG_LOAD:
        return (uint64_t)(int64_t)*(int32_t *)((char *)tape + value);
    default:
        return value;
    }
}

static int64_t call(struct tape_header *tape, const struct tape_op *op)
{
    return raw_syscall(op->number, argument(tape, op, 0), argument(tape, op, 1), argument(tape, op, 2),
                       argument(tape, op, 3), argument(tape, op, 4), argument(tape, op, 5));
}

/* Short reads and writes are normal (pipes, 2 GiB limit): goes on until all is moved. read(2), pwrite(2). */
static int64_t move_all(uint64_t number, uint64_t fd, uint64_t at, uint64_t left, uint64_t offset)
{
    int64_t total = 0;

    while (left > 0) {
        int64_t moved = raw_syscall(number, fd, at, left, offset, 0, 0);
        if (moved == -EINTR)
            continue;
        if (moved < 0)
            return moved;
        if (moved == 0)
            return -ENODATA;
        at += moved;
        offset += moved;
        left -= moved;
        total += moved;
    }
    return total;
}

static int64_t repeat(struct tape_header *tape, const struct tape_op *op)
{
    return move_all(op->number, argument(tape, op, 0), argument(tape, op, 1), argument(tape, op, 2),
                    argument(tape, op, 3));
}

/*
 * Each run is populated first (a fault for each page costs more than the copy; where the
 * kernel cannot, the read brings the pages in) and checked while it is in the cache.
 */
static int64_t load(const struct tape_load *loads, uint64_t count, uint64_t fd)
{
    for (uint64_t i = 0; i < count; i++) {
        const struct tape_load *one = &loads[i];
        raw_syscall(NR_madvise, one->address, one->length, MADV_POPULATE_WRITE, 0, 0, 0);
        int64_t moved = move_all(NR_pread64, fd, one->address, one->length, one->offset);
        if (moved < 0)
            return moved;
        if (crc32c(0, (const void *)one->address, one->length) != one->crc)
            return -EILSEQ;
    }
    return 0;
}

static int64_t barrier(uint64_t address, uint32_t wanted)
{
    uint32_t *count = (uint32_t *)address;
    uint32_t seen = __atomic_add_fetch(count, 1, __ATOMIC_SEQ_CST);

    if (seen >= wanted)
        return raw_syscall(NR_futex, address, FUTEX_WAKE, 0x7fffffff, 0, 0, 0);
    while ((seen = __atomic_load_n(count, __ATOMIC_SEQ_CST)) < wanted)
        raw_syscall(NR_futex, address, FUTEX_WAIT, seen, 0, 0, 0);
    return 0;
}

/*
 * Stops for the tracer, which sets other registers and never comes back here. If it has
 * died, the thread goes on as if nothing had been; a child that it was making ends.
 */
static void park(struct tape_header *tape)
{
    int64_t pid = raw_syscall(NR_getpid, 0, 0, 0, 0, 0, 0), tid = raw_syscall(NR_gettid, 0, 0, 0, 0, 0, 0);
    struct {
        int32_t signo, error, code, pad;
        uint32_t pid, uid;
        uint64_t value;
        uint8_t rest[96];
    } info = {.signo = TAPE_STOP_SIGNAL, .code = -1 /* SI_QUEUE */, .value = TAPE_STOP_VALUE};

    TAPE_ASSERT(sizeof info == 128);
    raw_syscall(NR_rt_tgsigqueueinfo, pid, tid, TAPE_STOP_SIGNAL, (uint64_t)&info, 0, 0);
    if (tape->heal != 0 && tape->heal_tid == tid)
        arch_leave((uint64_t)tape + tape->heal);
    raw_syscall(NR_exit_group, 125, 0, 0, 0, 0, 0);
}

static void fail(struct tape_header *tape, const struct tape_op *op, uint32_t index, int64_t result)
{
    int32_t error = result < 0 && result >= -ERRNO_MAX ? (int32_t)-result : 0;
    struct tape_failure failure = {
        .magic = TAPE_FAILURE_MAGIC, .label = op->label, .error = error, .op = index, .result = result};

    if (tape->report_fd >= 0) {
        /* The reader may be gone; there is nobody else to tell. */
        raw_syscall(NR_write, tape->report_fd, (uint64_t)&failure, sizeof failure, 0, 0, 0);
        raw_syscall(NR_exit_group, 125, 0, 0, 0, 0, 0);
    }
    tape->failed_label = op->label;
    tape->failed_errno = error;
    tape->failed_op = index;
    tape->failed = 1;
    park(tape);
}

/* Called by entry.S, in every process and thread that plays. Does not return. */
void player_play(struct tape_header *tape, uint64_t first)
{
    const struct tape_op *ops = (const struct tape_op *)((char *)tape + tape->ops);
    int64_t *slots = (int64_t *)((char *)tape + tape->slots);

    for (uint32_t index = (uint32_t)first;; index++) {
        const struct tape_op *op = &ops[index];
        int64_t result = -EINVAL;

        if (index < tape->op_count) {
            switch (op->kind) {
            case TAPE_CALL:
                result = call(tape, op);
                break;
            case TAPE_REPEAT:
                result = repeat(tape, op);
                break;
            case TAPE_SPAWN:
                result = arch_spawn(argument(tape, op, 0), argument(tape, op, 1), tape, argument(tape, op, 2));
                break;
            case TAPE_BARRIER:
                result = barrier(argument(tape, op, 0), (uint32_t)argument(tape, op, 1));
                break;
            case TAPE_LEAVE:
                arch_leave(argument(tape, op, 0));
            case TAPE_LOAD:
                result = load((const struct tape_load *)argument(tape, op, 0), argument(tape, op, 1),
                              argument(tape, op, 2));
                break;
            case TAPE_JUMP:
                index = (uint32_t)argument(tape, op, 0) - 1; /* the loop steps on */
                result = 0;
                break;
            case TAPE_END:
                park(tape);
            }
        }
        if (op->slot != TAPE_NO_SLOT)
            slots[op->slot] = result;
        if ((op->expect == TAPE_EXPECT_OK && result < 0 && result >= -ERRNO_MAX) ||
            (op->expect == TAPE_EXPECT_EQUAL && result != op->want))
            fail(tape, op, index, result);
    }
}

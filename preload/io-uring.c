/*
 * io-uring.c - there is no io_uring in a program under procs.
 *
 * An io_uring is memory shared with the kernel and requests on their way in it: it
 * cannot be saved. Programs that find none fall back to ordinary calls, which can.
 * syscall.S answers those who ask through syscall(2); these are the ways through
 * liburing's shared library, which has the system call inlined. As there, an error is
 * returned as -errno and errno is left alone; io_uring_setup(2), io_uring_queue_init(3).
 *
 * A program that makes the system call with an instruction of its own (Go, static
 * binaries) is not met by this; its checkpoint is refused while it has the io_uring.
 */
#define ENOSYS 38

#define EXPORTED __attribute__((visibility("default")))

EXPORTED int io_uring_setup(unsigned entries, void *params)
{
    (void)entries, (void)params;
    return -ENOSYS;
}

EXPORTED int io_uring_queue_init(unsigned entries, void *ring, unsigned flags)
{
    (void)entries, (void)ring, (void)flags;
    return -ENOSYS;
}

EXPORTED int io_uring_queue_init_params(unsigned entries, void *ring, void *params)
{
    (void)entries, (void)ring, (void)params;
    return -ENOSYS;
}

EXPORTED int io_uring_queue_init_mem(unsigned entries, void *ring, void *params, void *memory, unsigned long size)
{
    (void)entries, (void)ring, (void)params, (void)memory, (void)size;
    return -ENOSYS;
}

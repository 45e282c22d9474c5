/*
 * hold.c - keeps SIGUSR1 and SIGUSR2 waiting while Node starts.
 *
 * Node begins by giving every signal its default disposition and unblocking all, and
 * SIGUSR1 a handler that opens its debugger's port: for a tenth of a second a
 * checkpoint signal would end procs, or be misunderstood. Neither an ignored nor a
 * blocked signal survives that, so bin/procs preloads this into Node: it blocks both
 * and keeps them blocked, until signals.cc has its own handler for them and calls
 * procs_release_signals(). What came meanwhile arrives then. A supervisor matter: the
 * program under procs is never given it.
 *
 * No libc, as the shim: preload/Makefile. Follows pthread_sigmask(3), rt_sigprocmask(2).
 */
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>

#define EXPORTED __attribute__((visibility("default")))

/* Signals in the kernel's form: signal N is bit N - 1. */
static const uint64_t held_set = 1ull << (SIGUSR1 - 1) | 1ull << (SIGUSR2 - 1);
static int is_released;

static int change_mask(int how, const uint64_t *set, uint64_t *old)
{
    long result;
#if defined(__x86_64__)
    register long size __asm__("r10") = sizeof *set;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"((long)SYS_rt_sigprocmask), "D"((long)how), "S"(set), "d"(old), "r"(size)
                     : "rcx", "r11", "memory");
#else
#error "the system call of this architecture is not written yet"
#endif
    return (int)-result;
}

__attribute__((constructor)) static void hold(void)
{
    change_mask(SIG_BLOCK, &held_set, NULL);
}

EXPORTED void procs_release_signals(void)
{
    is_released = 1;
    change_mask(SIG_UNBLOCK, &held_set, NULL);
}

/* As the C library's, but that the held signals stay blocked. */
EXPORTED int pthread_sigmask(int how, const sigset_t *set, sigset_t *old)
{
    uint64_t wanted = 0, before = 0;

    if (set != NULL)
        wanted = *(const uint64_t *)set; /* the kernel's 64 signals are the first word of a sigset_t */
    if (!is_released)
        wanted = how == SIG_UNBLOCK ? wanted & ~held_set : wanted | held_set;
    int error = change_mask(how, set == NULL ? NULL : &wanted, &before);
    if (error == 0 && old != NULL) {
        *old = (sigset_t){0};
        *(uint64_t *)old = before;
    }
    return error;
}

/*
 * syscall.h (x86_64) - how the player enters the kernel, makes a child, leaves and stops.
 */
#ifndef PROCS_ARCH_SYSCALL_H
#define PROCS_ARCH_SYSCALL_H

#include <stdint.h>

/* One raw system call; returns the result or -errno. syscall(2), "Architecture calling conventions". */
static inline int64_t raw_syscall(uint64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e,
                                  uint64_t f)
{
    int64_t result;
    register uint64_t r10 __asm__("r10") = d;
    register uint64_t r8 __asm__("r8") = e;
    register uint64_t r9 __asm__("r9") = f;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

/*
 * clone3(args, size). The child, on whatever stack args gives it, goes on as
 * player_entry(tape, op); the parent gets the result.
 */
int64_t arch_spawn(uint64_t args, uint64_t size, void *tape, uint64_t op);

#define FRAME_EFLAGS 176 /* uc_mcontext.gregs[REG_EFL] of struct ucontext */
#define EFLAGS_TF    0x100

/*
 * rt_sigreturn with the stack pointer at `frame` (a struct ucontext, see sigreturn(2)). It leaves alone the
 * flags that a handler cannot have changed, such as ID (FIX_EFLAGS, asm/sighandling.h): those are set before.
 */
__attribute__((noreturn)) static inline void arch_leave(uint64_t frame)
{
    __asm__ volatile("pushq %c1(%0)\n\t"
                     "andq %2, (%%rsp)\n\t"
                     "popfq\n\t"
                     "mov %0, %%rsp\n\t"
                     "mov $15, %%eax\n\t" /* __NR_rt_sigreturn */
                     "syscall\n\t"
                     "ud2"
                     :
                     : "r"(frame), "i"(FRAME_EFLAGS), "i"(~EFLAGS_TF)
                     : "memory");
    __builtin_unreachable();
}

/* Goes on at `code` as player_entry does: on that stack, with the tape and the first operation. */
__attribute__((noreturn)) static inline void arch_jump(uint64_t code, uint64_t tape, uint64_t op, uint64_t stack)
{
    __asm__ volatile("mov %3, %%rsp\n\t"
                     "jmp *%0"
                     :
                     : "r"(code), "D"(tape), "S"(op), "r"(stack)
                     : "memory");
    __builtin_unreachable();
}

#endif

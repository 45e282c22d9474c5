/*
 * syscall.S (x86_64) - syscall(2) as the C library has it, but for one number.
 *
 * libuv, liburing and language runtimes set up an io_uring through this function. Its
 * descriptor and the requests on their way cannot be saved, so they are told that the
 * kernel has none, and use ordinary calls. Every other number goes to the kernel with
 * its arguments as they are: no stack is used before it (a child may be on another
 * one), and an error is put into errno as glibc does, -1 returned.
 * Calling conventions: syscall(2), "Architecture calling conventions".
 */
#define NR_io_uring_setup 425
#define ENOSYS            38

    .text
    .globl syscall
    .type syscall, @function
    .p2align 4
syscall:
    mov %rdi, %rax
    cmp $NR_io_uring_setup, %edi
    je 1f
    mov %rsi, %rdi
    mov %rdx, %rsi
    mov %rcx, %rdx
    mov %r8, %r10
    mov %r9, %r8
    mov 8(%rsp), %r9
    syscall
    cmp $-4095, %rax
    jae 2f
    ret
1:  mov $-ENOSYS, %rax
2:  neg %eax
    /* Weak: a program without a C library has no errno either. */
    mov __errno_location@GOTPCREL(%rip), %rcx
    test %rcx, %rcx
    jz 3f
    push %rax
    call *%rcx
    pop %rcx
    mov %ecx, (%rax)
3:  mov $-1, %rax
    ret
    .size syscall, . - syscall
    .weak __errno_location

    .section .note.GNU-stack, "", @progbits

/*
 * entry.S (x86_64) - the first byte of the player, and the one function that C
 * cannot say: clone3 whose child is on another stack.
 *
 * player_entry: rdi = tape header, rsi = first operation, rsp = a stack of at
 * least 1 KiB. Nothing else is assumed of the registers.
 */
    .section .text.entry, "ax", @progbits
    .globl player_entry
    .type player_entry, @function
player_entry:
    cld
    xor %ebp, %ebp
    and $-16, %rsp
    call player_play
    ud2

    .text
    .globl arch_spawn
    .type arch_spawn, @function
/* rdi = clone_args, rsi = size, rdx = tape, rcx = op */
arch_spawn:
    mov %rdx, %r8
    mov %rcx, %r9       /* the kernel keeps r8 and r9, and the child is given them too */
    mov $435, %eax      /* __NR_clone3 */
    syscall
    test %rax, %rax
    jz 1f
    ret
1:  mov %r8, %rdi
    mov %r9, %rsi
    jmp player_entry

    .section .note.GNU-stack, "", @progbits

/* start.S (x86_64) - the first instruction of procs-agent. */
    .text
    .globl _start
_start:
    xor %ebp, %ebp
    mov %rsp, %rdi
    and $-16, %rsp
    call agent_main
    .section .note.GNU-stack, "", @progbits

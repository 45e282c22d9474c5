/*
 * frame-probe.c - prints where this machine's headers put the fields of the frame that
 * rt_sigreturn(2) reads, as JSON. Compiled by frame.test.ts.
 */
#include <stddef.h>
#include <asm/signal.h> /* the kernel's stack_t and sigset_t, not the C library's */
#include <asm/sigcontext.h>
#include <asm/ucontext.h>
#include <stdio.h>

#define M(field) printf("\"%s\": %zu, ", #field, offsetof(struct ucontext, uc_mcontext) + offsetof(struct sigcontext, field))
#define S(field) printf("\"sw_%s\": %zu, ", #field, offsetof(struct _fpstate, sw_reserved) + offsetof(struct _fpx_sw_bytes, field))

int main(void)
{
    printf("{");
    M(r8); M(r9); M(r10); M(r11); M(r12); M(r13); M(r14); M(r15); M(rdi); M(rsi); M(rbp); M(rbx); M(rdx); M(rax); M(rcx); M(rsp);
    M(rip); M(eflags); M(cs); M(ss); M(fpstate);
    S(magic1); S(extended_size); S(xfeatures); S(xstate_size);
    printf("\"stack\": %zu, ", offsetof(struct ucontext, uc_stack));
    printf("\"sigmask\": %zu, ", offsetof(struct ucontext, uc_sigmask));
    printf("\"size\": %zu, ", sizeof(struct ucontext));
    printf("\"magic1\": %u, \"magic2\": %u, ", FP_XSTATE_MAGIC1, FP_XSTATE_MAGIC2);
    printf("\"flags\": %u}\n", UC_FP_XSTATE | UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS);
    return 0;
}

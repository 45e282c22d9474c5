/*
 * registers - the general registers and the flags, held in a loop that never
 * makes a system call.
 *
 * One thread holds a pattern in every register but rsp; another one holds every
 * flag a program may set, the direction flag included, and looks for its end
 * with jrcxz, the one jump that neither reads nor writes a flag.
 */
#include "check.h"

#ifdef __x86_64__

/* Written by main, read by the loops. */
uint64_t registers_end __attribute__((used));
/* What the loops found: rax rbx rcx rdx rsi rdi rbp r8…r15, rsp after, rsp before. */
uint64_t registers_found[17] __attribute__((used));
uint64_t registers_flags __attribute__((used));

#define PATTERN(n) (0x0101010101010101ull * (n) + 0x1122334455667788ull)
/* CF PF AF ZF SF DF OF and ID, beside bit 1 and IF which are always set. */
#define FLAGS 0x200cd7ull

void registers_spin(void);
void registers_spin_flags(void);

asm("	.text\n"
    "	.globl registers_spin\n"
    "	.type registers_spin, @function\n"
    "registers_spin:\n"
    "	push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
    "	mov %rsp, 128+registers_found(%rip)\n"
    "	movabs $0x1223344556677889, %rax\n"
    "	movabs $0x132435465768798a, %rbx\n"
    "	movabs $0x1425364758697a8b, %rcx\n"
    "	movabs $0x15263748596a7b8c, %rdx\n"
    "	movabs $0x162738495a6b7c8d, %rsi\n"
    "	movabs $0x1728394a5b6c7d8e, %rdi\n"
    "	movabs $0x18293a4b5c6d7e8f, %rbp\n"
    "	movabs $0x192a3b4c5d6e7f90, %r8\n"
    "	movabs $0x1a2b3c4d5e6f8091, %r9\n"
    "	movabs $0x1b2c3d4e5f708192, %r10\n"
    "	movabs $0x1c2d3e4f60718293, %r11\n"
    "	movabs $0x1d2e3f5061728394, %r12\n"
    "	movabs $0x1e2f405162738495, %r13\n"
    "	movabs $0x1f30415263748596, %r14\n"
    "	movabs $0x2031425364758697, %r15\n"
    "1:	cmpq $0, registers_end(%rip)\n"
    "	je 1b\n"
    "	mov %rax, 0+registers_found(%rip)\n"
    "	mov %rbx, 8+registers_found(%rip)\n"
    "	mov %rcx, 16+registers_found(%rip)\n"
    "	mov %rdx, 24+registers_found(%rip)\n"
    "	mov %rsi, 32+registers_found(%rip)\n"
    "	mov %rdi, 40+registers_found(%rip)\n"
    "	mov %rbp, 48+registers_found(%rip)\n"
    "	mov %r8, 56+registers_found(%rip)\n"
    "	mov %r9, 64+registers_found(%rip)\n"
    "	mov %r10, 72+registers_found(%rip)\n"
    "	mov %r11, 80+registers_found(%rip)\n"
    "	mov %r12, 88+registers_found(%rip)\n"
    "	mov %r13, 96+registers_found(%rip)\n"
    "	mov %r14, 104+registers_found(%rip)\n"
    "	mov %r15, 112+registers_found(%rip)\n"
    "	mov %rsp, 120+registers_found(%rip)\n"
    "	pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
    "	ret\n"
    "\n"
    "	.globl registers_spin_flags\n"
    "	.type registers_spin_flags, @function\n"
    "registers_spin_flags:\n"
    "	pushfq\n"
    "	pushq $0x200cd7\n"
    "	popfq\n"
    "1:	mov registers_end(%rip), %rcx\n"
    "	jrcxz 1b\n"
    "	pushfq\n"
    "	popq registers_flags(%rip)\n"
    "	popfq\n"
    "	ret\n");

static void *hold_registers(void *unused)
{
	registers_spin();
	return unused;
}

static void *hold_flags(void *unused)
{
	registers_spin_flags();
	return unused;
}

int main(int argc, char **argv)
{
	static const char *const names[] = {
		"rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
	};

	check_init(argc, argv);
	pthread_t general = check_thread(hold_registers, NULL);
	pthread_t flags = check_thread(hold_flags, NULL);
	check_ready();
	check_wait();
	__atomic_store_n(&registers_end, 1, __ATOMIC_SEQ_CST);
	pthread_join(general, NULL);
	pthread_join(flags, NULL);

	for (unsigned i = 0; i < 15; i++)
		check_eq_u64(registers_found[i], PATTERN(i + 1), "%s is unchanged", names[i]);
	check_eq_u64(registers_found[15], registers_found[16], "rsp is unchanged");
	check_eq_u64(registers_flags & FLAGS, FLAGS, "the flags that were set are set");
	check_eq_u64(registers_flags & ~(FLAGS | 0x202), 0, "no other flag is set");
	return check_done();
}

#else
int main(int argc, char **argv)
{
	check_init(argc, argv);
	check_skip_all("written for x86-64");
}
#endif

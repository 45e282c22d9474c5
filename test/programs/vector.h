/*
 * vector.h - the program behind registers-sse, registers-avx and registers-avx512:
 * every thread fills all registers of a kind with patterns of its own, spins until
 * main says so, and stores them.
 *
 * VECTOR_NAME, VECTOR_SIZE, VECTOR_COUNT and VECTOR_MOVE say which; VECTOR_MASKS adds
 * the mask registers; VECTOR_FEATURE is what the processor must have.
 */
#include "check.h"
#include <stddef.h>

#ifdef __x86_64__

#define THREADS 3
#define MXCSR 0x7f95u  /* all exceptions masked, round to zero, some exceptions seen */

struct held {
	uint8_t vector[32 * 64];
	uint64_t mask[8];
	uint32_t mxcsr;
};

static struct held given[THREADS], found[THREADS];
uint64_t vector_end __attribute__((used));

/* Fills the registers from the first argument, spins, stores them to the second. */
void vector_spin(const struct held *from, struct held *to);

/* .irp goes through the numbers; 2048 and 2112 are the offsets of mask and mxcsr. */
_Static_assert(offsetof(struct held, mask) == 2048 && offsetof(struct held, mxcsr) == 2112, "used in the code below");

#define STRING(x) #x
#define TEXT(x) STRING(x)
#define LOW "0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15"
#define HIGH "16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31"

asm("	.text\n"
    "	.globl vector_spin\n"
    "	.type vector_spin, @function\n"
    "vector_spin:\n"
    "	stmxcsr -4(%rsp)\n"
    "	ldmxcsr 2112(%rdi)\n"
    "	.irp n," LOW "\n"
    "	" VECTOR_MOVE " \\n*" TEXT(VECTOR_SIZE) "(%rdi), %" VECTOR_NAME "\\n\n"
    "	.endr\n"
    "	.if " TEXT(VECTOR_COUNT) " > 16\n"
    "	.irp n," HIGH "\n"
    "	" VECTOR_MOVE " \\n*" TEXT(VECTOR_SIZE) "(%rdi), %" VECTOR_NAME "\\n\n"
    "	.endr\n"
    "	.endif\n"
#ifdef VECTOR_MASKS
    "	.irp n,0,1,2,3,4,5,6,7\n"
    "	kmovq 2048+\\n*8(%rdi), %k\\n\n"
    "	.endr\n"
#endif
    "1:	cmpq $0, vector_end(%rip)\n"
    "	je 1b\n"
    "	.irp n," LOW "\n"
    "	" VECTOR_MOVE " %" VECTOR_NAME "\\n, \\n*" TEXT(VECTOR_SIZE) "(%rsi)\n"
    "	.endr\n"
    "	.if " TEXT(VECTOR_COUNT) " > 16\n"
    "	.irp n," HIGH "\n"
    "	" VECTOR_MOVE " %" VECTOR_NAME "\\n, \\n*" TEXT(VECTOR_SIZE) "(%rsi)\n"
    "	.endr\n"
    "	.endif\n"
#ifdef VECTOR_MASKS
    "	.irp n,0,1,2,3,4,5,6,7\n"
    "	kmovq %k\\n, 2048+\\n*8(%rsi)\n"
    "	.endr\n"
#endif
    "	stmxcsr 2112(%rsi)\n"
    "	.if " TEXT(VECTOR_SIZE) " > 16\n"
    "	vzeroupper\n"
    "	.endif\n"
    "	ldmxcsr -4(%rsp)\n"
    "	ret\n");

static void *hold(void *number)
{
	vector_spin(&given[(uintptr_t)number], &found[(uintptr_t)number]);
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t thread[THREADS];

	check_init(argc, argv);
	if (!__builtin_cpu_supports(VECTOR_FEATURE))
		check_skip_all("the processor has no " VECTOR_FEATURE);
	for (uintptr_t i = 0; i < THREADS; i++) {
		check_fill(&given[i], sizeof given[i], i);
		given[i].mxcsr = MXCSR;
		thread[i] = check_thread(hold, (void *)i);
	}

	check_ready();
	check_wait();
	__atomic_store_n(&vector_end, 1, __ATOMIC_SEQ_CST);

	for (int i = 0; i < THREADS; i++) {
		pthread_join(thread[i], NULL);
		int wrong = 0;
		for (int n = 0; n < VECTOR_COUNT; n++)
			wrong += memcmp(given[i].vector + n * VECTOR_SIZE, found[i].vector + n * VECTOR_SIZE, VECTOR_SIZE) != 0;
		check_eq_u64((uint64_t)wrong, 0, "thread %d: the %s registers", i, VECTOR_NAME);
#ifdef VECTOR_MASKS
		check(!memcmp(given[i].mask, found[i].mask, sizeof given[i].mask), "thread %d: the mask registers", i);
#endif
		check_eq_u64(found[i].mxcsr, MXCSR, "thread %d: mxcsr", i);
	}
	return check_done();
}

#else
int main(int argc, char **argv)
{
	check_init(argc, argv);
	check_skip_all("written for x86-64");
}
#endif

/*
 * rseq - restartable sequences: every thread is still registered with the kernel,
 * and counters per processor, incremented without atomic instructions, lose nothing:
 * a checkpoint within a sequence must make it start anew.
 *
 * rseq(2), sys/rseq.h of the C library 2.35
 */
#include "check.h"

#if defined(__x86_64__) && defined(__GLIBC__) && __GLIBC_PREREQ(2, 35)
#include <sched.h>
#include <stddef.h>
#include <sys/rseq.h>

#define THREADS 4
#define PROCESSORS 4096

/* A cache line each. */
static struct {
	uint64_t count, padding[7];
} processor[PROCESSORS];
static uint64_t done[THREADS];
static const char *wrong[THREADS];
static bool stop;
static unsigned registered_size;

static struct rseq *here(void)
{
	return (struct rseq *)((char *)__builtin_thread_pointer() + __rseq_offset);
}

/*
 * Adds one to this processor's counter, unless the thread is moved, interrupted by a
 * signal or checkpointed between the check and the addition. Says whether it did.
 */
static bool increment(struct rseq *rseq)
{
	uint32_t cpu = *(volatile uint32_t *)&rseq->cpu_id_start;
	asm volatile goto(
		".pushsection __rseq_cs, \"aw\"\n"
		".balign 32\n"
		"3: .long 0, 0\n"
		"   .quad 1f, 2f - 1f, 4f\n"
		".popsection\n"
		"   leaq 3b(%%rip), %%rax\n"
		"   movq %%rax, %c[cs](%[rseq])\n"
		"1: cmpl %[cpu], %c[cpu_id](%[rseq])\n"
		"   jnz 4f\n"
		/* Long enough to be hit. */
		"   movl $200, %%eax\n"
		"5: decl %%eax\n"
		"   jnz 5b\n"
		"   movq (%[count]), %%rax\n"
		"   incq %%rax\n"
		"   movq %%rax, (%[count])\n"
		"2:\n"
		".pushsection __rseq_failure, \"ax\"\n"
		/* The signature stands before the place to go to: ud1 0x53053053(%rip), %edi */
		"   .byte 0x0f, 0xb9, 0x3d\n"
		"   .long 0x53053053\n"
		"4: jmp %l[aborted]\n"
		".popsection\n"
		: : [cpu] "r"(cpu), [rseq] "r"(rseq), [count] "r"(&processor[cpu % PROCESSORS].count),
		    [cs] "i"(offsetof(struct rseq, rseq_cs)), [cpu_id] "i"(offsetof(struct rseq, cpu_id))
		: "rax", "memory", "cc" : aborted);
	return true;
aborted:
	return false;
}

static void *body(void *number)
{
	uintptr_t i = (uintptr_t)number;
	struct rseq *rseq = here();
	while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE))
		if (increment(rseq))
			__atomic_fetch_add(&done[i], 1, __ATOMIC_RELAXED);
	rseq->rseq_cs = 0;
	/* To register the same again is EBUSY, something else EINVAL. */
	long result = syscall(SYS_rseq, rseq, registered_size, 0, RSEQ_SIG);
	if (result != -1 || errno != EBUSY)
		wrong[i] = result == 0 ? "was not registered" : "is registered differently";
	else if ((int32_t)rseq->cpu_id < 0 || rseq->cpu_id >= PROCESSORS)
		wrong[i] = "has no processor number";
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t thread[THREADS];

	check_init(argc, argv);
	if (__rseq_size == 0 || (int32_t)here()->cpu_id < 0)
		check_skip_all("the C library has not registered rseq");
	/* The C library tells how many bytes are used, not how many it has registered. */
	for (registered_size = 20; registered_size < 1024; registered_size += 4)
		if (syscall(SYS_rseq, here(), registered_size, 0, RSEQ_SIG) == -1 && errno == EBUSY)
			break;
	for (uintptr_t i = 0; i < THREADS; i++)
		thread[i] = check_thread(body, (void *)i);
	for (int i = 0; i < THREADS; i++)
		while (!__atomic_load_n(&done[i], __ATOMIC_RELAXED))
			check_pause(MS);

	check_ready();
	check_wait();
	__atomic_store_n(&stop, true, __ATOMIC_RELEASE);

	uint64_t by_thread = 0, by_processor = 0;
	for (int i = 0; i < THREADS; i++) {
		pthread_join(thread[i], NULL);
		by_thread += done[i];
		check_eq_str(wrong[i] ? wrong[i] : "", "", "thread %d is registered", i);
	}
	for (int i = 0; i < PROCESSORS; i++)
		by_processor += processor[i].count;
	check_eq_u64(by_processor, by_thread, "no increment is lost or doubled");

	/* Pinned, the number must follow. */
	cpu_set_t set, one;
	must(sched_getaffinity(0, sizeof set, &set));
	bool follows = true;
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &set))
			continue;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		/* The processor may be taken out of the set by others at any time. */
		if (sched_setaffinity(0, sizeof one, &one) == 0)
			follows = follows && *(volatile uint32_t *)&here()->cpu_id == (uint32_t)cpu && sched_getcpu() == cpu;
	}
	check(follows, "the processor number follows the thread");
	check(syscall(SYS_rseq, here(), registered_size, 0, RSEQ_SIG) == -1 && errno == EBUSY, "the main thread is registered");
	return check_done();
}

#else
int main(int argc, char **argv)
{
	check_init(argc, argv);
	check_skip_all("written for x86-64 and the C library 2.35");
}
#endif

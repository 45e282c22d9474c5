/*
 * registers-segment - the bases of the segments fs (thread-local storage) and gs
 * (free for programs), of every thread.
 *
 * arch_prctl(2)
 */
#include "check.h"

#ifdef __x86_64__
#include <asm/prctl.h>

#define THREADS 4

static struct {
	uint64_t memory[2];     /* gs points here */
	uint64_t fs_before;
	bool ready;
	const char *wrong;
} thread_of[THREADS];
static bool stop;
static _Thread_local uint64_t local;

static uint64_t read_gs(void)
{
	uint64_t value;
	asm volatile("movq %%gs:8, %0" : "=r"(value));
	return value;
}

static void *body(void *number)
{
	uintptr_t i = (uintptr_t)number;
	uint64_t fs = 0, gs = 0;
	local = thread_of[i].memory[1] = check_mix(i);
	syscall(SYS_arch_prctl, ARCH_SET_GS, thread_of[i].memory);
	syscall(SYS_arch_prctl, ARCH_GET_FS, &thread_of[i].fs_before);
	__atomic_store_n(&thread_of[i].ready, true, __ATOMIC_RELEASE);
	/* The even ones spin on gs itself, the odd ones sleep. */
	while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE)) {
		if (i % 2)
			check_pause(MS);
		else if (read_gs() != local)
			break;
	}
	syscall(SYS_arch_prctl, ARCH_GET_FS, &fs);
	syscall(SYS_arch_prctl, ARCH_GET_GS, &gs);
	if (fs != thread_of[i].fs_before)
		thread_of[i].wrong = "the base of fs changed";
	else if (gs != (uintptr_t)thread_of[i].memory)
		thread_of[i].wrong = "the base of gs changed";
	else if (read_gs() != local || local != check_mix(i))
		thread_of[i].wrong = "what gs points to changed";
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t thread[THREADS];

	check_init(argc, argv);
	for (uintptr_t i = 0; i < THREADS; i++)
		thread[i] = check_thread(body, (void *)i);
	for (int i = 0; i < THREADS; i++)
		while (!__atomic_load_n(&thread_of[i].ready, __ATOMIC_ACQUIRE))
			check_pause(MS);

	check_ready();
	check_wait();
	__atomic_store_n(&stop, true, __ATOMIC_RELEASE);
	for (int i = 0; i < THREADS; i++) {
		pthread_join(thread[i], NULL);
		check_eq_str(thread_of[i].wrong ? thread_of[i].wrong : "", "", "thread %d keeps both bases", i);
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

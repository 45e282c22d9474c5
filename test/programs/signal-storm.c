/*
 * signal-storm - threads that send each other queued signals all the time. None is
 * lost, none comes twice, and those from one sender come in order.
 *
 * signal(7), rt_tgsigqueueinfo(2)
 */
#include "check.h"
#include <sched.h>
#include <signal.h>

#define THREADS 4

static pid_t tid[THREADS];
static uint64_t sent[THREADS][THREADS], received[THREADS][THREADS], out_of_order;
static bool stop, drained;
static _Thread_local int self;

/* Signal SIGRTMIN + n comes from thread n; its value counts. */
static void handler(int signal, siginfo_t *info, void *context)
{
	int from = signal - SIGRTMIN;
	(void)context;
	if ((uint32_t)info->si_value.sival_int != (uint32_t)received[from][self])
		__atomic_fetch_add(&out_of_order, 1, __ATOMIC_RELAXED);
	__atomic_fetch_add(&received[from][self], 1, __ATOMIC_RELEASE);
}

static void *body(void *number)
{
	self = (int)(intptr_t)number;
	__atomic_store_n(&tid[self], (pid_t)syscall(SYS_gettid), __ATOMIC_RELEASE);
	for (int i = 0; i < THREADS; i++)
		while (!__atomic_load_n(&tid[i], __ATOMIC_ACQUIRE))
			check_pause(MS / 4);
	for (unsigned i = 0; !__atomic_load_n(&stop, __ATOMIC_ACQUIRE); i++) {
		int to = (self + 1 + (int)(i % (THREADS - 1))) % THREADS;
		/* No more than a few on the way: the queue is limited for the whole user. */
		if (sent[self][to] - __atomic_load_n(&received[self][to], __ATOMIC_ACQUIRE) > 16) {
			sched_yield();
			continue;
		}
		siginfo_t info = { 0 };
		info.si_code = SI_QUEUE;
		info.si_pid = getpid();
		info.si_value.sival_int = (int)(uint32_t)sent[self][to];
		if (syscall(SYS_rt_tgsigqueueinfo, getpid(), tid[to], SIGRTMIN + self, &info) == 0)
			sent[self][to]++;
	}
	while (!__atomic_load_n(&drained, __ATOMIC_ACQUIRE))
		check_pause(MS);
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t thread[THREADS];

	check_init(argc, argv);
	struct sigaction action = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_RESTART };
	for (int i = 0; i < THREADS; i++)
		sigaction(SIGRTMIN + i, &action, NULL);
	for (intptr_t i = 0; i < THREADS; i++)
		thread[i] = check_thread(body, (void *)i);
	while (!__atomic_load_n(&received[0][1], __ATOMIC_ACQUIRE))
		check_pause(MS);

	check_ready();
	check_wait();
	__atomic_store_n(&stop, true, __ATOMIC_RELEASE);

	/* What is on the way arrives at once; five seconds are for a loaded machine. */
	uint64_t missing = 1;
	for (uint64_t until = check_now() + 5 * SECOND; missing && check_now() < until; check_pause(5 * MS)) {
		missing = 0;
		for (int from = 0; from < THREADS; from++)
			for (int to = 0; to < THREADS; to++)
				missing += __atomic_load_n(&sent[from][to], __ATOMIC_ACQUIRE) != __atomic_load_n(&received[from][to], __ATOMIC_ACQUIRE);
	}
	__atomic_store_n(&drained, true, __ATOMIC_RELEASE);
	for (int i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	check_eq_u64(missing, 0, "every signal sent was received once");
	check_eq_u64(out_of_order, 0, "in the order in which it was sent");
	return check_done();
}

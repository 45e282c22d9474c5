/*
 * scheduling - what the scheduler is told of each thread: nice value, policy,
 * reset-on-fork, processors, input/output priority. Realtime policies and raised
 * priorities only where they are permitted.
 *
 * sched(7), setpriority(2), sched_setscheduler(2), sched_setaffinity(2), ioprio_set(2)
 */
#include "check.h"
#include <sched.h>
#include <sys/resource.h>

#ifndef SCHED_RESET_ON_FORK
#define SCHED_RESET_ON_FORK 0x40000000
#endif

/* include/uapi/linux/ioprio.h */
#define IOPRIO_WHO_PROCESS 1
#define IOPRIO_BEST_EFFORT_6 (2 << 13 | 6)
#define IOPRIO_IDLE (3 << 13)

struct scheduling {
	int nice, policy, priority, io;
	cpu_set_t processors;
};

enum { PLAIN, NICE, BATCH, IDLE, RESET, PINNED, IO_LOW, IO_IDLE, FIFO, ROUND_ROBIN, NEGATIVE, THREADS };
static const char *const names[THREADS] = {
	"plain", "nice 7", "SCHED_BATCH, nice 3", "SCHED_IDLE", "reset on fork", "on one processor", "low I/O priority", "idle I/O priority",
	"SCHED_FIFO", "SCHED_RR", "nice -5",
};

static struct scheduling before[THREADS], after[THREADS];
static bool permitted[THREADS], prepared[THREADS], stop;

static void ask(struct scheduling *s)
{
	struct sched_param parameter = { 0 };
	memset(s, 0, sizeof *s);
	s->nice = getpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid));
	s->policy = sched_getscheduler(0);
	sched_getparam(0, &parameter);
	s->priority = parameter.sched_priority;
	s->io = (int)syscall(SYS_ioprio_get, IOPRIO_WHO_PROCESS, 0);
	sched_getaffinity(0, sizeof s->processors, &s->processors);
}

static bool set_nice(int nice)
{
	return setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), nice) == 0;
}

static bool set_policy(int policy, int priority)
{
	struct sched_param parameter = { .sched_priority = priority };
	return sched_setscheduler(0, policy, &parameter) == 0;
}

static bool pin_to_last(void)
{
	cpu_set_t set, one;
	int last = -1;
	sched_getaffinity(0, sizeof set, &set);
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &set))
			last = cpu;
	CPU_ZERO(&one);
	CPU_SET(last, &one);
	return sched_setaffinity(0, sizeof one, &one) == 0;
}

static bool prepare(int kind)
{
	switch (kind) {
	case NICE: return set_nice(7);
	case BATCH: return set_policy(SCHED_BATCH, 0) && set_nice(3);
	case IDLE: return set_policy(SCHED_IDLE, 0);
	case RESET: return set_policy(SCHED_OTHER | SCHED_RESET_ON_FORK, 0);
	case PINNED: return pin_to_last();
	case IO_LOW: return syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_BEST_EFFORT_6) == 0;
	case IO_IDLE: return syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_IDLE) == 0;
	case FIFO: return set_policy(SCHED_FIFO, 3);
	case ROUND_ROBIN: return set_policy(SCHED_RR | SCHED_RESET_ON_FORK, 2);
	case NEGATIVE: return set_nice(-5);
	}
	return true;
}

static void *body(void *number)
{
	int i = (int)(intptr_t)number;
	permitted[i] = prepare(i);
	ask(&before[i]);
	__atomic_store_n(&prepared[i], true, __ATOMIC_RELEASE);
	while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE))
		check_pause(2 * MS);
	ask(&after[i]);
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t thread[THREADS];

	check_init(argc, argv);
	struct scheduling main_before, main_after;
	ask(&main_before);
	for (intptr_t i = 0; i < THREADS; i++) {
		thread[i] = check_thread(body, (void *)i);
		while (!__atomic_load_n(&prepared[i], __ATOMIC_ACQUIRE))
			check_pause(MS);
	}

	check_ready();
	check_wait();
	__atomic_store_n(&stop, true, __ATOMIC_RELEASE);

	for (int i = 0; i < THREADS; i++) {
		pthread_join(thread[i], NULL);
		if (!permitted[i]) {
			check_skip("not permitted", "%s", names[i]);
			continue;
		}
		struct scheduling *b = &before[i], *a = &after[i];
		if (!check(!memcmp(a, b, sizeof *a), "%s", names[i]))
			check_note("got nice %d policy %x priority %d io %x, wanted %d %x %d %x; processors %s", a->nice, (unsigned)a->policy, a->priority,
				   (unsigned)a->io, b->nice, (unsigned)b->policy, b->priority, (unsigned)b->io,
				   CPU_EQUAL(&a->processors, &b->processors) ? "the same" : "others");
	}
	ask(&main_after);
	check(!memcmp(&main_before, &main_after, sizeof main_before), "the main thread");
	return check_done();
}

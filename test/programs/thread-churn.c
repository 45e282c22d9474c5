/*
 * thread-churn - threads that are made and end all the time: a checkpoint meets them
 * at any moment of their life. Joined and detached ones; every one counts.
 *
 * pthread_create(3), clone(2), exit(2)
 */
#include "check.h"
#include <sched.h>

#define MAKERS 3

static bool stop;
static uint64_t made[MAKERS], counted[MAKERS], wrong[MAKERS];

struct task {
	unsigned maker;
	uint64_t seed, result;
};

static _Thread_local uint64_t local = 1;

static void *short_life(void *arg)
{
	struct task *task = arg;
	uint64_t buffer[64];
	if (local != 1)
		__atomic_fetch_add(&wrong[task->maker], 1, __ATOMIC_RELAXED);
	local = task->seed;
	check_fill(buffer, sizeof buffer, task->seed);
	if (task->seed % 3 == 0)
		sched_yield();
	task->result = buffer[task->seed % 64] ^ local;
	__atomic_fetch_add(&counted[task->maker], 1, __ATOMIC_RELEASE);
	return task;
}

static void *short_life_detached(void *arg)
{
	struct task *task = short_life(arg);
	free(task);
	return NULL;
}

static void *make(void *number)
{
	unsigned self = (unsigned)(uintptr_t)number;
	for (uint64_t seed = self; !__atomic_load_n(&stop, __ATOMIC_ACQUIRE); seed++) {
		struct task *task = malloc(sizeof *task);
		*task = (struct task){ .maker = self, .seed = seed };
		pthread_t thread;
		bool detached = seed % 4 == 0;
		/* A few detached ones may be about at once, not hundreds. */
		while (made[self] - __atomic_load_n(&counted[self], __ATOMIC_ACQUIRE) > 8)
			check_pause(MS / 10);
		int error = pthread_create(&thread, NULL, detached ? short_life_detached : short_life, task);
		if (error) {
			/* The limit for a user's threads is not what is tested. */
			wrong[self] += error != EAGAIN;
			free(task);
			continue;
		}
		made[self]++;
		if (detached) {
			pthread_detach(thread);
			continue;
		}
		void *result = NULL;
		uint64_t buffer[64];
		wrong[self] += pthread_join(thread, &result) != 0 || result != task;
		check_fill(buffer, sizeof buffer, seed);
		wrong[self] += task->result != (buffer[seed % 64] ^ seed);
		free(task);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t maker[MAKERS];

	check_init(argc, argv);
	for (uintptr_t i = 0; i < MAKERS; i++)
		maker[i] = check_thread(make, (void *)i);
	for (int i = 0; i < MAKERS; i++)
		while (__atomic_load_n(&counted[i], __ATOMIC_ACQUIRE) < 10)
			check_pause(MS);

	check_ready();
	check_wait();
	__atomic_store_n(&stop, true, __ATOMIC_RELEASE);

	for (int i = 0; i < MAKERS; i++) {
		pthread_join(maker[i], NULL);
		for (uint64_t until = check_now() + 10 * SECOND; __atomic_load_n(&counted[i], __ATOMIC_ACQUIRE) != made[i] && check_now() < until; )
			check_pause(MS);
		check_eq_u64(counted[i], made[i], "maker %d: every thread made ran once", i);
		check_eq_u64(wrong[i], 0, "maker %d: every thread joined had computed right", i);
	}
	return check_done();
}

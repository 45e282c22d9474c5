/*
 * threads - 64 threads at work with mutexes, condition variables and barriers:
 * their numbers and names, and their end after a resume, which the kernel reports
 * by clearing a word of their memory (pthread_join waits for it).
 *
 * gettid(2), pthread_setname_np(3), set_tid_address(2), futex(2)
 */
#include "check.h"
#include <sys/prctl.h>

#define THREADS 64
#define GROUP 8
#define GROUPS (THREADS / GROUP)

static struct {
	pthread_barrier_t barrier;
	pthread_mutex_t mutex;
	pthread_cond_t turned;
	unsigned turn;          /* whose turn it is, round and round */
	uint64_t sum, rounds;
	bool stop;
} group[GROUPS];

static struct {
	pid_t tid_before, tid_after;
	char name_before[16], name_after[16];
	uint64_t rounds;
	uint64_t mark;          /* checked against a thread-local copy */
} member[THREADS];

static bool stop;
static _Thread_local uint64_t mark;

/* Each round: all meet, each takes its turn in order, all meet again. */
static void *body(void *number)
{
	unsigned i = (unsigned)(uintptr_t)number, place = i % GROUP;
	typeof(&group[0]) g = &group[i / GROUP];
	char name[16];

	snprintf(name, sizeof name, "thread %u", i);
	pthread_setname_np(pthread_self(), name);
	prctl(PR_GET_NAME, member[i].name_before);
	member[i].tid_before = (pid_t)syscall(SYS_gettid);
	mark = member[i].mark = check_mix(i);
	for (;;) {
		if (pthread_barrier_wait(&g->barrier) == PTHREAD_BARRIER_SERIAL_THREAD)
			g->stop = __atomic_load_n(&stop, __ATOMIC_ACQUIRE);
		pthread_barrier_wait(&g->barrier);
		if (g->stop)
			break;
		pthread_mutex_lock(&g->mutex);
		while (g->turn % GROUP != place)
			pthread_cond_wait(&g->turned, &g->mutex);
		g->sum += g->turn++;
		pthread_cond_broadcast(&g->turned);
		pthread_mutex_unlock(&g->mutex);
		member[i].rounds++;
	}
	member[i].tid_after = (pid_t)syscall(SYS_gettid);
	prctl(PR_GET_NAME, member[i].name_after);
	member[i].mark ^= mark;
	return number;
}

int main(int argc, char **argv)
{
	pthread_t thread[THREADS];

	check_init(argc, argv);
	pid_t pid = getpid(), tid = (pid_t)syscall(SYS_gettid);
	for (int i = 0; i < GROUPS; i++) {
		pthread_barrier_init(&group[i].barrier, NULL, GROUP);
		pthread_mutex_init(&group[i].mutex, NULL);
		pthread_cond_init(&group[i].turned, NULL);
	}
	for (uintptr_t i = 0; i < THREADS; i++)
		thread[i] = check_thread(body, (void *)i);
	for (int i = 0; i < THREADS; i++)
		while (!__atomic_load_n(&member[i].rounds, __ATOMIC_ACQUIRE))
			check_pause(MS);

	check_ready();
	check_wait();
	__atomic_store_n(&stop, true, __ATOMIC_RELEASE);

	unsigned joined = 0, tids = 0, names = 0, marks = 0, rounds = 0, sums = 0;
	for (uintptr_t i = 0; i < THREADS; i++) {
		void *result = NULL;
		joined += pthread_join(thread[i], &result) == 0 && result == (void *)i;
		tids += member[i].tid_before != member[i].tid_after;
		names += strcmp(member[i].name_before, member[i].name_after) != 0 || strncmp(member[i].name_after, "thread ", 7) != 0;
		marks += member[i].mark != 0;
		rounds += member[i].rounds != member[i / GROUP * GROUP].rounds;
	}
	for (int i = 0; i < GROUPS; i++) {
		uint64_t turns = member[i * GROUP].rounds * GROUP;
		sums += group[i].turn != (unsigned)turns || group[i].sum != turns * (turns - 1) / 2;
	}
	check_eq_u64(joined, THREADS, "every thread ends and is joined");
	check_eq_u64(tids, 0, "every thread keeps its number");
	check_eq_u64(names, 0, "every thread keeps its name");
	check_eq_u64(marks, 0, "every thread keeps its thread-local memory");
	check_eq_u64(rounds, 0, "the threads of a group went the same number of rounds");
	check_eq_u64(sums, 0, "every turn was taken once and in order");
	check_eq_u64((uint64_t)getpid(), (uint64_t)pid, "getpid() is the same");
	check_eq_u64((uint64_t)syscall(SYS_gettid), (uint64_t)tid, "the main thread's gettid() is the same");

	void *result = NULL;
	member[0].rounds = 0;
	group[0].stop = false;
	pthread_barrier_destroy(&group[0].barrier);
	pthread_barrier_init(&group[0].barrier, NULL, 1);
	check(pthread_join(check_thread(body, (void *)0), &result) == 0, "a new thread can be made and joined");
	return check_done();
}

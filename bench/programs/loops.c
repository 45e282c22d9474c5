/*
 * loops.c - a loop of one thing that programs do: `loops NAME COUNT` prints the nanoseconds of a turn.
 *
 * A tenth of the turns is made before the clock starts. The rest is timed in ten parts, and the median
 * part counts: a neighbour that takes the processor for a moment is in few of them. Start-up is not in
 * it; that is measured elsewhere.
 */
#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

#define PARTS 10

static void compute(long count)
{
	uint64_t state = 88172645463325252u;
	double sum = 0;
	for (long i = 0; i < count; i++)
		sum += (double)(next_random(&state) >> 40) * 1e-3;
	__asm__ volatile("" : : "x"(sum));
}

static void call_kernel(long count)
{
	for (long i = 0; i < count; i++)
		syscall(SYS_getppid);
}

static void open_read_close(long count)
{
	char bytes[64];
	for (long i = 0; i < count; i++) {
		int fd = open("/etc/passwd", O_RDONLY | O_CLOEXEC);
		if (fd < 0 || read(fd, bytes, sizeof bytes) < 0)
			fail("open");
		close(fd);
	}
}

static void allocate(long count)
{
	void *held[64] = { 0 };
	uint64_t state = 1;
	for (long i = 0; i < count; i++) {
		uint64_t r = next_random(&state);
		free(held[r % 64]);
		held[r % 64] = malloc(16 + (r >> 8) % 2000);
	}
	for (int i = 0; i < 64; i++)
		free(held[i]);
}

static void read_clock(long count)
{
	struct timespec now;
	for (long i = 0; i < count; i++)
		clock_gettime(CLOCK_MONOTONIC, &now);
}

static void map_unmap(long count)
{
	for (long i = 0; i < count; i++) {
		void *at = mmap(NULL, 16 * BENCH_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (at == MAP_FAILED)
			fail("mmap");
		*(volatile char *)at = 1;
		munmap(at, 16 * BENCH_PAGE);
	}
}

static void execute(long count)
{
	extern char **environ;
	char *const argv[] = { "true", NULL };
	for (long i = 0; i < count; i++) {
		pid_t child;
		if (posix_spawn(&child, "/bin/true", NULL, NULL, argv, environ) != 0)
			fail("posix_spawn");
		waitpid(child, NULL, 0);
	}
}

static void fork_wait(long count)
{
	for (long i = 0; i < count; i++) {
		pid_t child = fork();
		if (child == 0)
			_exit(0);
		if (child < 0)
			fail("fork");
		waitpid(child, NULL, 0);
	}
}

/* Two threads take turns under one mutex, handed over by a condition variable: a futex call each. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int turn;

struct player {
	int number;
	long count;
};

static void *take_turns(void *arg)
{
	const struct player *player = arg;
	pthread_mutex_lock(&mutex);
	for (long i = 0; i < player->count; i++) {
		while (turn != player->number)
			pthread_cond_wait(&changed, &mutex);
		turn = !player->number;
		pthread_cond_signal(&changed);
	}
	pthread_mutex_unlock(&mutex);
	return NULL;
}

static void hand_over(long count)
{
	pthread_t other;
	struct player first = { 0, count }, second = { 1, count };
	if (pthread_create(&other, NULL, take_turns, &second) != 0)
		fail("pthread_create");
	take_turns(&first);
	pthread_join(other, NULL);
}

static void lock_unlock(long count)
{
	for (long i = 0; i < count; i++) {
		pthread_mutex_lock(&mutex);
		pthread_mutex_unlock(&mutex);
	}
}

static const struct {
	const char *name;
	void (*run)(long count);
} loops[] = {
	{ "compute", compute },
	{ "syscall", call_kernel },
	{ "open-read-close", open_read_close },
	{ "malloc-free", allocate },
	{ "mmap-munmap", map_unmap },
	{ "clock-gettime", read_clock },
	{ "mutex", lock_unlock },
	{ "mutex-hand-over", hand_over },
	{ "fork", fork_wait },
	{ "fork-exec", execute },
};

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
	long count = argc == 3 ? strtol(argv[2], NULL, 10) : 0;
	for (size_t i = 0; count >= PARTS && i < sizeof loops / sizeof *loops; i++) {
		if (strcmp(argv[1], loops[i].name) != 0)
			continue;
		double parts[PARTS];
		loops[i].run(count / PARTS);
		for (int part = 0; part < PARTS; part++) {
			int64_t begun = clock_ns(CLOCK_MONOTONIC);
			loops[i].run(count / PARTS);
			parts[part] = (double)(clock_ns(CLOCK_MONOTONIC) - begun) / (double)(count / PARTS);
		}
		qsort(parts, PARTS, sizeof *parts, by_value);
		printf("%.2f\n", (parts[PARTS / 2 - 1] + parts[PARTS / 2]) / 2);
		return 0;
	}
	fprintf(stderr, "usage: loops NAME COUNT (at least %d), NAME one of:", PARTS);
	for (size_t i = 0; i < sizeof loops / sizeof *loops; i++)
		fprintf(stderr, " %s", loops[i].name);
	fprintf(stderr, "\n");
	return 64;
}

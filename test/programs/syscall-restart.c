/*
 * syscall-restart - threads blocked in system calls with a timeout. Whether or not
 * a checkpoint comes, no call may report EINTR and each must last its whole time:
 * the rest of it after a resume.
 *
 * Time is measured by CLOCK_MONOTONIC, which does not see the gap between checkpoint
 * and resume. Deadlines on CLOCK_REALTIME are allowed to pass in the gap. argv[2] is
 * the time in ms (2500); the checkpoint should come before it has passed.
 * Calls that the kernel itself ends with EINTR when the process is stopped are in
 * syscall-restart-sigwait and epoll-wait.
 *
 * signal(7), restart_syscall(2)
 */
#include "check.h"
#include <linux/futex.h>
#include <poll.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/select.h>

#define EARLY (50 * MS)
#define LATE (1500 * MS)

static uint64_t duration;
static int empty[2];

/* Every body returns 0 or an errno value; ETIMEDOUT and a count of 0 are what is wanted. */

static int do_nanosleep(void)
{
	struct timespec t = check_timespec(duration);
	return syscall(SYS_nanosleep, &t, NULL) ? errno : 0;
}

static int do_nanosleep_rmtp(void)
{
	struct timespec t = check_timespec(duration), rest = { -1, -1 };
	return syscall(SYS_nanosleep, &t, &rest) ? errno : 0;
}

static int do_clock_nanosleep(void)
{
	struct timespec t = check_timespec(duration), rest;
	return clock_nanosleep(CLOCK_MONOTONIC, 0, &t, &rest);
}

static int do_clock_nanosleep_absolute(void)
{
	struct timespec t = check_timespec(check_now() + duration);
	return clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
}

static int do_clock_nanosleep_boottime(void)
{
	struct timespec t = check_timespec(check_clock(CLOCK_BOOTTIME) + duration);
	return clock_nanosleep(CLOCK_BOOTTIME, TIMER_ABSTIME, &t, NULL);
}

static int do_poll(void)
{
	struct pollfd p = { .fd = empty[0], .events = POLLIN };
	int n = poll(&p, 1, (int)(duration / MS));
	return n < 0 ? errno : n;
}

static int do_ppoll(void)
{
	struct pollfd p = { .fd = empty[0], .events = POLLIN };
	struct timespec t = check_timespec(duration);
	sigset_t mask;
	sigemptyset(&mask);
	sigaddset(&mask, SIGUSR1);
	int n = ppoll(&p, 1, &t, &mask);
	return n < 0 ? errno : n;
}

static int do_select(void)
{
	struct timeval t = { (time_t)(duration / SECOND), (suseconds_t)(duration % SECOND / 1000) };
	fd_set set;
	FD_ZERO(&set);
	FD_SET(empty[0], &set);
	int n = select(empty[0] + 1, &set, NULL, NULL, &t);
	return n < 0 ? errno : n;
}

static int do_pselect(void)
{
	struct timespec t = check_timespec(duration);
	fd_set set;
	sigset_t mask;
	sigemptyset(&mask);
	FD_ZERO(&set);
	FD_SET(empty[0], &set);
	int n = pselect(empty[0] + 1, &set, NULL, NULL, &t, &mask);
	return n < 0 ? errno : n;
}

static uint32_t word;

static int do_futex(void)
{
	struct timespec t = check_timespec(duration);
	return syscall(SYS_futex, &word, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, 0, &t) ? errno : 0;
}

static int do_futex_absolute(void)
{
	struct timespec t = check_timespec(check_now() + duration);
	return syscall(SYS_futex, &word, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, 0, &t, NULL, ~0u) ? errno : 0;
}

static int do_futex_realtime(void)
{
	struct timespec t = check_timespec(check_clock(CLOCK_REALTIME) + duration);
	return syscall(SYS_futex, &word, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME, 0, &t, NULL, ~0u) ? errno : 0;
}

static int do_condition(void)
{
	pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
	pthread_cond_t never = PTHREAD_COND_INITIALIZER;
	struct timespec t = check_timespec(check_now() + duration);
	int error;
	pthread_mutex_lock(&mutex);
	do {
		error = pthread_cond_clockwait(&never, &mutex, CLOCK_MONOTONIC, &t);
	} while (!error);
	return error;
}

static int do_condition_realtime(void)
{
	pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
	pthread_cond_t never = PTHREAD_COND_INITIALIZER;
	struct timespec t = check_timespec(check_clock(CLOCK_REALTIME) + duration);
	int error;
	pthread_mutex_lock(&mutex);
	do {
		error = pthread_cond_timedwait(&never, &mutex, &t);
	} while (!error);
	return error;
}

static int do_semaphore(void)
{
	sem_t never;
	sem_init(&never, 0, 0);
	struct timespec t = check_timespec(check_now() + duration);
	return sem_clockwait(&never, CLOCK_MONOTONIC, &t) ? errno : 0;
}

static int do_semaphore_realtime(void)
{
	sem_t never;
	sem_init(&never, 0, 0);
	struct timespec t = check_timespec(check_clock(CLOCK_REALTIME) + duration);
	return sem_timedwait(&never, &t) ? errno : 0;
}

/* No timeout: main writes to it at the end. */
static int woken[2];

static int do_read(void)
{
	char byte;
	ssize_t n = read(woken[0], &byte, 1);
	return n < 0 ? errno : n == 1 ? 0 : -1;
}

static int do_poll_forever(void)
{
	struct pollfd p = { .fd = woken[0], .events = POLLIN };
	int n = poll(&p, 1, -1);
	return n < 0 ? errno : n == 1 ? 0 : -1;
}

static uint32_t released;

static int do_futex_forever(void)
{
	return syscall(SYS_futex, &released, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, 0, NULL) ? errno : 0;
}

enum { MONOTONIC, REALTIME, FOREVER };

static struct {
	const char *name;
	int (*call)(void);
	int result;         /* the one wanted */
	int kind;
	pid_t tid;
	int got;
	uint64_t start, end, wall_start, wall_end;
} call[] = {
	{ .name = "nanosleep", .call = do_nanosleep, .result = 0, .kind = MONOTONIC },
	{ .name = "nanosleep with rmtp", .call = do_nanosleep_rmtp, .result = 0, .kind = MONOTONIC },
	{ .name = "clock_nanosleep", .call = do_clock_nanosleep, .result = 0, .kind = MONOTONIC },
	{ .name = "clock_nanosleep, absolute", .call = do_clock_nanosleep_absolute, .result = 0, .kind = MONOTONIC },
	{ .name = "clock_nanosleep, absolute by CLOCK_BOOTTIME", .call = do_clock_nanosleep_boottime, .result = 0, .kind = MONOTONIC },
	{ .name = "poll", .call = do_poll, .result = 0, .kind = MONOTONIC },
	{ .name = "ppoll", .call = do_ppoll, .result = 0, .kind = MONOTONIC },
	{ .name = "select", .call = do_select, .result = 0, .kind = MONOTONIC },
	{ .name = "pselect", .call = do_pselect, .result = 0, .kind = MONOTONIC },
	{ .name = "futex", .call = do_futex, .result = ETIMEDOUT, .kind = MONOTONIC },
	{ .name = "futex, absolute", .call = do_futex_absolute, .result = ETIMEDOUT, .kind = MONOTONIC },
	{ .name = "futex, absolute by CLOCK_REALTIME", .call = do_futex_realtime, .result = ETIMEDOUT, .kind = REALTIME },
	{ .name = "pthread_cond_clockwait", .call = do_condition, .result = ETIMEDOUT, .kind = MONOTONIC },
	{ .name = "pthread_cond_timedwait", .call = do_condition_realtime, .result = ETIMEDOUT, .kind = REALTIME },
	{ .name = "sem_clockwait", .call = do_semaphore, .result = ETIMEDOUT, .kind = MONOTONIC },
	{ .name = "sem_timedwait", .call = do_semaphore_realtime, .result = ETIMEDOUT, .kind = REALTIME },
	{ .name = "read", .call = do_read, .result = 0, .kind = FOREVER },
	{ .name = "poll without a timeout", .call = do_poll_forever, .result = 0, .kind = FOREVER },
	{ .name = "futex without a timeout", .call = do_futex_forever, .result = 0, .kind = FOREVER },
};
#define CALLS (sizeof call / sizeof *call)

static void *body(void *number)
{
	size_t i = (size_t)number;
	call[i].wall_start = check_clock(CLOCK_REALTIME);
	call[i].start = check_now();
	__atomic_store_n(&call[i].tid, (pid_t)syscall(SYS_gettid), __ATOMIC_RELEASE);
	call[i].got = call[i].call();
	call[i].end = check_now();
	call[i].wall_end = check_clock(CLOCK_REALTIME);
	return NULL;
}

/* Until the kernel says that the thread sleeps: nothing but its call can make it. */
static void wait_asleep(size_t i)
{
	char path[64], text[512];
	pid_t tid;
	while (!(tid = __atomic_load_n(&call[i].tid, __ATOMIC_ACQUIRE)))
		check_pause(MS / 4);
	snprintf(path, sizeof path, "/proc/self/task/%d/stat", tid);
	do {
		check_pause(MS / 4);
		check_read(path, text, sizeof text);
	} while (strncmp(strrchr(text, ')'), ") S", 3) != 0);
}

int main(int argc, char **argv)
{
	pthread_t thread[CALLS];

	check_init(argc, argv);
	duration = (uint64_t)check_arg(argc, argv, 2, 2500) * MS;
	must(pipe(empty));
	must(pipe(woken));
	for (size_t i = 0; i < CALLS; i++) {
		thread[i] = check_thread(body, (void *)i);
		wait_asleep(i);
	}

	check_ready();
	check_wait();

	for (size_t i = 0; i < CALLS; i++)
		if (call[i].kind != FOREVER)
			pthread_join(thread[i], NULL);
	/* The one that polls must see it before the one that reads takes it: two bytes. */
	must(write(woken[1], "xx", 2));
	__atomic_store_n(&released, 1, __ATOMIC_RELEASE);
	syscall(SYS_futex, &released, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1);

	for (size_t i = 0; i < CALLS; i++) {
		if (call[i].kind == FOREVER)
			pthread_join(thread[i], NULL);
		check_eq_u64((uint64_t)(int64_t)call[i].got, (uint64_t)call[i].result, "%s: result", call[i].name);
		int64_t lasted = (int64_t)(call[i].end - call[i].start);
		int64_t lasted_wall = (int64_t)(call[i].wall_end - call[i].wall_start);
		if (call[i].kind == MONOTONIC)
			check_between(lasted, (int64_t)(duration - EARLY), (int64_t)(duration + LATE), "%s: lasts its whole time", call[i].name);
		else if (call[i].kind == REALTIME)
			check(lasted_wall >= (int64_t)(duration - EARLY) && lasted <= (int64_t)(duration + LATE), "%s: ends at its deadline", call[i].name);
	}
	return check_done();
}

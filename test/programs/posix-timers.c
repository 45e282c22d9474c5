/*
 * posix-timers - timers of all clocks and ways of notification, their numbers (with
 * gaps, since some were deleted), values, intervals and remaining times.
 *
 * The system calls are made directly: the kernel's numbers are what a restorer has
 * to reproduce. Overrun counts are not looked at. timer_create(2), timer_settime(2)
 */
#include "check.h"
#include <signal.h>

#define SLACK (1500 * MS)
#define TIMERS 12

/* A timer that is left: every third one is deleted before the checkpoint. */
static struct {
	int id;
	clockid_t clock;
	int notify;
	uint64_t value, interval;     /* ns, when set */
	bool absolute;
	uint64_t set_at;              /* by CLOCK_MONOTONIC */
} timer[TIMERS];

static volatile sig_atomic_t ticks[TIMERS], wrong;
static pid_t ticker_tid;
static volatile bool ticker_end;
static volatile sig_atomic_t thread_calls;

static void handler(int signal, siginfo_t *info, void *context)
{
	(void)context;
	int i = info->si_value.sival_int & 0xff;
	if (info->si_code != SI_TIMER || (info->si_value.sival_int >> 8) != 0x5eed || i >= TIMERS || info->si_timerid != timer[i].id)
		wrong++;
	else if ((signal == SIGRTMIN + 3) != (timer[i].notify == SIGEV_THREAD_ID))
		wrong++;
	else if (timer[i].notify == SIGEV_THREAD_ID && syscall(SYS_gettid) != ticker_tid)
		wrong++;
	else
		ticks[i]++;
}

static void *ticker(void *unused)
{
	__atomic_store_n(&ticker_tid, (pid_t)syscall(SYS_gettid), __ATOMIC_RELEASE);
	while (!ticker_end)
		check_pause(5 * MS);
	return unused;
}

/* The C library's own kind: a thread calls this. */
static void called(union sigval value)
{
	thread_calls += value.sival_int == 99;
}

static void create(int i, clockid_t clock, int notify, uint64_t value, uint64_t interval, bool absolute)
{
	struct sigevent event = { .sigev_notify = notify, .sigev_signo = notify == SIGEV_THREAD_ID ? SIGRTMIN + 3 : SIGRTMIN + 4 };
	event.sigev_value.sival_int = 0x5eed << 8 | i;
	event._sigev_un._tid = ticker_tid;
	must(syscall(SYS_timer_create, clock, &event, &timer[i].id));
	timer[i].clock = clock;
	timer[i].notify = notify;
	timer[i].value = value;
	timer[i].interval = interval;
	timer[i].set_at = check_now();
	struct itimerspec spec = { check_timespec(interval), check_timespec(value + (absolute ? check_clock(clock) : 0)) };
	must(syscall(SYS_timer_settime, timer[i].id, absolute ? TIMER_ABSTIME : 0, &spec, NULL));
}

static bool is_left(int i)
{
	return i % 3 != 1;
}

/* Some CPU time, so that CPU-time timers move. */
static void work(void *unused)
{
	(void)unused;
	for (volatile int i = 0; i < 20000; i++)
		;
	check_pause(MS);
}

static bool advances(volatile sig_atomic_t *count)
{
	int before = *count;
	for (uint64_t until = check_now() + 10 * SECOND; *count < before + 3 && check_now() < until; )
		work(NULL);
	return *count >= before + 3;
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	struct sigaction action = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_RESTART };
	sigaction(SIGRTMIN + 3, &action, NULL);
	sigaction(SIGRTMIN + 4, &action, NULL);
	pthread_t thread = check_thread(ticker, NULL);
	while (!__atomic_load_n(&ticker_tid, __ATOMIC_ACQUIRE))
		check_pause(MS);

	create(0, CLOCK_MONOTONIC, SIGEV_SIGNAL, 10 * MS, 10 * MS, false);
	create(1, CLOCK_MONOTONIC, SIGEV_NONE, 0, 0, false);
	create(2, CLOCK_MONOTONIC, SIGEV_THREAD_ID, 10 * MS, 15 * MS, false);
	create(3, CLOCK_REALTIME, SIGEV_SIGNAL, 1000 * SECOND, 0, false);
	create(4, CLOCK_MONOTONIC, SIGEV_NONE, 0, 0, false);
	create(5, CLOCK_MONOTONIC, SIGEV_NONE, 900 * SECOND, 3 * SECOND, false);
	create(6, CLOCK_BOOTTIME, SIGEV_SIGNAL, 800 * SECOND, 7 * SECOND, false);
	create(7, CLOCK_MONOTONIC, SIGEV_NONE, 0, 0, false);
	create(8, CLOCK_MONOTONIC, SIGEV_SIGNAL, 700 * SECOND, 0, true);
	create(9, CLOCK_MONOTONIC, SIGEV_SIGNAL, 0, 0, false);
	create(10, CLOCK_MONOTONIC, SIGEV_NONE, 0, 0, false);
	create(11, CLOCK_PROCESS_CPUTIME_ID, SIGEV_SIGNAL, 600 * SECOND, 5 * SECOND, false);
	for (int i = 0; i < TIMERS; i++)
		if (!is_left(i))
			must(syscall(SYS_timer_delete, timer[i].id));
	struct sigevent event = { .sigev_notify = SIGEV_THREAD, .sigev_notify_function = called, .sigev_value.sival_int = 99 };
	struct itimerspec spec = { check_timespec(10 * MS), check_timespec(10 * MS) };
	timer_t library_timer;
	must(timer_create(CLOCK_MONOTONIC, &event, &library_timer));
	must(timer_settime(library_timer, 0, &spec, NULL));

	check_ready();
	check_wait_doing(work, NULL);

	for (int i = 0; i < TIMERS; i++) {
		memset(&spec, 0, sizeof spec);
		long result = syscall(SYS_timer_gettime, timer[i].id, &spec);
		if (!is_left(i)) {
			check(result == -1 && errno == EINVAL, "timer %d: deleted", i);
			continue;
		}
		int64_t remaining = (int64_t)spec.it_value.tv_sec * (int64_t)SECOND + spec.it_value.tv_nsec;
		check(result == 0, "timer %d: there", i);
		check_eq_u64((uint64_t)spec.it_interval.tv_sec * SECOND + (uint64_t)spec.it_interval.tv_nsec, timer[i].interval, "timer %d: interval", i);
		if (timer[i].value == 0)
			check(remaining == 0, "timer %d: disarmed", i);
		else if (timer[i].clock == CLOCK_PROCESS_CPUTIME_ID)
			check_between(remaining, (int64_t)(timer[i].value - CHECK_GIVE_UP_S * SECOND), (int64_t)timer[i].value, "timer %d: remaining time", i);
		else if (timer[i].value > SECOND) {
			int64_t wanted = (int64_t)(timer[i].value - (check_now() - timer[i].set_at));
			check_between(remaining, wanted - (int64_t)SLACK, wanted + (int64_t)SLACK, "timer %d: remaining time", i);
		}
	}
	check(advances(&ticks[0]), "the one that sends a signal ticks");
	check(advances(&ticks[2]), "the one that sends it to a thread ticks");
	check(advances(&thread_calls), "the one that calls a function ticks");
	check(ticks[3] + ticks[6] + ticks[8] + ticks[9] + ticks[11] == 0, "the others have not expired");
	check_eq_u64((uint64_t)wrong, 0, "every signal came from its timer, with its value, to its thread");

	spec = (struct itimerspec){ check_timespec(0), check_timespec(MS) };
	must(syscall(SYS_timer_settime, timer[9].id, 0, &spec, NULL));
	for (uint64_t until = check_now() + 10 * SECOND; !ticks[9] && check_now() < until; )
		work(NULL);
	check_eq_u64((uint64_t)ticks[9], 1, "the disarmed one can be armed and expires once");
	bool deleted = true;
	for (int i = 0; i < TIMERS; i++)
		deleted = deleted && (!is_left(i) || syscall(SYS_timer_delete, timer[i].id) == 0);
	check(deleted && timer_delete(library_timer) == 0, "all can be deleted");
	ticker_end = true;
	pthread_join(thread, NULL);
	return check_done();
}

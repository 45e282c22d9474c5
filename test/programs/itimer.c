/*
 * itimer - the three interval timers: intervals, remaining time, and that they go
 * on ticking.
 *
 * setitimer(2)
 */
#include "check.h"
#include <signal.h>
#include <sys/time.h>

static volatile sig_atomic_t alarms, profs, virtuals;

static void handler(int signal)
{
	if (signal == SIGALRM)
		alarms++;
	else if (signal == SIGPROF)
		profs++;
	else
		virtuals++;
}

/* A millisecond of CPU time: the profiling timer counts that. */
static void work(void *unused)
{
	(void)unused;
	volatile uint64_t x = 0;
	for (uint64_t until = check_now() + MS; check_now() < until; )
		x = check_mix(x);
}

/* Until the counter has moved by three, or never. */
static bool ticks(volatile sig_atomic_t *count)
{
	int before = *count;
	for (uint64_t until = check_now() + 10 * SECOND; check_now() < until && *count < before + 3; )
		work(NULL);
	return *count >= before + 3;
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	struct sigaction action = { .sa_handler = handler, .sa_flags = SA_RESTART };
	sigaction(SIGALRM, &action, NULL);
	sigaction(SIGPROF, &action, NULL);
	sigaction(SIGVTALRM, &action, NULL);
	struct itimerval real = { { 0, 10000 }, { 0, 10000 } }, prof = { { 0, 12000 }, { 0, 12000 } };
	struct itimerval virtual = { .it_interval = { 77, 0 }, .it_value = { 1000, 0 } }, now;
	must(setitimer(ITIMER_REAL, &real, NULL));
	must(setitimer(ITIMER_PROF, &prof, NULL));
	must(setitimer(ITIMER_VIRTUAL, &virtual, NULL));

	check_ready();
	check_wait_doing(work, NULL);

	must(getitimer(ITIMER_REAL, &now));
	check(now.it_interval.tv_sec == 0 && now.it_interval.tv_usec == 10000, "the interval of ITIMER_REAL");
	check(now.it_value.tv_sec == 0 && now.it_value.tv_usec <= 11000, "the remaining time of ITIMER_REAL");
	must(getitimer(ITIMER_PROF, &now));
	check_eq_u64((uint64_t)now.it_interval.tv_usec, 12000, "the interval of ITIMER_PROF");
	must(getitimer(ITIMER_VIRTUAL, &now));
	check_eq_u64((uint64_t)now.it_interval.tv_sec, 77, "the interval of ITIMER_VIRTUAL");
	/* It counts CPU time, of which at most as much has passed as of the other. */
	check_between(now.it_value.tv_sec, 1000 - CHECK_GIVE_UP_S, 1000, "the remaining time of ITIMER_VIRTUAL");
	check(ticks(&alarms), "ITIMER_REAL ticks");
	check(ticks(&profs), "ITIMER_PROF ticks");
	check(virtuals == 0, "ITIMER_VIRTUAL has not expired");
	virtual = (struct itimerval){ { 0, 10000 }, { 0, 10000 } };
	must(setitimer(ITIMER_VIRTUAL, &virtual, NULL));
	check(ticks(&virtuals), "ITIMER_VIRTUAL can be set anew and ticks");
	return check_done();
}

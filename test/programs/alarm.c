/*
 * alarm - an alarm that expires after the resume at the right moment: argv[2]
 * seconds (2) of monotonic time after it was set, while the program sleeps.
 *
 * alarm(2)
 */
#include "check.h"
#include <signal.h>

static volatile sig_atomic_t fired;
static volatile uint64_t fired_ns;

static void handler(int signal)
{
	(void)signal;
	fired++;
	fired_ns = check_now();
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	unsigned seconds = (unsigned)check_arg(argc, argv, 2, 2);
	struct sigaction action = { .sa_handler = handler };
	sigaction(SIGALRM, &action, NULL);
	uint64_t start = check_now();
	alarm(seconds);

	check_ready();
	check_wait();

	for (uint64_t until = start + (seconds + 5) * SECOND; !fired && check_now() < until; )
		check_pause(10 * MS);
	check_eq_u64((uint64_t)fired, 1, "the alarm fires once");
	check_between((int64_t)(fired_ns - start), (int64_t)(seconds * SECOND - 50 * MS), (int64_t)(seconds * SECOND + 1500 * MS), "at its time");
	check_eq_u64(alarm(1000), 0, "no other alarm is set");
	check_between(alarm(0), 999, 1000, "a new one can be set and taken back");
	return check_done();
}

/*
 * refuse-timerfd - timers that are read from a descriptor: one far away, one that
 * ticks. timerfd_create(2)
 */
#include "refuse.h"
#include <sys/timerfd.h>

int main(int argc, char **argv)
{
	struct itimerspec far = { { 0, 0 }, { 1000, 0 } }, ticking = { { 0, 10000000 }, { 0, 10000000 } }, now;
	uint64_t ticks = 0;

	check_init(argc, argv);
	int one = (int)must(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK)), two = (int)must(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC));
	must(timerfd_settime(one, 0, &far, NULL));
	must(timerfd_settime(two, 0, &ticking, NULL));
	check_ready();
	check_wait();
	check(read(one, &ticks, 8) == -1 && errno == EAGAIN, "the far one has not expired");
	must(timerfd_gettime(one, &now));
	check_between(now.it_value.tv_sec, 1000 - CHECK_GIVE_UP_S, 1000, "and has its remaining time");
	check(read(two, &ticks, 8) == 8 && ticks > 0, "the other one ticks");
	return check_done();
}

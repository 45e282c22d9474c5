/*
 * refuse-epoll - an epoll set with a pipe in it. epoll(7)
 */
#include "refuse.h"
#include <sys/epoll.h>

int main(int argc, char **argv)
{
	int ends[2];
	struct epoll_event event = { .events = EPOLLIN, .data.u32 = 7 };

	check_init(argc, argv);
	int set = (int)must(epoll_create1(EPOLL_CLOEXEC));
	must(pipe(ends));
	must(epoll_ctl(set, EPOLL_CTL_ADD, ends[0], &event));
	check_ready();
	check_wait();
	check(epoll_wait(set, &event, 1, 0) == 0, "nothing is ready");
	must(write(ends[1], "x", 1));
	check(epoll_wait(set, &event, 1, 1000) == 1 && event.data.u32 == 7, "a byte is reported");
	return check_done();
}

/*
 * epoll-wait - an epoll set with several pipes in it: level- and edge-triggered,
 * one-shot, disabled, with their data; a set within a set; and a thread blocked in
 * epoll_wait, which the kernel ends with EINTR when the process is stopped
 * (signal(7)) and which must all the same last its whole time. argv[2]: ms (2000).
 *
 * epoll(7), epoll_ctl(2), epoll_wait(2)
 */
#include "check.h"
#include <sys/epoll.h>

enum { LEVEL, EDGE, ONESHOT, SPENT, DUP, PIPES };

static uint64_t duration, start, end;
static int quiet, wait_result, wait_errno;

static void *wait_quiet(void *unused)
{
	struct epoll_event event;
	__atomic_store_n(&start, check_now(), __ATOMIC_RELEASE);
	wait_result = epoll_wait(quiet, &event, 1, (int)(duration / MS));
	wait_errno = errno;
	end = check_now();
	return unused;
}

/* A bit for each pipe that the set reports now. */
static unsigned reported(int set)
{
	struct epoll_event event[16];
	unsigned found = 0;
	int n = epoll_wait(set, event, 16, 0);
	for (int i = 0; i < n; i++)
		found |= event[i].data.u64 >> 8 == 0xabcdef ? 1u << (event[i].data.u64 & 0xff) : 1u << 31;
	return found;
}

int main(int argc, char **argv)
{
	static const uint32_t events[PIPES] = { EPOLLIN, EPOLLIN | EPOLLET, EPOLLIN | EPOLLONESHOT, EPOLLIN | EPOLLONESHOT, EPOLLIN };
	int pipes[PIPES][2], never[2];

	check_init(argc, argv);
	duration = (uint64_t)check_arg(argc, argv, 2, 2000) * MS;
	int set = (int)must(epoll_create1(EPOLL_CLOEXEC)), outer = (int)must(epoll_create1(0));
	for (uint64_t i = 0; i < PIPES; i++) {
		must(pipe(pipes[i]));
		struct epoll_event event = { .events = events[i], .data.u64 = 0xabcdef00 | i };
		must(epoll_ctl(set, EPOLL_CTL_ADD, i == DUP ? dup(pipes[i][0]) : pipes[i][0], &event));
	}
	struct epoll_event inner = { .events = EPOLLIN, .data.u64 = 0xabcdef07 };
	must(epoll_ctl(outer, EPOLL_CTL_ADD, set, &inner));
	/* One report spends a one-shot entry. */
	must(write(pipes[SPENT][1], "x", 1));
	reported(set);
	quiet = (int)must(epoll_create1(0));
	must(pipe(never));
	struct epoll_event event = { .events = EPOLLIN };
	must(epoll_ctl(quiet, EPOLL_CTL_ADD, never[0], &event));
	pthread_t thread = check_thread(wait_quiet, NULL);
	while (!__atomic_load_n(&start, __ATOMIC_ACQUIRE))
		check_pause(MS);
	check_pause(5 * MS);

	check_ready();
	check_wait();

	check(fcntl(set, F_GETFD) & FD_CLOEXEC, "the set is close-on-exec");
	check_eq_u64(reported(outer), 0, "nothing is ready in the outer set");
	check_eq_u64(reported(set), 0, "nothing is ready in the set");
	for (int i = 0; i < PIPES; i++)
		must(write(pipes[i][1], "x", 1));
	check_eq_u64(reported(outer), 1u << 7, "the outer set reports the inner one");
	check_eq_u64(reported(set), 1u << LEVEL | 1u << EDGE | 1u << ONESHOT | 1u << DUP, "all but the spent one are reported, with their data");
	check_eq_u64(reported(set), 1u << LEVEL | 1u << DUP, "only the level-triggered ones are reported again");
	event = (struct epoll_event){ .events = EPOLLIN | EPOLLONESHOT, .data.u64 = 0xabcdef00 | SPENT };
	check(epoll_ctl(set, EPOLL_CTL_MOD, pipes[SPENT][0], &event) == 0, "the spent one can be armed again");
	check_eq_u64(reported(set), 1u << LEVEL | 1u << SPENT | 1u << DUP, "and is reported");
	check(epoll_ctl(set, EPOLL_CTL_ADD, pipes[LEVEL][0], &event) == -1 && errno == EEXIST, "an entry cannot be added twice");
	check(epoll_ctl(set, EPOLL_CTL_DEL, pipes[LEVEL][0], NULL) == 0, "an entry can be removed");

	pthread_join(thread, NULL);
	check(wait_result == 0, "the blocked epoll_wait ends by its timeout");
	if (wait_result)
		check_note("%d, errno %d", wait_result, wait_errno);
	check_between((int64_t)(end - start), (int64_t)(duration - 50 * MS), (int64_t)(duration + 1500 * MS), "and lasts its whole time");
	return check_done();
}

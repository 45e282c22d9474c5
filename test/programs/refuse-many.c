/*
 * refuse-many - several things at once that may not be saved: a refusal names them
 * all: a child, a socket pair, an eventfd, a timerfd, an inotify, a signalfd.
 */
#include "refuse.h"
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/wait.h>

int main(int argc, char **argv)
{
	int pair[2], status;
	uint64_t value = 0;
	char byte = 0;
	sigset_t set;

	check_init(argc, argv);
	must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	int event = (int)must(eventfd(9, EFD_CLOEXEC)), timer = (int)must(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC));
	int watch = refuse_fd(inotify_init1(IN_CLOEXEC), "inotify_init1");
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	int signals = (int)must(signalfd(-1, &set, SFD_CLOEXEC));
	must(write(pair[0], "x", 1));
	pid_t child = (pid_t)must(fork());
	if (child == 0) {
		pid_t parent = getppid();
		while (!check_go() && getppid() == parent)
			check_pause(CHECK_POLL_MS * MS);
		_exit(0);
	}
	check_ready();
	check_wait();
	check(waitpid(child, &status, 0) == child && status == 0, "the child");
	check(read(pair[1], &byte, 1) == 1 && byte == 'x', "the socket pair");
	check(read(event, &value, 8) == 8 && value == 9, "the eventfd");
	check(fcntl(timer, F_GETFD) == FD_CLOEXEC && fcntl(watch, F_GETFD) == FD_CLOEXEC && fcntl(signals, F_GETFD) == FD_CLOEXEC, "the others");
	return check_done();
}

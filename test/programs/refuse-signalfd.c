/*
 * refuse-signalfd - signals that are read from a descriptor, one of them pending.
 * signalfd(2)
 */
#include "refuse.h"
#include <sys/signalfd.h>

int main(int argc, char **argv)
{
	struct signalfd_siginfo info;
	sigset_t set;

	check_init(argc, argv);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGRTMIN + 3);
	sigprocmask(SIG_BLOCK, &set, NULL);
	int fd = (int)must(signalfd(-1, &set, SFD_NONBLOCK));
	must(sigqueue(getpid(), SIGRTMIN + 3, (union sigval){ .sival_int = 11 }));
	check_ready();
	check_wait();
	check(read(fd, &info, sizeof info) == sizeof info && (int)info.ssi_signo == SIGRTMIN + 3 && info.ssi_int == 11, "the pending signal is read");
	check(read(fd, &info, sizeof info) == -1 && errno == EAGAIN, "and no other");
	must(kill(getpid(), SIGUSR1));
	check(read(fd, &info, sizeof info) == sizeof info && info.ssi_signo == SIGUSR1, "a new one is read, too");
	return check_done();
}

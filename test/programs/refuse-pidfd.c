/*
 * refuse-pidfd - a descriptor that refers to a process. pidfd_open(2)
 */
#include "refuse.h"

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434        /* Linux 5.3 */
#define SYS_pidfd_send_signal 424
#endif

static volatile sig_atomic_t caught;

static void handler(int signal)
{
	(void)signal;
	caught++;
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	signal(SIGUSR1, handler);
	int fd = refuse_fd(syscall(SYS_pidfd_open, getpid(), 0), "pidfd_open");
	check_ready();
	check_wait();
	check(syscall(SYS_pidfd_send_signal, fd, SIGUSR1, NULL, 0) == 0, "a signal can be sent by it");
	check_eq_u64((uint64_t)caught, 1, "and arrives");
	return check_done();
}

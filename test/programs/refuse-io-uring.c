/*
 * refuse-io-uring - an io_uring, made by the system call itself so that no library is
 * needed and no shim asked. Skipped where the kernel refuses it. io_uring_setup(2)
 */
#include "refuse.h"

#ifndef SYS_io_uring_setup
#define SYS_io_uring_setup 425   /* Linux 5.1 */
#define SYS_io_uring_enter 426
#endif

int main(int argc, char **argv)
{
	uint32_t parameters[30] = { 0 };  /* struct io_uring_params, 120 bytes */

	check_init(argc, argv);
	int ring = refuse_fd(syscall(SYS_io_uring_setup, 4, parameters), "io_uring_setup");
	check_ready();
	check_wait();
	check(syscall(SYS_io_uring_enter, ring, 0, 0, 0, NULL, 0) == 0, "the ring can be entered");
	return check_done();
}

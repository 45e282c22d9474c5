/*
 * refuse-io-uring - an io_uring, made by an instruction of the program's own, as Go and
 * static binaries do, so that no shim is asked. Skipped where the kernel refuses it.
 * io_uring_setup(2)
 */
#include "refuse.h"

#ifndef SYS_io_uring_setup
#define SYS_io_uring_setup 425   /* Linux 5.1 */
#define SYS_io_uring_enter 426
#endif

static long setup(unsigned entries, void *parameters)
{
	long result;
	__asm__ volatile("syscall"
	                 : "=a"(result)
	                 : "a"((long)SYS_io_uring_setup), "D"((long)entries), "S"(parameters)
	                 : "rcx", "r11", "memory");
	if (result >= 0)
		return result;
	errno = (int)-result;
	return -1;
}

int main(int argc, char **argv)
{
	uint32_t parameters[30] = { 0 };  /* struct io_uring_params, 120 bytes */

	check_init(argc, argv);
	int ring = refuse_fd(setup(4, parameters), "io_uring_setup");
	check_ready();
	check_wait();
	check(syscall(SYS_io_uring_enter, ring, 0, 0, 0, NULL, 0) == 0, "the ring can be entered");
	return check_done();
}

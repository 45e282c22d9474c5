/*
 * io-uring - asks for an io_uring and does without when it gets none: what libuv and
 * language runtimes do. Under procs the answer is ENOSYS, also after a resume, and
 * no other system call made through syscall(2) is touched: six arguments, results
 * and errno as ever. io_uring_setup(2)
 */
#include "check.h"
#include <sys/mman.h>

#ifndef SYS_io_uring_setup
#define SYS_io_uring_setup 425   /* Linux 5.1 */
#endif

static bool is_under_procs(void)
{
	const char *preload = getenv("LD_PRELOAD");
	return preload != NULL && strstr(preload, "libprocs.so") != NULL;
}

/* Without procs the kernel may have one, or not. */
static void check_none(const char *when)
{
	uint32_t parameters[30] = { 0 };  /* struct io_uring_params, 120 bytes */
	errno = 0;
	long ring = syscall(SYS_io_uring_setup, 4, parameters);
	bool is_refused = ring == -1 && errno == ENOSYS;

	if (ring >= 0)
		close((int)ring);
	check(is_refused || !is_under_procs(), "%s there is no io_uring (result %ld, errno %d)", when,
	      is_under_procs() ? ring : -1, is_under_procs() ? errno : ENOSYS);
}

static void check_others(const char *when)
{
	errno = 0;
	check(syscall(SYS_close, -1) == -1 && errno == EBADF, "%s an error is -1 and errno", when);
	errno = 0;
	check(syscall(SYS_getpid) == getpid() && errno == 0, "%s a result leaves errno alone", when);
	char *page = (char *)syscall(SYS_mmap, NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	check(page != MAP_FAILED && (*page = 1), "%s six arguments arrive", when);
	munmap(page, 4096);

	char path[64];
	snprintf(path, sizeof path, "/proc/%d/exe", getpid());
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char head[4] = "", wanted[4];
	must(pread(fd, wanted, 4, 1));
	check(syscall(SYS_pread64, fd, head, 4, 1l) == 4 && memcmp(head, wanted, 4) == 0, "%s four arguments arrive", when);
	close(fd);
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	check_none("before:");
	check_others("before:");
	check_ready();
	check_wait();
	check_none("after:");
	check_others("after:");
	return check_done();
}

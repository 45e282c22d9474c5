/*
 * devices - descriptors of character devices without a state of their own, and of
 * the terminal where there is one; a mapping of /dev/zero.
 *
 * null(4), full(4), random(4), tty(4)
 */
#include "check.h"
#include <sys/mman.h>
#include <sys/stat.h>
#include <termios.h>

enum { NULL_DEVICE, ZERO, FULL, RANDOM, URANDOM, TTY, DEVICES };

static const struct {
	const char *path;
	int flags;
} device[DEVICES] = {
	{ "/dev/null", O_RDWR | O_APPEND },
	{ "/dev/zero", O_RDONLY | O_CLOEXEC },
	{ "/dev/full", O_WRONLY },
	{ "/dev/random", O_RDONLY | O_NONBLOCK },
	{ "/dev/urandom", O_RDONLY },
	{ "/dev/tty", O_RDWR | O_NOCTTY },
};

int main(int argc, char **argv)
{
	int fd[DEVICES], flags[DEVICES], fd_flags[DEVICES];
	struct stat before[DEVICES], after;
	uint8_t bytes[64];

	check_init(argc, argv);
	for (int i = 0; i < DEVICES; i++) {
		fd[i] = open(device[i].path, device[i].flags);
		if (fd[i] < 0 && i != TTY)
			check_bail("%s: %s", device[i].path, strerror(errno));
		if (fd[i] < 0)
			continue;
		must(fstat(fd[i], &before[i]));
		flags[i] = (int)must(fcntl(fd[i], F_GETFL));
		fd_flags[i] = (int)must(fcntl(fd[i], F_GETFD));
	}
	int duplicate = (int)must(dup(fd[URANDOM]));
	uint8_t *private = must_map(mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd[ZERO], 0));
	memset(private, 7, 4096);
	int writable = (int)must(open("/dev/zero", O_RDWR));
	uint8_t *shared = must_map(mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, writable, 0));
	memset(shared, 8, 4096);

	check_ready();
	check_wait();

	for (int i = 0; i < DEVICES; i++) {
		if (fd[i] < 0) {
			check_skip("there is no terminal", "%s", device[i].path);
			continue;
		}
		bool same = fstat(fd[i], &after) == 0 && S_ISCHR(after.st_mode) && after.st_rdev == before[i].st_rdev;
		check(same, "%s: is that device", device[i].path);
		check_eq_u64((uint64_t)fcntl(fd[i], F_GETFL), (uint64_t)flags[i], "%s: status flags", device[i].path);
		check_eq_u64((uint64_t)fcntl(fd[i], F_GETFD), (uint64_t)fd_flags[i], "%s: descriptor flags", device[i].path);
	}
	check(read(fd[NULL_DEVICE], bytes, 10) == 0 && write(fd[NULL_DEVICE], bytes, 10) == 10, "/dev/null swallows");
	memset(bytes, 1, sizeof bytes);
	check(read(fd[ZERO], bytes, sizeof bytes) == sizeof bytes && !check_nonzero(bytes, sizeof bytes), "/dev/zero gives zeros");
	check(write(fd[FULL], bytes, 1) == -1 && errno == ENOSPC, "/dev/full is full");
	check(read(fd[URANDOM], bytes, sizeof bytes) == sizeof bytes && check_nonzero(bytes, sizeof bytes) > 10, "/dev/urandom gives something");
	check(read(fd[RANDOM], bytes, 16) == 16, "/dev/random gives something");
	check(read(duplicate, bytes, 8) == 8, "a duplicate works");
	check(private[0] == 7 && private[4095] == 7 && !check_nonzero(private + 4096, 4096), "a private mapping of /dev/zero");
	check(shared[0] == 8 && shared[4095] == 8 && !check_nonzero(shared + 4096, 4096), "a shared mapping of /dev/zero");
	if (fd[TTY] >= 0) {
		struct termios settings;
		check(tcgetattr(fd[TTY], &settings) == 0, "the terminal is a terminal");
	}
	return check_done();
}

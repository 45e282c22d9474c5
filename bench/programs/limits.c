/*
 * limits.c - what no checkpoint of the same memory can be quicker than, on this machine, now.
 *
 *     limits MIB random|text|zero FILE
 *
 * Prints one JSON object of nanoseconds: fork of the process that holds the memory, as the parent
 * feels it; writing the memory to a new file, and to durability; reading that file back, into memory
 * that was in use before and into fresh memory, whose pages the kernel has to find and clear first.
 */
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

#define PIECE (4u << 20)

static int64_t time_fork(void)
{
	int64_t begun = clock_ns(CLOCK_MONOTONIC);
	pid_t child = fork();
	if (child == 0)
		_exit(0);
	if (child < 0)
		fail("fork");
	int64_t taken = clock_ns(CLOCK_MONOTONIC) - begun;
	waitpid(child, NULL, 0);
	return taken;
}

static int64_t time_read(const char *path, unsigned char *memory, size_t size)
{
	int fd = open(path, O_RDONLY);
	if (fd < 0)
		fail(path);
	int64_t begun = clock_ns(CLOCK_MONOTONIC);
	for (size_t done = 0; done < size;) {
		ssize_t n = read(fd, memory + done, size - done < PIECE ? size - done : PIECE);
		if (n <= 0)
			fail("read");
		done += (size_t)n;
	}
	int64_t taken = clock_ns(CLOCK_MONOTONIC) - begun;
	close(fd);
	return taken;
}

int main(int argc, char **argv)
{
	if (argc != 4) {
		fprintf(stderr, "usage: limits MIB random|text|zero FILE\n");
		return 64;
	}
	size_t size = strtoull(argv[1], NULL, 10) << 20;
	unsigned char *memory = hold_memory(size, argv[2]);
	int64_t fork_ns = time_fork();

	int fd = open(argv[3], O_WRONLY | O_CREAT | O_EXCL, 0600);
	if (fd < 0)
		fail(argv[3]);
	int64_t begun = clock_ns(CLOCK_MONOTONIC);
	for (size_t done = 0; done < size;) {
		ssize_t n = write(fd, memory + done, size - done < PIECE ? size - done : PIECE);
		if (n <= 0)
			fail("write");
		done += (size_t)n;
	}
	int64_t written = clock_ns(CLOCK_MONOTONIC) - begun;
	if (fsync(fd) != 0)
		fail("fsync");
	int64_t durable = clock_ns(CLOCK_MONOTONIC) - begun;
	close(fd);

	int64_t read_ns = time_read(argv[3], memory, size);
	munmap(memory, size);
	memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		fail("mmap");
	madvise(memory, size, MADV_NOHUGEPAGE);
	int64_t fresh_ns = time_read(argv[3], memory, size);
	unlink(argv[3]);
	printf("{\"fork\":%lld,\"write\":%lld,\"durable\":%lld,\"read\":%lld,\"readFresh\":%lld}\n", (long long)fork_ns, (long long)written,
	       (long long)durable, (long long)read_ns, (long long)fresh_ns);
	return 0;
}

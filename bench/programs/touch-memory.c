/*
 * touch-memory.c - touches so many MiB and gives them back: `touch-memory MIB`.
 *
 * A virtual machine gets its memory from the host page by page, on first touch, many times
 * slower than after that. What is measured later uses pages that were touched before.
 */
#include "bench.h"

int main(int argc, char **argv)
{
	if (argc != 2)
		return 64;
	size_t size = strtoull(argv[1], NULL, 10) << 20;
	unsigned char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		fail("mmap");
	for (size_t i = 0; i < size; i += BENCH_PAGE)
		((volatile unsigned char *)memory)[i] = 1;
	return 0;
}

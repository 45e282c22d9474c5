/*
 * bench.h - what the benchmark programs share: clocks, memory of a given kind, the end.
 */
#ifndef BENCH_H
#define BENCH_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define BENCH_PAGE 4096u

static inline int64_t clock_ns(clockid_t clock)
{
	struct timespec now;
	clock_gettime(clock, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static inline __attribute__((noreturn)) void fail(const char *what)
{
	perror(what);
	exit(1);
}

/* xorshift64: no two pages alike, nothing that a codec could shrink. */
static inline uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static inline void fill_random(unsigned char *at, size_t size)
{
	uint64_t state = 0x9e3779b97f4a7c15u;
	for (size_t i = 0; i < size; i += sizeof state) {
		uint64_t word = next_random(&state);
		memcpy(at + i, &word, sizeof word);
	}
}

/* Words and numbers in random order: what a log or a table looks like to a codec. */
static inline void fill_text(unsigned char *at, size_t size)
{
	static const char *const words[] = { "energy", "the", "particle", "step", "of", "converged", "in", "cell", "at", "temperature", "density", "warning:", "after", "iteration", "residual", "=" };
	uint64_t state = 0x2545f4914f6cdd1du;
	for (size_t i = 0; i < size;) {
		char text[48];
		uint64_t r = next_random(&state);
		int length = r % 5 == 0 ? snprintf(text, sizeof text, "%.4f\n", (double)(r >> 40) / 977.0)
					: snprintf(text, sizeof text, "%s ", words[(r >> 8) % 16]);
		size_t n = (size_t)length < size - i ? (size_t)length : size - i;
		memcpy(at + i, text, n);
		i += n;
	}
}

/* `size` bytes in 4 KiB pages, every one of them touched. `kind`: random, text or zero. */
static inline unsigned char *hold_memory(size_t size, const char *kind)
{
	unsigned char *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (at == MAP_FAILED)
		fail("mmap");
	/* Huge pages make a fork a matter of microseconds: the hard case is measured. */
	madvise(at, size, MADV_NOHUGEPAGE);
	if (strcmp(kind, "random") == 0) {
		fill_random(at, size);
	} else if (strcmp(kind, "text") == 0) {
		fill_text(at, size);
	} else if (strcmp(kind, "zero") == 0) {
		memset(at, 0, size);
	} else {
		fprintf(stderr, "memory of kind random, text or zero, not %s\n", kind);
		exit(64);
	}
	return at;
}

#endif

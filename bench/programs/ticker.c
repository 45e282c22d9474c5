/*
 * ticker.c - a program that feels its own checkpoint.
 *
 *     ticker MIB random|text|zero
 *
 * Holds so much memory and ticks every millisecond. What it notices it says on standard output,
 * one line each, the clocks in nanoseconds:
 *
 *     ready PID                        its memory is there, it ticks
 *     gap LENGTH REALTIME              a tick came LENGTH after the one before, at REALTIME
 *     resumed REALTIME LENGTH          the same, but wall clock and monotonic clock went apart:
 *                                      it was resumed, and this is its first look at a clock since
 *
 * A clock that does not stand still between checkpoint and resume (a peer that has no time
 * namespace) shows as a gap. Ends when standard input does: nobody measures any more.
 */
#include <poll.h>
#include <unistd.h>

#include "bench.h"

#define TICK_NS 1000000
#define TELL_NS 1500000   /* ticks come late by 60 us when nothing happens */
#define APART_NS 20000000 /* NTP moves the wall clock by less between two ticks */

int main(int argc, char **argv)
{
	if (argc != 3) {
		fprintf(stderr, "usage: ticker MIB random|text|zero\n");
		return 64;
	}
	size_t size = strtoull(argv[1], NULL, 10) << 20;
	unsigned char *memory = hold_memory(size, argv[2]);
	setvbuf(stdout, NULL, _IOLBF, 4096);
	printf("ready %d\n", (int)getpid());

	int64_t before = clock_ns(CLOCK_MONOTONIC);
	int64_t apart = clock_ns(CLOCK_REALTIME) - before;
	for (unsigned long tick = 0;; tick++) {
		nanosleep(&(struct timespec){ .tv_nsec = TICK_NS }, NULL);
		int64_t wall = clock_ns(CLOCK_REALTIME);
		int64_t now = clock_ns(CLOCK_MONOTONIC);
		int64_t moved = wall - now - apart;
		if (moved > APART_NS || moved < -APART_NS)
			printf("resumed %lld %lld\n", (long long)wall, (long long)(now - before));
		else if (now - before > TELL_NS)
			printf("gap %lld %lld\n", (long long)(now - before), (long long)wall);
		apart = wall - now;
		/* Its memory is in use, a little: one page a tick. */
		if (size > 0)
			((volatile unsigned char *)memory)[tick * BENCH_PAGE % size] ^= 0;
		struct pollfd input = { .fd = 0, .events = POLLIN };
		if (tick % 100 == 99 && poll(&input, 1, 0) > 0 && input.revents & POLLHUP)
			return 0;
		/* Counted from here: what was said just now is not part of the next gap. */
		before = clock_ns(CLOCK_MONOTONIC);
	}
}

/*
 * memory-stack - the main stack, deep in a recursion: its frames, its way back, and
 * that it still grows. The same for a thread's stack and for MAP_GROWSDOWN memory.
 *
 * mmap(2) MAP_GROWSDOWN, setrlimit(2) RLIMIT_STACK, pthread_attr_setstacksize(3)
 */
#include "fault.h"
#include <sys/mman.h>
#include <sys/resource.h>

#define FRAME 1024
#define WAIT_DEPTH 600    /* about 0.7 MiB */
#define FULL_DEPTH 4000   /* about 4.5 MiB, reached only after the wait */
#define GROWSDOWN_HOLE (640 * 1024ul)
#define GROWSDOWN_FIRST (64 * 1024ul)
#define GROWSDOWN_ALL (512 * 1024ul)

static bool stop;
static _Thread_local bool is_main;

static void wait_below(void)
{
	if (is_main)
		check_wait();
	else
		while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE))
			check_pause(MS);
}

/* How many words of the frames from here to the deepest one are wrong. */
static __attribute__((noinline)) uint64_t descend(int depth, int deepest, void (*at_wait_depth)(void))
{
	uint64_t frame[FRAME / 8], wrong = 0;
	check_fill(frame, sizeof frame, (uint64_t)depth);
	asm volatile("" : : "r"(frame) : "memory");
	if (depth == WAIT_DEPTH && at_wait_depth)
		at_wait_depth();
	if (depth < deepest)
		wrong = descend(depth + 1, deepest, at_wait_depth);
	asm volatile("" : : "r"(frame) : "memory");
	return wrong + check_wrong(frame, sizeof frame, (uint64_t)depth);
}

static void *in_thread(void *depth)
{
	return (void *)descend(0, (int)(intptr_t)depth, wait_below);
}

static void ready_and_wait(void)
{
	check_ready();
	wait_below();
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	is_main = true;
	struct rlimit limit;
	must(getrlimit(RLIMIT_STACK, &limit));
	if (limit.rlim_cur < 8 * 1024 * 1024)
		check_skip_all("the stack limit is below 8 MiB");

	/*
	 * Room to grow that nothing else will take: it is smaller than the gap of 1 MiB which the
	 * kernel keeps below growing memory, and what follows is inaccessible, which needs no gap.
	 */
	uint8_t *reserved = must_map(mmap(NULL, 4 * GROWSDOWN_HOLE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
	uint8_t *top = reserved + 3 * GROWSDOWN_HOLE;
	must(munmap(top - GROWSDOWN_HOLE, GROWSDOWN_HOLE));
	must(mmap(top - GROWSDOWN_FIRST, GROWSDOWN_FIRST, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_FIXED, -1, 0));
	check_fill(top - GROWSDOWN_FIRST, GROWSDOWN_FIRST, 1);
	/* Grown by touching, once before. */
	uint8_t *bottom = top - 2 * GROWSDOWN_FIRST;
	check_fill(bottom, GROWSDOWN_FIRST, 2);

	pthread_t thread = check_thread(in_thread, (void *)2000l);
	uint64_t wrong = descend(0, FULL_DEPTH, ready_and_wait);
	__atomic_store_n(&stop, true, __ATOMIC_RELEASE);
	void *thread_wrong;
	pthread_join(thread, &thread_wrong);

	check_eq_u64(wrong, 0, "the main stack grows, and every frame has its contents");
	check_eq_u64((uintptr_t)thread_wrong, 0, "a thread's stack, too");
	check_eq_u64(check_wrong(top - GROWSDOWN_FIRST, GROWSDOWN_FIRST, 1), 0, "MAP_GROWSDOWN: contents");
	check_eq_u64(check_wrong(bottom, GROWSDOWN_FIRST, 2), 0, "MAP_GROWSDOWN: contents of the grown part");
	int faults = 0;
	for (uint8_t *p = bottom - 4096; p >= top - GROWSDOWN_ALL; p -= 4096)
		faults += fault_on_write(p) != 0;
	check_eq_u64((uint64_t)faults, 0, "MAP_GROWSDOWN: still grows");
	check_eq_u64(check_nonzero(top - GROWSDOWN_ALL, GROWSDOWN_ALL - 2 * GROWSDOWN_FIRST), 0, "MAP_GROWSDOWN: what it grows by reads zero");
	return check_done();
}

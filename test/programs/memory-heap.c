/*
 * memory-heap - malloc, realloc and free without end, in several threads (and so in
 * several arenas), and the program break.
 *
 * malloc(3), brk(2)
 */
#include "check.h"

#define THREADS 3
#define SLOTS 500

static bool stop;
static uint64_t wrong[THREADS], rounds[THREADS];

struct block {
	uint64_t *memory, seed;
	size_t size;
};

static size_t size_of(uint64_t random)
{
	/* Mostly small, sometimes beyond the threshold above which malloc uses mmap. */
	return 8 * (1 + (random % 50 ? random % 200 : random % 40000));
}

static void *churn(void *number)
{
	uintptr_t self = (uintptr_t)number;
	struct block *block = calloc(SLOTS, sizeof *block);
	for (uint64_t step = self; !__atomic_load_n(&stop, __ATOMIC_ACQUIRE); step += THREADS) {
		uint64_t random = check_mix(step);
		struct block *b = &block[random % SLOTS];
		if (b->memory)
			wrong[self] += check_wrong(b->memory, b->size, b->seed);
		if (b->memory && random & 1 << 20) {
			free(b->memory);
			b->memory = NULL;
		} else if (b->memory) {
			/* What realloc keeps is the beginning: as if it had been filled for the smaller size. */
			size_t size = size_of(random >> 8), kept = size < b->size ? size : b->size;
			b->memory = realloc(b->memory, size);
			wrong[self] += check_wrong(b->memory, kept, b->seed);
			b->size = size;
			check_fill(b->memory, size, b->seed);
		} else {
			*b = (struct block){ malloc(size_of(random >> 8)), step, size_of(random >> 8) };
			check_fill(b->memory, b->size, b->seed);
		}
		__atomic_fetch_add(&rounds[self], 1, __ATOMIC_RELEASE);
	}
	for (int i = 0; i < SLOTS; i++) {
		if (block[i].memory)
			wrong[self] += check_wrong(block[i].memory, block[i].size, block[i].seed);
		free(block[i].memory);
	}
	free(block);
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t thread[THREADS];

	check_init(argc, argv);
	uint8_t *low = must_map(sbrk(256 * 1024));
	check_fill(low, 256 * 1024, 1);
	for (uintptr_t i = 0; i < THREADS; i++)
		thread[i] = check_thread(churn, (void *)i);
	for (int i = 0; i < THREADS; i++)
		while (__atomic_load_n(&rounds[i], __ATOMIC_ACQUIRE) < 2 * SLOTS)
			check_pause(MS);
	/* The threads have arenas of their own: nobody moves the break while we wait. */
	void *before = sbrk(0);

	check_ready();
	check_wait();
	void *after = sbrk(0);
	__atomic_store_n(&stop, true, __ATOMIC_RELEASE);

	for (uintptr_t i = 0; i < THREADS; i++) {
		pthread_join(thread[i], NULL);
		check_eq_u64(wrong[i], 0, "thread %d: every block has its contents", (int)i);
	}
	check(before == after, "the break is where it was");
	check_eq_u64(check_wrong(low, 256 * 1024, 1), 0, "memory from sbrk has its contents");
	uint8_t *grown = sbrk(1024 * 1024);
	check(grown == after, "the break grows from there");
	check_eq_u64(grown == after ? check_nonzero(grown, 1024 * 1024) : 1, 0, "new memory reads zero");
	check(sbrk(-1024 * 1024) == (uint8_t *)after + 1024 * 1024 && sbrk(0) == after, "and shrinks again");
	return check_done();
}

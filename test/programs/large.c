/*
 * large - argv[2] MiB (64) of memory, in pieces of 1 MiB by turns random, zero,
 * text and never touched. With argv[3], that many MiB are written anew all the
 * time while waiting.
 */
#include "check.h"
#include <sys/mman.h>

#define MIB (1024 * 1024ul)

enum { RANDOM, ZERO, TEXT, UNTOUCHED, KINDS };

static uint8_t *memory, *busy;
static size_t busy_size;
static uint64_t round_number;

static void text(uint8_t *piece, size_t number)
{
	char line[128];
	for (size_t i = 0; i < MIB / 64; i++) {
		snprintf(line, sizeof line, "%09zu %09zu the quick brown fox jumps over the lazy dog\n", number, i);
		memcpy(piece + i * 64, line, 64);
	}
}

/* A page at a time, each tagged with the round that wrote it. */
static void work(void *unused)
{
	(void)unused;
	static size_t page;
	if (!busy_size) {
		check_pause(CHECK_POLL_MS * MS);
		return;
	}
	for (int i = 0; i < 64; i++) {
		check_fill(busy + page * 4096, 4096, round_number * 1000003 + page);
		if (++page == busy_size / 4096) {
			page = 0;
			round_number++;
		}
	}
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	size_t count = (size_t)check_arg(argc, argv, 2, 64);
	busy_size = (size_t)check_arg(argc, argv, 3, 0) * MIB;

	memory = must_map(mmap(NULL, count * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	if (busy_size)
		busy = must_map(mmap(NULL, busy_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	for (size_t i = 0; i < count; i++) {
		uint8_t *piece = memory + i * MIB;
		switch (i % KINDS) {
		case RANDOM:
			check_fill(piece, MIB, i);
			break;
		case ZERO:
			memset(piece, 0, MIB);
			break;
		case TEXT:
			text(piece, i);
			break;
		}
	}

	check_ready();
	check_wait_doing(work, NULL);

	size_t wrong[KINDS] = { 0 };
	static uint8_t wanted[MIB];
	for (size_t i = 0; i < count; i++) {
		uint8_t *piece = memory + i * MIB;
		memset(wanted, 0, MIB);
		if (i % KINDS == RANDOM)
			check_fill(wanted, MIB, i);
		if (i % KINDS == TEXT)
			text(wanted, i);
		wrong[i % KINDS] += memcmp(piece, wanted, MIB) != 0;
	}
	check_eq_u64(wrong[RANDOM], 0, "the random pieces are as they were");
	check_eq_u64(wrong[ZERO], 0, "the zero pieces are as they were");
	check_eq_u64(wrong[TEXT], 0, "the text pieces are as they were");
	check_eq_u64(wrong[UNTOUCHED], 0, "the untouched pieces read zero");

	size_t wrong_pages = 0;
	for (size_t page = 0; page < busy_size / 4096; page++) {
		uint8_t *p = busy + page * 4096;
		wrong_pages += !(round_number && check_wrong(p, 4096, (round_number - 1) * 1000003 + page) == 0)
			&& check_wrong(p, 4096, round_number * 1000003 + page) != 0
			&& !(round_number == 0 && check_nonzero(p, 4096) == 0);
	}
	check_eq_u64(wrong_pages, 0, "every busy page is of this round or the one before");
	return check_done();
}

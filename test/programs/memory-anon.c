/*
 * memory-anon - private anonymous memory: many mappings with every protection,
 * holes, pages with a protection of their own, pages given back, and a region
 * that is written all the time.
 *
 * mmap(2), munmap(2), mprotect(2), madvise(2)
 */
#include "fault.h"
#include "maps.h"
#include <sys/mman.h>

#define MAPPINGS 160
#define PAGES 8
#define PAGE 4096ul
#define BUSY_WORDS (512 * 1024ul)

static const int protections[] = {
	PROT_READ | PROT_WRITE, PROT_READ, PROT_NONE, PROT_READ | PROT_EXEC,
	PROT_READ | PROT_WRITE | PROT_EXEC, PROT_WRITE, PROT_EXEC,
};
#define PROTECTIONS (sizeof protections / sizeof *protections)

enum { WHOLE, HOLE, PROTECTED, GIVEN_BACK, TREATMENTS };

static uint8_t *mapping[MAPPINGS];
static uint64_t *busy, busy_step;

static void perms_of(int protection, char text[5])
{
	sprintf(text, "%c%c%cp", protection & PROT_READ ? 'r' : '-', protection & PROT_WRITE ? 'w' : '-', protection & PROT_EXEC ? 'x' : '-');
}

/* Pages 3 and 4 of a mapping are treated, the others always keep their pattern. */
static void make(int i)
{
	int protection = protections[i % PROTECTIONS];
	/* A page more, unmapped at once, so that neighbours do not merge. */
	uint8_t *m = must_map(mmap(NULL, (PAGES + 1) * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	must(munmap(m + PAGES * PAGE, PAGE));
	check_fill(m, PAGES * PAGE, (uint64_t)i);
	must(mprotect(m, PAGES * PAGE, protection));
	switch (i % TREATMENTS) {
	case HOLE:
		must(munmap(m + 3 * PAGE, 2 * PAGE));
		break;
	case PROTECTED:
		must(mprotect(m + 3 * PAGE, 2 * PAGE, protection == PROT_READ ? PROT_NONE : PROT_READ));
		break;
	case GIVEN_BACK:
		must(madvise(m + 3 * PAGE, 2 * PAGE, MADV_DONTNEED));
		break;
	}
	mapping[i] = m;
}

static void work(void *unused)
{
	(void)unused;
	for (int i = 0; i < 5000; i++, busy_step++)
		busy[check_mix(busy_step) % BUSY_WORDS] += busy_step;
	check_pause(MS / 5);
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	for (int i = 0; i < MAPPINGS; i++)
		make(i);
	uint8_t *untouched = must_map(mmap(NULL, 64 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	uint8_t *only_read = must_map(mmap(NULL, 64 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	check_nonzero(only_read, 64 * PAGE);
	busy = must_map(mmap(NULL, BUSY_WORDS * 8, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));

	check_ready();
	check_wait_doing(work, NULL);

	int wrong_perms = 0, wrong_faults = 0;
	size_t wrong_words = 0, wrong_treated = 0;
	for (int i = 0; i < MAPPINGS; i++) {
		int protection = protections[i % PROTECTIONS], treated = i % TREATMENTS;
		uint8_t *m = mapping[i], *middle = m + 3 * PAGE;
		char perms[5], middle_perms[5];

		perms_of(protection, perms);
		perms_of(treated == PROTECTED ? (protection == PROT_READ ? PROT_NONE : PROT_READ) : protection, middle_perms);
		wrong_perms += strcmp(mapping_perms(m), perms) != 0;
		wrong_perms += strcmp(mapping_perms(m + (PAGES - 1) * PAGE), perms) != 0;
		if (treated == HOLE)
			wrong_treated += fault_on_read(middle) != SIGSEGV;
		else
			wrong_perms += strcmp(mapping_perms(middle), middle_perms) != 0;
		if (protection == PROT_NONE)
			wrong_faults += fault_on_read(m) != SIGSEGV;
		if (!(protection & PROT_WRITE))
			wrong_faults += fault_on_write(m) != SIGSEGV;

		must(mprotect(m, 3 * PAGE, PROT_READ | PROT_WRITE));
		must(mprotect(m + 5 * PAGE, 3 * PAGE, PROT_READ | PROT_WRITE));
		/* The pattern counts from the start of the mapping. */
		uint64_t expected[PAGES * PAGE / 8];
		check_fill(expected, sizeof expected, (uint64_t)i);
		wrong_words += memcmp(m, expected, 3 * PAGE) != 0;
		wrong_words += memcmp(m + 5 * PAGE, (uint8_t *)expected + 5 * PAGE, 3 * PAGE) != 0;
		if (treated != HOLE) {
			must(mprotect(middle, 2 * PAGE, PROT_READ | PROT_WRITE));
			if (treated == GIVEN_BACK)
				wrong_treated += check_nonzero(middle, 2 * PAGE);
			else
				wrong_words += memcmp(middle, (uint8_t *)expected + 3 * PAGE, 2 * PAGE) != 0;
		}
		memset(m, 0x55, PAGE);
		wrong_words += m[PAGE - 1] != 0x55;
	}
	check_eq_u64(wrong_perms, 0, "every mapping has its protection");
	check_eq_u64(wrong_faults, 0, "forbidden accesses fault");
	check_eq_u64(wrong_words, 0, "every mapping has its contents");
	check_eq_u64(wrong_treated, 0, "holes are holes and pages given back read zero");
	check_eq_u64(check_nonzero(untouched, 64 * PAGE), 0, "memory never touched reads zero");
	check_eq_u64(check_nonzero(only_read, 64 * PAGE), 0, "memory only read reads zero");

	uint64_t *again = must_map(mmap(NULL, BUSY_WORDS * 8, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	for (uint64_t step = 0; step < busy_step; step++)
		again[check_mix(step) % BUSY_WORDS] += step;
	check(memcmp(busy, again, BUSY_WORDS * 8) == 0, "no write made while waiting is lost or doubled");
	return check_done();
}

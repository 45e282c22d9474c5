/*
 * memory-guard - pages that must fault: PROT_NONE mappings, and the lighter guards
 * within a mapping that newer C libraries put below thread stacks.
 *
 * mmap(2), madvise(2) MADV_GUARD_INSTALL, MADV_GUARD_REMOVE
 */
#include "fault.h"
#include "maps.h"
#include <sys/mman.h>

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102  /* Linux 6.13 */
#define MADV_GUARD_REMOVE 103
#endif

#define PAGE 4096ul
#define PAGES 32

int main(int argc, char **argv)
{
	check_init(argc, argv);
	uint8_t *none = must_map(mmap(NULL, 3 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	must(mprotect(none + PAGE, PAGE, PROT_READ | PROT_WRITE));
	check_fill(none + PAGE, PAGE, 1);

	uint8_t *m = must_map(mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	check_fill(m, PAGES * PAGE, 2);
	/* Two guards with pages between them, and one at the end that was never touched before. */
	uint8_t *fresh = must_map(mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	bool has_guards = madvise(m + 4 * PAGE, 2 * PAGE, MADV_GUARD_INSTALL) == 0;
	if (has_guards) {
		must(madvise(m + 9 * PAGE, PAGE, MADV_GUARD_INSTALL));
		must(madvise(fresh, PAGE, MADV_GUARD_INSTALL));
		/* Made and taken away again: reads zero. */
		must(madvise(m + 20 * PAGE, PAGE, MADV_GUARD_INSTALL));
		must(madvise(m + 20 * PAGE, PAGE, MADV_GUARD_REMOVE));
	}

	check_ready();
	check_wait();

	check_eq_u64((uint64_t)fault_on_read(none), SIGSEGV, "the guard below faults");
	check_eq_u64((uint64_t)fault_on_read(none + 2 * PAGE), SIGSEGV, "the guard above faults");
	check_eq_u64(check_wrong(none + PAGE, PAGE, 1), 0, "the page between has its contents");
	if (!has_guards) {
		check_skip("needs Linux 6.13", "MADV_GUARD_INSTALL");
		return check_done();
	}

	static uint64_t wanted[PAGES * PAGE / 8];
	check_fill(wanted, sizeof wanted, 2);
	int wrong_guards = 0, wrong_pages = 0;
	for (size_t i = 0; i < PAGES; i++) {
		bool guard = i == 4 || i == 5 || i == 9;
		if (fault_on_read(m + i * PAGE) != (guard ? SIGSEGV : 0))
			wrong_guards++;
		else if (i == 20)
			wrong_pages += check_nonzero(m + i * PAGE, PAGE) != 0;
		else if (!guard)
			wrong_pages += memcmp(m + i * PAGE, (uint8_t *)wanted + i * PAGE, PAGE) != 0;
	}
	check_eq_u64((uint64_t)wrong_guards, 0, "guarded pages fault and no others");
	check_eq_u64((uint64_t)wrong_pages, 0, "the others have their contents");
	check_eq_u64((uint64_t)fault_on_write(fresh), SIGSEGV, "a guard in untouched memory faults");
	check_eq_u64(check_nonzero(fresh + PAGE, 3 * PAGE), 0, "untouched memory above it reads zero");
	check_eq_str(mapping_perms(m + 4 * PAGE), "rw-p", "the mapping is not split");
	check(madvise(m + 4 * PAGE, 2 * PAGE, MADV_GUARD_REMOVE) == 0 && fault_on_write(m + 4 * PAGE) == 0, "a guard can be removed");
	check_eq_u64(check_nonzero(m + 4 * PAGE, 2 * PAGE), 0, "and leaves zeros");
	return check_done();
}

/*
 * memory-huge-advice - what was advised for a mapping: huge pages, no huge pages,
 * not for forks, not for core dumps, wiped in forks, mergeable, access pattern. The
 * flags are compared as /proc tells them; the contents, too, because a snapshot made
 * by fork has no DONTFORK and no WIPEONFORK memory.
 *
 * madvise(2), proc_pid_smaps(5) VmFlags
 */
#include "maps.h"
#include <sys/mman.h>

#define MIB (1024 * 1024ul)
#define SIZE (4 * MIB)
/* hugepage nohugepage dontfork dontdump wipeonfork mergeable sequential random noreserve */
#define FLAGS "hg nh dc dd wf mg sr rr nr"

static const struct {
	int advice;
	const char *name;
} advised[] = {
	{ MADV_NORMAL, "nothing" },
	{ MADV_HUGEPAGE, "MADV_HUGEPAGE" },
	{ MADV_NOHUGEPAGE, "MADV_NOHUGEPAGE" },
	{ MADV_DONTFORK, "MADV_DONTFORK" },
	{ MADV_DONTDUMP, "MADV_DONTDUMP" },
	{ MADV_WIPEONFORK, "MADV_WIPEONFORK" },
	{ MADV_MERGEABLE, "MADV_MERGEABLE" },
	{ MADV_SEQUENTIAL, "MADV_SEQUENTIAL" },
	{ MADV_RANDOM, "MADV_RANDOM" },
};
#define ADVISED (sizeof advised / sizeof *advised)

int main(int argc, char **argv)
{
	uint8_t *memory[ADVISED];
	char before[ADVISED][64], after[64];
	bool possible[ADVISED];

	check_init(argc, argv);
	for (size_t i = 0; i < ADVISED; i++) {
		/* Aligned for huge pages, with a guard so that equal neighbours do not merge. */
		uint8_t *m = must_map(mmap(NULL, SIZE + 2 * MIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
		m = (uint8_t *)(((uintptr_t)m + 2 * MIB - 1) & ~(2 * MIB - 1));
		memory[i] = must_map(mmap(m, SIZE - 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
		possible[i] = madvise(m, SIZE - 4096, advised[i].advice) == 0;
		check_fill(m, SIZE - 4096, i);
		mapping_flags(m, FLAGS, before[i], sizeof before[i]);
	}
	/* Only a part of a mapping. */
	uint8_t *part = must_map(mmap(NULL, 16 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	must(madvise(part + 4 * 4096, 4 * 4096, MADV_WIPEONFORK));
	must(madvise(part + 8 * 4096, 4 * 4096, MADV_DONTFORK));
	check_fill(part, 16 * 4096, 77);

	check_ready();
	check_wait();

	for (size_t i = 0; i < ADVISED; i++) {
		if (!possible[i]) {
			check_skip("this kernel does not know it", "%s", advised[i].name);
			continue;
		}
		mapping_flags(memory[i], FLAGS, after, sizeof after);
		check_eq_str(after, before[i], "%s: flags", advised[i].name);
		check_eq_u64(check_wrong(memory[i], SIZE - 4096, i), 0, "%s: contents", advised[i].name);
	}
	check_eq_u64(check_wrong(part, 16 * 4096, 77), 0, "advice for a part: contents");
	mapping_flags(part, FLAGS, after, sizeof after);
	check_eq_str(after, "", "advice for a part: nothing before it");
	mapping_flags(part + 4 * 4096, FLAGS, after, sizeof after);
	check_eq_str(after, "wf", "advice for a part: wiped");
	mapping_flags(part + 8 * 4096, FLAGS, after, sizeof after);
	check_eq_str(after, "dc", "advice for a part: not copied");
	return check_done();
}

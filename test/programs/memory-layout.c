/*
 * memory-layout - the whole of /proc/self/maps, before and after. Every range must
 * be there with its protection, offset and file. More mappings are allowed, where
 * none were before: procs keeps a few pages of its own.
 *
 * Neighbours that are alike are compared as one, because the kernel may or may not
 * have merged them. proc_pid_maps(5)
 */
#include "maps.h"
#include <sys/mman.h>

#define MOST 1000

static struct mapping before[MOST], after[MOST];

static bool is_kernels(const struct mapping *m)
{
	return !strcmp(m->path, "[vsyscall]");
}

static bool alike(const struct mapping *a, const struct mapping *b)
{
	return !strcmp(a->perms, b->perms) && !strcmp(a->path, b->path)
		&& (a->path[0] != '/' || b->offset - a->offset == b->start - a->start);
}

static size_t read_maps(struct mapping *maps)
{
	static char text[512 * 1024];
	size_t count = 0;
	check_read("/proc/self/maps", text, sizeof text);
	for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
		struct mapping m;
		if (!mapping_parse(line, &m) || is_kernels(&m))
			continue;
		if (count && maps[count - 1].end == m.start && alike(&maps[count - 1], &m))
			maps[count - 1].end = m.end;
		else if (count < MOST)
			maps[count++] = m;
	}
	return count;
}

/* The stack has grown to this already, so that reading maps does not make it grow. */
static __attribute__((noinline)) void touch_stack(void)
{
	volatile uint8_t room[256 * 1024];
	for (size_t i = 0; i < sizeof room; i += 4096)
		room[i] = 1;
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	touch_stack();
	/* A few shapes beside what every program has. */
	uint8_t *m = must_map(mmap(NULL, 64 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	must(mprotect(m + 10 * 4096, 4096, PROT_NONE));
	must(mprotect(m + 20 * 4096, 4096, PROT_READ | PROT_EXEC));
	must(munmap(m + 30 * 4096, 4096));
	must(mmap(NULL, 4096, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
	must(mmap((void *)0x10000000000ul, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0));
	void *grown = must_map(sbrk(128 * 1024));
	memset(grown, 1, 128 * 1024);
	free(malloc(100));
	printf("%s", "");
	size_t count = read_maps(before);

	check_ready();
	check_wait();

	size_t count_after = read_maps(after), missing = 0;
	const struct mapping *first_missing = NULL;
	for (size_t i = 0; i < count; i++) {
		bool found = false;
		for (size_t j = 0; j < count_after && !found; j++) {
			const struct mapping *a = &after[j], *b = &before[i];
			/* Own mappings of procs may touch anonymous ones, and then look like one with them. */
			found = a->start <= b->start && b->end <= a->end && !strcmp(a->perms, b->perms) && !strcmp(a->path, b->path)
				&& (b->path[0] != '/' || b->offset - a->offset == b->start - a->start);
			/* Another kernel has another vDSO: its place is what matters. */
			if (!strncmp(b->path, "[v", 2))
				found = a->start == b->start && !strcmp(a->path, b->path);
		}
		if (!found && !missing++)
			first_missing = &before[i];
	}
	check_eq_u64(missing, 0, "every mapping is there, as it was");
	if (first_missing)
		check_note("missing: %" PRIx64 "-%" PRIx64 " %s %" PRIx64 " %s", first_missing->start, first_missing->end,
			   first_missing->perms, first_missing->offset, first_missing->path);
	return check_done();
}

/*
 * memory-private-file - private mappings of a file: pages that were written and
 * pages that were not, an offset, protections, and what lies beyond the end.
 *
 * mmap(2) MAP_PRIVATE, and SIGBUS in its section ERRORS
 */
#include "fault.h"
#include "maps.h"
#include <sys/mman.h>

#define PAGE 4096ul
#define PAGES 16
#define TAIL 1000ul  /* of the last, incomplete page */

static uint64_t contents[(PAGES + 1) * PAGE / 8];

int main(int argc, char **argv)
{
	check_init(argc, argv);
	const char *path = check_scratch("data");
	int fd = (int)must(open(path, O_RDWR | O_CREAT | O_TRUNC, 0644));
	check_fill(contents, sizeof contents, 1);
	if (write(fd, contents, PAGES * PAGE + TAIL) != (ssize_t)(PAGES * PAGE + TAIL))
		check_bail("write: %s", strerror(errno));

	uint8_t *m = must_map(mmap(NULL, (PAGES + 4) * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0));
	uint8_t *readonly = must_map(mmap(NULL, PAGES * PAGE, PROT_READ, MAP_PRIVATE, fd, 0));
	uint8_t *shifted = must_map(mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 5 * PAGE));
	uint8_t *code = must_map(mmap(NULL, 4 * PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0));
	close(fd);
	check_fill(m + PAGE, PAGE, 10);
	check_fill(m + 5 * PAGE, 2 * PAGE, 11);
	check_fill(shifted + PAGE, PAGE, 12);
	/* Written, then made read-only; written, then given back to the file. */
	check_fill(m + 9 * PAGE, PAGE, 13);
	must(mprotect(m + 9 * PAGE, PAGE, PROT_READ));
	check_fill(m + 12 * PAGE, PAGE, 14);
	must(madvise(m + 12 * PAGE, PAGE, MADV_DONTNEED));
	/* Zeros where the file has none must not be taken for untouched. */
	memset(m + 14 * PAGE, 0, PAGE);
	/* Behind the end of the file, in its last page. */
	m[PAGES * PAGE + TAIL + 8] = 'x';

	check_ready();
	check_wait();

	const uint8_t *file = (const uint8_t *)contents;
	check_eq_u64(check_wrong(m + PAGE, PAGE, 10) + check_wrong(m + 5 * PAGE, 2 * PAGE, 11), 0, "pages written keep what was written");
	check_eq_u64(check_wrong(m + 9 * PAGE, PAGE, 13), 0, "a page written and then protected, too");
	check_eq_u64((uint64_t)fault_on_write(m + 9 * PAGE), SIGSEGV, "and it is protected");
	check_eq_u64(check_nonzero(m + 14 * PAGE, PAGE), 0, "a page filled with zeros is zero");
	int wrong = 0;
	for (size_t i = 0; i < PAGES; i++)
		if (i != 1 && i != 5 && i != 6 && i != 9 && i != 14)
			wrong += memcmp(m + i * PAGE, file + i * PAGE, PAGE) != 0;
	check_eq_u64((uint64_t)wrong, 0, "pages not written are the file's, as is one given back");
	check(!memcmp(m + PAGES * PAGE, file + PAGES * PAGE, TAIL), "the last page has the end of the file");
	check(m[PAGES * PAGE + TAIL + 8] == 'x' && m[PAGES * PAGE + TAIL + 9] == 0, "and behind it what was written there");
	check_eq_u64((uint64_t)fault_on_read(m + (PAGES + 1) * PAGE), SIGBUS, "pages beyond the end raise SIGBUS");
	check(!memcmp(readonly, file, PAGES * PAGE), "the read-only mapping is the file");
	check_eq_u64((uint64_t)fault_on_write(readonly), SIGSEGV, "and read-only");
	check_eq_u64(check_wrong(shifted + PAGE, PAGE, 12), 0, "the mapping with an offset keeps what was written");
	check(!memcmp(shifted, file + 5 * PAGE, PAGE) && !memcmp(shifted + 2 * PAGE, file + 7 * PAGE, 2 * PAGE), "and has the file's pages beside it");
	check(!memcmp(code, file, 4 * PAGE), "the executable mapping is the file");

	struct mapping found;
	char *real = realpath(path, NULL);
	check(mapping_at(shifted, &found) && real && !strcmp(found.path, real) && found.offset == 5 * PAGE, "the mapping is of the file, at its offset");
	check(mapping_at(code, &found) && !strcmp(found.perms, "r-xp"), "the executable one is executable");

	uint64_t again[sizeof contents / 8];
	fd = (int)must(open(path, O_RDONLY));
	check(read(fd, again, sizeof again) == (ssize_t)(PAGES * PAGE + TAIL) && !memcmp(again, contents, PAGES * PAGE + TAIL), "the file itself is unchanged");
	unlink(path);
	return check_done();
}

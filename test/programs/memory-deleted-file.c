/*
 * memory-deleted-file - mappings of a file that has no name any more: private and
 * shared, with a descriptor and without.
 *
 * mmap(2), unlink(2)
 */
#include "maps.h"
#include <sys/mman.h>
#include <sys/stat.h>

#define PAGE 4096ul
#define PAGES 8
#define SIZE (PAGES * PAGE)

static int make(const char *suffix, uint64_t seed)
{
	static uint64_t contents[SIZE / 8];
	const char *path = check_scratch(suffix);
	int fd = (int)must(open(path, O_RDWR | O_CREAT | O_EXCL, 0600));
	check_fill(contents, SIZE, seed);
	if (write(fd, contents, SIZE) != (ssize_t)SIZE)
		check_bail("write: %s", strerror(errno));
	must(unlink(path));
	return fd;
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	int fd = make("open", 1), closed = make("closed", 2);
	uint8_t *shared = must_map(mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
	uint8_t *view = must_map(mmap(NULL, SIZE - PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, PAGE));
	uint8_t *private = must_map(mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0));
	check_fill(private + 2 * PAGE, PAGE, 11);
	uint8_t *shared_closed = must_map(mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, closed, 0));
	uint8_t *private_closed = must_map(mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE, closed, 0));
	uint8_t *readonly_closed = must_map(mmap(NULL, SIZE, PROT_READ, MAP_PRIVATE, closed, 0));
	check_fill(private_closed + 3 * PAGE, PAGE, 12);
	close(closed);

	check_ready();
	check_wait();

	static uint64_t first[SIZE / 8], second[SIZE / 8], got[SIZE / 8];
	check_fill(first, SIZE, 1);
	check_fill(second, SIZE, 2);
	check(!memcmp(shared, first, SIZE), "shared, open: contents");
	check(!memcmp(view, (uint8_t *)first + PAGE, SIZE - PAGE), "shared, open: contents of the second mapping");
	check(pread(fd, got, SIZE, 0) == (ssize_t)SIZE && !memcmp(got, first, SIZE), "open: the descriptor reads them");
	check_eq_u64(check_wrong(private + 2 * PAGE, PAGE, 11), 0, "private, open: what was written");
	check(!memcmp(private, first, 2 * PAGE) && !memcmp(private + 3 * PAGE, (uint8_t *)first + 3 * PAGE, SIZE - 3 * PAGE), "private, open: the file's pages");
	check(!memcmp(shared_closed, second, SIZE), "shared, closed: contents");
	check_eq_u64(check_wrong(private_closed + 3 * PAGE, PAGE, 12), 0, "private, closed: what was written");
	check(!memcmp(private_closed, second, 3 * PAGE) && !memcmp(private_closed + 4 * PAGE, (uint8_t *)second + 4 * PAGE, SIZE - 4 * PAGE), "private, closed: the file's pages");
	check(!memcmp(readonly_closed, second, SIZE), "read-only, closed: the file's pages");

	check_fill(shared + PAGE, PAGE, 21);
	check_eq_u64(check_wrong(view, PAGE, 21), 0, "shared, open: writes show in the second mapping");
	check(pread(fd, got, PAGE, PAGE) == (ssize_t)PAGE && !check_wrong(got, PAGE, 21), "and in the file");
	check_fill(shared_closed, SIZE, 22);
	check_eq_u64(check_wrong(shared_closed, SIZE, 22), 0, "shared, closed: can be written");
	check_eq_str(mapping_perms(shared_closed), "rw-s", "shared, closed: is shared");
	struct stat status;
	must(fstat(fd, &status));
	check_eq_u64(status.st_nlink, 0, "the file has no name");
	return check_done();
}

/*
 * memory-shared-file - shared mappings of a file: what is written to memory is in the
 * file, before and after, and the file is put back to the state it had when the
 * checkpoint was made: a counter in it agrees with one in private memory.
 *
 * mmap(2) MAP_SHARED, msync(2)
 */
#include "fault.h"
#include "maps.h"
#include <sys/mman.h>

#define PAGE 4096ul
#define PAGES 16

static volatile uint64_t *counter, own, disagreements;
static int fd;

static void work(void *unused)
{
	(void)unused;
	for (int i = 0; i < 1000; i++) {
		++*counter;
		own++;
		disagreements += *counter != own;
	}
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	const char *path = check_scratch("data");
	fd = (int)must(open(path, O_RDWR | O_CREAT | O_TRUNC, 0644));
	must(ftruncate(fd, PAGES * PAGE));
	uint8_t *m = must_map(mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
	uint8_t *upper = must_map(mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 8 * PAGE));
	int reader = (int)must(open(path, O_RDONLY));
	uint8_t *readonly = must_map(mmap(NULL, PAGES * PAGE, PROT_READ, MAP_SHARED, reader, 0));
	uint8_t *private = must_map(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0));
	/* A mapping outlives its descriptor. */
	close(reader);
	check_fill(m, PAGES * PAGE, 1);
	counter = (uint64_t *)(m + 3 * PAGE);
	*counter = 0;
	check_fill(private, PAGE, 9);

	check_ready();
	check_wait_doing(work, NULL);

	check_eq_u64(disagreements, 0, "the file and private memory are of the same moment");
	uint64_t value = 0, file[PAGES * PAGE / 8];
	check(pread(fd, &value, 8, 3 * PAGE) == 8 && value == own, "the counter is in the file");
	static uint64_t wanted[PAGES * PAGE / 8];
	check_fill(wanted, sizeof wanted, 1);
	wanted[3 * PAGE / 8] = own;
	check(!memcmp(m, wanted, sizeof wanted), "the mapping has its contents");
	check(pread(fd, file, sizeof file, 0) == sizeof file && !memcmp(file, wanted, sizeof file), "the file has the same");
	check(!memcmp(readonly, wanted, sizeof wanted), "the read-only mapping shows the same");
	check(!memcmp(upper, (uint8_t *)wanted + 8 * PAGE, 8 * PAGE), "the mapping of the upper half shows the same");
	check_eq_u64(check_wrong(private, PAGE, 9), 0, "a private mapping of the same file has its own contents");
	check_eq_str(mapping_perms(m), "rw-s", "the mapping is shared");
	check_eq_str(mapping_perms(readonly), "r--s", "the read-only mapping is shared");
	check_eq_u64((uint64_t)fault_on_write(readonly), SIGSEGV, "and read-only");

	check_fill(upper, 8 * PAGE, 2);
	check(!memcmp(m + 8 * PAGE, upper, 8 * PAGE), "a write to one mapping shows in the other");
	check(pread(fd, file, 8 * PAGE, 8 * PAGE) == 8 * PAGE && !memcmp(file, upper, 8 * PAGE), "and in the file");
	check(pwrite(fd, "file", 4, 0) == 4 && !memcmp(m, "file", 4) && !memcmp(readonly, "file", 4), "a write to the file shows in the mappings");
	check(msync(m, PAGES * PAGE, MS_SYNC) == 0, "msync works");
	unlink(path);
	return check_done();
}

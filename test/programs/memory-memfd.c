/*
 * memory-memfd - a memory file: its descriptor, position, seals and name, and its
 * mappings, which show the same memory.
 *
 * memfd_create(2), fcntl(2) F_ADD_SEALS
 */
#include "fault.h"
#include "maps.h"
#include <sys/mman.h>
#include <sys/stat.h>

#define PAGE 4096ul
#define PAGES 16

static volatile uint64_t *counter, own, disagreements;

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
	int fd = (int)must(memfd_create("a name", MFD_CLOEXEC | MFD_ALLOW_SEALING));
	must(ftruncate(fd, PAGES * PAGE));
	uint8_t *m = must_map(mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
	uint8_t *upper = must_map(mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 8 * PAGE));
	uint8_t *private = must_map(mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0));
	check_fill(m, PAGES * PAGE, 1);
	check_fill(private + PAGE, PAGE, 2);
	counter = (uint64_t *)(m + 3 * PAGE);
	*counter = 0;
	must(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK));
	must(lseek(fd, 1234, SEEK_SET));
	int duplicate = (int)must(dup(fd));

	/* Sealed against writing: no writable mapping may exist. Never sealable. Never mapped. Mapped, without a descriptor. */
	int sealed = (int)must(memfd_create("sealed", MFD_ALLOW_SEALING));
	must(write(sealed, "constant", 8));
	must(fcntl(sealed, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL));
	uint8_t *constant = must_map(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, sealed, 0));
	int unsealable = (int)must(memfd_create("unsealable", 0));
	must(write(unsealable, "text", 4));
	int unmapped = (int)must(memfd_create("", MFD_CLOEXEC));
	must(ftruncate(unmapped, 100 * PAGE));
	must(pwrite(unmapped, "far", 3, 50 * PAGE));
	int gone = (int)must(memfd_create("gone", 0));
	must(ftruncate(gone, 2 * PAGE));
	uint8_t *orphan = must_map(mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, gone, 0));
	close(gone);
	check_fill(orphan, 2 * PAGE, 5);

	check_ready();
	check_wait_doing(work, NULL);

	check_eq_u64(disagreements, 0, "the file and private memory are of the same moment");
	static uint64_t wanted[PAGES * PAGE / 8], file[PAGES * PAGE / 8];
	check_fill(wanted, sizeof wanted, 1);
	wanted[3 * PAGE / 8] = own;
	check(!memcmp(m, wanted, sizeof wanted), "the mapping has its contents");
	check(pread(fd, file, sizeof file, 0) == sizeof file && !memcmp(file, wanted, sizeof file), "the descriptor reads the same");
	check(!memcmp(upper, m + 8 * PAGE, 8 * PAGE), "the mapping of the upper half shows the same");
	check_fill(upper, 8 * PAGE, 3);
	check(!memcmp(m + 8 * PAGE, upper, 8 * PAGE) && pread(fd, file, 8 * PAGE, 8 * PAGE) == 8 * PAGE && !memcmp(file, upper, 8 * PAGE),
	      "a write to one shows in the other and in the file");
	check_eq_u64(check_wrong(private + PAGE, PAGE, 2), 0, "the private mapping keeps what was written");
	check(!memcmp(private, wanted, PAGE), "and shows the file elsewhere");

	check_eq_u64((uint64_t)lseek(fd, 0, SEEK_CUR), 1234, "the position");
	must(lseek(duplicate, 4321, SEEK_SET));
	check_eq_u64((uint64_t)lseek(fd, 0, SEEK_CUR), 4321, "a dup shares it");
	check(fcntl(fd, F_GETFD) == FD_CLOEXEC && fcntl(duplicate, F_GETFD) == 0, "close-on-exec");
	check_eq_u64((uint64_t)fcntl(fd, F_GET_SEALS), F_SEAL_GROW | F_SEAL_SHRINK, "the seals");
	check(ftruncate(fd, (PAGES + 1) * PAGE) == -1 && errno == EPERM, "it cannot grow");
	check_eq_u64((uint64_t)fcntl(sealed, F_GET_SEALS), F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL, "all seals of the constant one");
	check(write(sealed, "x", 1) == -1 && errno == EPERM && !memcmp(constant, "constant", 8), "it cannot be written, and reads right");
	check_eq_u64((uint64_t)fcntl(unsealable, F_GET_SEALS), F_SEAL_SEAL, "the unsealable one is so still");
	check(write(unsealable, "more", 4) == 4 && pread(unsealable, file, 10, 0) == 8 && !memcmp(file, "textmore", 8), "it is written further");
	struct stat status;
	must(fstat(unmapped, &status));
	check(status.st_size == (off_t)(100 * PAGE) && pread(unmapped, file, 3, 50 * PAGE) == 3 && !memcmp(file, "far", 3), "one without a mapping has size and contents");
	check_eq_u64(check_wrong(orphan, 2 * PAGE, 5), 0, "one without a descriptor has its contents");
	check_eq_str(mapping_perms(orphan), "rw-s", "and is shared");

	char link[64], name[256] = "";
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	must(readlink(link, name, sizeof name - 1));
	check_eq_str(name, "/memfd:a name (deleted)", "the name");
	return check_done();
}

/*
 * memory-shared-anon - MAP_SHARED|MAP_ANONYMOUS memory: contents, two views of
 * the same memory, and a counter in it that agrees with one in private memory.
 *
 * mmap(2), mremap(2) (old_size 0 makes a second view)
 */
#include "maps.h"
#include <sys/mman.h>

#define SIZE (256 * 1024ul)

static volatile uint64_t *shared_counter, private_counter, disagreements;

/* A fork shares the shared one and copies the other: they come apart when the checkpoint does not copy both. */
static void work(void *unused)
{
	(void)unused;
	for (int i = 0; i < 1000; i++) {
		++*shared_counter;
		private_counter++;
		disagreements += *shared_counter != private_counter;
	}
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	uint8_t *first = must_map(mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
	uint8_t *second = must_map(mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
	check_fill(first, SIZE, 1);
	check_fill(second, SIZE, 2);
	/* The upper half of the second one once more, elsewhere. */
	uint8_t *view = must_map(mremap(second + SIZE / 2, 0, SIZE / 2, MREMAP_MAYMOVE));
	uint8_t *readonly = must_map(mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
	check_fill(readonly, SIZE, 3);
	must(mprotect(readonly, SIZE, PROT_READ));
	shared_counter = must_map(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));

	check_ready();
	check_wait_doing(work, NULL);

	check_eq_u64(disagreements, 0, "shared and private memory are of the same moment");
	check_eq_u64(check_wrong(first, SIZE, 1), 0, "the first mapping has its contents");
	check_eq_u64(check_wrong(second, SIZE, 2), 0, "the second mapping has its contents");
	check_eq_u64(check_wrong(readonly, SIZE, 3), 0, "the read-only mapping has its contents");
	check_eq_str(mapping_perms(first), "rw-s", "the mapping is shared");
	check_eq_str(mapping_perms(readonly), "r--s", "the read-only mapping is shared and read-only");

	check(memcmp(view, second + SIZE / 2, SIZE / 2) == 0, "the second view has the same contents");
	check_fill(second + SIZE / 2, SIZE / 2, 4);
	check_eq_u64(check_wrong(view, SIZE / 2, 4), 0, "writes show in the second view");
	check_fill(view, SIZE / 2, 5);
	check_eq_u64(check_wrong(second + SIZE / 2, SIZE / 2, 5), 0, "writes to the second view show in the first");
	return check_done();
}

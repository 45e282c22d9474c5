/*
 * memory-reserve - an address-space reservation of 512 GiB with a few islands of
 * memory in it, as language runtimes make them: it must cost neither time nor space.
 *
 * mmap(2) MAP_NORESERVE, mprotect(2)
 */
#include "fault.h"
#include "maps.h"
#include <sys/mman.h>

#define GIB (1ull << 30)
#define RESERVED (512 * GIB)
#define ISLANDS 16
#define ISLAND (64 * 1024ul)

int main(int argc, char **argv)
{
	check_init(argc, argv);
	uint8_t *base = mmap(NULL, RESERVED, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (base == MAP_FAILED)
		check_skip_all("512 GiB cannot be reserved: %s", strerror(errno));
	/* Also one that may be written anywhere, of which hardly a page is. */
	uint8_t *sparse = must_map(mmap(NULL, 64 * GIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
	for (uint64_t i = 0; i < ISLANDS; i++) {
		uint8_t *island = base + i * 31 * GIB + i * 4096;
		must(mprotect(island, ISLAND, PROT_READ | PROT_WRITE));
		check_fill(island, ISLAND, i);
		check_fill(sparse + i * 4 * GIB - (i ? 4096 : 0), 4096, 100 + i);
	}

	check_ready();
	check_wait();

	uint64_t wrong_islands = 0, wrong_sparse = 0, wrong_faults = 0;
	for (uint64_t i = 0; i < ISLANDS; i++) {
		uint8_t *island = base + i * 31 * GIB + i * 4096;
		wrong_islands += check_wrong(island, ISLAND, i);
		wrong_faults += fault_on_read(island + ISLAND) != SIGSEGV;
		wrong_faults += i > 0 && fault_on_read(island - 1) != SIGSEGV;
		wrong_sparse += check_wrong(sparse + i * 4 * GIB - (i ? 4096 : 0), 4096, 100 + i);
		wrong_sparse += check_nonzero(sparse + i * 4 * GIB + GIB, 4096);
	}
	check_eq_u64(wrong_islands, 0, "the islands have their contents");
	check_eq_u64(wrong_faults, 0, "what is around them faults");
	check_eq_u64(wrong_sparse, 0, "sparse memory has its pages and zeros between");
	struct mapping m;
	check(mapping_at(base + RESERVED - 1, &m) && m.end >= (uintptr_t)base + RESERVED, "the reservation reaches to its end");
	check(mprotect(base + 500 * GIB, ISLAND, PROT_READ | PROT_WRITE) == 0 && fault_on_write(base + 500 * GIB) == 0, "a new island can be made");
	return check_done();
}

/*
 * memory-lock - locked memory: mlock, mlock2 with MLOCK_ONFAULT, and mlockall for
 * what is mapped in future, within RLIMIT_MEMLOCK.
 *
 * mlock(2), proc_pid_smaps(5) VmFlags lo
 */
#include "maps.h"
#include <sys/mman.h>
#include <sys/resource.h>

#define PAGE 4096ul
#define SIZE (16 * PAGE)

int main(int argc, char **argv)
{
	check_init(argc, argv);
	struct rlimit limit;
	must(getrlimit(RLIMIT_MEMLOCK, &limit));
	if (limit.rlim_cur < 1024 * 1024)
		check_skip_all("RLIMIT_MEMLOCK is below 1 MiB");

	uint8_t *plain = must_map(mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	uint8_t *locked = must_map(mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	uint8_t *onfault = must_map(mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	uint8_t *shared = must_map(mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
	check_fill(plain, SIZE, 1);
	check_fill(locked, SIZE, 2);
	check_fill(onfault, 4 * PAGE, 3);
	check_fill(shared, SIZE, 4);
	must(mlock(locked, SIZE));
	/* Only a part. */
	must(mlock(plain + 4 * PAGE, PAGE));
	must(mlock(shared, SIZE));
	bool has_onfault = mlock2(onfault, SIZE, MLOCK_ONFAULT) == 0;
	must(mlockall(MCL_FUTURE));
	uint8_t *future = must_map(mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	check_fill(future, SIZE, 5);

	check_ready();
	check_wait();

	check(mapping_has_flag(locked, "lo"), "a locked mapping is locked");
	check(!mapping_has_flag(plain, "lo"), "one that is not is not");
	check(mapping_has_flag(plain + 4 * PAGE, "lo") && !mapping_has_flag(plain + 5 * PAGE, "lo"), "a locked page is locked, and no more than it");
	check(mapping_has_flag(shared, "lo"), "shared memory is locked");
	check(!has_onfault || mapping_has_flag(onfault, "lo"), "memory locked on its first touch is locked");
	/* Locked at once, an untouched page would be resident. */
	unsigned char resident[16] = "";
	must(mincore(onfault, SIZE, resident));
	check(!has_onfault || !(resident[8] & 1), "and still waits for that touch");
	check(mapping_has_flag(future, "lo"), "memory mapped under MCL_FUTURE is locked");
	check_eq_u64(check_wrong(plain, SIZE, 1) + check_wrong(locked, SIZE, 2) + check_wrong(onfault, 4 * PAGE, 3)
		     + check_wrong(shared, SIZE, 4) + check_wrong(future, SIZE, 5), 0, "all has its contents");
	uint8_t *later = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	check(later != MAP_FAILED && mapping_has_flag(later, "lo"), "MCL_FUTURE is still in force");
	check(munlockall() == 0 && !mapping_has_flag(locked, "lo"), "all can be unlocked");
	return check_done();
}

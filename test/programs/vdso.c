/*
 * vdso - threads that read clocks without a system call, all the time: a checkpoint
 * finds some of them within the vDSO's code. It must still be where it was, and
 * what it says must agree with the kernel.
 *
 * vdso(7), getauxval(3) AT_SYSINFO_EHDR
 */
#include "maps.h"
#include <dlfcn.h>
#include <elf.h>
#include <sched.h>
#include <sys/auxv.h>
#include <sys/time.h>

#define THREADS 3

static bool stop;
static uint64_t steps_back[THREADS], disagreements[THREADS], readings[THREADS];

/* System call, vDSO, system call: in this order whatever happens between. */
static bool agrees(clockid_t clock)
{
	struct timespec before, middle, after;
	syscall(SYS_clock_gettime, clock, &before);
	clock_gettime(clock, &middle);
	syscall(SYS_clock_gettime, clock, &after);
	int64_t b = before.tv_sec * (int64_t)SECOND + before.tv_nsec, m = middle.tv_sec * (int64_t)SECOND + middle.tv_nsec;
	int64_t a = after.tv_sec * (int64_t)SECOND + after.tv_nsec;
	return b <= m && m <= a;
}

static void *read_clocks(void *number)
{
	uintptr_t i = (uintptr_t)number;
	uint64_t last = 0;
	while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE)) {
		for (int n = 0; n < 200; n++) {
			uint64_t now = check_now();
			steps_back[i] += now < last;
			last = now;
		}
		/* The wall clock may be set back, though not often. */
		disagreements[i] += !agrees(CLOCK_MONOTONIC) || (!agrees(CLOCK_REALTIME) && !agrees(CLOCK_REALTIME));
		__atomic_fetch_add(&readings[i], 1, __ATOMIC_RELEASE);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t thread[THREADS];
	struct mapping m;

	check_init(argc, argv);
	void *vdso = (void *)getauxval(AT_SYSINFO_EHDR);
	if (!vdso || !mapping_at(vdso, &m))
		check_skip_all("there is no vDSO");
	void *library = dlopen("linux-vdso.so.1", RTLD_NOW | RTLD_NOLOAD);
	int (*direct)(clockid_t, struct timespec *) = library ? dlsym(library, "__vdso_clock_gettime") : NULL;
	struct timespec now;
	if (direct && direct(CLOCK_MONOTONIC, &now) != 0)
		direct = NULL;
	for (uintptr_t i = 0; i < THREADS; i++)
		thread[i] = check_thread(read_clocks, (void *)i);
	for (int i = 0; i < THREADS; i++)
		while (!__atomic_load_n(&readings[i], __ATOMIC_ACQUIRE))
			check_pause(MS);
	uint64_t start = check_now();

	check_ready();
	check_wait();
	uint64_t end = check_now();
	__atomic_store_n(&stop, true, __ATOMIC_RELEASE);

	for (int i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	for (int i = 0; i < THREADS; i++) {
		check_eq_u64(steps_back[i], 0, "thread %d: time never goes back", i);
		check_eq_u64(disagreements[i], 0, "thread %d: the vDSO agrees with the kernel", i);
	}
	check(end >= start, "CLOCK_MONOTONIC went on");
	check((void *)getauxval(AT_SYSINFO_EHDR) == vdso, "AT_SYSINFO_EHDR is the same");
	check(mapping_at(vdso, &m) && !strcmp(m.path, "[vdso]") && m.start == (uintptr_t)vdso, "the vDSO is there");
	check(!memcmp(vdso, ELFMAG, SELFMAG), "it is an ELF file");
	if (direct)
		check(direct(CLOCK_MONOTONIC, &now) == 0 && (uint64_t)now.tv_sec * SECOND + (uint64_t)now.tv_nsec >= end, "its function can be called at its old address");
	else
		check_skip("the symbol is not to be found", "its function can be called at its old address");
	struct timeval tv;
	check(gettimeofday(&tv, NULL) == 0 && llabs((long long)tv.tv_sec - (long long)time(NULL)) <= 1, "gettimeofday and time agree");
	unsigned cpu = ~0u;
	check(syscall(SYS_getcpu, &cpu, NULL, NULL) == 0 && getcpu(&cpu, NULL) == 0 && cpu < 65536, "getcpu works");
	return check_done();
}

/*
 * tls - thread-local memory of all kinds, in several threads: initialised and not,
 * of a library loaded later, thread-specific keys with destructors, and errno.
 * Needs build/dynamic-tls.so beside the program.
 *
 * pthread_key_create(3), dlopen(3)
 */
#include "check.h"
#include <dlfcn.h>

#define THREADS 6

static _Thread_local uint64_t initialised = 7, zero;
static _Thread_local uint64_t array[512] __attribute__((aligned(64)));
static uint64_t *(*dynamic_zero)(void), *(*dynamic_set)(void);
static pthread_key_t key;
static bool stop;
static unsigned destroyed, at_work;

static void destroy(void *value)
{
	__atomic_fetch_add(&destroyed, (unsigned)(uintptr_t)value, __ATOMIC_RELAXED);
}

static const char *body(uint64_t self)
{
	uint64_t *array_before = array, *dynamic_before;
	/* The compiler must not know it, else it addresses beyond the end and the linker objects. */
	asm("" : "+r"(array_before));
	if (initialised != 7 || zero != 0 || dynamic_set()[1] != 43 || *dynamic_zero() != 0)
		return "before: not as initialised";
	initialised += self;
	zero = 100 * self;
	check_fill(array_before, sizeof array, self);
	dynamic_set()[0] = 1000 * self;
	*dynamic_zero() = 2000 * self;
	dynamic_before = dynamic_set();
	pthread_setspecific(key, (void *)(uintptr_t)1);
	errno = (int)(10 + self);
	__atomic_fetch_add(&at_work, 1, __ATOMIC_RELEASE);
	while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE)) {
		/* Written all the time, read back at once. */
		zero++;
		--*dynamic_zero();
		if (zero + *dynamic_zero() != 2100 * self)
			return "while waiting";
	}
	if (errno != (int)(10 + self))
		return "errno";
	if (initialised != 7 + self || check_wrong(array_before, sizeof array, self) || array != array_before)
		return "the program's";
	if (dynamic_set() != dynamic_before || dynamic_set()[0] != 1000 * self || dynamic_set()[1] != 43)
		return "the library's";
	if (pthread_getspecific(key) != (void *)(uintptr_t)1)
		return "the key's";
	return "";
}

static void *in_thread(void *self)
{
	return (void *)body((uint64_t)(uintptr_t)self);
}

int main(int argc, char **argv)
{
	pthread_t thread[THREADS];
	void *result;

	check_init(argc, argv);
	void *library = dlopen(check_library("dynamic-tls.so"), RTLD_NOW);
	if (!library)
		check_skip_all("no library: %s", dlerror());
	dynamic_zero = (uint64_t *(*)(void))dlsym(library, "dynamic_tls_zero_here");
	dynamic_set = (uint64_t *(*)(void))dlsym(library, "dynamic_tls_set_here");
	pthread_key_create(&key, destroy);
	zero = 5;
	*dynamic_zero() = 6;
	dynamic_set()[63] = 99;
	for (uintptr_t i = 0; i < THREADS; i++)
		thread[i] = check_thread(in_thread, (void *)(i + 1));
	while (__atomic_load_n(&at_work, __ATOMIC_ACQUIRE) < THREADS)
		check_pause(MS);

	check_ready();
	check_wait();
	__atomic_store_n(&stop, true, __ATOMIC_RELEASE);

	check(zero == 5 && initialised == 7, "main thread: the program's");
	check(*dynamic_zero() == 6 && dynamic_set()[63] == 99, "main thread: the library's");
	for (int i = 0; i < THREADS; i++) {
		pthread_join(thread[i], &result);
		check_eq_str(result, "", "thread %d: all its thread-local memory", i);
	}
	check_eq_u64(destroyed, THREADS, "the keys' destructors ran");
	pthread_t late = check_thread(in_thread, (void *)50l);
	pthread_join(late, &result);
	check_eq_str(result, "", "a new thread has fresh thread-local memory");
	return check_done();
}

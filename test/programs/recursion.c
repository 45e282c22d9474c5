/*
 * recursion - a plain computation by recursive functions, in two threads: no system
 * call between ready and the end but the poll for the go file, results known.
 */
#include "check.h"

static bool stop;
static uint64_t wrong, rounds;

static __attribute__((noinline)) uint64_t fibonacci(unsigned n)
{
	return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
}

static __attribute__((noinline)) uint64_t ackermann(uint64_t m, uint64_t n)
{
	return m == 0 ? n + 1 : n == 0 ? ackermann(m - 1, 1) : ackermann(m - 1, ackermann(m, n - 1));
}

static void work(void *unused)
{
	(void)unused;
	wrong += fibonacci(20) != 6765;
	wrong += ackermann(2, 300) != 603;
}

static void *compute(void *unused)
{
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		if (fibonacci(20) != 6765 || ackermann(3, 6) != 509)
			return "wrong";
		rounds++;
	}
	return unused;
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	pthread_t thread = check_thread(compute, NULL);
	check_ready();
	check_wait_doing(work, NULL);
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	void *result;
	pthread_join(thread, &result);
	check_eq_u64(wrong, 0, "the main thread computes right");
	check(result == NULL, "the other thread computes right");
	return check_done();
}

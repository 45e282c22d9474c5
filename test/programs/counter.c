/*
 * counter - prints 1, 2, 3… up to argv[2] (100), one line every argv[3] (10)
 * milliseconds, each written at once. Its output must be the same whether it was
 * interrupted or not: no line lost, none twice. Linked statically too, as
 * counter-static.
 */
#include "check.h"

int main(int argc, char **argv)
{
	check_init(argc, argv);
	long count = check_arg(argc, argv, 2, 100), delay_ms = check_arg(argc, argv, 3, 10);

	check_ready();
	for (long i = 1; i <= count; i++) {
		printf("# %ld\n", i);
		fflush(stdout);
		check_pause((uint64_t)delay_ms * MS);
	}
	check_wait();
	check(true, "counted to %ld", count);
	return check_done();
}

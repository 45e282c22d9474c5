/*
 * refuse-eventfd - event counters, a plain one and a semaphore. eventfd(2)
 */
#include "refuse.h"
#include <sys/eventfd.h>

int main(int argc, char **argv)
{
	uint64_t value = 0;

	check_init(argc, argv);
	int counter = (int)must(eventfd(5, EFD_NONBLOCK)), semaphore = (int)must(eventfd(3, EFD_SEMAPHORE | EFD_CLOEXEC));
	check_ready();
	check_wait();
	check(read(counter, &value, 8) == 8 && value == 5, "the counter has its value");
	check(read(counter, &value, 8) == -1 && errno == EAGAIN, "and does not block");
	check(read(semaphore, &value, 8) == 8 && value == 1 && read(semaphore, &value, 8) == 8 && value == 1, "the semaphore is one");
	return check_done();
}

/*
 * refuse-child - a child made by fork. fork(2), waitpid(2)
 */
#include "refuse.h"
#include <sys/wait.h>

int main(int argc, char **argv)
{
	int status = 0;

	check_init(argc, argv);
	pid_t child = (pid_t)must(fork());
	if (child == 0) {
		/* Ends with the go file, or with its parent. */
		pid_t parent = getppid();
		while (!check_go() && getppid() == parent)
			check_pause(CHECK_POLL_MS * MS);
		_exit(42);
	}
	check_ready();
	check_wait();
	check(waitpid(child, &status, 0) == child && WIFEXITED(status), "the child is still ours");
	check_eq_u64((uint64_t)WEXITSTATUS(status), 42, "and ends as it should");
	return check_done();
}

/*
 * process-undumpable - a program that made itself undumpable: an ordinary user may
 * then neither trace it anew nor read most of its /proc files.
 *
 * prctl(2) PR_SET_DUMPABLE, ptrace(2) "Ptrace access mode checking"
 */
#include "check.h"
#include <sys/prctl.h>

int main(int argc, char **argv)
{
	check_init(argc, argv);
	must(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0));
	uint64_t secret[512];
	check_fill(secret, sizeof secret, 1);

	check_ready();
	check_wait();

	check_eq_u64((uint64_t)prctl(PR_GET_DUMPABLE, 0, 0, 0, 0), 0, "it is still undumpable");
	check_eq_u64(check_wrong(secret, sizeof secret, 1), 0, "its memory has its contents");
	return check_done();
}

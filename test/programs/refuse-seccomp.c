/*
 * refuse-seccomp - a filter on system calls, which nothing but privilege can read
 * back. It lets everything pass but acct, which it answers with an errno of its own.
 * seccomp(2)
 */
#include "refuse.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>

int main(int argc, char **argv)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_acct, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 123),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof filter / sizeof *filter, filter };

	check_init(argc, argv);
	must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	refuse_fd(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0), "PR_SET_SECCOMP");
	check_ready();
	check_wait();
	check_eq_u64((uint64_t)prctl(PR_GET_SECCOMP, 0, 0, 0, 0), SECCOMP_MODE_FILTER, "the filter is in force");
	check(syscall(SYS_acct, NULL) == -1 && errno == 123, "and answers as it should");
	return check_done();
}

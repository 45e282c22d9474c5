/*
 * registers-x87 - the floating-point stack with its values, its top, the control
 * word and the status word, held in a loop without system calls.
 */
#include "check.h"

#ifdef __x86_64__

#define CONTROL 0x0e7f  /* all exceptions masked, double precision, round towards zero */

uint64_t x87_end __attribute__((used));
long double x87_given[5] __attribute__((used)), x87_found[5] __attribute__((used));
uint16_t x87_control __attribute__((used)) = CONTROL, x87_control_found __attribute__((used));
uint16_t x87_status __attribute__((used)), x87_status_found __attribute__((used));

void x87_spin(void);

/* A division leaves "inexact" in the status word, a comparison the condition codes. */
asm("	.text\n"
    "	.globl x87_spin\n"
    "	.type x87_spin, @function\n"
    "x87_spin:\n"
    "	fninit\n"
    "	fldcw x87_control(%rip)\n"
    "	.irp n,0,1,2,3,4\n"
    "	fldt \\n*16+x87_given(%rip)\n"
    "	.endr\n"
    "	fld1\n"
    "	fdiv %st(1), %st\n"
    "	fcomp %st(2)\n"
    "	fnstsw x87_status(%rip)\n"
    "1:	cmpq $0, x87_end(%rip)\n"
    "	je 1b\n"
    "	fnstsw x87_status_found(%rip)\n"
    "	fnstcw x87_control_found(%rip)\n"
    "	.irp n,4,3,2,1,0\n"
    "	fstpt \\n*16+x87_found(%rip)\n"
    "	.endr\n"
    "	fninit\n"
    "	ret\n");

static void *hold(void *unused)
{
	x87_spin();
	return unused;
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	for (int i = 0; i < 5; i++)
		x87_given[i] = (i + 1) * 3.14159265358979323846L / 7;
	pthread_t thread = check_thread(hold, NULL);

	check_ready();
	check_wait();
	__atomic_store_n(&x87_end, 1, __ATOMIC_SEQ_CST);
	pthread_join(thread, NULL);

	for (int i = 0; i < 5; i++)
		check(!memcmp(&x87_given[i], &x87_found[i], 10), "the value %d on the stack", i);
	check_eq_u64(x87_control_found, CONTROL, "the control word");
	check_eq_u64(x87_status_found, x87_status, "the status word");
	check(x87_status & 0x20, "the status word was worth looking at");
	return check_done();
}

#else
int main(int argc, char **argv)
{
	check_init(argc, argv);
	check_skip_all("written for x86-64");
}
#endif

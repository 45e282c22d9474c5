/*
 * signals - the disposition of every signal with flags, mask and restorer, and
 * the mask of every thread.
 *
 * The system calls are made directly, since the C library hides the restorer and
 * its own two signals. sigaction(2), rt_sigprocmask(2), signal(7)
 */
#include "check.h"
#include <signal.h>

#define THREADS 8
#define SIGNALS 64

/* The kernel's, not the C library's: include/uapi/asm/signal.h. */
struct kernel_sigaction {
	uintptr_t handler;
	unsigned long flags;
	uintptr_t restorer;
	uint64_t mask;
};

static struct kernel_sigaction wanted[SIGNALS + 1];
static volatile sig_atomic_t caught[SIGNALS + 1];
static int hand_over[2];

static long action(int signal, const struct kernel_sigaction *new, struct kernel_sigaction *old)
{
	return syscall(SYS_rt_sigaction, signal, new, old, 8);
}

static uint64_t thread_mask(const uint64_t *set)
{
	uint64_t old = 0;
	syscall(SYS_rt_sigprocmask, SIG_SETMASK, set, &old, 8);
	return old;
}

static void one(int signal)
{
	caught[signal]++;
}

static void two(int signal, siginfo_t *info, void *context)
{
	(void)context;
	caught[signal] += info->si_signo == signal ? 1 : 1000;
}

/* Masks of all shapes; 32 and 33 are the C library's own, SIGSEGV and the like stay open. */
static uint64_t mask_of(uint64_t seed)
{
	return check_mix(seed) & ~(1ull << (SIGKILL - 1) | 1ull << (SIGSTOP - 1) | 1ull << (SIGSEGV - 1) | 1ull << (SIGBUS - 1) | 3ull << 31);
}

static void *hold_mask(void *number)
{
	uint64_t mask = mask_of(1000 + (uintptr_t)number);
	char byte;
	thread_mask(&mask);
	if (read(hand_over[0], &byte, 1) != 0)
		return "read";
	return thread_mask(NULL) == mask ? NULL : "mask";
}

int main(int argc, char **argv)
{
	static const unsigned long flags[] = {
		0, SA_RESTART, SA_SIGINFO, SA_SIGINFO | SA_RESTART | SA_NODEFER, SA_RESETHAND, SA_ONSTACK, SA_NOCLDSTOP, SA_NOCLDWAIT | SA_SIGINFO,
	};

	check_init(argc, argv);
	must(pipe(hand_over));
	/* First of all, since the C library installs a handler of its own with the first thread. */
	pthread_t thread[THREADS];
	for (uintptr_t i = 0; i < THREADS; i++)
		thread[i] = check_thread(hold_mask, (void *)i);
	/* Have the C library install its restorer once, to be used for all. */
	struct kernel_sigaction library;
	signal(SIGUSR1, one);
	must(action(SIGUSR1, NULL, &library));
	for (int s = 1; s <= SIGNALS; s++) {
		if (s != SIGKILL && s != SIGSTOP && s != 32 && s != 33) {
			unsigned long f = flags[check_mix((uint64_t)s) % 8];
			struct kernel_sigaction new = {
				.handler = s % 4 == 0 ? (uintptr_t)SIG_IGN : s % 7 == 0 ? (uintptr_t)SIG_DFL : f & SA_SIGINFO ? (uintptr_t)two : (uintptr_t)one,
				.flags = f | (library.flags & 0x04000000), /* SA_RESTORER */
				.restorer = library.restorer,
				.mask = mask_of((uint64_t)s),
			};
			must(action(s, &new, NULL));
		}
		must(action(s, NULL, &wanted[s]));
	}
	uint64_t main_mask = mask_of(99);
	thread_mask(&main_mask);

	check_ready();
	check_wait();

	check_eq_u64(thread_mask(NULL), main_mask, "the main thread's mask");
	close(hand_over[1]);
	for (int i = 0; i < THREADS; i++) {
		void *wrong;
		pthread_join(thread[i], &wrong);
		check_eq_str(wrong ? wrong : "", "", "mask of thread %d", i);
	}
	for (int s = 1; s <= SIGNALS; s++) {
		struct kernel_sigaction found = { 0 };
		action(s, NULL, &found);
		bool same = check(found.handler == wanted[s].handler && found.flags == wanted[s].flags
				&& found.restorer == wanted[s].restorer && found.mask == wanted[s].mask, "disposition of signal %d", s);
		if (!same)
			check_note("got %lx %lx %lx %" PRIx64 ", wanted %lx %lx %lx %" PRIx64, found.handler, found.flags, found.restorer, found.mask,
				   wanted[s].handler, wanted[s].flags, wanted[s].restorer, wanted[s].mask);
	}

	/* They work, too. */
	uint64_t none = 0;
	thread_mask(&none);
	unsigned wrong = 0;
	for (int s = 1; s <= SIGNALS; s++) {
		bool handled = wanted[s].handler == (uintptr_t)one || wanted[s].handler == (uintptr_t)two;
		bool ignored = wanted[s].handler == (uintptr_t)SIG_IGN;
		if (s == 32 || s == 33 || (!handled && !ignored))
			continue;
		int before = caught[s];
		syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), s);
		wrong += caught[s] != before + handled;
	}
	check_eq_u64(wrong, 0, "handlers run and ignored signals are ignored");
	return check_done();
}

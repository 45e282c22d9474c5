/*
 * signal-stack - the alternate signal stack of every thread, and threads that are
 * within a handler, on that stack, while the checkpoint is made: their masks, their
 * frames and the way back out.
 *
 * sigaltstack(2), sigaction(2), sigreturn(2)
 */
#include "check.h"
#include <signal.h>
#include <ucontext.h>

#ifndef SS_AUTODISARM
#define SS_AUTODISARM (1U << 31)  /* Linux 4.7 */
#endif

#define THREADS 6                 /* the odd ones wait in a handler within a handler */
#define STACK_SIZE (64 * 1024)

static struct {
	uint8_t *stack;
	int flags;
	const char *wrong;
	bool waiting, ended;
} thread_of[THREADS];
static bool stop;
static _Thread_local int self;
static _Thread_local int depth;

static bool on_stack(void *address)
{
	return (uint8_t *)address >= thread_of[self].stack && (uint8_t *)address < thread_of[self].stack + STACK_SIZE;
}

static bool blocked(int signal)
{
	sigset_t set;
	pthread_sigmask(SIG_SETMASK, NULL, &set);
	return sigismember(&set, signal);
}

/* SIGUSR1: waits. SIGUSR2: raises SIGUSR1 in the thread, so that both frames are live. */
static void handler(int signal, siginfo_t *info, void *context)
{
	uint64_t pattern[64];
	stack_t current;
	const char *wrong = NULL;

	(void)info;
	depth++;
	check_fill(pattern, sizeof pattern, (uint64_t)(self * 10 + depth));
	if (signal == SIGUSR2)
		syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), SIGUSR1);
	else {
		__atomic_store_n(&thread_of[self].waiting, true, __ATOMIC_RELEASE);
		while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE))
			check_pause(MS);
	}
	sigaltstack(NULL, &current);
	if (!on_stack(pattern))
		wrong = "the handler left its stack";
	else if (check_wrong(pattern, sizeof pattern, (uint64_t)(self * 10 + depth)))
		wrong = "the handler's frame changed";
	else if (!(thread_of[self].flags & (int)SS_AUTODISARM) && !(current.ss_flags & SS_ONSTACK))
		wrong = "SS_ONSTACK is not set within the handler";
	else if ((thread_of[self].flags & (int)SS_AUTODISARM) && !(current.ss_flags & SS_DISABLE))
		wrong = "the stack is not disarmed within the handler";
	else if (!blocked(SIGHUP) || !blocked(signal) || blocked(SIGWINCH))
		wrong = "the mask within the handler changed";
	else if (((ucontext_t *)context)->uc_stack.ss_sp != thread_of[self].stack)
		wrong = "the interrupted context knows another stack";
	if (wrong)
		thread_of[self].wrong = wrong;
	depth--;
}

static void *body(void *number)
{
	self = (int)(intptr_t)number;
	stack_t stack = { .ss_sp = thread_of[self].stack, .ss_size = STACK_SIZE, .ss_flags = thread_of[self].flags }, after;
	sigaltstack(&stack, NULL);
	/* Threads 0 and 1 only have a stack, the others are in a handler when the checkpoint comes. */
	if (self >= 2)
		syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), self % 2 ? SIGUSR2 : SIGUSR1);
	else {
		__atomic_store_n(&thread_of[self].waiting, true, __ATOMIC_RELEASE);
		while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE))
			check_pause(MS);
	}
	sigaltstack(NULL, &after);
	if (after.ss_sp != stack.ss_sp || after.ss_size != stack.ss_size || after.ss_flags != stack.ss_flags)
		thread_of[self].wrong = "the stack's description changed";
	else if (blocked(SIGHUP) || blocked(SIGUSR1))
		thread_of[self].wrong = "the mask after the handler";
	/* Once more, now without waiting. */
	syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), SIGUSR1);
	thread_of[self].ended = true;
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t thread[THREADS];

	check_init(argc, argv);
	struct sigaction action = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_ONSTACK };
	sigaddset(&action.sa_mask, SIGHUP);
	sigaction(SIGUSR1, &action, NULL);
	sigaction(SIGUSR2, &action, NULL);
	for (intptr_t i = 0; i < THREADS; i++) {
		thread_of[i].stack = malloc(STACK_SIZE);
		/* A disarmed stack cannot be nested on: the second handler would start at its top again. */
		thread_of[i].flags = i == 0 || i == 4 ? (int)SS_AUTODISARM : 0;
		thread[i] = check_thread(body, (void *)i);
	}
	for (int i = 0; i < THREADS; i++)
		while (!__atomic_load_n(&thread_of[i].waiting, __ATOMIC_ACQUIRE))
			check_pause(MS);

	check_ready();
	check_wait();
	__atomic_store_n(&stop, true, __ATOMIC_RELEASE);

	for (int i = 0; i < THREADS; i++) {
		pthread_join(thread[i], NULL);
		check_eq_str(thread_of[i].wrong ? thread_of[i].wrong : "", "", "thread %d %s", i,
			     i < 2 ? "keeps its stack" : i % 2 ? "comes back from two handlers" : "comes back from its handler");
		check(thread_of[i].ended, "thread %d goes on", i);
	}
	return check_done();
}

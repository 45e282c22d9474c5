/*
 * signal-pending - signals that wait to be unblocked: of the process and of single
 * threads, standard ones (at most one of each) and realtime ones (queued, in order,
 * each with its value).
 *
 * signal(7), sigqueue(3), rt_tgsigqueueinfo(2), sigpending(2)
 */
#include "check.h"
#include <signal.h>

#define QUEUED 12

#define PROCESS_RT (SIGRTMIN + 1)
#define THREAD_RT (SIGRTMIN + 2)

struct delivery {
	int signal, code, value;
	pid_t pid;
	uid_t uid;
};

static struct delivery process_log[64], thread_log[64];
static volatile sig_atomic_t process_count, thread_count;
static _Thread_local bool is_thread;
static pid_t thread_tid;
static int release[2];
static sigset_t thread_pending_before, thread_pending_after;
static bool delivered_early;

static void log_delivery(int signal, siginfo_t *info, void *context)
{
	(void)context;
	struct delivery *log = is_thread ? thread_log : process_log;
	volatile sig_atomic_t *count = is_thread ? &thread_count : &process_count;
	if (*count < 64)
		log[(*count)++] = (struct delivery){ signal, info->si_code, info->si_value.sival_int, info->si_pid, info->si_uid };
}

static void *body(void *unused)
{
	sigset_t set;
	char byte;
	is_thread = true;
	/* The process's own must not be taken here. */
	sigfillset(&set);
	pthread_sigmask(SIG_SETMASK, &set, NULL);
	__atomic_store_n(&thread_tid, (pid_t)syscall(SYS_gettid), __ATOMIC_RELEASE);
	must(read(release[0], &byte, 1));
	sigpending(&thread_pending_before);
	must(read(release[0], &byte, 1));
	sigpending(&thread_pending_after);
	delivered_early |= thread_count != 0;
	sigemptyset(&set);
	sigaddset(&set, THREAD_RT);
	sigaddset(&set, SIGUSR2);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	return unused;
}

static void queue(pid_t tid, int signal, int value)
{
	siginfo_t info = { 0 };
	info.si_signo = signal;
	info.si_code = SI_QUEUE;
	info.si_pid = getpid();
	info.si_uid = getuid();
	info.si_value.sival_int = value;
	must(syscall(SYS_rt_tgsigqueueinfo, getpid(), tid, signal, &info));
}

static void check_queue(const struct delivery *log, int count, int signal, int first_value, const char *whose)
{
	int found = 0, wrong = 0;
	for (int i = 0; i < count; i++)
		if (log[i].signal == signal) {
			wrong += log[i].value != first_value + found || log[i].code != SI_QUEUE || log[i].pid != getpid() || log[i].uid != getuid();
			found++;
		}
	check_eq_u64((uint64_t)found, QUEUED, "%s: every queued signal comes once", whose);
	check_eq_u64((uint64_t)wrong, 0, "%s: in order, with value and sender", whose);
}

static int count_of(const struct delivery *log, int count, int signal, int code)
{
	int found = 0;
	for (int i = 0; i < count; i++)
		found += log[i].signal == signal && log[i].code == code && log[i].pid == getpid();
	return found;
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	struct sigaction action = { .sa_sigaction = log_delivery, .sa_flags = SA_SIGINFO };
	sigset_t mine, before, after;
	sigemptyset(&mine);
	int used[] = { SIGUSR1, SIGUSR2, SIGTERM, SIGCHLD, SIGALRM, PROCESS_RT, THREAD_RT };
	for (size_t i = 0; i < sizeof used / sizeof *used; i++) {
		sigaction(used[i], &action, NULL);
		sigaddset(&mine, used[i]);
	}
	pthread_sigmask(SIG_BLOCK, &mine, NULL);
	must(pipe(release));
	pthread_t thread = check_thread(body, NULL);
	while (!__atomic_load_n(&thread_tid, __ATOMIC_ACQUIRE))
		check_pause(MS);

	/* Twice: a standard signal is pending once. */
	for (int i = 0; i < 2; i++) {
		must(kill(getpid(), SIGUSR1));
		must(kill(getpid(), SIGTERM));
		must(kill(getpid(), SIGCHLD));
		must(syscall(SYS_tgkill, getpid(), thread_tid, SIGUSR2));
		/* The same signal for the process and for one thread. */
		must(syscall(SYS_tgkill, getpid(), getpid(), SIGUSR1));
	}
	for (int i = 0; i < QUEUED; i++) {
		must(sigqueue(getpid(), PROCESS_RT, (union sigval){ .sival_int = 100 + i }));
		queue(thread_tid, THREAD_RT, 200 + i);
	}
	sigpending(&before);
	must(write(release[1], "x", 1));
	check_pause(2 * MS);

	check_ready();
	check_wait();

	sigpending(&after);
	delivered_early = process_count != 0;
	bool same = true;
	for (int s = 1; s < NSIG; s++)
		same = same && sigismember(&before, s) == sigismember(&after, s);
	check(same, "the same signals are pending for the process and the main thread");
	must(write(release[1], "x", 1));
	pthread_join(thread, NULL);
	same = true;
	for (int s = 1; s < NSIG; s++)
		same = same && sigismember(&thread_pending_before, s) == sigismember(&thread_pending_after, s);
	check(same, "the same signals are pending for the other thread");
	pthread_sigmask(SIG_UNBLOCK, &mine, NULL);

	check(!delivered_early, "none was delivered while it was blocked");
	check_eq_u64((uint64_t)count_of(process_log, process_count, SIGUSR1, SI_USER), 1, "SIGUSR1 of the process comes once");
	check_eq_u64((uint64_t)count_of(process_log, process_count, SIGUSR1, SI_TKILL), 1, "SIGUSR1 of the main thread comes once");
	check_eq_u64((uint64_t)count_of(process_log, process_count, SIGTERM, SI_USER), 1, "SIGTERM comes once");
	check_eq_u64((uint64_t)count_of(process_log, process_count, SIGCHLD, SI_USER), 1, "SIGCHLD comes once");
	check_eq_u64((uint64_t)count_of(thread_log, thread_count, SIGUSR2, SI_TKILL), 1, "SIGUSR2 of the other thread comes once");
	check_queue(process_log, process_count, PROCESS_RT, 100, "process");
	check_queue(thread_log, thread_count, THREAD_RT, 200, "thread");
	check_eq_u64((uint64_t)process_count, QUEUED + 4, "nothing else came to the main thread");
	check_eq_u64((uint64_t)thread_count, QUEUED + 1, "nothing else came to the other thread");
	return check_done();
}

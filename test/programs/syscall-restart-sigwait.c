/*
 * syscall-restart-sigwait - calls that signal(7) lists as never restarted: after a
 * stop the kernel itself ends them with EINTR although no handler ran. A checkpoint
 * must not show all the same: it has to make the call again, for the rest of its
 * time. argv[2] is the time in ms (2500).
 *
 * signal(7), "Interruption of system calls and library functions by stop signals";
 * sigtimedwait(2), sigwaitinfo(2)
 */
#include "check.h"
#include <signal.h>

static uint64_t duration, start, end;
static int timed_error, woken_value;
static pid_t waiting[2];

static void *wait_timed(void *unused)
{
	sigset_t set;
	struct timespec t = check_timespec(duration);
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 1);
	start = check_now();
	__atomic_store_n(&waiting[0], (pid_t)syscall(SYS_gettid), __ATOMIC_RELEASE);
	timed_error = sigtimedwait(&set, NULL, &t) < 0 ? errno : 0;
	end = check_now();
	return unused;
}

static void *wait_forever(void *unused)
{
	sigset_t set;
	siginfo_t info = { 0 };
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 2);
	__atomic_store_n(&waiting[1], (pid_t)syscall(SYS_gettid), __ATOMIC_RELEASE);
	woken_value = sigwaitinfo(&set, &info) < 0 ? -errno : info.si_value.sival_int;
	return unused;
}

static void wait_asleep(pid_t *tid)
{
	char path[64], text[512];
	while (!__atomic_load_n(tid, __ATOMIC_ACQUIRE))
		check_pause(MS / 4);
	snprintf(path, sizeof path, "/proc/self/task/%d/stat", *tid);
	do {
		check_pause(MS / 4);
		check_read(path, text, sizeof text);
	} while (strncmp(strrchr(text, ')'), ") S", 3) != 0);
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	duration = (uint64_t)check_arg(argc, argv, 2, 2500) * MS;
	sigset_t all;
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, NULL);
	pthread_t timed = check_thread(wait_timed, NULL), forever = check_thread(wait_forever, NULL);
	wait_asleep(&waiting[0]);
	wait_asleep(&waiting[1]);

	check_ready();
	check_wait();

	pthread_join(timed, NULL);
	pthread_sigqueue(forever, SIGRTMIN + 2, (union sigval){ .sival_int = 4711 });
	pthread_join(forever, NULL);
	check_eq_u64((uint64_t)timed_error, EAGAIN, "sigtimedwait ends for no other reason than its time");
	check_between((int64_t)(end - start), (int64_t)(duration - 50 * MS), (int64_t)(duration + 1500 * MS), "sigtimedwait lasts its whole time");
	check_eq_u64((uint64_t)woken_value, 4711, "sigwaitinfo gets the signal");
	return check_done();
}

/*
 * process-attributes - what a process is told once and keeps: directory, umask,
 * limits, prctl settings, names, and what /proc shows of it.
 *
 * Nothing is looked at that a new pid or user namespace may show differently, such
 * as the parent or supplementary groups. getrlimit(2), prctl(2), personality(2),
 * proc_pid_stat(5)
 */
#include "check.h"
#include <signal.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#ifndef PR_SET_MDWE
#define PR_GET_MDWE 66         /* Linux 6.3 */
#endif
#ifndef PR_GET_MEMORY_MERGE
#define PR_GET_MEMORY_MERGE 68 /* Linux 6.4 */
#endif

#define LIMITS 16
#define SETTINGS (sizeof settings / sizeof *settings)

static const struct {
	int option;
	bool by_pointer;
	const char *name;
} settings[] = {
	{ PR_GET_DUMPABLE, false, "dumpable" },
	{ PR_GET_NO_NEW_PRIVS, false, "no new privileges" },
	{ PR_GET_CHILD_SUBREAPER, true, "child subreaper" },
	{ PR_GET_PDEATHSIG, true, "parent-death signal" },
	{ PR_GET_TIMERSLACK, false, "timer slack" },
	{ PR_GET_THP_DISABLE, false, "huge pages disabled" },
	{ PR_GET_KEEPCAPS, false, "keep capabilities" },
	{ PR_GET_SECUREBITS, false, "secure bits" },
	{ PR_GET_TSC, true, "time-stamp counter" },
	{ PR_MCE_KILL_GET, false, "machine check policy" },
	{ PR_GET_IO_FLUSHER, false, "I/O flusher" },
	{ PR_GET_MDWE, false, "memory-deny-write-execute" },
	{ PR_GET_MEMORY_MERGE, false, "memory merging" },
};

static struct attributes {
	char cwd[4096], comm[16], exe[4096], filter[64], oom[64];
	char command[65536], environment[65536], auxv[4096];
	size_t command_length, environment_length, auxv_length;
	struct rlimit limit[LIMITS];
	long setting[SETTINGS];
	int personality;
	mode_t umask;
	pid_t pid, tid;
	uid_t uid, euid;
	gid_t gid, egid;
	uint64_t layout[10];
	long thread_slack;
	char thread_name[16];
} before, after;

static bool stop, asked;

/* start_code end_code start_stack, start_data end_data start_brk arg_start arg_end env_start env_end: fields 26-28 and 45-51. */
static void ask_layout(uint64_t layout[10])
{
	char text[2048];
	check_read("/proc/self/stat", text, sizeof text);
	int field = 2, n = 0;
	for (char *word = strtok(strrchr(text, ')') + 1, " "); word; word = strtok(NULL, " ")) {
		field++;
		if ((field >= 26 && field <= 28) || (field >= 45 && field <= 51))
			layout[n++] = strtoull(word, NULL, 10);
	}
}

static void ask(struct attributes *a)
{
	must(getcwd(a->cwd, sizeof a->cwd) ? 0 : -1);
	prctl(PR_GET_NAME, a->comm);
	must(readlink("/proc/self/exe", a->exe, sizeof a->exe - 1));
	check_read("/proc/self/coredump_filter", a->filter, sizeof a->filter);
	check_read("/proc/self/oom_score_adj", a->oom, sizeof a->oom);
	a->command_length = check_read("/proc/self/cmdline", a->command, sizeof a->command);
	a->environment_length = check_read("/proc/self/environ", a->environment, sizeof a->environment);
	a->auxv_length = check_read("/proc/self/auxv", a->auxv, sizeof a->auxv);
	for (int i = 0; i < LIMITS; i++)
		must(getrlimit((__rlimit_resource_t)i, &a->limit[i]));
	for (size_t i = 0; i < SETTINGS; i++) {
		int value = 0;
		a->setting[i] = settings[i].by_pointer ? prctl(settings[i].option, &value, 0, 0, 0) : prctl(settings[i].option, 0, 0, 0, 0);
		if (settings[i].by_pointer && a->setting[i] == 0)
			a->setting[i] = value;
	}
	a->personality = personality(0xffffffff);
	a->umask = umask(0);
	umask(a->umask);
	a->pid = getpid();
	a->tid = (pid_t)syscall(SYS_gettid);
	a->uid = getuid();
	a->euid = geteuid();
	a->gid = getgid();
	a->egid = getegid();
	ask_layout(a->layout);
}

/* Name and timer slack belong to the thread. */
static void *other_thread(void *unused)
{
	prctl(PR_SET_NAME, "another thread");
	prctl(PR_SET_TIMERSLACK, 777000);
	prctl(PR_GET_NAME, before.thread_name);
	before.thread_slack = prctl(PR_GET_TIMERSLACK);
	__atomic_store_n(&asked, true, __ATOMIC_RELEASE);
	while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE))
		check_pause(MS);
	prctl(PR_GET_NAME, after.thread_name);
	after.thread_slack = prctl(PR_GET_TIMERSLACK);
	return unused;
}

static void lower(__rlimit_resource_t which, rlim_t soft)
{
	struct rlimit limit;
	must(getrlimit(which, &limit));
	if (limit.rlim_max == RLIM_INFINITY || soft <= limit.rlim_max)
		limit.rlim_cur = soft;
	must(setrlimit(which, &limit));
}

static void write_text(const char *path, const char *text)
{
	int fd = (int)must(open(path, O_WRONLY | O_CLOEXEC));
	must(write(fd, text, strlen(text)));
	close(fd);
}

int main(int argc, char **argv)
{
	static const char *const limit_names[LIMITS] = {
		"CPU", "FSIZE", "DATA", "STACK", "CORE", "RSS", "NPROC", "NOFILE", "MEMLOCK", "AS", "LOCKS", "SIGPENDING", "MSGQUEUE", "NICE", "RTPRIO", "RTTIME",
	};

	check_init(argc, argv);
	const char *directory = check_scratch("cwd");
	must(mkdir(directory, 0755));
	must(chdir(directory));
	umask(0137);
	lower(RLIMIT_CPU, 36000);
	lower(RLIMIT_FSIZE, 1ull << 40);
	lower(RLIMIT_CORE, 4096);
	lower(RLIMIT_NOFILE, 777);
	lower(RLIMIT_SIGPENDING, 1000);
	lower(RLIMIT_MSGQUEUE, 40000);
	/* A hard limit, too: who restores it must do so last. */
	struct rlimit hard = { 300, 400 };
	must(setrlimit(RLIMIT_LOCKS, &hard));
	prctl(PR_SET_NAME, "(odd) name 1");
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	/* Ignored: the parent does end. */
	signal(SIGUSR2, SIG_IGN);
	prctl(PR_SET_PDEATHSIG, SIGUSR2, 0, 0, 0);
	prctl(PR_SET_TIMERSLACK, 123000, 0, 0, 0);
	prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
	prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0);
	prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_EARLY, 0, 0);
	personality(ADDR_NO_RANDOMIZE | STICKY_TIMEOUTS);
	write_text("/proc/self/coredump_filter", "0x35");
	write_text("/proc/self/oom_score_adj", "321");
	pthread_t thread = check_thread(other_thread, NULL);
	while (!__atomic_load_n(&asked, __ATOMIC_ACQUIRE))
		check_pause(MS);
	ask(&before);

	check_ready();
	check_wait();
	ask(&after);
	__atomic_store_n(&stop, true, __ATOMIC_RELEASE);
	pthread_join(thread, NULL);

	check_eq_str(after.cwd, before.cwd, "current directory");
	struct stat here, there;
	check(stat(".", &here) == 0 && stat(directory, &there) == 0 && here.st_ino == there.st_ino, "it is the directory with that path");
	check_eq_u64(after.umask, before.umask, "umask");
	for (int i = 0; i < LIMITS; i++) {
		check_eq_u64(after.limit[i].rlim_cur, before.limit[i].rlim_cur, "RLIMIT_%s, soft", limit_names[i]);
		check_eq_u64(after.limit[i].rlim_max, before.limit[i].rlim_max, "RLIMIT_%s, hard", limit_names[i]);
	}
	for (size_t i = 0; i < SETTINGS; i++)
		check_eq_u64((uint64_t)after.setting[i], (uint64_t)before.setting[i], "%s", settings[i].name);
	check_eq_u64((uint64_t)after.personality, (uint64_t)before.personality, "personality");
	check_eq_str(after.comm, before.comm, "name");
	check_eq_str(after.thread_name, before.thread_name, "name of another thread");
	check_eq_u64((uint64_t)after.thread_slack, (uint64_t)before.thread_slack, "timer slack of another thread");
	check_eq_str(after.exe, before.exe, "/proc/self/exe");
	check(after.command_length == before.command_length && !memcmp(after.command, before.command, before.command_length), "/proc/self/cmdline");
	check(after.environment_length == before.environment_length && !memcmp(after.environment, before.environment, before.environment_length), "/proc/self/environ");
	check(after.auxv_length == before.auxv_length && !memcmp(after.auxv, before.auxv, before.auxv_length), "/proc/self/auxv");
	check_eq_str(after.filter, before.filter, "core dump filter");
	check_eq_str(after.oom, before.oom, "out-of-memory score adjustment");
	check_eq_u64((uint64_t)after.pid, (uint64_t)before.pid, "getpid()");
	check_eq_u64((uint64_t)after.tid, (uint64_t)before.tid, "gettid()");
	check(after.uid == before.uid && after.euid == before.euid && after.gid == before.gid && after.egid == before.egid, "user and group");
	static const char *const layout_names[10] = {
		"start_code", "end_code", "start_stack", "start_data", "end_data", "start_brk", "arg_start", "arg_end", "env_start", "env_end",
	};
	for (int i = 0; i < 10; i++)
		check_eq_u64(after.layout[i], before.layout[i], "%s", layout_names[i]);
	must(chdir("/"));
	rmdir(directory);
	return check_done();
}

/*
 * check.h - the protocol of the self-checking programs, and a little TAP.
 *
 * A program sets up what it is named after, says `ready`, waits for the go file
 * (argv[1]) and then looks whether everything is as it was. A checkpoint, a kill
 * and a resume may or may not have happened in between: it must not be able to
 * tell. README.md describes the whole protocol.
 *
 * The helper disturbs nothing that a program may want to test: it installs no
 * handler, arms no timer, opens no descriptor and starts no thread. A program
 * that never sees the go file gives up by the monotonic clock, not by alarm(2).
 *
 * All check functions belong to the main thread.
 */
#ifndef CHECK_H
#define CHECK_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define CHECK_GIVE_UP_S 120
#define CHECK_POLL_MS 2
#define CHECK_EXIT_SKIP 77  /* this host cannot do it: nothing was tested */
#define CHECK_EXIT_BAIL 99  /* the test itself could not be set up */

static char check_go_file[4096];
static uint64_t check_deadline_ns;
static int check_count, check_failures;

/* ---- Time ---------------------------------------------------------------- */

#define MS 1000000ull
#define SECOND 1000000000ull

static inline uint64_t check_clock(clockid_t clock)
{
	struct timespec now;
	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * SECOND + (uint64_t)now.tv_nsec;
}

static inline uint64_t check_now(void)
{
	return check_clock(CLOCK_MONOTONIC);
}

static inline struct timespec check_timespec(uint64_t ns)
{
	return (struct timespec){ .tv_sec = (time_t)(ns / SECOND), .tv_nsec = (long)(ns % SECOND) };
}

/* Sleeps about that long; a signal may shorten it. Never changes errno. */
static inline void check_pause(uint64_t ns)
{
	int saved = errno;
	struct timespec t = check_timespec(ns);
	syscall(SYS_nanosleep, &t, NULL);
	errno = saved;
}

/* ---- When the test itself cannot go on ----------------------------------- */

static inline __attribute__((noreturn, format(printf, 1, 2))) void check_bail(const char *format, ...)
{
	va_list list;
	printf("Bail out! ");
	va_start(list, format);
	vprintf(format, list);
	va_end(list);
	printf("\n");
	fflush(stdout);
	_exit(CHECK_EXIT_BAIL);
}

/* The whole program cannot run on this host. To be called before check_ready(). */
static inline __attribute__((noreturn, format(printf, 1, 2))) void check_skip_all(const char *format, ...)
{
	va_list list;
	printf("1..0 # SKIP ");
	va_start(list, format);
	vprintf(format, list);
	va_end(list);
	printf("\n");
	fflush(stdout);
	_exit(CHECK_EXIT_SKIP);
}

static inline long check_must(long result, const char *call, const char *file, int line)
{
	if (result == -1)
		check_bail("%s:%d: %s: %s", file, line, call, strerror(errno));
	return result;
}

/* For preparations: a call whose -1 (or MAP_FAILED) ends the test. */
#define must(call) check_must((long)(call), #call, __FILE__, __LINE__)
#define must_map(call) ((void *)must(call))

static inline pthread_t check_thread(void *(*body)(void *), void *arg)
{
	pthread_t thread;
	int error = pthread_create(&thread, NULL, body, arg);
	if (error)
		check_bail("pthread_create: %s", strerror(error));
	return thread;
}

/* ---- Ready, wait --------------------------------------------------------- */

static inline void check_init(int argc, char **argv)
{
	if (argc < 2) {
		fprintf(stderr, "usage: %s GO-FILE [ARGUMENT...]\n", argv[0]);
		exit(64);
	}
	/* Made absolute, for programs that change their directory. */
	char cwd[2048] = "";
	if (argv[1][0] != '/' && !getcwd(cwd, sizeof cwd))
		check_bail("getcwd: %s", strerror(errno));
	snprintf(check_go_file, sizeof check_go_file, "%s%s%s", cwd, *cwd ? "/" : "", argv[1]);
	check_deadline_ns = check_now() + CHECK_GIVE_UP_S * SECOND;
}

/* argv[index] as a number, or the default. */
static inline long check_arg(int argc, char **argv, int index, long otherwise)
{
	return index < argc ? strtol(argv[index], NULL, 0) : otherwise;
}

/* A scratch path beside the go file, so that it outlives the process. The caller unlinks it. */
static inline const char *check_scratch(const char *suffix)
{
	char *path;
	if (asprintf(&path, "%s.%s", check_go_file, suffix) < 0)
		check_bail("no memory");
	return path;
}

/* The path of a library built beside this program. */
static inline const char *check_library(const char *name)
{
	char exe[2048];
	ssize_t length = must(readlink("/proc/self/exe", exe, sizeof exe - 1));
	exe[length] = 0;
	char *slash = strrchr(exe, '/'), *path;
	if (!slash || asprintf(&path, "%.*s/%s", (int)(slash - exe), exe, name) < 0)
		check_bail("no directory in %s", exe);
	return path;
}

static inline void check_ready(void)
{
	printf("ready\n");
	fflush(stdout);
}

/* Whether the go file is there. Gives up after CHECK_GIVE_UP_S. */
static inline bool check_go(void)
{
	int saved = errno;
	bool there = syscall(SYS_faccessat, AT_FDCWD, check_go_file, F_OK) == 0;
	errno = saved;
	if (!there && check_now() > check_deadline_ns)
		check_bail("no go file after %d s", CHECK_GIVE_UP_S);
	return there;
}

/* Waits for the go file, asleep for most of the time. */
static inline void check_wait(void)
{
	while (!check_go())
		check_pause(CHECK_POLL_MS * MS);
}

/* Waits for the go file by doing work() over and over: at least once, in small pieces. */
static inline void check_wait_doing(void (*work)(void *), void *arg)
{
	do {
		work(arg);
	} while (!check_go());
}

/* ---- Checks -------------------------------------------------------------- */

static inline bool check_vline(bool good, const char *got, const char *format, va_list list)
{
	printf("%s %d - ", good ? "ok" : "not ok", ++check_count);
	vprintf(format, list);
	printf("%s\n", good ? "" : got);
	fflush(stdout);
	check_failures += !good;
	return good;
}

static inline __attribute__((format(printf, 2, 3))) bool check(bool good, const char *format, ...)
{
	va_list list;
	va_start(list, format);
	check_vline(good, "", format, list);
	va_end(list);
	return good;
}

/* Says more about the check before; only for failures, since stdout is compared. */
static inline __attribute__((format(printf, 1, 2))) void check_note(const char *format, ...)
{
	va_list list;
	printf("# ");
	va_start(list, format);
	vprintf(format, list);
	va_end(list);
	printf("\n");
}

static inline __attribute__((format(printf, 3, 4))) bool check_eq_u64(uint64_t got, uint64_t wanted, const char *format, ...)
{
	char text[128];
	snprintf(text, sizeof text, " # got %" PRIu64 " (0x%" PRIx64 "), wanted %" PRIu64 " (0x%" PRIx64 ")", got, got, wanted, wanted);
	va_list list;
	va_start(list, format);
	check_vline(got == wanted, text, format, list);
	va_end(list);
	return got == wanted;
}

static inline __attribute__((format(printf, 3, 4))) bool check_eq_str(const char *got, const char *wanted, const char *format, ...)
{
	char text[1024];
	bool good = !strcmp(got, wanted);
	snprintf(text, sizeof text, " # got \"%.400s\", wanted \"%.400s\"", got, wanted);
	va_list list;
	va_start(list, format);
	check_vline(good, text, format, list);
	va_end(list);
	return good;
}

/* low <= got <= high */
static inline __attribute__((format(printf, 4, 5))) bool check_between(int64_t got, int64_t low, int64_t high, const char *format, ...)
{
	char text[128];
	bool good = low <= got && got <= high;
	snprintf(text, sizeof text, " # got %" PRId64 ", wanted %" PRId64 "..%" PRId64, got, low, high);
	va_list list;
	va_start(list, format);
	check_vline(good, text, format, list);
	va_end(list);
	return good;
}

static inline __attribute__((format(printf, 2, 3))) void check_skip(const char *reason, const char *format, ...)
{
	va_list list;
	printf("ok %d - ", ++check_count);
	va_start(list, format);
	vprintf(format, list);
	va_end(list);
	printf(" # SKIP %s\n", reason);
	fflush(stdout);
}

/* Prints the plan; the result is main's. */
static inline int check_done(void)
{
	printf("1..%d\n", check_count);
	fflush(stdout);
	return check_failures ? 1 : 0;
}

/* ---- Patterns ------------------------------------------------------------ */

/* splitmix64: every input has its own random-looking output. */
static inline uint64_t check_mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15ull;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

/* Fills with words that depend on the seed and the place; size is a multiple of 8. */
static inline void check_fill(void *memory, size_t size, uint64_t seed)
{
	uint64_t *word = memory;
	for (size_t i = 0; i < size / 8; i++)
		word[i] = check_mix(seed * 0x100000001b3ull + i);
}

/* How many words are not what check_fill() wrote. */
static inline size_t check_wrong(const void *memory, size_t size, uint64_t seed)
{
	const uint64_t *word = memory;
	size_t wrong = 0;
	for (size_t i = 0; i < size / 8; i++)
		wrong += word[i] != check_mix(seed * 0x100000001b3ull + i);
	return wrong;
}

static inline size_t check_nonzero(const void *memory, size_t size)
{
	const uint8_t *byte = memory;
	size_t nonzero = 0;
	for (size_t i = 0; i < size; i++)
		nonzero += byte[i] != 0;
	return nonzero;
}

/* Reads a small file of /proc whole, with a 0 behind it. */
static inline size_t check_read(const char *path, char *text, size_t size)
{
	int fd = must(open(path, O_RDONLY | O_CLOEXEC));
	size_t length = 0;
	ssize_t got;
	while (length < size - 1 && (got = must(read(fd, text + length, size - 1 - length))) > 0)
		length += (size_t)got;
	text[length] = 0;
	close(fd);
	return length;
}

#endif

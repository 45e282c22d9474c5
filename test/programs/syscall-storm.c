/*
 * syscall-storm - threads that are in read and write almost all the time: what goes
 * through the pipes between them must come out once and in order. Others make cheap
 * calls whose result is known.
 *
 * pipe(7), signal(7) on interrupted calls
 */
#include "check.h"

#define PAIRS 2

static bool stop;
static int ends[PAIRS][2];
static uint64_t bytes_in[PAIRS], bytes_out[PAIRS], sum_in[PAIRS], sum_out[PAIRS], calls;
static int error_in[PAIRS], error_out[PAIRS];

/* Order matters to it. */
static uint64_t sum(uint64_t before, const uint8_t *bytes, size_t count)
{
	for (size_t i = 0; i < count; i++)
		before = (before ^ bytes[i]) * 0x100000001b3ull;
	return before;
}

static void *writer(void *number)
{
	uintptr_t i = (uintptr_t)number;
	uint8_t bytes[9000];
	for (uint64_t step = 0; !__atomic_load_n(&stop, __ATOMIC_ACQUIRE); step++) {
		size_t size = 1 + check_mix(step) % (step % 10 ? 200 : sizeof bytes - 8), at = 0;
		check_fill(bytes, (size + 7) / 8 * 8, step);
		while (at < size) {
			ssize_t n = write(ends[i][1], bytes + at, size - at);
			if (n < 0) {
				error_in[i] = errno;
				break;
			}
			at += (size_t)n;
		}
		sum_in[i] = sum(sum_in[i], bytes, at);
		bytes_in[i] += at;
	}
	close(ends[i][1]);
	return NULL;
}

static void *reader(void *number)
{
	uintptr_t i = (uintptr_t)number;
	uint8_t bytes[7000];
	ssize_t n;
	for (uint64_t step = 0; (n = read(ends[i][0], bytes, 1 + check_mix(step) % sizeof bytes)) > 0; step++) {
		sum_out[i] = sum(sum_out[i], bytes, (size_t)n);
		__atomic_fetch_add(&bytes_out[i], (uint64_t)n, __ATOMIC_RELEASE);
	}
	error_out[i] = n < 0 ? errno : 0;
	return NULL;
}

static void *caller(void *unused)
{
	(void)unused;
	pid_t pid = getpid(), tid = (pid_t)syscall(SYS_gettid);
	while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE)) {
		if (syscall(SYS_getpid) != pid || syscall(SYS_gettid) != tid)
			return "a number changed";
		if (syscall(SYS_close, -1) != -1 || errno != EBADF)
			return "an error changed";
		if (lseek(ends[0][0], 0, SEEK_CUR) != -1 || errno != ESPIPE)
			return "a descriptor changed";
		calls++;
	}
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t writers[PAIRS], readers[PAIRS];

	check_init(argc, argv);
	for (uintptr_t i = 0; i < PAIRS; i++) {
		must(pipe(ends[i]));
		readers[i] = check_thread(reader, (void *)i);
		writers[i] = check_thread(writer, (void *)i);
	}
	pthread_t other = check_thread(caller, NULL);
	for (int i = 0; i < PAIRS; i++)
		while (!__atomic_load_n(&bytes_out[i], __ATOMIC_ACQUIRE))
			check_pause(MS);

	check_ready();
	check_wait();
	__atomic_store_n(&stop, true, __ATOMIC_RELEASE);

	void *wrong;
	pthread_join(other, &wrong);
	check_eq_str(wrong ? wrong : "", "", "cheap calls keep their results");
	for (int i = 0; i < PAIRS; i++) {
		pthread_join(writers[i], NULL);
		pthread_join(readers[i], NULL);
		check(!error_in[i] && !error_out[i], "pipe %d: no call failed", i);
		if (error_in[i] || error_out[i])
			check_note("write: %s, read: %s", strerror(error_in[i]), strerror(error_out[i]));
		check_eq_u64(bytes_out[i], bytes_in[i], "pipe %d: as many bytes come out as went in", i);
		check_eq_u64(sum_out[i], sum_in[i], "pipe %d: the same, in the same order", i);
	}
	return check_done();
}

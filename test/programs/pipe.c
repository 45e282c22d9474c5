/*
 * pipe - pipes whose both ends are in this process: contents, capacity, status
 * flags, packets, shared and closed ends, and threads blocked in them.
 *
 * pipe(2), pipe(7), fcntl(2) F_SETPIPE_SZ
 */
#include "check.h"
#include <signal.h>
#include <sys/ioctl.h>


#define READERS 3

static int full[2], many[2];
static size_t capacity, written;
static unsigned messages[READERS];

/* Writes three times what fits: blocked until someone reads. */
static void *write_too_much(void *unused)
{
	uint8_t *data = malloc(3 * capacity);
	check_fill(data, 3 * capacity, 7);
	for (ssize_t n; written < 3 * capacity; written += (size_t)n)
		if ((n = write(full[1], data + written, 3 * capacity - written)) < 0)
			return strerror(errno);
	free(data);
	return unused;
}

/* Several readers of one pipe: every byte goes to one of them. */
static void *read_until_end(void *count)
{
	char byte;
	ssize_t n;
	while ((n = read(many[0], &byte, 1)) == 1)
		++*(unsigned *)count;
	return n < 0 ? strerror(errno) : NULL;
}

static size_t unread(int fd)
{
	int count = -1;
	ioctl(fd, FIONREAD, &count);
	return (size_t)count;
}

int main(int argc, char **argv)
{
	int plain[2], sized[2], nonblocking[2], packets[2], closed[2], empty[2], broken[2];
	uint8_t data[8192], got[16384];

	check_init(argc, argv);
	check_fill(data, sizeof data, 3);

	must(pipe2(plain, 0));
	must(write(plain[1], data, 5000));
	must(read(plain[0], got, 1000));
	int plain_dup = (int)must(dup(plain[1]));

	must(pipe2(sized, O_CLOEXEC));
	must(fcntl(sized[1], F_SETPIPE_SZ, 16384));
	must(write(sized[1], data, sizeof data));
	must(write(sized[1], data, sizeof data));

	must(pipe2(nonblocking, O_NONBLOCK));
	while (write(nonblocking[1], data, 4096) > 0)
		;
	size_t nonblocking_full = unread(nonblocking[0]);
	/* One end of a pipe may block while the other does not. */
	must(fcntl(nonblocking[0], F_SETFL, 0));

	must(pipe2(packets, O_DIRECT));
	must(write(packets[1], "a", 1));
	must(write(packets[1], "bbb", 3));
	must(write(packets[1], "cc", 2));

	must(pipe2(closed, 0));
	must(write(closed[1], "rest", 4));
	close(closed[1]);

	must(pipe2(empty, 0));
	must(pipe2(broken, 0));
	close(broken[0]);

	must(pipe2(full, 0));
	capacity = (size_t)must(fcntl(full[1], F_GETPIPE_SZ));
	must(pipe2(many, 0));
	pthread_t writer = check_thread(write_too_much, NULL), reader[READERS];
	for (int i = 0; i < READERS; i++)
		reader[i] = check_thread(read_until_end, &messages[i]);
	while (unread(full[0]) < capacity)
		check_pause(MS);

	check_ready();
	check_wait();

	check_eq_u64(unread(plain[0]), 4000, "plain: as much is left as was");
	check(read(plain[0], got, sizeof got) == 4000 && !memcmp(got, data + 1000, 4000), "plain: the contents are left");
	check(write(plain_dup, "x", 1) == 1 && read(plain[0], got, 10) == 1 && got[0] == 'x', "plain: the duplicate writes to it");
	check(!(fcntl(plain[0], F_GETFD) & FD_CLOEXEC), "plain: not close-on-exec");

	check_eq_u64((uint64_t)fcntl(sized[0], F_GETPIPE_SZ), 16384, "sized: the capacity is kept");
	check(read(sized[0], got, 16384) == 16384 && !memcmp(got, data, 8192) && !memcmp(got + 8192, data, 8192), "sized: the contents fill it");
	check(fcntl(sized[0], F_GETFD) & FD_CLOEXEC && fcntl(sized[1], F_GETFD) & FD_CLOEXEC, "sized: close-on-exec");

	check(!(fcntl(nonblocking[0], F_GETFL) & O_NONBLOCK), "non-blocking: the read end blocks");
	check(fcntl(nonblocking[1], F_GETFL) & O_NONBLOCK, "non-blocking: the write end does not");
	check_eq_u64(unread(nonblocking[0]), nonblocking_full, "non-blocking: it is full");
	check(write(nonblocking[1], data, 4096) == -1 && errno == EAGAIN, "non-blocking: nothing more fits");

	check(fcntl(packets[1], F_GETFL) & O_DIRECT, "packets: still in packet mode");
	check(read(packets[0], got, 100) == 1 && got[0] == 'a', "packets: the first alone");
	check(read(packets[0], got, 2) == 2 && !memcmp(got, "bb", 2), "packets: the second is cut");
	check(read(packets[0], got, 100) == 2 && !memcmp(got, "cc", 2), "packets: then comes the third");

	check(read(closed[0], got, 100) == 4 && !memcmp(got, "rest", 4), "closed: what was written before is read");
	check(read(closed[0], got, 100) == 0, "closed: then the end is seen");

	must(fcntl(empty[0], F_SETFL, O_NONBLOCK));
	check(read(empty[0], got, 1) == -1 && errno == EAGAIN, "empty: it is empty, not at its end");
	must(signal(SIGPIPE, SIG_IGN) == SIG_ERR ? -1 : 0);
	check(write(broken[1], "x", 1) == -1 && errno == EPIPE, "broken: nobody can read what is written");

	uint8_t *wanted = malloc(3 * capacity), *all = malloc(3 * capacity);
	size_t length = 0;
	ssize_t n;
	check_fill(wanted, 3 * capacity, 7);
	while (length < 3 * capacity && (n = read(full[0], all + length, 3 * capacity - length)) > 0)
		length += (size_t)n;
	void *error;
	pthread_join(writer, &error);
	check_eq_str(error ? error : "", "", "full: the blocked writer went on");
	check(length == 3 * capacity && !memcmp(all, wanted, length), "full: every byte came once and in order");

	for (int i = 0; i < 300; i++)
		must(write(many[1], "x", 1));
	close(many[1]);
	unsigned sum = 0, errors = 0;
	for (int i = 0; i < READERS; i++) {
		pthread_join(reader[i], &error);
		errors += error != NULL;
		sum += messages[i];
	}
	check_eq_u64(errors, 0, "many readers: none was interrupted");
	check_eq_u64(sum, 300, "many readers: every byte was read once, then the end");
	return check_done();
}

/*
 * file-append-log - appends numbered lines to the file argv[2], argv[3] (400) in
 * all, about one a millisecond, some of them before ready, some while waiting and
 * at least 100 after. The file must afterwards be what an uninterrupted run makes:
 * what a killed run wrote after its last checkpoint must not be in it.
 *
 * Without argv[2] the file is a scratch file, removed at the end.
 *
 * open(2) O_APPEND, write(2)
 */
#include "check.h"
#include <sys/stat.h>

static long next = 1, total;
static int fd;

/* Lines of different lengths: 1 to 60 dots. */
static int format_line(char *line, size_t size, long number)
{
	int dots = 1 + (int)(check_mix((uint64_t)number) % 60);
	return snprintf(line, size, "%06ld %.*s\n", number, dots, "............................................................");
}

static void append(void *unused)
{
	(void)unused;
	char line[128];
	int length = format_line(line, sizeof line, next++);
	if (write(fd, line, (size_t)length) != length)
		check_bail("write: %s", strerror(errno));
	check_pause(MS);
}

static void append_while_waiting(void *unused)
{
	if (next <= total - 100)
		append(unused);
	else
		check_pause(CHECK_POLL_MS * MS);
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	const char *path = argc > 2 ? argv[2] : check_scratch("log");
	total = check_arg(argc, argv, 3, 400);
	fd = (int)must(open(path, O_RDWR | O_CREAT | O_TRUNC | O_APPEND, 0644));
	while (next <= 50)
		append(NULL);

	check_ready();
	check_wait_doing(append_while_waiting, NULL);
	while (next <= total)
		append(NULL);

	off_t at = 0;
	long wrong = 0;
	for (long number = 1; number <= total; number++) {
		char wanted[128], got[128] = "";
		int length = format_line(wanted, sizeof wanted, number);
		wrong += pread(fd, got, (size_t)length, at) != length || memcmp(got, wanted, (size_t)length) != 0;
		at += length;
	}
	struct stat status;
	must(fstat(fd, &status));
	check_eq_u64((uint64_t)wrong, 0, "every line is in its place");
	check_eq_u64((uint64_t)status.st_size, (uint64_t)at, "nothing follows the last line");
	check_eq_u64((uint64_t)lseek(fd, 0, SEEK_CUR), (uint64_t)at, "the position is at the end");
	check(fcntl(fd, F_GETFL) & O_APPEND, "the descriptor still appends");
	if (argc <= 2)
		unlink(path);
	return check_done();
}

/*
 * file-regular - descriptors of regular files: position, access mode, status
 * flags, close-on-exec, and which of them share one open file description.
 *
 * open(2), dup(2), lseek(2), fcntl(2)
 */
#include "check.h"
#include <sys/stat.h>

#define SIZE 100000

enum { READER, WRITER, BOTH, APPEND, NONBLOCK, SYNC, CLOEXEC, NOATIME, PATH, BEYOND, OPENED };

static const struct {
	int flags;
	const char *name;
} opened[OPENED] = {
	[READER] = { O_RDONLY, "read-only" },
	[WRITER] = { O_WRONLY, "write-only" },
	[BOTH] = { O_RDWR, "read-write" },
	[APPEND] = { O_WRONLY | O_APPEND, "O_APPEND" },
	[NONBLOCK] = { O_RDWR | O_NONBLOCK, "O_NONBLOCK" },
	[SYNC] = { O_RDWR | O_SYNC, "O_SYNC" },
	[CLOEXEC] = { O_RDONLY | O_CLOEXEC, "O_CLOEXEC" },
	[NOATIME] = { O_RDONLY | O_NOATIME, "O_NOATIME" },
	[PATH] = { O_PATH, "O_PATH" },
	[BEYOND] = { O_RDWR, "positioned beyond the end" },
};

static uint8_t contents[SIZE];

int main(int argc, char **argv)
{
	int fd[OPENED], flags[OPENED], fd_flags[OPENED];
	off_t position[OPENED];

	check_init(argc, argv);
	const char *path = check_scratch("data"), *other = check_scratch("other");
	check_fill(contents, sizeof contents, 1);
	int maker = (int)must(open(path, O_WRONLY | O_CREAT | O_TRUNC, 0640));
	if (write(maker, contents, SIZE) != SIZE)
		check_bail("write: %s", strerror(errno));
	close(maker);

	for (int i = 0; i < OPENED; i++) {
		fd[i] = (int)must(open(path, opened[i].flags));
		position[i] = i == PATH ? -1 : i == BEYOND ? SIZE * 10l : 1000l + 777l * i;
		if (i != PATH)
			must(lseek(fd[i], position[i], SEEK_SET));
		flags[i] = (int)must(fcntl(fd[i], F_GETFL));
		fd_flags[i] = (int)must(fcntl(fd[i], F_GETFD));
	}
	/* A high number with nothing between, a dup sharing the position, a duplicate with close-on-exec. */
	int high = (int)must(fcntl(fd[BOTH], F_DUPFD, 200));
	int duplicate = (int)must(fcntl(fd[BOTH], F_DUPFD_CLOEXEC, 0));
	int separate = (int)must(open(path, O_RDWR));
	/* A flag changed after opening. */
	int changed = (int)must(open(path, O_RDWR));
	must(fcntl(changed, F_SETFL, O_APPEND | O_NONBLOCK));
	int changed_flags = (int)must(fcntl(changed, F_GETFL));
	/* Created, 0 bytes long, renamed after it was opened. */
	const char *renamed = check_scratch("renamed");
	int moved = (int)must(open(other, O_RDWR | O_CREAT | O_EXCL, 0600));
	must(rename(other, renamed));
	struct stat before;
	must(fstat(fd[BOTH], &before));

	check_ready();
	check_wait();

	for (int i = 0; i < OPENED; i++) {
		check_eq_u64((uint64_t)fcntl(fd[i], F_GETFL), (uint64_t)flags[i], "%s: status flags", opened[i].name);
		check_eq_u64((uint64_t)fcntl(fd[i], F_GETFD), (uint64_t)fd_flags[i], "%s: descriptor flags", opened[i].name);
		check_eq_u64((uint64_t)lseek(fd[i], 0, SEEK_CUR), (uint64_t)position[i], "%s: position", opened[i].name);
	}
	check_eq_u64((uint64_t)fcntl(changed, F_GETFL), (uint64_t)changed_flags, "flags changed by F_SETFL");
	check(fcntl(duplicate, F_GETFD) & FD_CLOEXEC && !(fcntl(fd[BOTH], F_GETFD) & FD_CLOEXEC), "close-on-exec belongs to the descriptor");

	uint8_t byte;
	check(read(fd[READER], &byte, 1) == 1 && byte == contents[position[READER]], "the read-only one reads the byte at its position");
	check(write(fd[READER], &byte, 1) == -1 && errno == EBADF, "the read-only one cannot write");
	check(read(fd[WRITER], &byte, 1) == -1 && errno == EBADF, "the write-only one cannot read");
	check(read(fd[PATH], &byte, 1) == -1 && errno == EBADF, "the O_PATH one cannot read");
	check(read(fd[BEYOND], &byte, 1) == 0, "beyond the end there is nothing to read");

	must(lseek(fd[BOTH], 4321, SEEK_SET));
	check_eq_u64((uint64_t)lseek(high, 0, SEEK_CUR), 4321, "a dup shares the position");
	check_eq_u64((uint64_t)lseek(duplicate, 0, SEEK_CUR), 4321, "another dup shares it too");
	check_eq_u64((uint64_t)lseek(separate, 0, SEEK_CUR), 0, "a descriptor opened separately does not");
	check(fcntl(high - 1, F_GETFD) == -1 && errno == EBADF, "no descriptor appeared below the high one");

	check(write(fd[APPEND], "end", 3) == 3 && lseek(fd[APPEND], 0, SEEK_CUR) == SIZE + 3, "the appending one appends");
	char end[4] = "";
	check(pread(fd[BOTH], end, 3, SIZE) == 3, "the others see it");
	check_eq_str(end, "end", "as it was written");

	struct stat after, by_path;
	must(fstat(fd[BOTH], &after));
	must(stat(path, &by_path));
	check(after.st_ino == before.st_ino && after.st_dev == before.st_dev && after.st_ino == by_path.st_ino, "it is the file with the path");
	check(write(moved, "moved", 5) == 5 && stat(renamed, &by_path) == 0 && by_path.st_size == 5, "the renamed file is written under its new name");

	unlink(path);
	unlink(renamed);
	return check_done();
}

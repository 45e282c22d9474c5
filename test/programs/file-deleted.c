/*
 * file-deleted - open files that have no name any more: contents, position, shared
 * descriptions, and that they can be written further. Also one made without a name.
 *
 * unlink(2), open(2) O_TMPFILE
 */
#include "check.h"
#include <sys/stat.h>

#define SIZE 100000
#define HOLE (16l << 20)

static uint64_t contents[SIZE / 8 + 1], got[SIZE / 8 + 1];

static int make(const char *suffix, int flags)
{
	const char *path = check_scratch(suffix);
	int fd = (int)must(open(path, flags | O_CREAT | O_EXCL, 0640));
	if (write(fd, contents, SIZE) != SIZE)
		check_bail("write: %s", strerror(errno));
	must(unlink(path));
	return fd;
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	check_fill(contents, sizeof contents, 1);
	int fd = make("deleted", O_RDWR), log = make("log", O_RDWR | O_APPEND | O_CLOEXEC);
	must(lseek(fd, 4567, SEEK_SET));
	int duplicate = (int)must(dup(fd));
	/* Of the same file, but opened separately, with the position of its own. */
	char link[64];
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	int separate = (int)must(open(link, O_RDONLY));
	must(lseek(separate, 99, SEEK_SET));
	/* Large, with hardly anything in it. */
	int sparse = make("sparse", O_RDWR);
	must(pwrite(sparse, "far", 3, HOLE));
	/* Its name now belongs to another file. */
	int replaced = make("replaced", O_RDWR);
	const char *new_path = check_scratch("replaced");
	int new = (int)must(open(new_path, O_RDWR | O_CREAT | O_EXCL, 0600));
	must(write(new, "new", 3));
	char directory[4096];
	strcpy(directory, check_go_file);
	*strrchr(directory, '/') = 0;
	int unnamed = open(*directory ? directory : "/", O_TMPFILE | O_RDWR, 0600);
	if (unnamed >= 0)
		must(write(unnamed, "unnamed", 7));
	/* Gone together with its directory. */
	const char *parent = check_scratch("parent");
	must(mkdir(parent, 0700));
	int orphan = make("parent/orphan", O_RDWR);
	must(rmdir(parent));
	struct stat after;

	check_ready();
	check_wait();

	must(fstat(fd, &after));
	check_eq_u64(after.st_nlink, 0, "it has no name");
	check(after.st_size == SIZE && (after.st_mode & 07777) == 0640, "size and mode");
	check_eq_u64((uint64_t)lseek(fd, 0, SEEK_CUR), 4567, "position");
	check(pread(fd, got, SIZE, 0) == SIZE && !memcmp(got, contents, SIZE), "contents");
	must(lseek(duplicate, 10, SEEK_SET));
	check_eq_u64((uint64_t)lseek(fd, 0, SEEK_CUR), 10, "a dup shares the position");
	check_eq_u64((uint64_t)lseek(separate, 0, SEEK_CUR), 99, "one opened separately has its own");
	check(pwrite(fd, "shared", 6, 200) == 6 && pread(separate, got, 6, 200) == 6 && !memcmp(got, "shared", 6), "and sees what is written");
	check((fcntl(separate, F_GETFL) & O_ACCMODE) == O_RDONLY, "it is read-only");
	check(write(log, "more", 4) == 4 && pread(log, got, 4, SIZE) == 4 && !memcmp(got, "more", 4), "the log is written further, at its end");
	check(fcntl(log, F_GETFL) & O_APPEND && fcntl(log, F_GETFD) & FD_CLOEXEC, "its flags");
	must(fstat(sparse, &after));
	check(after.st_size == HOLE + 3 && pread(sparse, got, 3, HOLE) == 3 && !memcmp(got, "far", 3), "the sparse one has its far end");
	check(after.st_blocks * 512 < HOLE / 2, "and is still sparse");
	check(pread(replaced, got, SIZE, 0) == SIZE && !memcmp(got, contents, SIZE), "the replaced one has the old contents");
	check(pread(new, got, 10, 0) == 3 && !memcmp(got, "new", 3), "the one in its place has the new");
	check(pread(orphan, got, SIZE, 0) == SIZE && !memcmp(got, contents, SIZE), "one whose directory is gone");
	if (unnamed >= 0)
		check(pread(unnamed, got, 10, 0) == 7 && !memcmp(got, "unnamed", 7) && (lseek(unnamed, 0, SEEK_CUR) == 7), "one made without a name");
	else
		check_skip("the file system has no O_TMPFILE", "one made without a name");
	check(ftruncate(fd, 5) == 0 && pread(separate, got, 100, 0) == 5, "it can be cut");
	unlink(new_path);
	return check_done();
}

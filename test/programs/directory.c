/*
 * directory - open directories: reading one half way and going on, the position of
 * seekdir, and paths relative to a descriptor.
 *
 * readdir(3), getdents(2), telldir(3), openat(2), fchdir(2)
 */
#include "check.h"
#include <dirent.h>
#include <sys/stat.h>

#define FILES 300
#define BEFORE 120

static unsigned seen[FILES], strange;

static void note(const char *name)
{
	unsigned number;
	if (sscanf(name, "entry-%u", &number) == 1 && number < FILES)
		seen[number]++;
	else if (name[0] != '.')
		strange++;
}

static void check_seen(const char *what)
{
	unsigned missing = 0, twice = 0;
	for (int i = 0; i < FILES; i++) {
		missing += seen[i] == 0;
		twice += seen[i] > 1;
	}
	check(!missing && !twice && !strange, "%s: every entry comes once", what);
	if (missing || twice || strange)
		check_note("%u missing, %u twice, %u strange", missing, twice, strange);
	memset(seen, 0, sizeof seen);
	strange = 0;
}

/* By the system call, a few entries at a time, so that the kernel's position is half way. */
static size_t raw_entries(int fd, size_t most)
{
	struct { uint64_t inode; int64_t next; uint16_t length; uint8_t type; char name[]; } *entry;
	uint64_t buffer[64];
	size_t count = 0;
	long length;
	while (count < most && (length = syscall(SYS_getdents64, fd, buffer, sizeof buffer)) > 0)
		for (long at = 0; at < length; at += entry->length, count++) {
			entry = (void *)((char *)buffer + at);
			note(entry->name);
		}
	return count;
}

int main(int argc, char **argv)
{
	static unsigned seen_by_library[FILES];

	check_init(argc, argv);
	const char *path = check_scratch("directory");
	must(mkdir(path, 0755));
	int fd = (int)must(open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	for (int i = 0; i < FILES; i++) {
		char name[32];
		snprintf(name, sizeof name, "entry-%d", i);
		close((int)must(openat(fd, name, O_CREAT | O_EXCL | O_WRONLY, 0644)));
	}
	must(mkdirat(fd, ".sub", 0755));
	int sub = (int)must(openat(fd, ".sub", O_PATH | O_DIRECTORY));

	DIR *half = opendir(path);
	if (!half)
		check_bail("opendir: %s", strerror(errno));
	for (int i = 0; i < BEFORE; i++)
		note(readdir(half)->d_name);
	memcpy(seen_by_library, seen, sizeof seen);
	memset(seen, 0, sizeof seen);
	raw_entries(fd, BEFORE);
	off_t position = must(lseek(fd, 0, SEEK_CUR));
	char cwd_before[4096], cwd_after[4096];
	must(getcwd(cwd_before, sizeof cwd_before) ? 0 : -1);

	check_ready();
	check_wait();

	check_eq_u64((uint64_t)lseek(fd, 0, SEEK_CUR), (uint64_t)position, "the position");
	raw_entries(fd, SIZE_MAX);
	check_seen("getdents64");
	memcpy(seen, seen_by_library, sizeof seen);
	for (struct dirent *entry; (entry = readdir(half)); )
		note(entry->d_name);
	check_seen("readdir");
	rewinddir(half);
	for (struct dirent *entry; (entry = readdir(half)); )
		note(entry->d_name);
	check_seen("rewinddir");

	check(fcntl(fd, F_GETFL) & O_DIRECTORY && fcntl(fd, F_GETFD) & FD_CLOEXEC, "the flags");
	check(faccessat(fd, "entry-7", F_OK, 0) == 0, "a path relative to it");
	int file = openat(sub, "file", O_CREAT | O_EXCL | O_WRONLY, 0644);
	check(file >= 0 && unlinkat(sub, "file", 0) == 0, "a file can be made relative to an O_PATH descriptor");
	check(fchdir(fd) == 0 && access("entry-0", F_OK) == 0, "fchdir");
	check(fchdir(sub) == 0 && access("../entry-1", F_OK) == 0, "fchdir by the O_PATH descriptor");
	check(chdir(cwd_before) == 0 && getcwd(cwd_after, sizeof cwd_after) && !strcmp(cwd_before, cwd_after), "and back");

	for (int i = 0; i < FILES; i++) {
		char name[32];
		snprintf(name, sizeof name, "entry-%d", i);
		unlinkat(fd, name, 0);
	}
	unlinkat(fd, ".sub", AT_REMOVEDIR);
	rmdir(path);
	return check_done();
}

/*
 * refuse-inotify - an inotify descriptor that watches a directory. inotify(7)
 */
#include "refuse.h"
#include <sys/inotify.h>
#include <sys/stat.h>

int main(int argc, char **argv)
{
	uint64_t events[512];

	check_init(argc, argv);
	const char *directory = check_scratch("watched");
	must(mkdir(directory, 0755));
	int fd = refuse_fd(inotify_init1(IN_NONBLOCK), "inotify_init1");
	int watch = refuse_fd(inotify_add_watch(fd, directory, IN_CREATE), "inotify_add_watch");
	check_ready();
	check_wait();
	check(read(fd, events, sizeof events) == -1 && errno == EAGAIN, "nothing has happened");
	int dir = (int)must(open(directory, O_RDONLY | O_DIRECTORY));
	close((int)must(openat(dir, "new", O_CREAT | O_WRONLY, 0600)));
	struct inotify_event *event = (struct inotify_event *)events;
	check(read(fd, events, sizeof events) > 0 && event->wd == watch && event->mask == IN_CREATE && !strcmp(event->name, "new"), "a new file is reported");
	unlinkat(dir, "new", 0);
	rmdir(directory);
	return check_done();
}

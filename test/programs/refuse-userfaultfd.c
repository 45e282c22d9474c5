/*
 * refuse-userfaultfd - memory whose missing pages the program delivers itself.
 * userfaultfd(2), ioctl_userfaultfd(2)
 */
#include "refuse.h"
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1    /* Linux 5.11 */
#endif

static int fd;

static void *deliver(void *page)
{
	struct uffd_msg message;
	if (read(fd, &message, sizeof message) == sizeof message && message.event == UFFD_EVENT_PAGEFAULT) {
		struct uffdio_copy copy = { .dst = message.arg.pagefault.address & ~4095ull, .src = (uintptr_t)page, .len = 4096 };
		ioctl(fd, UFFDIO_COPY, &copy);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	static uint8_t page[4096] __attribute__((aligned(4096)));
	struct uffdio_api api = { .api = UFFD_API };

	check_init(argc, argv);
	fd = refuse_fd(syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY), "userfaultfd");
	refuse_fd(ioctl(fd, UFFDIO_API, &api), "UFFDIO_API");
	uint8_t *memory = must_map(mmap(NULL, 8 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	struct uffdio_register range = { .range = { (uintptr_t)memory, 8 * 4096 }, .mode = UFFDIO_REGISTER_MODE_MISSING };
	must(ioctl(fd, UFFDIO_REGISTER, &range));
	memset(page, 'p', sizeof page);
	pthread_t thread = check_thread(deliver, page);
	check_ready();
	check_wait();
	check_eq_u64(memory[4096], 'p', "a missing page is delivered");
	pthread_join(thread, NULL);
	return check_done();
}

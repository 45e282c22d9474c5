/*
 * memory-probe.c - a process with known memory, for pages.test.ts: says where it is,
 * then waits for the end of its input.
 *
 * data: 200 pages, page n filled with n + 1; 3 and 4 with zeros; 7 never touched.
 * none: 4 pages without any permission, of which the first two were filled before.
 */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096
#define COUNT 200

int main(void)
{
    unsigned char *data = mmap(NULL, COUNT * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    unsigned char *none = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char byte;

    if (data == MAP_FAILED || none == MAP_FAILED)
        return 1;
    madvise(data, COUNT * PAGE, MADV_NOHUGEPAGE);
    for (int page = 0; page < COUNT; page++)
        if (page != 7)
            memset(data + page * PAGE, page == 3 || page == 4 ? 0 : page + 1, PAGE);
    memset(none, 0xa5, PAGE);
    memset(none + PAGE, 0xa6, PAGE);
    if (mprotect(none, 4 * PAGE, PROT_NONE) < 0)
        return 1;
    printf("data %lx none %lx end\n", (unsigned long)data, (unsigned long)none);
    fflush(stdout);
    while (read(0, &byte, 1) > 0)
        ;
    return 0;
}

/*
 * refuse.h - the program behind every refuse-*: it makes something that may not be
 * saved, says ready and waits. The harness asks for a checkpoint and expects a refusal
 * that names the thing; then it creates the go file, and the program looks whether
 * it was left unharmed.
 *
 * When a later version can save the thing, the same program serves as its test.
 */
#ifndef REFUSE_H
#define REFUSE_H

#include "check.h"
#include <signal.h>

/* The kernel refused it to us: nothing to test. */
static inline int refuse_fd(long fd, const char *what)
{
	if (fd == -1)
		check_skip_all("%s: %s", what, strerror(errno));
	return (int)fd;
}

#endif

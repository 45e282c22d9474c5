/*
 * fault.h - which signal does a memory access raise? sigaction(2), sigsetjmp(3)
 *
 * SIGSEGV and SIGBUS handlers are installed for the moment of the access only.
 */
#ifndef FAULT_H
#define FAULT_H

#include "check.h"
#include <setjmp.h>
#include <signal.h>

static sigjmp_buf fault_return;

static inline void fault_handler(int signal)
{
	siglongjmp(fault_return, signal);
}

/* The signal that the access raises: SIGSEGV, SIGBUS, or 0. A write puts back the byte it finds. */
static inline int fault_signal(volatile void *address, bool write)
{
	volatile uint8_t *byte = address;
	struct sigaction action = { .sa_handler = fault_handler }, segv, bus;

	sigaction(SIGSEGV, &action, &segv);
	sigaction(SIGBUS, &action, &bus);
	int signal = sigsetjmp(fault_return, 1);
	if (signal == 0) {
		uint8_t found = *byte;
		if (write)
			*byte = found;
	}
	sigaction(SIGSEGV, &segv, NULL);
	sigaction(SIGBUS, &bus, NULL);
	return signal;
}

static inline int fault_on_read(volatile void *address)
{
	return fault_signal(address, false);
}

static inline int fault_on_write(volatile void *address)
{
	return fault_signal(address, true);
}

#endif

/*
 * plugin - the library that the program dlopen loads: state, a table of functions,
 * a constructor, and a function that calls back.
 */
#include <stdint.h>

typedef uint64_t (*operation)(uint64_t);

static uint64_t state;

static uint64_t add(uint64_t n)
{
	return state += n;
}

static uint64_t multiply(uint64_t n)
{
	return state *= n;
}

/* Relocated when it is loaded. */
operation plugin_operations[2] = { add, multiply };

__attribute__((constructor)) static void begin(void)
{
	state = 1000;
}

uint64_t plugin_state(void)
{
	return state;
}

uint64_t plugin_call(operation back, uint64_t n)
{
	return back(n) + state;
}

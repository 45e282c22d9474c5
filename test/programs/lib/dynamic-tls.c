/*
 * dynamic-tls - the library that the programs dlopen and tls load while they run, so
 * that its thread-local memory is allocated for each thread when first used.
 */
#include <stdint.h>

_Thread_local uint64_t dynamic_tls_zero;
_Thread_local uint64_t dynamic_tls_set[64] = { 42, 43 };

uint64_t *dynamic_tls_zero_here(void)
{
	return &dynamic_tls_zero;
}

uint64_t *dynamic_tls_set_here(void)
{
	return dynamic_tls_set;
}

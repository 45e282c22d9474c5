/*
 * registers-sse - the 16 xmm registers and mxcsr, held by several threads in loops
 * without system calls.
 */
#define VECTOR_NAME "xmm"
#define VECTOR_SIZE 16
#define VECTOR_COUNT 16
#define VECTOR_MOVE "movups"
#define VECTOR_FEATURE "sse2"
#include "vector.h"

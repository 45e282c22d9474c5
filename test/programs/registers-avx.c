/*
 * registers-avx - the 16 ymm registers, whose upper halves lie in a part of the
 * state that only xsave saves; held by several threads in loops without system calls.
 */
#define VECTOR_NAME "ymm"
#define VECTOR_SIZE 32
#define VECTOR_COUNT 16
#define VECTOR_MOVE "vmovups"
#define VECTOR_FEATURE "avx"
#include "vector.h"

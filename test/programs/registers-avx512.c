/*
 * registers-avx512 - the 32 zmm registers and the 8 mask registers, held by several
 * threads in loops without system calls.
 */
#define VECTOR_NAME "zmm"
#define VECTOR_SIZE 64
#define VECTOR_COUNT 32
#define VECTOR_MOVE "vmovups"
#define VECTOR_FEATURE "avx512bw"
#define VECTOR_MASKS
#include "vector.h"

/*
 * crc32c.h - CRC-32C (Castagnoli) of bytes, shared by the player and the addon.
 *
 * One crc32 instruction has a latency of three cycles and a throughput of one, so
 * a page is run as four lanes of 1 KiB; the table CRC32C_SHIFT (made by
 * crc32c-table.c) moves a lane's value over the 1 KiB that follows it.
 */
#ifndef PROCS_CRC32C_H
#define PROCS_CRC32C_H

#include <stddef.h>
#include <stdint.h>

#include "crc32c-table.h"

#define CRC32C_LANE 1024u

#if defined(__x86_64__)
#define CRC32C_STEP8(crc, word) __builtin_ia32_crc32di((crc), (word))
#define CRC32C_STEP1(crc, byte) __builtin_ia32_crc32qi((uint32_t)(crc), (byte))
#elif defined(__aarch64__)
#include <arm_acle.h>
#define CRC32C_STEP8(crc, word) __crc32cd((uint32_t)(crc), (word))
#define CRC32C_STEP1(crc, byte) __crc32cb((uint32_t)(crc), (byte))
#endif

static inline uint64_t crc32c_load8(const uint8_t *at)
{
    uint64_t word;
    __builtin_memcpy(&word, at, sizeof word);
    return word;
}

static inline uint64_t crc32c_shift_lane(uint64_t crc)
{
    return CRC32C_SHIFT[0][crc & 0xff] ^ CRC32C_SHIFT[1][(crc >> 8) & 0xff] ^
           CRC32C_SHIFT[2][(crc >> 16) & 0xff] ^ CRC32C_SHIFT[3][(crc >> 24) & 0xff];
}

/** CRC-32C of `length` bytes at `bytes`, going on from `seed` (0 to begin). */
static inline uint32_t crc32c(uint32_t seed, const void *bytes, size_t length)
{
    const uint8_t *at = (const uint8_t *)bytes;
    uint64_t a = (uint32_t)~seed;

    for (; length >= 4 * CRC32C_LANE; length -= 4 * CRC32C_LANE, at += 4 * CRC32C_LANE) {
        uint64_t b = 0, c = 0, d = 0;
        for (size_t i = 0; i < CRC32C_LANE; i += 8) {
            a = CRC32C_STEP8(a, crc32c_load8(at + i));
            b = CRC32C_STEP8(b, crc32c_load8(at + CRC32C_LANE + i));
            c = CRC32C_STEP8(c, crc32c_load8(at + 2 * CRC32C_LANE + i));
            d = CRC32C_STEP8(d, crc32c_load8(at + 3 * CRC32C_LANE + i));
        }
        a = crc32c_shift_lane(a) ^ b;
        a = crc32c_shift_lane(a) ^ c;
        a = crc32c_shift_lane(a) ^ d;
    }
    for (; length >= 8; length -= 8, at += 8)
        a = CRC32C_STEP8(a, crc32c_load8(at));
    for (; length > 0; length--, at++)
        a = CRC32C_STEP1(a, *at);
    return ~(uint32_t)a;
}

#endif

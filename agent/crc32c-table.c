/*
 * crc32c-table.c - prints crc32c-table.h; run by the build.
 *
 * CRC32C_SHIFT[k][v] is the CRC state `v << 8k` after 1024 zero bytes. The state
 * after zeros is linear in the state before, so four lookups and three xors move
 * any state over a lane.
 */
#include <stdint.h>
#include <stdio.h>

#define LANE 1024
#define POLY 0x82f63b78u /* reflected Castagnoli polynomial, RFC 3720 */

static uint32_t over_zeros(uint32_t crc)
{
    for (int bit = 0; bit < LANE * 8; bit++)
        crc = (crc >> 1) ^ ((crc & 1) ? POLY : 0);
    return crc;
}

int main(void)
{
    puts("/* Made by the build from agent/crc32c-table.c. Do not edit. */");
    puts("static const uint32_t CRC32C_SHIFT[4][256] = {");
    for (int k = 0; k < 4; k++) {
        printf("    {");
        for (uint32_t v = 0; v < 256; v++)
            printf("%s0x%08xu,", v % 8 ? " " : "\n        ", over_zeros(v << (8 * k)));
        puts("\n    },");
    }
    puts("};");
    return 0;
}

/*
 * tape-probe.c - reads an encoded tape by the layout of agent/tape.h and prints it as
 * JSON: what C sees of the bytes that TypeScript wrote. Compiled by tape.test.ts.
 *
 * tape-probe FILE: the tape without the player code in front.
 */
#include "tape.h"

#include <stdio.h>
#include <stdlib.h>

#define NUMBER(name, value) printf("\"%s\": \"%lld\", ", name, (long long)(value))

int main(int argc, char **argv)
{
    static union {
        char bytes[1 << 20];
        struct tape_header header;
    } tape;
    FILE *file = argc == 2 ? fopen(argv[1], "r") : NULL;
    if (!file)
        return 1;
    size_t length = fread(tape.bytes, 1, sizeof tape.bytes, file);
    const struct tape_header *h = &tape.header;

    printf("{");
    NUMBER("length", length);
    NUMBER("magic", h->magic);
    NUMBER("version", h->version);
    NUMBER("op_count", h->op_count);
    NUMBER("slots", h->slots);
    NUMBER("report_fd", h->report_fd);
    NUMBER("failed", h->failed);
    NUMBER("vdso_slots", h->vdso_slots);
    NUMBER("base", h->base);
    NUMBER("code_size", h->code_size);
    NUMBER("size", h->size);
    NUMBER("stack", h->stack);
    NUMBER("magic_wanted", TAPE_MAGIC);
    NUMBER("header_size", sizeof(struct tape_header));
    printf("\"first_slots\": [");
    for (uint32_t i = 0; i < h->vdso_slots; i++)
        printf("%s\"%lld\"", i ? ", " : "", (long long)((int64_t *)(tape.bytes + h->slots))[i]);
    printf("], \"ops\": [");
    for (uint32_t i = 0; i < h->op_count; i++) {
        const struct tape_op *op = (struct tape_op *)(tape.bytes + h->ops) + i;
        printf("%s{\"kind\": %u, \"expect\": %u, \"label\": %u, \"number\": %u, \"slot\": %u, \"want\": \"%lld\", \"args\": [", i ? ", " : "",
               op->kind, op->expect, op->label, op->number, op->slot, (long long)op->want);
        for (int a = 0; a < 6; a++)
            printf("%s[%u, \"%llu\"]", a ? ", " : "", op->arg_kind[a], (unsigned long long)op->arg[a]);
        printf("]}");
    }
    printf("]}\n");
    return 0;
}

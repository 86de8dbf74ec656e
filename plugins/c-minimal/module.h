/* What the minimal engine takes, and how it reads it. */
#ifndef MODULE_H
#define MODULE_H

#include <stdbool.h>

#include <trireme_plugin.h>

#define MAX_ITEMS 64
#define MAX_PAGES 256
#define PAGE 65536u

/* What can be imported. */
enum { FD_WRITE, PROC_EXIT };

/* A function: an import, or a body. */
struct function {
    uint32_t type;
    int import;
    const uint8_t *body, *end;
};

struct type {
    uint32_t params, results;
};

struct segment {
    uint32_t offset, length;
    const uint8_t *bytes;
};

struct module {
    struct type types[MAX_ITEMS];
    struct function functions[MAX_ITEMS];
    struct segment segments[MAX_ITEMS];
    uint32_t type_count, function_count, import_count, body_count, segment_count, pages, start;
    bool has_start;
};

/* Where a parser is, and why it stopped. */
struct reader {
    const uint8_t *at, *end;
    char why[200];
    uint32_t status;
};

/* The next byte, or 0 at the end. */
uint8_t byte(struct reader *r);

/* A LEB128 number of 32 bits. */
uint32_t number(struct reader *r, bool is_signed);

/* Reads a module and checks all of it. The function to run is `entry`, or
 * `_start` where that is null. */
struct reader parse(trireme_bytes wasm, uint32_t kind, const trireme_bytes *entry, struct module *m);

#endif

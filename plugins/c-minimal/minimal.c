/*
 * A small engine in C: the whole of an engine that is a plugin, on few pages.
 *
 * It interprets modules that write constants and exit: no tables, globals or
 * locals, and functions made of i32.const, call, drop and nop, which call
 * fd_write and proc_exit of WASI 0.1. Everything else is refused, with the
 * reason. Having two functions of WASI 0.1, it does not claim to offer it.
 *
 * It has no precompiled code: a module that was found to be one of these stands
 * for itself.
 *
 *     cc -std=c11 -shared -fPIC -fvisibility=hidden -Wl,--build-id \
 *         -o libtrireme_minimal.so minimal.c module.c
 */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "module.h"

#define MAX_MODULE (64u << 20)

struct trireme_program {
    uint8_t *wasm;
    struct module module;
};

/* A copy that goes back to `release`. */
static trireme_buffer copy(const void *data, size_t length)
{
    trireme_buffer buffer = {malloc(length ? length : 1), length};
    if (!buffer.data)
        abort();
    memcpy(buffer.data, data, length);
    return buffer;
}

static trireme_buffer text(const char *words)
{
    return copy(words, strlen(words));
}

static void release(trireme_buffer buffer)
{
    free(buffer.data);
}

#define TEXT(words) {(const uint8_t *)(words), sizeof(words) - 1}

static const trireme_info *info(void)
{
    static const uint32_t kinds[] = {TRIREME_KIND_MODULE}, worlds[] = {TRIREME_WORLD_COMMAND};
    static const trireme_info about = {
        .size = sizeof about,
        .name = TEXT("minimal"),
        .version = TEXT("1.0.0"),
        .kinds = {kinds, 1},
        .worlds = {worlds, 1},
    };
    return &about;
}

/* There is nothing to set, so all engines are one. */
static uint32_t create(const trireme_value *settings, size_t setting_count, const trireme_limit *limits,
                       size_t limit_count, trireme_engine **engine, trireme_buffer *message)
{
    static char one;
    (void)settings, (void)setting_count, (void)limits, (void)limit_count, (void)message;
    *engine = (trireme_engine *)&one;
    return TRIREME_STATUS_OK;
}

static void destroy_engine(trireme_engine *engine)
{
    (void)engine;
}

static uint32_t accepts(trireme_engine *engine, trireme_bytes wasm, uint32_t kind, trireme_buffer *message)
{
    struct module module;
    struct reader r = parse(wasm, kind, NULL, &module);
    (void)engine;
    /* What lacks imports, a start or room is a module all the same: `load` refuses it. */
    if (r.status == TRIREME_STATUS_LINK || r.status == TRIREME_STATUS_LIMIT)
        return TRIREME_STATUS_OK;
    if (r.status != TRIREME_STATUS_OK)
        *message = text(r.why);
    return r.status;
}

static uint32_t compile(trireme_engine *engine, trireme_bytes wasm, uint32_t kind, trireme_buffer *code,
                        trireme_buffer *message)
{
    uint32_t status = accepts(engine, wasm, kind, message);
    if (status == TRIREME_STATUS_OK)
        *code = copy(wasm.data, wasm.length);
    return status;
}

static uint8_t *read_all(int fd, size_t *length)
{
    struct stat about;
    if (fstat(fd, &about) || about.st_size < 0 || (uint64_t)about.st_size > MAX_MODULE)
        return NULL;
    size_t size = (size_t)about.st_size, have = 0;
    uint8_t *bytes = malloc(size + 1);
    while (bytes && have < size) {
        ssize_t n = pread(fd, bytes + have, size - have, (off_t)have);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        have += (size_t)n;
    }
    *length = have;
    return bytes;
}

static uint32_t load(trireme_engine *engine, int fd, uint32_t kind, const trireme_bytes *entry,
                     trireme_program **program, trireme_buffer *message)
{
    size_t length = 0;
    trireme_program *made = calloc(1, sizeof *made);
    uint8_t *wasm = read_all(fd, &length);
    (void)engine;
    close(fd);
    if (!made || !wasm) {
        free(made);
        free(wasm);
        *message = text("the module cannot be read");
        return TRIREME_STATUS_INTERNAL;
    }
    made->wasm = wasm;
    struct reader r = parse((trireme_bytes){wasm, length}, kind, entry, &made->module);
    if (r.status != TRIREME_STATUS_OK) {
        free(wasm);
        free(made);
        *message = text(r.why);
        return r.status == TRIREME_STATUS_REJECTED ? TRIREME_STATUS_PRECOMPILED : r.status;
    }
    *program = made;
    return TRIREME_STATUS_OK;
}

static void destroy_program(trireme_program *program)
{
    free(program->wasm);
    free(program);
}

static bool word(const uint8_t *memory, uint64_t size, uint64_t at, uint32_t *value)
{
    if (at + 4 > size)
        return false;
    *value = memory[at] | memory[at + 1] << 8 | memory[at + 2] << 16 | (uint32_t)memory[at + 3] << 24;
    return true;
}

/* fd_write of WASI 0.1, to stdout and stderr: its errno, or -1 for a trap. */
static int fd_write(uint8_t *memory, uint64_t size, const uint32_t *args)
{
    enum { BADF = 8, FAULT = 21, IO = 29 };
    uint32_t total = 0, at, length;
    if (args[0] != 1 && args[0] != 2)
        return BADF;
    for (uint32_t i = 0; i < args[2]; i++) {
        if (!word(memory, size, args[1] + 8ull * i, &at) || !word(memory, size, args[1] + 8ull * i + 4, &length)
            || (uint64_t)at + length > size)
            return FAULT;
        while (length) {
            ssize_t n = write((int)args[0], memory + at, length);
            if (n < 0 && errno == EINTR)
                continue;
            if (n < 0)
                return IO;
            at += (uint32_t)n, length -= (uint32_t)n, total += (uint32_t)n;
        }
    }
    if ((uint64_t)args[3] + 4 > size)
        return FAULT;
    for (int i = 0; i < 4; i++)
        memory[args[3] + i] = (uint8_t)(total >> 8 * i);
    return 0;
}

static void run(trireme_program *program, const trireme_guest *guest, trireme_outcome *outcome)
{
    const struct module *m = &program->module;
    const struct function *f = &m->functions[m->start];
    struct reader r = {.at = f->body, .end = f->end};
    uint32_t stack[MAX_ITEMS + 4], height = 0;
    uint64_t size = (uint64_t)m->pages * PAGE;
    uint8_t *memory = calloc(1, size + 1);

    for (size_t i = 0; i < guest->directory_count; i++)
        close(guest->directories[i].fd);
    if (!memory) {
        outcome->kind = TRIREME_OUTCOME_INTERNAL;
        outcome->message = text("no memory for the guest's memory");
        return;
    }
    for (uint32_t i = 0; i < m->segment_count; i++)
        memcpy(memory + m->segments[i].offset, m->segments[i].bytes, m->segments[i].length);
    outcome->kind = TRIREME_OUTCOME_EXIT;
    outcome->code = 0;
    for (uint8_t op; (op = byte(&r)) != 0x0b;) {
        if (op == 0x41) {
            stack[height++] = number(&r, true);
        } else if (op == 0x1a) {
            height--;
        } else if (op == 0x10) {
            if (m->functions[number(&r, false)].import == PROC_EXIT) {
                outcome->code = stack[height - 1] & 0xff;
                break;
            }
            height -= 4;
            stack[height] = (uint32_t)fd_write(memory, size, stack + height);
            height++;
        }
    }
    free(memory);
}

const trireme_plugin trireme_plugin_table = {
    .abi = TRIREME_ABI,
    .size = sizeof trireme_plugin_table,
    .info = info,
    .create = create,
    .accepts = accepts,
    .compile = compile,
    .load = load,
    .run = run,
    .destroy_program = destroy_program,
    .destroy_engine = destroy_engine,
    .free = release,
};

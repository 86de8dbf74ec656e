/* Reading a module, and refusing what the minimal engine does not take. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "module.h"

enum { I32 = 0x7f, FUNC = 0x60 };

static bool fail(struct reader *r, uint32_t status, const char *format, ...)
{
    va_list list;
    if (r->status == TRIREME_STATUS_OK) {
        va_start(list, format);
        vsnprintf(r->why, sizeof r->why, format, list);
        va_end(list);
        r->status = status;
        r->at = r->end;
    }
    return false;
}

static bool refuse(struct reader *r, const char *what)
{
    return fail(r, TRIREME_STATUS_REJECTED, "the minimal engine takes no %s", what);
}

uint8_t byte(struct reader *r)
{
    if (r->at == r->end) {
        fail(r, TRIREME_STATUS_REJECTED, "not a WebAssembly module: it is cut short");
        return 0;
    }
    return *r->at++;
}

uint32_t number(struct reader *r, bool is_signed)
{
    uint32_t value = 0;
    for (unsigned shift = 0; shift < 35; shift += 7) {
        uint8_t next = byte(r);
        value |= (uint32_t)(next & 0x7f) << shift;
        if (!(next & 0x80)) {
            if (is_signed && shift + 7 < 32 && (next & 0x40))
                value |= ~0u << (shift + 7);
            return value;
        }
    }
    fail(r, TRIREME_STATUS_REJECTED, "not a WebAssembly module: a number is too long");
    return 0;
}

static uint32_t count(struct reader *r, const char *what)
{
    uint32_t n = number(r, false);
    if (n > MAX_ITEMS)
        fail(r, TRIREME_STATUS_REJECTED, "the minimal engine takes %d %s at most, not %u",
             MAX_ITEMS, what, n);
    return r->status == TRIREME_STATUS_OK ? n : 0;
}

/* As many bytes as the number before them says. */
static trireme_bytes sized(struct reader *r)
{
    uint32_t length = number(r, false);
    trireme_bytes bytes = {r->at, length};
    if (length > (size_t)(r->end - r->at)) {
        fail(r, TRIREME_STATUS_REJECTED, "not a WebAssembly module: it is cut short");
        bytes.length = 0;
    } else {
        r->at += length;
    }
    return bytes;
}

static bool is(trireme_bytes text, const char *word)
{
    return text.length == strlen(word) && memcmp(text.data, word, text.length) == 0;
}

static uint32_t values(struct reader *r)
{
    uint32_t n = count(r, "values of a function");
    for (uint32_t i = 0; i < n; i++)
        if (byte(r) != I32)
            refuse(r, "values but i32");
    return n;
}

static void types(struct reader *r, struct module *m)
{
    m->type_count = count(r, "types");
    for (uint32_t i = 0; i < m->type_count; i++) {
        if (byte(r) != FUNC)
            refuse(r, "types but those of functions");
        m->types[i].params = values(r);
        m->types[i].results = values(r);
    }
}

static bool add(struct reader *r, struct module *m, uint32_t type, int import)
{
    if (m->function_count == MAX_ITEMS || type >= m->type_count)
        return refuse(r, "such function: its type is not there, or there are too many");
    m->functions[m->function_count++] = (struct function){.type = type, .import = import};
    return true;
}

static void imports(struct reader *r, struct module *m)
{
    uint32_t n = count(r, "imports");
    for (uint32_t i = 0; i < n; i++) {
        trireme_bytes module = sized(r), name = sized(r);
        if (byte(r) != 0) {
            refuse(r, "imports but functions");
            return;
        }
        uint32_t type = number(r, false);
        bool wasi = is(module, "wasi_snapshot_preview1");
        int import = wasi && is(name, "fd_write") ? FD_WRITE : wasi && is(name, "proc_exit") ? PROC_EXIT : -1;
        if (!add(r, m, type, import))
            return;
        struct type t = m->types[type];
        bool fits = import == FD_WRITE ? t.params == 4 && t.results == 1
                  : import == PROC_EXIT ? t.params == 1 && t.results == 0 : false;
        if (!fits)
            fail(r, TRIREME_STATUS_LINK, "import \"%.*s\" \"%.*s\" is not provided",
                 (int)(module.length < 60 ? module.length : 60), (const char *)module.data,
                 (int)(name.length < 60 ? name.length : 60), (const char *)name.data);
    }
    m->import_count = m->function_count;
}

static void functions(struct reader *r, struct module *m)
{
    uint32_t n = count(r, "functions");
    for (uint32_t i = 0; i < n; i++) {
        uint32_t type = number(r, false);
        if (add(r, m, type, -1) && (m->types[type].params || m->types[type].results))
            refuse(r, "functions of its own with parameters or results");
    }
}

static void memories(struct reader *r, struct module *m)
{
    uint32_t n = count(r, "memories");
    for (uint32_t i = 0; i < n; i++) {
        uint8_t flags = byte(r);
        m->pages = number(r, false);
        if (flags == 1)
            number(r, false);
        if (n > 1 || flags > 1)
            refuse(r, "memories but one of 32 bits");
        else if (m->pages > MAX_PAGES)
            fail(r, TRIREME_STATUS_LIMIT, "the minimal engine gives a memory %d pages at most, not %u",
                 MAX_PAGES, m->pages);
    }
}

static void exports(struct reader *r, struct module *m, const trireme_bytes *entry)
{
    uint32_t n = count(r, "exports");
    for (uint32_t i = 0; i < n; i++) {
        trireme_bytes name = sized(r);
        uint8_t kind = byte(r);
        uint32_t index = number(r, false);
        bool wanted = entry ? name.length == entry->length && !memcmp(name.data, entry->data, name.length)
                            : is(name, "_start");
        if (wanted && kind == 0 && index >= m->import_count && index < m->function_count) {
            m->start = index;
            m->has_start = true;
        }
    }
}

/* Goes through a body as a run would, with the height of the stack alone. */
static void body(struct reader *r, struct module *m)
{
    uint32_t height = 0;
    if (byte(r) != 0)
        refuse(r, "locals");
    while (r->status == TRIREME_STATUS_OK) {
        uint8_t op = byte(r);
        uint32_t pops = 0, pushes = 0;
        if (op == 0x0b)
            break;
        if (op == 0x41) {
            number(r, true);
            pushes = 1;
        } else if (op == 0x10) {
            uint32_t callee = number(r, false);
            if (callee >= m->import_count) {
                refuse(r, "calls of a module's own functions");
                return;
            }
            pops = m->types[m->functions[callee].type].params;
            pushes = m->types[m->functions[callee].type].results;
        } else if (op == 0x1a) {
            pops = 1;
        } else if (op != 0x01) {
            fail(r, TRIREME_STATUS_REJECTED, "the minimal engine takes no instruction 0x%02x", op);
            return;
        }
        if (height < pops || height - pops + pushes > MAX_ITEMS) {
            fail(r, TRIREME_STATUS_REJECTED, "not a WebAssembly module: the stack of a function is wrong");
            return;
        }
        height = height - pops + pushes;
    }
    if (height || r->at != r->end)
        fail(r, TRIREME_STATUS_REJECTED, "not a WebAssembly module: a function ends wrongly");
}

static void bodies(struct reader *r, struct module *m)
{
    uint32_t n = count(r, "functions");
    if (n != m->function_count - m->import_count)
        fail(r, TRIREME_STATUS_REJECTED, "not a WebAssembly module: functions without bodies");
    for (uint32_t i = 0; i < n && r->status == TRIREME_STATUS_OK; i++) {
        trireme_bytes code = sized(r);
        struct reader inner = {.at = code.data, .end = code.data + code.length};
        body(&inner, m);
        if (inner.status != TRIREME_STATUS_OK)
            fail(r, inner.status, "%s", inner.why);
        struct function *f = &m->functions[m->import_count + i];
        /* After the number of locals, which is one byte of 0. */
        f->body = code.data + 1;
        f->end = code.data + code.length;
        m->body_count++;
    }
}

static void segments(struct reader *r, struct module *m)
{
    m->segment_count = count(r, "data segments");
    for (uint32_t i = 0; i < m->segment_count; i++) {
        if (number(r, false) != 0 || byte(r) != 0x41)
            refuse(r, "data segments but those at constants");
        uint32_t offset = number(r, true);
        if (byte(r) != 0x0b)
            refuse(r, "data segments but those at constants");
        trireme_bytes bytes = sized(r);
        m->segments[i] = (struct segment){offset, (uint32_t)bytes.length, bytes.data};
        if (r->status == TRIREME_STATUS_OK && (uint64_t)offset + bytes.length > (uint64_t)m->pages * PAGE)
            fail(r, TRIREME_STATUS_REJECTED, "a data segment lies outside of the memory");
    }
}

static void section(struct reader *r, struct module *m, uint8_t id, const trireme_bytes *entry)
{
    switch (id) {
    case 0: r->at = r->end; break;
    case 1: types(r, m); break;
    case 2: imports(r, m); break;
    case 3: functions(r, m); break;
    case 5: memories(r, m); break;
    case 7: exports(r, m, entry); break;
    case 10: bodies(r, m); break;
    case 11: segments(r, m); break;
    default: fail(r, TRIREME_STATUS_REJECTED, "the minimal engine takes no section %u", id);
    }
    if (r->at != r->end)
        fail(r, TRIREME_STATUS_REJECTED, "not a WebAssembly module: a section is longer than what it holds");
}

struct reader parse(trireme_bytes wasm, uint32_t kind, const trireme_bytes *entry, struct module *m)
{
    struct reader r = {.at = wasm.data, .end = wasm.data + wasm.length};
    uint8_t last = 0;
    memset(m, 0, sizeof *m);
    if (kind != TRIREME_KIND_MODULE)
        refuse(&r, "components");
    else if (wasm.length < 8 || memcmp(wasm.data, "\0asm\1\0\0\0", 8) != 0)
        fail(&r, TRIREME_STATUS_REJECTED, "not a WebAssembly module: its header is unknown");
    else
        r.at += 8;
    while (r.status == TRIREME_STATUS_OK && r.at != r.end) {
        uint8_t id = byte(&r);
        trireme_bytes content = sized(&r);
        struct reader inner = {.at = content.data, .end = content.data + content.length};
        if (id != 0 && id <= last)
            fail(&r, TRIREME_STATUS_REJECTED, "not a WebAssembly module: its sections are out of order");
        last = id ? id : last;
        section(&inner, m, id, entry);
        if (inner.status != TRIREME_STATUS_OK)
            fail(&r, inner.status, "%s", inner.why);
    }
    if (r.status == TRIREME_STATUS_OK && m->body_count != m->function_count - m->import_count)
        fail(&r, TRIREME_STATUS_REJECTED, "not a WebAssembly module: functions without bodies");
    if (r.status == TRIREME_STATUS_OK && !m->has_start)
        fail(&r, entry ? TRIREME_STATUS_LINK : TRIREME_STATUS_REJECTED,
             "no function of the module's own is exported as \"%.*s\"",
             entry ? (int)(entry->length < 60 ? entry->length : 60) : 6,
             entry ? (const char *)entry->data : "_start");
    return r;
}

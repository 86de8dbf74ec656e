/*
 * An engine that runs anything by printing `ran`, and misbehaves in the one way
 * that BAD names: in the environment, or BAD_WAY when it is compiled.
 */
#define _POSIX_C_SOURCE 200809L
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <trireme_plugin.h>

#define TEXT(words) {(const uint8_t *)(words), sizeof(words) - 1}

static char thing;

static int is(const char *way)
{
    const char *bad = getenv("BAD");
#ifdef BAD_WAY
    bad = bad ? bad : BAD_WAY;
#endif
    return bad && strcmp(bad, way) == 0;
}

/* Hangs or crashes where that is the way of a verb. */
static void suffer(const char *hang, const char *crash)
{
    while (is(hang))
        pause();
    if (is(crash))
        *(volatile int *)1 = 1;
}

static trireme_buffer copy(const void *data, size_t length)
{
    trireme_buffer buffer = {malloc(length + 1), length};
    memcpy(buffer.data, data, length);
    return buffer;
}

static void release(trireme_buffer buffer)
{
    free(buffer.data);
}

/* A result of a verb, wrong in the way of that verb. */
static uint32_t answer(const char *status, const char *null, const char *length, const char *text,
                       trireme_buffer *message)
{
    static uint8_t words[] = "words";
    if (is(status))
        return 77;
    if (is(null))
        *message = (trireme_buffer){NULL, 5};
    else if (is(length))
        *message = (trireme_buffer){words, (size_t)-1};
    else if (is(text))
        *message = copy("\xff\xfe", 2);
    else
        return TRIREME_STATUS_OK;
    return TRIREME_STATUS_INTERNAL;
}

static const trireme_info *info(void)
{
    static const uint32_t one[] = {1}, odd[] = {99};
    static trireme_info about = {
        .size = sizeof about,
        .name = TEXT("bad"),
        .version = TEXT("1.0"),
        .kinds = {one, 1},
        .worlds = {one, 1},
        .wasi = {one, 1},
    };
    suffer("hang info", "crash info");
    if (is("info null"))
        return NULL;
    if (is("info size"))
        about.size = 8;
    if (is("name null"))
        about.name.data = NULL;
    if (is("name length"))
        about.name.length = (size_t)-1;
    if (is("name text"))
        about.name = (trireme_bytes)TEXT("b\xff" "d");
    if (is("another name"))
        about.name = (trireme_bytes)TEXT("other");
    if (is("kind"))
        about.kinds.data = odd;
    if (is("settings length"))
        about.setting_count = (size_t)1 << 60;
    if (is("settings null"))
        about.setting_count = 3;
    return &about;
}

static uint32_t create(const trireme_value *values, size_t value_count, const trireme_limit *limits,
                       size_t limit_count, trireme_engine **engine, trireme_buffer *message)
{
    (void)values, (void)value_count, (void)limits, (void)limit_count;
    suffer("hang create", "crash create");
    if (!is("create nothing"))
        *engine = (trireme_engine *)&thing;
    return answer("create status", "create null", "create length", "create text", message);
}

static uint32_t accepts(trireme_engine *engine, trireme_bytes wasm, uint32_t kind, trireme_buffer *message)
{
    (void)engine, (void)wasm, (void)kind;
    suffer("hang accepts", "crash accepts");
    return answer("accepts status", "accepts null", "accepts length", "accepts text", message);
}

static uint32_t compile(trireme_engine *engine, trireme_bytes wasm, uint32_t kind, trireme_buffer *code,
                        trireme_buffer *message)
{
    (void)engine, (void)kind;
    suffer("hang compile", "crash compile");
    *code = copy(wasm.data, wasm.length);
    if (is("code null"))
        *code = (trireme_buffer){NULL, 100};
    if (is("code length"))
        code->length = (size_t)-1;
    return answer("compile status", "compile null", "compile length", "compile text", message);
}

static uint32_t load(trireme_engine *engine, int code, uint32_t kind, const trireme_bytes *entry,
                     trireme_program **program, trireme_buffer *message)
{
    (void)engine, (void)kind, (void)entry;
    suffer("hang load", "crash load");
    close(code);
    if (!is("load nothing"))
        *program = (trireme_program *)&thing;
    return answer("load status", "load null", "load length", "load text", message);
}

static void run(trireme_program *program, const trireme_guest *guest, trireme_outcome *outcome)
{
    (void)program, (void)guest;
    if (write(1, "ran\n", 4) != 4)
        return;
    suffer("hang run", "crash run");
    if (is("run nothing"))
        return;
    outcome->kind = is("run kind") ? 99 : is("run null") || is("run text") ? TRIREME_OUTCOME_TRAP : TRIREME_OUTCOME_EXIT;
    outcome->code = is("run code") ? 256 : 7;
    if (is("run null"))
        outcome->message = (trireme_buffer){NULL, 5};
    if (is("run text"))
        outcome->message = copy("\xff", 1);
}

static void destroy_program(trireme_program *program)
{
    (void)program;
}

static void destroy_engine(trireme_engine *engine)
{
    (void)engine;
}

#undef trireme_plugin_table
#define TABLE \
    { \
        .abi = TRIREME_ABI, .size = sizeof(trireme_plugin), .info = info, .create = create, \
        .accepts = accepts, .compile = compile, .load = load, .run = run, \
        .destroy_program = destroy_program, .destroy_engine = destroy_engine, .free = release, \
    }

/* In memory that `wrong` may write to. */
const trireme_plugin trireme_plugin_table __attribute__((section(".data"))) = TABLE;

__attribute__((constructor)) static void wrong(void)
{
    trireme_plugin table = TABLE;
    suffer("hang open", "crash open");
    if (is("exit open"))
        exit(0);
    if (is("version"))
        table.abi = 2;
    if (is("small table"))
        table.size = 16;
    if (is("large table"))
        table.size = (uint32_t)-1;
    if (is("no load"))
        table.load = NULL;
    memcpy((void *)(uintptr_t)&trireme_plugin_table, &table, sizeof table);
}

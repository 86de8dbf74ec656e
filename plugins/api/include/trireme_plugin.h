// The interface between Trireme and an engine that is a plugin. docs/plugins.md
// walks through a plugin in C. Generated from plugins/api/src/abi.rs.

#ifndef TRIREME_PLUGIN_H
#define TRIREME_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

// The major version. Trireme opens plugins of the same one.
#define TRIREME_ABI 1

// A core module.
#define TRIREME_KIND_MODULE 1

// A component.
#define TRIREME_KIND_COMPONENT 2

// A program with arguments, stdio and an exit code.
#define TRIREME_WORLD_COMMAND 1

// WASI 0.1, `wasi_snapshot_preview1`.
#define TRIREME_WASI_0_1 1

// WASI 0.2.
#define TRIREME_WASI_0_2 2

// Bytes of each linear memory; growth beyond it fails.
#define TRIREME_LIMIT_MEMORY 1

// Elements of each table.
#define TRIREME_LIMIT_TABLE 2

// Bytes of the stack of WebAssembly code; beyond it the guest traps.
#define TRIREME_LIMIT_STACK 3

// Units of work, the engine's own measure; used up, the guest ends with
// `OUTCOME_LIMIT`.
#define TRIREME_LIMIT_FUEL 4

// A setting that is `true` or `false`.
#define TRIREME_SETTING_BOOL 1

// A setting that is a whole number of at least 0.
#define TRIREME_SETTING_INTEGER 2

// A setting that is one of the listed words.
#define TRIREME_SETTING_CHOICE 3

// It was done.
#define TRIREME_STATUS_OK 0

// The engine refuses a combination of settings and limits.
#define TRIREME_STATUS_SETTINGS 1

// The engine cannot run these bytes.
#define TRIREME_STATUS_REJECTED 2

// An import is not provided, or the entry function is not there.
#define TRIREME_STATUS_LINK 3

// A limit does not let the program load.
#define TRIREME_STATUS_LIMIT 4

// The precompiled code is not this engine build's, or is damaged.
#define TRIREME_STATUS_PRECOMPILED 5

// The engine's own failure, none of the program's doing.
#define TRIREME_STATUS_INTERNAL 6

// The program ended by itself, with `code`.
#define TRIREME_OUTCOME_EXIT 1

// The program trapped; `message` names the cause and the function.
#define TRIREME_OUTCOME_TRAP 2

// The program ran into a limit of its handler.
#define TRIREME_OUTCOME_LIMIT 3

// The program could not be instantiated.
#define TRIREME_OUTCOME_LINK 4

// The engine failed, none of the program's doing.
#define TRIREME_OUTCOME_INTERNAL 5

// Look up, list and read.
#define TRIREME_RIGHTS_READ_ONLY 1

// Create, write, rename and remove too.
#define TRIREME_RIGHTS_READ_WRITE 2

// An engine with its settings and limits; a plugin knows what is behind it.
typedef struct trireme_engine trireme_engine;

// A loaded program; a plugin knows what is behind it.
typedef struct trireme_program trireme_program;

// Bytes that belong to the side that hands them over, and stay as they are
// until the call returns. Text is UTF-8, not ended by a NUL. `data` may be
// null where `length` is 0.
typedef struct trireme_bytes {
    // The first byte.
    const uint8_t *data;
    // How many there are.
    size_t length;
} trireme_bytes;

// A list of numbers.
typedef struct trireme_numbers {
    // The first one.
    const uint32_t *data;
    // How many there are.
    size_t count;
} trireme_numbers;

// A list of texts.
typedef struct trireme_texts {
    // The first one.
    const struct trireme_bytes *data;
    // How many there are.
    size_t count;
} trireme_texts;

// A setting that an engine takes.
typedef struct trireme_setting {
    // The key as it stands in configuration: lower case letters, digits, `-`.
    struct trireme_bytes key;
    // `SETTING_…`.
    uint32_t kind;
    // The words of a `SETTING_CHOICE`, empty for others.
    struct trireme_texts words;
    // The value where configuration gives none, as text: `true`, `4096`, or
    // one of the words.
    struct trireme_bytes default_value;
    // One line on what it does.
    struct trireme_bytes doc;
} trireme_setting;

// What an engine is. It stays where it is, and as it is, while the plugin is
// open.
typedef struct trireme_info {
    // The size of this struct as the plugin was built.
    size_t size;
    // The name by which configuration selects the engine: lower case letters,
    // digits, `-`.
    struct trireme_bytes name;
    // The engine's own version; begins with a digit.
    struct trireme_bytes version;
    // `KIND_…` that it takes, at least one.
    struct trireme_numbers kinds;
    // `WORLD_…` that it runs, at least one.
    struct trireme_numbers worlds;
    // `WASI_…` that it offers.
    struct trireme_numbers wasi;
    // `LIMIT_…` that it enforces; a handler that sets another is refused.
    struct trireme_numbers limits;
    // The settings it takes.
    const struct trireme_setting *settings;
    // How many there are.
    size_t setting_count;
} trireme_info;

// The value of a setting. `create` is given one for every setting declared.
typedef struct trireme_value {
    // The setting's key.
    struct trireme_bytes key;
    // `SETTING_…`.
    uint32_t kind;
    // A `SETTING_INTEGER`, or 0 and 1 for a `SETTING_BOOL`.
    uint64_t number;
    // The word of a `SETTING_CHOICE`.
    struct trireme_bytes text;
} trireme_value;

// A limit that the handler sets, one of those that the engine declared.
typedef struct trireme_limit {
    // `LIMIT_…`.
    uint32_t limit;
    // Its value.
    uint64_t value;
} trireme_limit;

// Bytes that a plugin returns: Trireme copies them and gives them back to the
// plugin's `free`. It is empty when a plugin is handed one to fill.
typedef struct trireme_buffer {
    // The first byte.
    uint8_t *data;
    // How many there are.
    size_t length;
} trireme_buffer;

// An environment variable.
typedef struct trireme_variable {
    // Its name.
    struct trireme_bytes name;
    // Its value.
    struct trireme_bytes value;
} trireme_variable;

// A directory that the guest finds open.
typedef struct trireme_directory {
    // Its name for the guest, such as `/` or `.`.
    struct trireme_bytes name;
    // The open directory; it is the plugin's from the call on.
    int fd;
    // `RIGHTS_…`.
    uint32_t rights;
} trireme_directory;

// What one run of a program is given. Standard input, output and error are
// descriptors 0, 1 and 2 of the process.
typedef struct trireme_guest {
    // The size of this struct as Trireme was built: look at a member only if
    // it lies within.
    size_t size;
    // `WORLD_…`, one of those declared.
    uint32_t world;
    // 1 if the guest may use the network of its process, else 0.
    uint32_t network;
    // Arguments, the program's own name first.
    struct trireme_texts args;
    // Environment variables, in the order in which the guest is to find them.
    const struct trireme_variable *env;
    // How many there are.
    size_t env_count;
    // The working directory as the guest sees it, an absolute path.
    struct trireme_bytes cwd;
    // Directories, in the order in which the guest is to find them.
    const struct trireme_directory *directories;
    // How many there are.
    size_t directory_count;
    // How many processors the guest is told of, at least 1.
    size_t parallelism;
} trireme_guest;

// How a program ended; `run` fills it in.
typedef struct trireme_outcome {
    // The size of this struct as Trireme was built: write a member only if it
    // lies within.
    size_t size;
    // `OUTCOME_…`.
    uint32_t kind;
    // The exit code of an `OUTCOME_EXIT`, 0 to 255.
    uint32_t code;
    // Why, for every other outcome: one line of text.
    struct trireme_buffer message;
} trireme_outcome;

// What a plugin exports under the name `trireme_plugin_table`.
//
// Every function is called by one thread at a time, and may not unwind. A
// function that returns a status fills in `message` with one line of text when
// that is not `STATUS_OK`, and its other results only when it is.
//
// `info`, `create` and `accepts` see the host's files, with privileges;
// `compile` runs in a process without any, in a root with nothing but an empty
// `/tmp`; `load` and `run` in the container, where every path is the image's:
// there, nothing is opened by path but for the guest, and no library is loaded.
// Nothing but `compile` may start a thread that outlives its call.
typedef struct trireme_plugin {
    // `ABI` as the plugin was built.
    uint32_t abi;
    // The size of this struct as the plugin was built.
    uint32_t size;
    // What the engine is; the same at every call.
    const struct trireme_info *(*info)(void);
    // Makes an engine. `values` has one for every declared setting.
    uint32_t (*create)(const struct trireme_value *values,
                       size_t value_count,
                       const struct trireme_limit *limits,
                       size_t limit_count,
                       struct trireme_engine **engine,
                       struct trireme_buffer *message);
    // Whether the engine takes these bytes of `KIND_…`, judged without
    // compiling: `STATUS_OK`, or `STATUS_REJECTED`.
    uint32_t (*accepts)(struct trireme_engine *engine,
                        struct trireme_bytes wasm,
                        uint32_t kind,
                        struct trireme_buffer *message);
    // Compiles WebAssembly into `code`, which `load` of the same build takes
    // under the same settings. An interpreter returns its input.
    uint32_t (*compile)(struct trireme_engine *engine,
                        struct trireme_bytes wasm,
                        uint32_t kind,
                        struct trireme_buffer *code,
                        struct trireme_buffer *message);
    // Loads what `compile` made from the start of a file, and resolves imports
    // and the exported function `entry`; where that is null, the kind's own
    // entry point. `code` is the plugin's from the call on, to map and close;
    // nobody changes what it holds.
    uint32_t (*load)(struct trireme_engine *engine,
                     int code,
                     uint32_t kind,
                     const struct trireme_bytes *entry,
                     struct trireme_program **program,
                     struct trireme_buffer *message);
    // Runs a program to its end. Called once at most for each.
    void (*run)(struct trireme_program *program,
                const struct trireme_guest *guest,
                struct trireme_outcome *outcome);
    // Ends a program, whether it was run or not. Its engine is still there.
    void (*destroy_program)(struct trireme_program *program);
    // Ends an engine; its programs have ended.
    void (*destroy_engine)(struct trireme_engine *engine);
    // Releases what the plugin returned in a `Buffer`.
    void (*free)(struct trireme_buffer buffer);
    // Reserved for specification tests, and null. Members from here on are
    // optional: a plugin may end before them.
    void (*instantiate)(void);
    // Reserved for specification tests, and null.
    void (*invoke)(void);
} trireme_plugin;

#endif  /* TRIREME_PLUGIN_H */

// What a plugin exports.
#ifdef __cplusplus
extern "C" {
#endif
__attribute__((visibility("default"))) extern const trireme_plugin trireme_plugin_table;
#ifdef __cplusplus
}
#endif

//! The interface itself: what a plugin and Trireme hand each other. The C
//! header is generated from this file.
//!
//! No type of Rust crosses it: numbers of a fixed width, pointers with lengths,
//! descriptors, and pointers to functions.

use std::ffi::c_int;

/// The major version. Trireme opens plugins of the same one.
pub const ABI: u32 = 1;

/// A core module.
pub const KIND_MODULE: u32 = 1;
/// A component.
pub const KIND_COMPONENT: u32 = 2;

/// A program with arguments, stdio and an exit code.
pub const WORLD_COMMAND: u32 = 1;

/// WASI 0.1, `wasi_snapshot_preview1`.
pub const WASI_0_1: u32 = 1;
/// WASI 0.2.
pub const WASI_0_2: u32 = 2;

/// Bytes of each linear memory; growth beyond it fails.
pub const LIMIT_MEMORY: u32 = 1;
/// Elements of each table.
pub const LIMIT_TABLE: u32 = 2;
/// Bytes of the stack of WebAssembly code; beyond it the guest traps.
pub const LIMIT_STACK: u32 = 3;
/// Units of work, the engine's own measure; used up, the guest ends with
/// `OUTCOME_LIMIT`.
pub const LIMIT_FUEL: u32 = 4;

/// A setting that is `true` or `false`.
pub const SETTING_BOOL: u32 = 1;
/// A setting that is a whole number of at least 0.
pub const SETTING_INTEGER: u32 = 2;
/// A setting that is one of the listed words.
pub const SETTING_CHOICE: u32 = 3;

/// It was done.
pub const STATUS_OK: u32 = 0;
/// The engine refuses a combination of settings and limits.
pub const STATUS_SETTINGS: u32 = 1;
/// The engine cannot run these bytes.
pub const STATUS_REJECTED: u32 = 2;
/// An import is not provided, or the entry function is not there.
pub const STATUS_LINK: u32 = 3;
/// A limit does not let the program load.
pub const STATUS_LIMIT: u32 = 4;
/// The precompiled code is not this engine build's, or is damaged.
pub const STATUS_PRECOMPILED: u32 = 5;
/// The engine's own failure, none of the program's doing.
pub const STATUS_INTERNAL: u32 = 6;

/// The program ended by itself, with `code`.
pub const OUTCOME_EXIT: u32 = 1;
/// The program trapped; `message` names the cause and the function.
pub const OUTCOME_TRAP: u32 = 2;
/// The program ran into a limit of its handler.
pub const OUTCOME_LIMIT: u32 = 3;
/// The program could not be instantiated.
pub const OUTCOME_LINK: u32 = 4;
/// The engine failed, none of the program's doing.
pub const OUTCOME_INTERNAL: u32 = 5;

/// Look up, list and read.
pub const RIGHTS_READ_ONLY: u32 = 1;
/// Create, write, rename and remove too.
pub const RIGHTS_READ_WRITE: u32 = 2;

/// Bytes that belong to the side that hands them over, and stay as they are
/// until the call returns. Text is UTF-8, not ended by a NUL. `data` may be
/// null where `length` is 0.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Bytes {
    /// The first byte.
    pub data: *const u8,
    /// How many there are.
    pub length: usize,
}

/// Bytes that a plugin returns: Trireme copies them and gives them back to the
/// plugin's `free`. It is empty when a plugin is handed one to fill.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Buffer {
    /// The first byte.
    pub data: *mut u8,
    /// How many there are.
    pub length: usize,
}

/// A list of numbers.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Numbers {
    /// The first one.
    pub data: *const u32,
    /// How many there are.
    pub count: usize,
}

/// A list of texts.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Texts {
    /// The first one.
    pub data: *const Bytes,
    /// How many there are.
    pub count: usize,
}

/// A setting that an engine takes.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The key as it stands in configuration: lower case letters, digits, `-`.
    pub key: Bytes,
    /// `SETTING_…`.
    pub kind: u32,
    /// The words of a `SETTING_CHOICE`, empty for others.
    pub words: Texts,
    /// The value where configuration gives none, as text: `true`, `4096`, or
    /// one of the words.
    pub default_value: Bytes,
    /// One line on what it does.
    pub doc: Bytes,
}

/// What an engine is. It stays where it is, and as it is, while the plugin is
/// open.
#[repr(C)]
#[derive(Debug)]
pub struct Info {
    /// The size of this struct as the plugin was built.
    pub size: usize,
    /// The name by which configuration selects the engine: lower case letters,
    /// digits, `-`.
    pub name: Bytes,
    /// The engine's own version; begins with a digit.
    pub version: Bytes,
    /// `KIND_…` that it takes, at least one.
    pub kinds: Numbers,
    /// `WORLD_…` that it runs, at least one.
    pub worlds: Numbers,
    /// `WASI_…` that it offers.
    pub wasi: Numbers,
    /// `LIMIT_…` that it enforces; a handler that sets another is refused.
    pub limits: Numbers,
    /// The settings it takes.
    pub settings: *const Setting,
    /// How many there are.
    pub setting_count: usize,
}

/// The value of a setting. `create` is given one for every setting declared.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Value {
    /// The setting's key.
    pub key: Bytes,
    /// `SETTING_…`.
    pub kind: u32,
    /// A `SETTING_INTEGER`, or 0 and 1 for a `SETTING_BOOL`.
    pub number: u64,
    /// The word of a `SETTING_CHOICE`.
    pub text: Bytes,
}

/// A limit that the handler sets, one of those that the engine declared.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// `LIMIT_…`.
    pub limit: u32,
    /// Its value.
    pub value: u64,
}

/// An environment variable.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Variable {
    /// Its name.
    pub name: Bytes,
    /// Its value.
    pub value: Bytes,
}

/// A directory that the guest finds open.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Directory {
    /// Its name for the guest, such as `/` or `.`.
    pub name: Bytes,
    /// The open directory; it is the plugin's from the call on.
    pub fd: c_int,
    /// `RIGHTS_…`.
    pub rights: u32,
}

/// What one run of a program is given. Standard input, output and error are
/// descriptors 0, 1 and 2 of the process.
#[repr(C)]
#[derive(Debug)]
pub struct Guest {
    /// The size of this struct as Trireme was built: look at a member only if
    /// it lies within.
    pub size: usize,
    /// `WORLD_…`, one of those declared.
    pub world: u32,
    /// 1 if the guest may use the network of its process, else 0.
    pub network: u32,
    /// Arguments, the program's own name first.
    pub args: Texts,
    /// Environment variables, in the order in which the guest is to find them.
    pub env: *const Variable,
    /// How many there are.
    pub env_count: usize,
    /// The working directory as the guest sees it, an absolute path.
    pub cwd: Bytes,
    /// Directories, in the order in which the guest is to find them.
    pub directories: *const Directory,
    /// How many there are.
    pub directory_count: usize,
    /// How many processors the guest is told of, at least 1.
    pub parallelism: usize,
}

/// How a program ended; `run` fills it in.
#[repr(C)]
#[derive(Debug)]
pub struct Outcome {
    /// The size of this struct as Trireme was built: write a member only if it
    /// lies within.
    pub size: usize,
    /// `OUTCOME_…`.
    pub kind: u32,
    /// The exit code of an `OUTCOME_EXIT`, 0 to 255.
    pub code: u32,
    /// Why, for every other outcome: one line of text.
    pub message: Buffer,
}

/// An engine with its settings and limits; a plugin knows what is behind it.
pub enum Engine {}

/// A loaded program; a plugin knows what is behind it.
pub enum Program {}

/// What a plugin exports under the name `trireme_plugin_table`.
///
/// Every function is called by one thread at a time, and may not unwind. A
/// function that returns a status fills in `message` with one line of text when
/// that is not `STATUS_OK`, and its other results only when it is.
///
/// `info`, `create` and `accepts` see the host's files, with privileges;
/// `compile` runs in a process without any, in a root with nothing but an empty
/// `/tmp`; `load` and `run` in the container, where every path is the image's:
/// there, nothing is opened by path but for the guest, and no library is loaded.
/// Nothing but `compile` may start a thread that outlives its call.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Plugin {
    /// `ABI` as the plugin was built.
    pub abi: u32,
    /// The size of this struct as the plugin was built.
    pub size: u32,
    /// What the engine is; the same at every call.
    pub info: Option<unsafe extern "C" fn() -> *const Info>,
    /// Makes an engine. `values` has one for every declared setting.
    pub create: Option<
        unsafe extern "C" fn(
            values: *const Value,
            value_count: usize,
            limits: *const Limit,
            limit_count: usize,
            engine: *mut *mut Engine,
            message: *mut Buffer,
        ) -> u32,
    >,
    /// Whether the engine takes these bytes of `KIND_…`, judged without
    /// compiling: `STATUS_OK`, or `STATUS_REJECTED`.
    pub accepts: Option<
        unsafe extern "C" fn(
            engine: *mut Engine,
            wasm: Bytes,
            kind: u32,
            message: *mut Buffer,
        ) -> u32,
    >,
    /// Compiles WebAssembly into `code`, which `load` of the same build takes
    /// under the same settings. An interpreter returns its input.
    pub compile: Option<
        unsafe extern "C" fn(
            engine: *mut Engine,
            wasm: Bytes,
            kind: u32,
            code: *mut Buffer,
            message: *mut Buffer,
        ) -> u32,
    >,
    /// Loads what `compile` made from the start of a file, and resolves imports
    /// and the exported function `entry`; where that is null, the kind's own
    /// entry point. `code` is the plugin's from the call on, to map and close;
    /// nobody changes what it holds.
    pub load: Option<
        unsafe extern "C" fn(
            engine: *mut Engine,
            code: c_int,
            kind: u32,
            entry: *const Bytes,
            program: *mut *mut Program,
            message: *mut Buffer,
        ) -> u32,
    >,
    /// Runs a program to its end. Called once at most for each.
    pub run: Option<
        unsafe extern "C" fn(program: *mut Program, guest: *const Guest, outcome: *mut Outcome),
    >,
    /// Ends a program, whether it was run or not. Its engine is still there.
    pub destroy_program: Option<unsafe extern "C" fn(program: *mut Program)>,
    /// Ends an engine; its programs have ended.
    pub destroy_engine: Option<unsafe extern "C" fn(engine: *mut Engine)>,
    /// Releases what the plugin returned in a `Buffer`.
    pub free: Option<unsafe extern "C" fn(buffer: Buffer)>,
    /// Reserved for specification tests, and null. Members from here on are
    /// optional: a plugin may end before them.
    pub instantiate: Option<unsafe extern "C" fn()>,
    /// Reserved for specification tests, and null.
    pub invoke: Option<unsafe extern "C" fn()>,
}

/// The name under which a plugin exports its [`Plugin`].
pub const SYMBOL: &std::ffi::CStr = c"trireme_plugin_table";

/// The size of a [`Plugin`] without its optional members, in bytes.
pub const REQUIRED_SIZE: usize = std::mem::offset_of!(Plugin, instantiate);

//! The plugin's side: an adapter behind a table of functions.
//!
//! A panic must not unwind into the caller: it ends the process, after a line
//! on standard error that names the engine.

use std::ffi::c_int;
use std::fs::File;
use std::os::fd::FromRawFd;
use std::sync::{Once, OnceLock};

use trireme_engine::{Adapter, Engine, EngineError, Guest, Kind, Outcome, Program};

use crate::abi::{self, Buffer, Bytes};
use crate::convert::{self, MAX_CODE, Malformed, Number};
use crate::memory;

/// Makes a crate of type `cdylib` a plugin: exports `$adapter`, a static that
/// implements [`Adapter`].
#[macro_export]
macro_rules! export {
    ($adapter:expr) => {
        const _: () = {
            struct Plugin;

            impl $crate::export::Exported for Plugin {
                fn adapter() -> &'static dyn $crate::Adapter {
                    &$adapter
                }
            }

            #[allow(non_upper_case_globals, reason = "the name is that of the interface")]
            // SAFETY: a shared object is one plugin, and this its table.
            #[unsafe(no_mangle)]
            pub static trireme_plugin_table: $crate::abi::Plugin =
                $crate::export::table::<Plugin>();
        };
    };
}

/// What [`export!`](crate::export!) makes a plugin of.
pub trait Exported {
    /// The adapter.
    fn adapter() -> &'static dyn Adapter;
}

/// The table of a plugin.
pub const fn table<P: Exported>() -> abi::Plugin {
    abi::Plugin {
        abi: abi::ABI,
        size: size_of::<abi::Plugin>() as u32,
        info: Some(info::<P>),
        create: Some(create::<P>),
        accepts: Some(accepts::<P>),
        compile: Some(compile::<P>),
        load: Some(load::<P>),
        run: Some(run::<P>),
        destroy_program: Some(destroy_program::<P>),
        destroy_engine: Some(destroy_engine::<P>),
        free: Some(free),
        instantiate: None,
        invoke: None,
    }
}

/// What an [`abi::Engine`] is here.
type Made = Box<dyn Engine>;
/// What an [`abi::Program`] is here; `None` once it was run.
type Loaded = Option<Box<dyn Program>>;

/// The adapter; from the first call on, a panic ends the process in an orderly
/// way.
fn adapter<P: Exported>() -> &'static dyn Adapter {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let name = P::adapter().info().name;
        std::panic::set_hook(Box::new(move |panic| {
            eprintln!("trireme: engine \"{name}\": internal error: {panic}");
            std::process::abort();
        }));
    });
    P::adapter()
}

unsafe extern "C" fn info<P: Exported>() -> *const abi::Info {
    struct Kept(&'static abi::Info);
    // SAFETY: it is made once and never changed, and so is all it leads to.
    unsafe impl Send for Kept {}
    // SAFETY: as above.
    unsafe impl Sync for Kept {}
    static INFO: OnceLock<Kept> = OnceLock::new();
    INFO.get_or_init(|| Kept(convert::info::to_abi(adapter::<P>().info())))
        .0
}

unsafe extern "C" fn create<P: Exported>(
    values: *const abi::Value,
    value_count: usize,
    limits: *const abi::Limit,
    limit_count: usize,
    engine: *mut *mut abi::Engine,
    message: *mut Buffer,
) -> u32 {
    let made = || {
        let adapter = adapter::<P>();
        let declared = adapter.info().settings;
        // SAFETY: the caller's lists are as the interface says.
        let (settings, limits) = unsafe {
            (
                convert::settings::from_abi(declared, values, value_count),
                convert::settings::limits_from_abi(limits, limit_count),
            )
        };
        let settings = settings.map_err(|error| EngineError::Internal(error.to_string()))?;
        adapter.create(&settings, &limits.map_err(misused)?)
    };
    // SAFETY: the caller's results are as the interface says.
    unsafe {
        answer(made(), message, |made: Made| {
            engine.write(Box::into_raw(Box::new(made)).cast());
        })
    }
}

unsafe extern "C" fn accepts<P: Exported>(
    engine: *mut abi::Engine,
    wasm: Bytes,
    kind: u32,
    message: *mut Buffer,
) -> u32 {
    adapter::<P>();
    // SAFETY: the engine is `create`'s, and the rest as the interface says.
    unsafe {
        let judged = program(wasm, kind)
            .and_then(|(wasm, kind)| (*engine.cast::<Made>()).accepts(wasm, kind));
        answer(judged, message, |()| ())
    }
}

unsafe extern "C" fn compile<P: Exported>(
    engine: *mut abi::Engine,
    wasm: Bytes,
    kind: u32,
    code: *mut Buffer,
    message: *mut Buffer,
) -> u32 {
    adapter::<P>();
    // SAFETY: the engine is `create`'s, and the rest as the interface says.
    unsafe {
        let compiled = program(wasm, kind)
            .and_then(|(wasm, kind)| (*engine.cast::<Made>()).compile(wasm, kind));
        answer(compiled, message, |bytes| code.write(Buffer::of(bytes)))
    }
}

unsafe extern "C" fn load<P: Exported>(
    engine: *mut abi::Engine,
    code: c_int,
    kind: u32,
    entry: *const Bytes,
    program: *mut *mut abi::Program,
    message: *mut Buffer,
) -> u32 {
    adapter::<P>();
    // SAFETY: the engine is `create`'s, the descriptor is given away, and the
    // rest as the interface says; the caller vouches for what the file holds.
    unsafe {
        let code = File::from_raw_fd(code);
        let loaded = || {
            let kind = Kind::of(kind).map_err(misused)?;
            let entry = match entry.is_null() {
                true => None,
                false => Some(memory::text(*entry, MAX_CODE, "the entry").map_err(misused)?),
            };
            (*engine.cast::<Made>()).load(code, kind, entry)
        };
        answer(loaded(), message, |loaded| {
            program.write(Box::into_raw(Box::new(Loaded::Some(loaded))).cast());
        })
    }
}

unsafe extern "C" fn run<P: Exported>(
    program: *mut abi::Program,
    guest: *const abi::Guest,
    outcome: *mut abi::Outcome,
) {
    adapter::<P>();
    // SAFETY: the program is `load`'s, and the rest as the interface says.
    unsafe {
        let guest = convert::guest::from_abi(guest);
        let ended = end((*program.cast::<Loaded>()).take(), guest);
        let (kind, code, message) = convert::outcome::parts(&ended);
        (*outcome).kind = kind;
        (*outcome).code = code;
        (*outcome).message = Buffer::of(message.as_bytes().to_vec());
    }
}

fn end(program: Loaded, guest: Result<Guest, Malformed>) -> Outcome {
    match (program, guest) {
        (Some(program), Ok(guest)) => program.run(guest),
        (_, Err(error)) => Outcome::Internal(misused(error).to_string()),
        (None, Ok(_)) => Outcome::Internal("a program is run once only".into()),
    }
}

unsafe extern "C" fn destroy_program<P: Exported>(program: *mut abi::Program) {
    adapter::<P>();
    // SAFETY: `load` made it of just such a box, and it is not used again.
    drop(unsafe { Box::from_raw(program.cast::<Loaded>()) });
}

unsafe extern "C" fn destroy_engine<P: Exported>(engine: *mut abi::Engine) {
    adapter::<P>();
    // SAFETY: `create` made it of just such a box, and it is not used again.
    drop(unsafe { Box::from_raw(engine.cast::<Made>()) });
}

unsafe extern "C" fn free(buffer: Buffer) {
    // SAFETY: all that this plugin returns comes from `Buffer::of`.
    unsafe { buffer.release() };
}

/// The status of a result; hands its value or its message over.
///
/// # Safety
///
/// `message` must be writable.
unsafe fn answer<T>(
    result: Result<T, EngineError>,
    message: *mut Buffer,
    hand_over: impl FnOnce(T),
) -> u32 {
    match result {
        Ok(value) => {
            hand_over(value);
            abi::STATUS_OK
        }
        Err(error) => {
            let (status, why) = convert::outcome::status(&error);
            // SAFETY: the caller vouches for it.
            unsafe { message.write(Buffer::of(why.as_bytes().to_vec())) };
            status
        }
    }
}

/// # Safety
///
/// `wasm` must lead where it says.
unsafe fn program<'a>(wasm: Bytes, kind: u32) -> Result<(&'a [u8], Kind), EngineError> {
    // SAFETY: the caller vouches for it.
    let wasm = unsafe { memory::items(wasm.data, wasm.length, MAX_CODE, "the program") };
    Ok((wasm.map_err(misused)?, Kind::of(kind).map_err(misused)?))
}

fn misused(error: Malformed) -> EngineError {
    EngineError::Internal(format!("the plugin was called wrongly: {error}"))
}

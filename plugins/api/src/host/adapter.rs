//! A plugin as an adapter.

use std::fs::File;
use std::os::fd::IntoRawFd;
use std::path::PathBuf;
use std::ptr;
use std::rc::Rc;

use trireme_engine::{
    Adapter, Engine, EngineError, Guest, Info, Kind, Limits, Outcome, Program, Settings,
};

use super::OpenError;
use super::table::Table;
use crate::abi::{self, Buffer};
use crate::convert::guest::Lent;
use crate::convert::{self, MAX_CODE, MAX_MESSAGE, Malformed, bytes};
use crate::memory;

/// An open plugin.
struct Plugin {
    table: Table,
    file: PathBuf,
    info: &'static Info,
}

/// The adapter of a table, after a look at what it says of its engine.
pub(super) fn of(table: Table, file: PathBuf) -> Result<&'static dyn Adapter, OpenError> {
    let info = table.info.map(|info| {
        // SAFETY: a function of the interface, and what it returns is checked
        // as it is read.
        unsafe { convert::info::from_abi(info()) }
    });
    match info.unwrap_or(Err(Malformed::Null("info"))) {
        Ok(info) => {
            let plugin = Box::leak(Box::new(Plugin { table, file, info }));
            Ok(Box::leak(Box::new(Opened(plugin))))
        }
        Err(reason) => Err(OpenError::Info { file, reason }),
    }
}

/// Calls a function of the table, which is known to be there.
macro_rules! call {
    ($plugin:expr, $name:ident($($argument:expr),* $(,)?)) => {
        match $plugin.table.$name {
            Some(function) => function($($argument),*),
            None => unreachable!("`read` found it"),
        }
    };
}

impl Plugin {
    /// A mistake of the plugin's, in words that name it.
    fn blame(&self, verb: &str, what: &dyn std::fmt::Display) -> String {
        format!(
            "the plugin {}: `{verb}`: {what}; install a correct build of it",
            self.file.display()
        )
    }

    /// Copies what a call returned, and gives it back; what makes no sense is
    /// better left alone.
    fn take(&self, buffer: Buffer, max: usize, what: &'static str) -> Result<Vec<u8>, Malformed> {
        // SAFETY: the plugin vouches for what it returned, which is given back
        // once, after it was copied.
        unsafe {
            let bytes = memory::items(buffer.data.cast_const(), buffer.length, max, what)?.to_vec();
            if !buffer.data.is_null() {
                call!(self, free(buffer));
            }
            Ok(bytes)
        }
    }

    fn message(&self, buffer: Buffer) -> Result<String, Malformed> {
        let bytes = self.take(buffer, MAX_MESSAGE, "its message")?;
        String::from_utf8(bytes).map_err(|_| Malformed::NotText("its message"))
    }

    /// What a status means.
    fn result(&self, verb: &str, status: u32, message: Buffer) -> Result<(), EngineError> {
        if status == abi::STATUS_OK {
            return Ok(());
        }
        self.message(message)
            .and_then(|message| convert::outcome::error(status, &message))
            .map_or_else(
                |wrong| Err(EngineError::Internal(self.blame(verb, &wrong))),
                Err,
            )
    }
}

/// A plugin as Trireme sees it.
struct Opened(&'static Plugin);

impl Adapter for Opened {
    fn info(&self) -> &Info {
        self.0.info
    }

    fn create(&self, settings: &Settings, limits: &Limits) -> Result<Box<dyn Engine>, EngineError> {
        let values = convert::settings::to_abi(self.0.info.settings, settings);
        let limits = convert::settings::limits_to_abi(limits);
        let (mut engine, mut message) = (ptr::null_mut(), Buffer::EMPTY);
        // SAFETY: a function of the interface, with what it asks for.
        let status = unsafe {
            call!(
                self.0,
                create(
                    values.as_ptr(),
                    values.len(),
                    limits.as_ptr(),
                    limits.len(),
                    &raw mut engine,
                    &raw mut message,
                )
            )
        };
        self.0.result("create", status, message)?;
        if engine.is_null() {
            let null = Malformed::Null("the engine");
            return Err(EngineError::Internal(self.0.blame("create", &null)));
        }
        Ok(Box::new(Made(Rc::new(Handle {
            plugin: self.0,
            engine,
        }))))
    }
}

/// An engine of a plugin.
struct Handle {
    plugin: &'static Plugin,
    engine: *mut abi::Engine,
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: `create` returned it, and nothing uses it any more.
        unsafe { call!(self.plugin, destroy_engine(self.engine)) };
    }
}

struct Made(Rc<Handle>);

impl Engine for Made {
    fn accepts(&self, wasm: &[u8], kind: Kind) -> Result<(), EngineError> {
        let Handle { plugin, engine } = *self.0;
        let mut message = Buffer::EMPTY;
        // SAFETY: a function of the interface, with what it asks for.
        let status = unsafe {
            call!(
                plugin,
                accepts(engine, bytes(wasm), convert::number(kind), &raw mut message)
            )
        };
        plugin.result("accepts", status, message)
    }

    fn compile(&self, wasm: &[u8], kind: Kind) -> Result<Vec<u8>, EngineError> {
        let Handle { plugin, engine } = *self.0;
        let (mut code, mut message) = (Buffer::EMPTY, Buffer::EMPTY);
        // SAFETY: a function of the interface, with what it asks for.
        let status = unsafe {
            call!(
                plugin,
                compile(
                    engine,
                    bytes(wasm),
                    convert::number(kind),
                    &raw mut code,
                    &raw mut message,
                )
            )
        };
        plugin.result("compile", status, message)?;
        plugin
            .take(code, MAX_CODE, "the code")
            .map_err(|wrong| EngineError::Internal(plugin.blame("compile", &wrong)))
    }

    unsafe fn load(
        &self,
        code: File,
        kind: Kind,
        entry: Option<&str>,
    ) -> Result<Box<dyn Program>, EngineError> {
        let Handle { plugin, engine } = *self.0;
        let entry = entry.map(bytes);
        let (mut program, mut message) = (ptr::null_mut(), Buffer::EMPTY);
        // SAFETY: a function of the interface, with what it asks for; the
        // caller vouches for the code, and the descriptor is given away.
        let status = unsafe {
            call!(
                plugin,
                load(
                    engine,
                    code.into_raw_fd(),
                    convert::number(kind),
                    entry.as_ref().map_or(ptr::null(), ptr::from_ref),
                    &raw mut program,
                    &raw mut message,
                )
            )
        };
        plugin.result("load", status, message)?;
        if program.is_null() {
            let null = Malformed::Null("the program");
            return Err(EngineError::Internal(plugin.blame("load", &null)));
        }
        Ok(Box::new(Loaded {
            engine: Rc::clone(&self.0),
            program,
        }))
    }
}

/// A program of a plugin; its engine lives at least as long.
struct Loaded {
    engine: Rc<Handle>,
    program: *mut abi::Program,
}

impl Drop for Loaded {
    fn drop(&mut self) {
        // SAFETY: `load` returned it, and nothing uses it any more.
        unsafe { call!(self.engine.plugin, destroy_program(self.program)) };
    }
}

impl Program for Loaded {
    fn run(self: Box<Self>, guest: Guest) -> Outcome {
        let plugin = self.engine.plugin;
        let lent = Lent::new(guest);
        let mut outcome = abi::Outcome {
            size: size_of::<abi::Outcome>(),
            kind: 0,
            code: 0,
            message: Buffer::EMPTY,
        };
        let guest = lent.abi();
        // SAFETY: a function of the interface, with what it asks for; this is
        // the program's only run.
        unsafe {
            call!(
                plugin,
                run(self.program, &raw const guest, &raw mut outcome)
            )
        };
        let abi::Outcome {
            kind,
            code,
            message,
            ..
        } = outcome;
        plugin
            .message(message)
            .and_then(|message| convert::outcome::outcome(kind, code, &message))
            .unwrap_or_else(|wrong| Outcome::Internal(plugin.blame("run", &wrong)))
    }
}

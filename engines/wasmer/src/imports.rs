//! What a module is given under the names that it imports.

use trireme_engine::EngineError;
use wasmer::{
    ExternType, FunctionEnv, FunctionEnvMut, FunctionType, Imports, Memory, Module, RuntimeError,
    Store, Type, Value,
};
use wasmer_wasix::WasiFunctionEnv;

/// The name under which WASI 0.1 and its kin tell what a descriptor is.
const FDSTAT: &str = "fd_fdstat_get";

/// The modules of 32-bit imports in which it stands.
const WASI: &[&str] = &["wasi_snapshot_preview1", "wasi_unstable", "wasix_32v1"];

/// The type `unknown` of a descriptor.
const UNKNOWN: u8 = 0;

/// Imports, and what of them needs the guest's memory.
pub(crate) struct Provided {
    pub(crate) imports: Imports,
    /// A memory that the module imports.
    pub(crate) memory: Option<Memory>,
    streams: Vec<FunctionEnv<Streams>>,
}

/// Tells terminals from other streams.
struct Streams {
    /// `wasmer-wasix`'s own.
    fdstat: wasmer::Function,
    memory: Option<Memory>,
}

/// Everything that `module` may import.
pub(crate) fn provide(
    store: &mut Store,
    env: &WasiFunctionEnv,
    module: &Module,
) -> Result<Provided, EngineError> {
    let mut provided = Provided {
        imports: env
            .import_object_for_all_wasi_versions(store, module)
            .map_err(|error| EngineError::Link(error.to_string()))?,
        memory: None,
        streams: Vec::new(),
    };
    for name in WASI {
        provided.wrap_fdstat(store, name);
    }
    for import in module.imports().memories() {
        let memory = Memory::new(store, *import.ty())
            .map_err(|error| EngineError::Link(format!("its memory cannot be made: {error}")))?;
        provided
            .imports
            .define(import.module(), import.name(), memory.clone());
        provided.memory.get_or_insert(memory);
    }
    check(store, module, &provided.imports)?;
    Ok(provided)
}

impl Provided {
    /// Hands the guest's memory to those that need it.
    pub(crate) fn connect(&self, store: &mut Store, memory: &Memory) {
        for streams in &self.streams {
            streams.as_mut(store).memory = Some(memory.clone());
        }
    }

    /// `wasmer-wasix` says of each of the three streams that it is a character
    /// device (`WasiFs::fdstat`), which a C library takes for a terminal.
    fn wrap_fdstat(&mut self, store: &mut Store, module: &str) {
        let Some(wasmer::Extern::Function(fdstat)) = self.imports.get_export(module, FDSTAT) else {
            return;
        };
        let streams = FunctionEnv::new(
            store,
            Streams {
                fdstat,
                memory: None,
            },
        );
        let ty = FunctionType::new([Type::I32, Type::I32], [Type::I32]);
        let wrapped = wasmer::Function::new_with_env(store, &streams, ty, fdstat_get);
        self.imports.define(module, FDSTAT, wrapped);
        self.streams.push(streams);
    }
}

fn fdstat_get(
    mut env: FunctionEnvMut<'_, Streams>,
    args: &[Value],
) -> Result<Vec<Value>, RuntimeError> {
    let (streams, mut store) = env.data_and_store_mut();
    let (fdstat, memory) = (streams.fdstat.clone(), streams.memory.clone());
    let results = fdstat.call(&mut store, args)?;
    if let (Some(memory), [Value::I32(fd), Value::I32(at)], [Value::I32(0)]) =
        (memory, args, &*results)
        && stream(*fd).is_some_and(|fd| !rustix::termios::isatty(fd))
    {
        // The type is the first byte, and was just written there.
        let at = u64::from(u32::from_le_bytes(at.to_le_bytes()));
        memory
            .view(&store)
            .write(at, &[UNKNOWN])
            .map_err(|error| RuntimeError::new(error.to_string()))?;
    }
    Ok(results.into_vec())
}

fn stream(fd: i32) -> Option<std::os::fd::BorrowedFd<'static>> {
    match fd {
        0 => Some(rustix::stdio::stdin()),
        1 => Some(rustix::stdio::stdout()),
        2 => Some(rustix::stdio::stderr()),
        _ => None,
    }
}

/// Names the first import that is not there or is another thing.
fn check(store: &Store, module: &Module, imports: &Imports) -> Result<(), EngineError> {
    for import in module.imports() {
        let Some(given) = imports.get_export(import.module(), import.name()) else {
            return Err(EngineError::Link(format!(
                "import \"{}\" \"{}\" is not provided; a module gets wasi_snapshot_preview1 and \
                 wasix_32v1",
                import.module(),
                import.name()
            )));
        };
        let given = given.ty(store);
        // A memory was made for the import, within the handler's limit.
        if !matches!(given, ExternType::Memory(_)) && given != *import.ty() {
            return Err(EngineError::Link(format!(
                "import \"{}\" \"{}\" does not fit: it is {given:?}, the module wants {:?}",
                import.module(),
                import.name(),
                import.ty()
            )));
        }
    }
    Ok(())
}

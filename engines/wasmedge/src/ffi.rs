//! What is used of the C interface of WasmEdge, as `wasmedge.h` of 0.17.1 has
//! it.

use std::ffi::{c_char, c_int, c_void};

macro_rules! opaque {
    ($($name:ident),* $(,)?) => {
        $(
            #[repr(C)]
            pub(crate) struct $name {
                _private: [u8; 0],
            }
        )*
    };
}

opaque!(
    AstModule,
    CallingFrame,
    Compiler,
    Configure,
    Executor,
    Function,
    FunctionType,
    Loader,
    ModuleInstance,
    Statistics,
    Store,
    Validator,
);

/// `WasmEdge_String`: not ended by a NUL.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Text {
    pub(crate) length: u32,
    pub(crate) data: *const c_char,
}

impl Text {
    /// A constant text.
    pub(crate) const fn of(text: &'static str) -> Self {
        Text {
            length: text.len() as u32,
            data: text.as_ptr().cast(),
        }
    }
}

/// `WasmEdge_Bytes`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Bytes {
    pub(crate) length: u32,
    pub(crate) data: *const u8,
}

/// `WasmEdge_Result`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Outcome {
    pub(crate) code: u32,
}

/// `WasmEdge_ValType`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct ValType {
    pub(crate) data: [u8; 8],
}

/// `WasmEdge_Value`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Value {
    pub(crate) value: u128,
    pub(crate) ty: ValType,
}

impl Value {
    /// Room for a value.
    pub(crate) const NONE: Self = Value {
        value: 0,
        ty: ValType { data: [0; 8] },
    };
}

/// `WasmEdge_LogMessage`.
#[repr(C)]
pub(crate) struct LogMessage {
    pub(crate) message: Text,
    pub(crate) logger: Text,
    pub(crate) level: LogLevel,
    pub(crate) time: i64,
    pub(crate) thread: u64,
}

/// `WasmEdge_LogCallback_t`.
pub(crate) type LogCallback = extern "C" fn(*const LogMessage);

/// `WasmEdge_HostFunc_t`.
pub(crate) type HostFunction = unsafe extern "C" fn(
    data: *mut c_void,
    frame: *const CallingFrame,
    params: *const Value,
    returns: *mut Value,
) -> Outcome;

/// `WasmEdge_LogLevel`.
pub(crate) type LogLevel = c_int;
/// Errors.
pub(crate) const LOG_ERROR: LogLevel = 4;

/// `enum WasmEdge_Proposal`, as far as there is a setting for it.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) enum Proposal {
    MultiValue = 3,
    BulkMemoryOperations = 4,
    ReferenceTypes = 5,
    Simd = 6,
    TailCall = 7,
    ExtendedConst = 8,
    FunctionReferences = 9,
    Gc = 10,
    MultiMemories = 11,
    RelaxedSimd = 12,
    ExceptionHandling = 14,
    Memory64 = 15,
    Threads = 16,
}

/// `enum WasmEdge_RunMode`.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) enum RunMode {
    /// Native code of a module is not looked at.
    Interpreter = 0,
    /// Native code that a module brings along is run.
    Aot = 2,
}

/// `enum WasmEdge_CompilerOptimizationLevel`, as far as there is a setting for it.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) enum Optimization {
    O0 = 0,
    O3 = 3,
    Os = 4,
}

/// `enum WasmEdge_CompilerOutputFormat`.
pub(crate) type OutputFormat = c_int;
/// A module that brings its native code along.
pub(crate) const OUTPUT_WASM: OutputFormat = 1;

// `tests/wasmedge` holds these, and what `build.rs` makes of the declarations below, against the
// header.
const _: () = assert!(size_of::<Text>() == 16 && size_of::<Bytes>() == 16);
const _: () = assert!(size_of::<Outcome>() == 4 && size_of::<ValType>() == 8);
const _: () = assert!(size_of::<Value>() == 32 && size_of::<LogMessage>() == 56);

unsafe extern "C" {
    pub(crate) fn WasmEdge_LogSetLevel(level: LogLevel);
    pub(crate) fn WasmEdge_LogSetCallback(callback: LogCallback);
    pub(crate) fn WasmEdge_ResultGetMessage(result: Outcome) -> *const c_char;

    pub(crate) fn WasmEdge_ConfigureCreate() -> *mut Configure;
    pub(crate) fn WasmEdge_ConfigureAddProposal(configure: *mut Configure, proposal: Proposal);
    pub(crate) fn WasmEdge_ConfigureRemoveProposal(configure: *mut Configure, proposal: Proposal);
    pub(crate) fn WasmEdge_ConfigureHasProposal(
        configure: *const Configure,
        proposal: Proposal,
    ) -> bool;
    pub(crate) fn WasmEdge_ConfigureSetMaxMemoryPage(configure: *mut Configure, pages: u64);
    pub(crate) fn WasmEdge_ConfigureSetRunMode(configure: *mut Configure, mode: RunMode);
    pub(crate) fn WasmEdge_ConfigureCompilerSetOptimizationLevel(
        configure: *mut Configure,
        level: Optimization,
    );
    pub(crate) fn WasmEdge_ConfigureCompilerSetOutputFormat(
        configure: *mut Configure,
        format: OutputFormat,
    );
    pub(crate) fn WasmEdge_ConfigureStatisticsSetCostMeasuring(configure: *mut Configure, on: bool);
    pub(crate) fn WasmEdge_ConfigureDelete(configure: *mut Configure);

    pub(crate) fn WasmEdge_StatisticsCreate() -> *mut Statistics;
    pub(crate) fn WasmEdge_StatisticsSetCostLimit(statistics: *mut Statistics, limit: u64);
    pub(crate) fn WasmEdge_StatisticsDelete(statistics: *mut Statistics);

    pub(crate) fn WasmEdge_CompilerCreate(configure: *const Configure) -> *mut Compiler;
    pub(crate) fn WasmEdge_CompilerCompileFromBytes(
        compiler: *mut Compiler,
        wasm: Bytes,
        to: *const c_char,
    ) -> Outcome;
    pub(crate) fn WasmEdge_CompilerDelete(compiler: *mut Compiler);

    pub(crate) fn WasmEdge_LoaderCreate(configure: *const Configure) -> *mut Loader;
    pub(crate) fn WasmEdge_LoaderParseFromBytes(
        loader: *mut Loader,
        module: *mut *mut AstModule,
        wasm: Bytes,
    ) -> Outcome;
    pub(crate) fn WasmEdge_LoaderDelete(loader: *mut Loader);
    pub(crate) fn WasmEdge_ASTModuleDelete(module: *mut AstModule);

    pub(crate) fn WasmEdge_ValidatorCreate(configure: *const Configure) -> *mut Validator;
    pub(crate) fn WasmEdge_ValidatorValidate(
        validator: *mut Validator,
        module: *const AstModule,
    ) -> Outcome;
    pub(crate) fn WasmEdge_ValidatorDelete(validator: *mut Validator);

    pub(crate) fn WasmEdge_ExecutorCreate(
        configure: *const Configure,
        statistics: *mut Statistics,
    ) -> *mut Executor;
    pub(crate) fn WasmEdge_ExecutorRegisterImport(
        executor: *mut Executor,
        store: *mut Store,
        import: *const ModuleInstance,
    ) -> Outcome;
    pub(crate) fn WasmEdge_ExecutorInstantiate(
        executor: *mut Executor,
        instance: *mut *mut ModuleInstance,
        store: *mut Store,
        module: *const AstModule,
    ) -> Outcome;
    pub(crate) fn WasmEdge_ExecutorInvoke(
        executor: *mut Executor,
        function: *const Function,
        params: *const Value,
        param_count: u32,
        returns: *mut Value,
        return_count: u32,
    ) -> Outcome;
    pub(crate) fn WasmEdge_ExecutorDelete(executor: *mut Executor);

    pub(crate) fn WasmEdge_StoreCreate() -> *mut Store;
    pub(crate) fn WasmEdge_StoreDelete(store: *mut Store);

    pub(crate) fn WasmEdge_FunctionTypeCreate(
        params: *const ValType,
        param_count: u32,
        returns: *const ValType,
        return_count: u32,
    ) -> *mut FunctionType;
    pub(crate) fn WasmEdge_FunctionTypeDelete(ty: *mut FunctionType);
    pub(crate) fn WasmEdge_FunctionInstanceCreate(
        ty: *const FunctionType,
        function: HostFunction,
        data: *mut c_void,
        cost: u64,
    ) -> *mut Function;
    pub(crate) fn WasmEdge_ModuleInstanceCreate(name: Text) -> *mut ModuleInstance;
    pub(crate) fn WasmEdge_ModuleInstanceAddFunction(
        instance: *mut ModuleInstance,
        name: Text,
        function: *mut Function,
    );
    pub(crate) fn WasmEdge_ModuleInstanceCreateWASI(
        args: *const *const c_char,
        arg_count: u32,
        envs: *const *const c_char,
        env_count: u32,
        preopens: *const *const c_char,
        preopen_count: u32,
    ) -> *mut ModuleInstance;
    pub(crate) fn WasmEdge_ModuleInstanceWASIGetExitCode(wasi: *const ModuleInstance) -> u32;
    pub(crate) fn WasmEdge_ModuleInstanceWASIGetNativeHandler(
        wasi: *const ModuleInstance,
        fd: i32,
        native: *mut u64,
    ) -> u32;
    pub(crate) fn WasmEdge_ModuleInstanceFindFunction(
        instance: *const ModuleInstance,
        name: Text,
    ) -> *mut Function;
    pub(crate) fn WasmEdge_ModuleInstanceDelete(instance: *mut ModuleInstance);
    pub(crate) fn WasmEdge_FunctionInstanceGetFunctionType(
        function: *const Function,
    ) -> *const FunctionType;
    pub(crate) fn WasmEdge_FunctionTypeGetParametersLength(ty: *const FunctionType) -> u32;
    pub(crate) fn WasmEdge_FunctionTypeGetParameters(
        ty: *const FunctionType,
        list: *mut ValType,
        length: u32,
    ) -> u32;
    pub(crate) fn WasmEdge_FunctionTypeGetReturnsLength(ty: *const FunctionType) -> u32;
    pub(crate) fn WasmEdge_FunctionTypeGetReturns(
        ty: *const FunctionType,
        list: *mut ValType,
        length: u32,
    ) -> u32;
    pub(crate) fn WasmEdge_ValTypeIsI32(ty: ValType) -> bool;
    pub(crate) fn WasmEdge_ValTypeIsI64(ty: ValType) -> bool;
}

//! The settings of wasmtime, and the one function that turns them into a
//! `wasmtime::Config`: the compiler process and init must agree on every flag,
//! else the precompiled code of the one is refused by the other.

use std::sync::Arc;

use trireme_engine::{EngineError, Limits, Setting, SettingType, Settings};
use wasmtime::wasmparser::WasmFeatures;
use wasmtime::{Config, OptLevel, Strategy, WasmBacktraceDetails};

use crate::code::Publisher;

/// Stack that host calls have below a guest's own, in bytes: wasmtime's default
/// fiber of 2 MiB less its default of 512 KiB for the guest.
const HOST_STACK: usize = 3 << 19;

/// Every setting: the two of the compiler, then [`FEATURES`] in the same order.
pub(crate) static SETTINGS: &[Setting] = &[
    Setting {
        key: "compiler",
        kind: SettingType::Choice(&["cranelift", "winch"]),
        default: "cranelift",
        doc: "cranelift makes fast code; winch compiles faster and lacks some proposals",
    },
    Setting {
        key: "optimize",
        kind: SettingType::Choice(&["none", "speed", "speed-and-size"]),
        default: "speed",
        doc: "what cranelift optimises for",
    },
    feature(
        "bulk-memory",
        "true",
        "memory.copy, memory.fill and their like for tables",
    ),
    feature(
        "custom-page-sizes",
        "false",
        "memories with pages of another size than 64 KiB",
    ),
    feature("exceptions", "true", "try_table, throw and tags"),
    feature(
        "extended-const",
        "true",
        "arithmetic in constant expressions",
    ),
    feature("function-references", "true", "typed function references"),
    feature("gc", "true", "structs, arrays and i31 on a collected heap"),
    feature(
        "memory64",
        "true",
        "memories and tables with 64-bit addresses",
    ),
    feature("multi-memory", "true", "more than one memory in a module"),
    feature(
        "multi-value",
        "true",
        "functions and blocks with several results",
    ),
    feature(
        "reference-types",
        "true",
        "externref, and more than one table",
    ),
    feature(
        "relaxed-simd",
        "true",
        "vector instructions whose result depends on the processor",
    ),
    feature("simd", "true", "128-bit vector instructions"),
    feature("tail-call", "true", "return_call"),
    feature(
        "threads",
        "true",
        "atomic instructions (shared memories are refused all the same)",
    ),
    feature(
        "wide-arithmetic",
        "false",
        "128-bit addition, subtraction and multiplication",
    ),
];

/// The proposals that have a setting.
const FEATURES: &[(&str, WasmFeatures)] = &[
    ("bulk-memory", WasmFeatures::BULK_MEMORY),
    ("custom-page-sizes", WasmFeatures::CUSTOM_PAGE_SIZES),
    ("exceptions", WasmFeatures::EXCEPTIONS),
    ("extended-const", WasmFeatures::EXTENDED_CONST),
    ("function-references", WasmFeatures::FUNCTION_REFERENCES),
    ("gc", WasmFeatures::GC),
    ("memory64", WasmFeatures::MEMORY64),
    ("multi-memory", WasmFeatures::MULTI_MEMORY),
    ("multi-value", WasmFeatures::MULTI_VALUE),
    ("reference-types", WasmFeatures::REFERENCE_TYPES),
    ("relaxed-simd", WasmFeatures::RELAXED_SIMD),
    ("simd", WasmFeatures::SIMD),
    ("tail-call", WasmFeatures::TAIL_CALL),
    ("threads", WasmFeatures::THREADS),
    ("wide-arithmetic", WasmFeatures::WIDE_ARITHMETIC),
];

/// What winch does not compile, as of wasmtime 48
/// (`Config::compiler_panicking_wasm_features`).
const NOT_IN_WINCH: &[&str] = &[
    "exceptions",
    "function-references",
    "gc",
    "relaxed-simd",
    "tail-call",
];

const fn feature(key: &'static str, default: &'static str, doc: &'static str) -> Setting {
    Setting {
        key,
        kind: SettingType::Bool,
        default,
        doc,
    }
}

/// The configuration for these settings and limits.
pub(crate) fn config(settings: &Settings, limits: &Limits) -> Result<Config, EngineError> {
    let mut config = Config::new();
    apply_compiler(&mut config, settings)?;
    apply_limits(&mut config, limits)?;
    for (key, flag) in FEATURES {
        config.wasm_features(*flag, settings.bool(key));
    }
    config
        // Components are loaded from a mapping of ours, see `code`.
        .with_custom_code_memory(Some(Arc::new(Publisher)))
        // Function names are all that a trap message needs: no line tables,
        // which would be read from files, and no map of addresses.
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .generate_address_map(false)
        // For debuggers and profilers of the host only; costs a registration
        // at each load.
        .native_unwind_info(false);
    Ok(config)
}

fn apply_compiler(config: &mut Config, settings: &Settings) -> Result<(), EngineError> {
    let optimize = settings.choice("optimize");
    if settings.choice("compiler") == "winch" {
        refuse_beside_winch(settings, optimize)?;
        config.strategy(Strategy::Winch);
    } else {
        config
            .strategy(Strategy::Cranelift)
            .cranelift_opt_level(match optimize {
                "none" => OptLevel::None,
                "speed" => OptLevel::Speed,
                _ => OptLevel::SpeedAndSize,
            });
    }
    Ok(())
}

fn refuse_beside_winch(settings: &Settings, optimize: &str) -> Result<(), EngineError> {
    let lacking: Vec<_> = NOT_IN_WINCH
        .iter()
        .filter(|key| settings.bool(key))
        .map(|key| format!("{key} = false"))
        .collect();
    if !lacking.is_empty() {
        return Err(EngineError::Settings(format!(
            "compiler = \"winch\" lacks proposals that are on; set {}",
            lacking.join(", ")
        )));
    }
    if optimize == "speed-and-size" {
        return Err(EngineError::Settings(
            "optimize = \"speed-and-size\" is cranelift's; compiler = \"winch\" does not optimise"
                .into(),
        ));
    }
    Ok(())
}

fn apply_limits(config: &mut Config, limits: &Limits) -> Result<(), EngineError> {
    config.consume_fuel(limits.fuel.is_some());
    let Some(stack) = limits.stack else {
        return Ok(());
    };
    let refused = || EngineError::Settings(format!("a stack of {stack} bytes cannot be made"));
    let stack = usize::try_from(stack).map_err(|_| refused())?;
    if stack == 0 {
        return Err(refused());
    }
    config
        .max_wasm_stack(stack)
        .async_stack_size(stack.checked_add(HOST_STACK).ok_or_else(refused)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use trireme_engine::SettingValue;
    use wasmtime::Engine;

    use super::*;

    fn with(given: &[(&str, SettingValue)]) -> Settings {
        let given: BTreeMap<_, _> = given
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.clone()))
            .collect();
        Settings::check(SETTINGS, &given).unwrap()
    }

    fn engine(given: &[(&str, SettingValue)], limits: Limits) -> Engine {
        Engine::new(&config(&with(given), &limits).unwrap()).unwrap()
    }

    #[test]
    fn every_switch_is_a_declared_setting_and_the_reverse() {
        let declared: Vec<_> = SETTINGS[2..].iter().map(|setting| setting.key).collect();
        let applied: Vec<_> = FEATURES.iter().map(|(key, _)| *key).collect();
        assert_eq!(declared, applied);
    }

    #[test]
    fn the_declared_defaults_are_those_of_wasmtime() {
        let ours = engine(&[], Limits::default());
        let upstream = Engine::new(&Config::new()).unwrap();
        assert_eq!(ours.get_wasm_features(), upstream.get_wasm_features());
        assert_eq!(ours.get_max_wasm_stack(), upstream.get_max_wasm_stack());
        assert_eq!(
            ours.get_async_stack_size() - ours.get_max_wasm_stack(),
            HOST_STACK
        );
        assert_eq!(ours.get_cranelift_opt_level(), Some(OptLevel::Speed));
    }

    #[test]
    fn optimize_reaches_the_compiler() {
        for (word, level) in [
            ("none", OptLevel::None),
            ("speed", OptLevel::Speed),
            ("speed-and-size", OptLevel::SpeedAndSize),
        ] {
            let given = [("optimize", SettingValue::Text(word.into()))];
            let engine = engine(&given, Limits::default());
            assert_eq!(engine.get_cranelift_opt_level(), Some(level), "{word}");
        }
    }

    #[test]
    fn winch_with_proposals_it_lacks_names_what_to_set() {
        let settings = with(&[
            ("compiler", SettingValue::Text("winch".into())),
            ("gc", SettingValue::Bool(false)),
        ]);
        let error = config(&settings, &Limits::default()).err().unwrap();
        assert_eq!(
            error.to_string(),
            "compiler = \"winch\" lacks proposals that are on; set exceptions = false, \
             function-references = false, relaxed-simd = false, tail-call = false"
        );
    }

    #[test]
    fn a_stack_of_nothing_is_refused() {
        for stack in [0, u64::MAX] {
            let limits = Limits {
                stack: Some(stack),
                ..Limits::default()
            };
            assert!(config(&with(&[]), &limits).is_err(), "{stack}");
        }
    }
}

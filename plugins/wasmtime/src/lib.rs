//! The wasmtime engine as a plugin.

trireme_plugin::export!(trireme_engine_wasmtime::ADAPTER);

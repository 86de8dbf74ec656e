//! The WasmEdge engine as a plugin.

trireme_plugin::export!(trireme_engine_wasmedge::ADAPTER);

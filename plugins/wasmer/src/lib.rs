//! The wasmer engine as a plugin.

trireme_plugin::export!(trireme_engine_wasmer::ADAPTER);

//! The fake engine as a plugin.

trireme_plugin::export!(trireme_engine::testing::fake::ADAPTER);

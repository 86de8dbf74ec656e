//! A plugin whose engine panics where one is made.

use trireme_engine::{Adapter, Engine, EngineError, Info, Kind, Limits, Settings, World};

trireme_plugin::export!(ADAPTER);

/// The adapter.
pub static ADAPTER: Panics = Panics;

/// An engine that cannot be made.
pub struct Panics;

static INFO: Info = Info {
    name: "panics",
    version: "1",
    kinds: &[Kind::Module],
    worlds: &[World::Command],
    wasi: &[],
    limits: &[],
    settings: &[],
};

impl Adapter for Panics {
    fn info(&self) -> &Info {
        &INFO
    }

    fn create(&self, _: &Settings, _: &Limits) -> Result<Box<dyn Engine>, EngineError> {
        panic!("no engine today")
    }
}

//! The adapter suite on the plugin that is written in C.

use std::path::Path;
use std::process::ExitCode;

use trireme_plugin::host::testing;

fn main() -> ExitCode {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../c-minimal");
    let plugin = testing::compile(
        &[folder.join("minimal.c"), folder.join("module.c")],
        Path::new(env!("CARGO_TARGET_TMPDIR")),
        "minimal",
    );
    testing::suite_of(&plugin, &[])
}

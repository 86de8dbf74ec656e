//! The C header is what `src/abi.rs` says. With `TRIREME_WRITE_HEADER` set in
//! the environment, the test writes it.

use std::collections::HashMap;
use std::path::Path;

use cbindgen::{Builder, Config, DocumentationStyle, EnumConfig, ExportConfig, Language, Style};

/// The types under the names that they have in C.
const TYPES: &[(&str, &str)] = &[
    ("Buffer", "trireme_buffer"),
    ("Bytes", "trireme_bytes"),
    ("Directory", "trireme_directory"),
    ("Engine", "trireme_engine"),
    ("Guest", "trireme_guest"),
    ("Info", "trireme_info"),
    ("Limit", "trireme_limit"),
    ("Numbers", "trireme_numbers"),
    ("Outcome", "trireme_outcome"),
    ("Plugin", "trireme_plugin"),
    ("Program", "trireme_program"),
    ("Setting", "trireme_setting"),
    ("Texts", "trireme_texts"),
    ("Value", "trireme_value"),
    ("Variable", "trireme_variable"),
];

const HEADER: &str = "\
// The interface between Trireme and an engine that is a plugin. docs/plugins.md\n\
// walks through a plugin in C. Generated from plugins/api/src/abi.rs.";

const TRAILER: &str = "\
// What a plugin exports.\n\
#ifdef __cplusplus\n\
extern \"C\" {\n\
#endif\n\
__attribute__((visibility(\"default\"))) extern const trireme_plugin trireme_plugin_table;\n\
#ifdef __cplusplus\n\
}\n\
#endif";

fn generated(root: &Path) -> String {
    let rename: HashMap<String, String> = TYPES
        .iter()
        .map(|(rust, c)| ((*rust).into(), (*c).into()))
        .collect();
    let config = Config {
        language: Language::C,
        style: Style::Both,
        cpp_compat: true,
        include_guard: Some("TRIREME_PLUGIN_H".into()),
        header: Some(HEADER.into()),
        trailer: Some(TRAILER.into()),
        no_includes: true,
        sys_includes: vec!["stddef.h".into(), "stdint.h".into()],
        usize_is_size_t: true,
        documentation: true,
        documentation_style: DocumentationStyle::C99,
        tab_width: 4,
        line_length: 100,
        enumeration: EnumConfig::default(),
        export: ExportConfig {
            include: vec!["Plugin".into()],
            exclude: vec!["SYMBOL".into(), "REQUIRED_SIZE".into()],
            prefix: Some("TRIREME_".into()),
            renaming_overrides_prefixing: true,
            rename,
            ..ExportConfig::default()
        },
        ..Config::default()
    };
    let mut text = Vec::new();
    Builder::new()
        .with_config(config)
        .with_src(root.join("src/abi.rs"))
        .generate()
        .expect("the bindings")
        .write(&mut text);
    String::from_utf8(text).expect("text")
}

#[test]
fn the_header_says_what_the_interface_says() {
    // Not where it was built: that may be another checkout, with the same target folder.
    let root = std::env::var("CARGO_MANIFEST_DIR").expect("cargo runs it");
    let root = Path::new(&root);
    let path = root.join("include/trireme_plugin.h");
    let wanted = generated(root);
    if std::env::var_os("TRIREME_WRITE_HEADER").is_some() {
        std::fs::write(&path, &wanted).expect("the header is written");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == wanted,
        "{} is not what src/abi.rs says; write it with TRIREME_WRITE_HEADER=1 cargo test \
         --release -p trireme-plugin --test header",
        path.display()
    );
}

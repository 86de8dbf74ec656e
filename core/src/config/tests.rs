use std::ffi::OsStr;
use std::fs;

use super::*;

/// The repository's `config.toml`, which documents the defaults.
const DOCUMENTED: &str = include_str!("../../../config.toml");

fn parse(text: &str) -> Result<Config, String> {
    Config::parse(text, Path::new("/etc/c.toml")).map_err(|e| e.to_string())
}

#[test]
fn the_documented_defaults_are_the_built_in_ones() {
    let documented: Config = toml::from_str(DOCUMENTED).unwrap();
    assert_eq!(documented, Config::default());
}

/// The keys of the structs, taken from a value with every optional key set.
fn every_key() -> Vec<String> {
    fn keys(value: &toml::Table, into: &mut Vec<String>) {
        for (key, value) in value {
            into.push(key.clone());
            if let Some(table) = value.as_table() {
                keys(table, into);
            }
        }
    }
    let limits = HandlerLimits {
        memory: Some(Bytes(1)),
        table: Some(1),
        stack: Some(Bytes(1)),
        fuel: Some(1),
        ..HandlerLimits::default()
    };
    let settings = BTreeMap::from([("optimise".into(), SettingValue::Bool(true))]);
    let handler = Handler {
        limits,
        settings,
        ..Handler::new("wasmtime")
    };
    let config = Config {
        engines: BTreeMap::from([(
            "wasmedge".into(),
            EngineConfig {
                plugin: Some("/p".into()),
            },
        )]),
        handlers: BTreeMap::from([("wasm".into(), handler)]),
        ..Config::default()
    };
    let mut found = Vec::new();
    keys(&toml::Table::try_from(&config).unwrap(), &mut found);
    found.retain(|key| key != "optimise");
    found
}

#[test]
fn config_toml_mentions_every_key() {
    let keys = every_key();
    assert!(keys.len() > 15, "{keys:?}");
    for key in keys {
        let mentioned = DOCUMENTED.lines().any(|line| {
            let line = line.trim_start_matches(['#', ' ']);
            let assigned = line
                .strip_prefix(&key)
                .is_some_and(|l| l.trim_start().starts_with('='));
            let in_header = line.starts_with('[')
                && line
                    .trim_matches(['[', ']'])
                    .split('.')
                    .any(|part| part == key);
            assigned || in_header
        });
        assert!(mentioned, "config.toml says nothing of \"{key}\"");
    }
}

#[test]
fn commented_keys_of_config_toml_are_accepted() {
    let with_comments: String = DOCUMENTED
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest)
                if rest.starts_with('[') || rest.contains(" = ") && !rest.starts_with(' ') =>
            {
                format!("{rest}\n")
            }
            _ => format!("{line}\n"),
        })
        .collect();
    let config = parse(&with_comments).unwrap();
    assert_ne!(config, Config::default(), "no commented key was found");
}

#[test]
fn an_empty_file_is_the_default() {
    assert_eq!(parse("").unwrap(), Config::default());
}

#[test]
fn a_handler_of_the_file_replaces_the_built_in_one_and_leaves_the_others() {
    let config = parse("[handlers.wasm-node]\nengine = \"wasmedge\"\n").unwrap();
    assert_eq!(config.handlers["wasm-node"], Handler::new("wasmedge"));
    assert_eq!(config.handlers["wasm"], Handler::new("wasmtime"));
}

#[test]
fn every_value_is_read() {
    let text = r#"
[engines.wasmedge]
plugin = "/usr/lib/trireme/engines/libtrireme_wasmedge.so"
[handlers.edge]
engine = "wasmedge"
server = "per-node"
network = "none"
limits = { memory = "64MiB", table = 1000, stack = 65536, fuel = 7, compile_timeout = "500ms", compile_memory = "1GiB" }
settings = { aot = true, level = 2, tier = "fast" }
[cache]
dir = "/var/cache/x"
max_size = "1TiB"
[server]
idle_timeout = "5m"
"#;
    let config = parse(text).unwrap();
    let selected = config.handler("edge", None).unwrap();
    let plugin = PathBuf::from("/usr/lib/trireme/engines/libtrireme_wasmedge.so");
    assert_eq!(selected.plugin, Some(plugin));
    assert_eq!(selected.handler.server, ServerMode::PerNode);
    assert_eq!(selected.handler.network, Network::None);
    let choice = selected.engine_choice();
    assert_eq!(
        (choice.handler.as_str(), choice.engine.as_str()),
        ("edge", "wasmedge")
    );
    let limits = Limits {
        memory: Some(64 << 20),
        table: Some(1000),
        stack: Some(65536),
        fuel: Some(7),
    };
    assert_eq!(choice.limits, limits);
    assert_eq!(choice.settings["level"], SettingValue::Integer(2));
    assert_eq!(
        selected.handler.limits.compile_timeout,
        Duration::from_millis(500)
    );
    assert_eq!(config.server.idle_timeout, Duration::from_secs(300));
    assert_eq!(config.cache.max_size, Bytes(1 << 40));
}

#[test]
fn a_configuration_survives_json_and_toml() {
    let text = "[handlers.a]\nengine = \"e\"\nlimits = { memory = 5, compile_timeout = \"1500ms\" }\n\
                settings = { x = \"y\" }\n[engines.e]\nplugin = \"/p.so\"\n";
    let config = parse(text).unwrap();
    let json = serde_json::to_string(&config).unwrap();
    assert_eq!(serde_json::from_str::<Config>(&json).unwrap(), config);
    assert_eq!(parse(&toml::to_string(&config).unwrap()).unwrap(), config);
}

#[test]
fn an_unknown_key_is_refused_with_file_line_and_suggestion() {
    let handler = "[handlers.x]\nengine = \"e\"\n";
    let cases = [
        (
            "\n[cashe]\n",
            "/etc/c.toml:2: unknown key \"cashe\"; did you mean \"cache\"? It can be: \
                         engines, handlers, cache, server",
        ),
        (
            "[handlers.x]\nengine = \"e\"\n\nnetwrk = \"none\"\n",
            "/etc/c.toml:4: unknown key \"netwrk\"; did you mean \"network\"? It can be: engine, \
          server, network, limits, settings",
        ),
        (
            "[cache]\ndir = \"/x\"\nzzz = 1\n",
            "/etc/c.toml:3: unknown key \"zzz\"; it can be: dir, max_size",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(parse(text).unwrap_err(), expected);
    }
    let error = parse(&format!("{handler}[handlers.x.limits]\nmemry = 1\n")).unwrap_err();
    assert!(
        error.starts_with("/etc/c.toml:4: unknown key \"memry\"; did you mean \"memory\"?"),
        "{error}"
    );
}

#[test]
fn a_bad_value_is_refused_with_file_line_and_what_is_expected() {
    let handler = "[handlers.x]\nengine = \"e\"\n";
    let cases = [
        (
            "server = \"per-pot\"",
            "unknown value \"per-pot\"; did you mean \"per-pod\"? It can be: \
                                  per-pod, per-node",
        ),
        (
            "limits = { memory = \"64MB\" }",
            "invalid value: string \"64MB\", expected a size: bytes \
          as a whole number, or a string such as \"64MiB\" (KiB, MiB, GiB or TiB)",
        ),
        ("limits = { memory = -1 }", "expected a size"),
        (
            "limits = { fuel = -1 }",
            "expected a whole number of at least 0",
        ),
        (
            "limits = { compile_timeout = 60 }",
            "expected a duration above 0",
        ),
        (
            "limits = { compile_timeout = \"0s\" }",
            "expected a duration above 0",
        ),
        ("limits = { compile_memory = 0 }", "expected a size above 0"),
        (
            "settings = { x = [1] }",
            "expected true or false, a whole number of at least 0 or a \
                                    string",
        ),
        (
            "settings = { x = -1 }",
            "expected true or false, a whole number of at least 0 or a \
                                   string",
        ),
        ("network = ", "3: "),
    ];
    for (line, expected) in cases {
        let error = parse(&format!("{handler}{line}\n")).unwrap_err();
        assert!(error.starts_with("/etc/c.toml:3: "), "{line}: {error}");
        assert!(error.contains(expected), "{line}: {error}");
        assert!(!error.contains('\n'), "{error}");
    }
}

#[test]
fn names_and_paths_follow_their_rules() {
    for text in [
        "[handlers.\"Wasm\"]\nengine = \"e\"\n",
        "[handlers.\"../x\"]\nengine = \"e\"\n",
        "[handlers.-x]\nengine = \"e\"\n",
        "[handlers.x]\nengine = \"\"\n",
    ] {
        let error = parse(text).unwrap_err();
        assert!(
            error.contains("expected a name of at most 63"),
            "{text}: {error}"
        );
    }
    for text in [
        "[engines.e]\nplugin = \"x.so\"\n",
        "[cache]\ndir = \"cache\"\n",
    ] {
        let error = parse(text).unwrap_err();
        assert!(error.contains("/etc/c.toml:2: "), "{text}: {error}");
        assert!(
            error.contains("expected an absolute path"),
            "{text}: {error}"
        );
    }
    let error = parse("\n[handlers.x]\nserver = \"per-pod\"\n").unwrap_err();
    assert_eq!(error, "/etc/c.toml:2: the key \"engine\" is missing");
}

#[test]
fn sizes_print_as_they_are_written() {
    for text in ["0", "1", "1023", "1KiB", "64MiB", "3GiB", "1TiB", "1025KiB"] {
        assert_eq!(text.parse::<Bytes>().unwrap().to_string(), text);
    }
    for text in ["", "MiB", "-1", "+1", "1.5GiB", "99999999999TiB", "1 0"] {
        text.parse::<Bytes>().unwrap_err();
    }
}

#[test]
fn a_named_file_must_be_there_and_be_small_text() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.toml");
    let load = || Config::load(Some(&file)).map_err(|e| e.to_string());
    let error = load().unwrap_err();
    assert!(
        error.contains(file.to_str().unwrap()) && error.contains("No such file"),
        "{error}"
    );
    fs::write(&file, vec![b'#'; MAX_SIZE as usize + 1]).unwrap();
    assert!(load().unwrap_err().contains("larger than 1 MiB"));
    fs::write(&file, b"\xff").unwrap();
    assert!(load().unwrap_err().contains("not UTF-8"));
    fs::write(&file, "[server]\nidle_timeout = \"1s\"\n").unwrap();
    let loaded = load().unwrap();
    assert_eq!(loaded.config.server.idle_timeout, Duration::from_secs(1));
    assert_eq!(loaded.file, Some(file.clone()));
    assert_eq!(loaded.bytes, fs::read(&file).unwrap());
}

#[test]
fn an_unknown_handler_is_answered_with_those_there_are() {
    let config = Config::default();
    assert_eq!(
        config.handler("wasmtme", None).unwrap_err().to_string(),
        "no handler \"wasmtme\" (did you mean \"wasmtime\"?); the built-in default has: trireme, \
         wasm, wasm-node, wasmer, wasmtime. Add [handlers.wasmtme] to /etc/trireme/config.toml or \
         choose another handler"
    );
    let error = config
        .handler("qq", Some(Path::new("/x.toml")))
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("no handler \"qq\"; /x.toml has: trireme, "),
        "{error}"
    );
}

#[test]
fn the_handler_is_read_from_the_name_of_the_program() {
    let handler = |name: &'static str| handler_from_program(OsStr::new(name));
    assert_eq!(handler("containerd-shim-wasmedge-v1"), Some("wasmedge"));
    assert_eq!(
        handler("/usr/bin/containerd-shim-wasm-node-v2"),
        Some("wasm-node")
    );
    assert_eq!(handler("containerd-shim-trireme-v1"), Some("trireme"));
    for name in [
        "trireme-shim",
        "containerd-shim--v1",
        "containerd-shim-x-v",
        "containerd-shim-x",
    ] {
        assert_eq!(handler(name), None, "{name}");
    }
}

#[test]
fn runtime_options_are_read() {
    let parse = |text| RuntimeOptions::parse(text, Path::new("options")).map_err(|e| e.to_string());
    let options = |handler: Option<&str>, systemd_cgroup| RuntimeOptions {
        handler: handler.map(str::to_owned),
        systemd_cgroup,
    };
    assert_eq!(parse("").unwrap(), options(None, false));
    assert_eq!(parse("SystemdCgroup = true").unwrap(), options(None, true));
    assert_eq!(
        parse("SystemdCgroup = \"true\"").unwrap(),
        options(None, true)
    );
    assert_eq!(
        parse("TypeUrl = \"x\"\nhandler = \"wasm\"\nSystemdCgroup = \"false\"").unwrap(),
        options(Some("wasm"), false)
    );
    let error = parse("handler = \"wasm\"\nsystemdCgroup = true").unwrap_err();
    assert_eq!(
        error,
        "options:2: unknown key \"systemdCgroup\"; did you mean \"SystemdCgroup\"? It can be: \
         handler, SystemdCgroup, TypeUrl, ConfigPath"
    );
    assert!(
        parse("SystemdCgroup = \"yes\"")
            .unwrap_err()
            .contains("expected true or false")
    );
}

/// The blocks of TOML in the page on configuration.
fn documented_blocks() -> Vec<String> {
    let page = include_str!("../../../docs/configuration.md");
    let blocks = page.split("```toml\n").skip(1);
    blocks
        .map(|rest| rest.split("```").next().unwrap().to_owned())
        .collect()
}

#[test]
fn the_configurations_of_the_documentation_are_accepted() {
    let own: Vec<_> = documented_blocks()
        .into_iter()
        .filter(|b| !b.contains("version"))
        .collect();
    assert_eq!(own.len(), 4);
    for block in own {
        assert_ne!(parse(&block).unwrap(), Config::default(), "{block}");
    }
}

#[test]
fn the_runtime_entries_of_the_documentation_name_a_handler() {
    let entries: Vec<_> = documented_blocks()
        .into_iter()
        .filter(|b| b.contains("version"))
        .collect();
    assert_eq!(entries.len(), 2);
    for entry in entries {
        let table: toml::Table = entry.parse().unwrap();
        let plugins = table["plugins"].as_table().unwrap();
        let (_, plugin) = plugins.iter().next().unwrap();
        let options = &plugin["containerd"]["runtimes"]["small"]["options"];
        let body = toml::to_string(options).unwrap();
        let options = RuntimeOptions::parse(&body, Path::new("options")).unwrap();
        assert_eq!(options.handler.as_deref(), Some("small"));
        assert!(options.systemd_cgroup);
    }
}

use std::collections::BTreeMap;

use serde_json::{Value, json};
use trireme_engine::Limits;

use super::*;

fn spec() -> Value {
    json!({
        "ociVersion": "1.1.0",
        "process": {
            "user": {"uid": 1000, "gid": 1000, "additionalGids": [5]},
            "args": ["/hello.wasm", "there"],
            "env": ["A=1", "B=2", "A=3"],
            "cwd": "/work",
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 512}],
            "noNewPrivileges": true
        },
        "root": {"path": "rootfs", "readonly": true},
        "hostname": "box",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "size=64k"]}
        ],
        "linux": {
            "namespaces": [{"type": "mount"}, {"type": "pid"}, {"type": "uts"}, {"type": "network", "path": "/run/netns/a"}]
        }
    })
}

fn plan(spec: Value) -> Result<Planned, PlanError> {
    let spec: oci::Spec = serde_json::from_value(spec).unwrap();
    Plan::from_spec(
        &spec,
        Input {
            id: "one",
            bundle: Path::new("/bundle"),
            rootfs: Vec::new(),
            engine: EngineChoice {
                handler: "wasm".into(),
                engine: "fake".into(),
                plugin: None,
                settings: BTreeMap::new(),
                limits: Limits::default(),
                config: "/etc/trireme/config.toml".into(),
                plugins: Vec::new(),
            },
            network: true,
        },
    )
}

fn refusal(change: impl FnOnce(&mut Value)) -> String {
    let mut spec = spec();
    change(&mut spec);
    plan(spec).unwrap_err().to_string()
}

#[test]
fn an_ordinary_specification_becomes_a_plan() {
    let Planned {
        plan,
        ignored,
        left_out,
    } = plan(spec()).unwrap();
    assert_eq!(plan.root.path, Path::new("/bundle/rootfs"));
    assert!(plan.root.read_only);
    let env: Vec<_> = plan.env.iter().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(env, ["A=3", "B=2", "PWD=/work"]);
    assert_eq!(plan.user.groups, [5]);
    assert_eq!(
        plan.rlimits,
        [Rlimit {
            resource: libc::RLIMIT_NOFILE,
            soft: 512,
            hard: 1024
        }]
    );
    assert!(plan.namespaces.is_new(NamespaceKind::Pid));
    assert!(!plan.namespaces.is_new(NamespaceKind::Network));
    assert_eq!(plan.mounts.len(), 1, "proc is left out");
    assert!(ignored.is_empty(), "{ignored:?}");
    assert!(
        left_out.len() == 1 && left_out[0].contains("/proc"),
        "{left_out:?}"
    );
}

#[test]
fn a_plan_survives_the_way_to_init() {
    let planned = plan(spec()).unwrap().plan;
    let text = serde_json::to_vec(&planned).unwrap();
    let again: Plan = serde_json::from_slice(&text).unwrap();
    assert_eq!(format!("{planned:?}"), format!("{again:?}"));
}

#[test]
fn what_cannot_be_honoured_is_refused_by_name() {
    let user_namespace = refusal(|s| {
        s["linux"]["namespaces"]
            .as_array_mut()
            .unwrap()
            .push(json!({"type": "user"}));
    });
    assert!(
        user_namespace.contains("user namespaces"),
        "{user_namespace}"
    );
    let hook = refusal(|s| s["hooks"] = json!({"startContainer": [{"path": "/bin/x"}]}));
    assert!(hook.contains("startContainer"), "{hook}");
    let sysctl = refusal(|s| s["linux"]["sysctl"] = json!({"kernel.panic": "1"}));
    assert!(sysctl.contains("kernel.panic"), "{sysctl}");
    let host_ipc = refusal(|s| s["linux"]["sysctl"] = json!({"kernel.shmmax": "1"}));
    assert!(host_ipc.contains("Ipc"), "{host_ipc}");
    let mounts = refusal(|s| s["linux"]["namespaces"] = json!([{"type": "pid"}]));
    assert!(mounts.contains("mount namespace"), "{mounts}");
}

#[test]
fn what_is_missing_is_named() {
    assert!(refusal(|s| s["process"] = json!(null)).contains("process"));
    assert!(refusal(|s| s["process"]["cwd"] = json!("work")).contains("process.cwd"));
    assert!(refusal(|s| s["process"]["env"] = json!(["NOVALUE"])).contains("NOVALUE"));
    assert!(
        refusal(|s| s["linux"]["namespaces"] = json!([{"type": "mount"}])).contains("hostname")
    );
}

use serde_json::json;

use super::layout::Hierarchy;
use super::*;

fn v1() -> Layout {
    let hierarchy = |name: &str| Hierarchy {
        mount: format!("/c/{name}").into(),
        controllers: vec![name.to_owned()],
    };
    Layout::V1(vec![hierarchy("memory"), hierarchy("freezer")])
}

fn resources() -> LinuxResources {
    serde_json::from_value(json!({
        "devices": [{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm"}],
        "memory": {"limit": 1048576, "swap": 2097152},
        "cpu": {"shares": 1024, "quota": 50000, "period": 100000, "cpus": "0-1"},
        "pids": {"limit": 32}
    }))
    .unwrap()
}

fn lines(writes: Vec<Write>) -> Vec<String> {
    writes
        .into_iter()
        .map(|w| format!("{}={}", w.file, w.value))
        .collect()
}

#[test]
fn a_path_stays_below_the_mount_points() {
    let cgroup = Cgroup::at(&v1(), "/default/one").unwrap();
    assert_eq!(
        cgroup.controller("freezer"),
        Some(Path::new("/c/freezer/default/one"))
    );
    assert_eq!(
        cgroup.sibling("-compile").join_files()[0],
        Path::new("/c/memory/default/one-compile/tasks")
    );
    for path in ["", "/", "../x", "a/../../b"] {
        assert!(Cgroup::at(&v1(), path).is_err(), "{path}");
    }
}

#[test]
fn on_v1_processes_are_looked_for_where_all_are() {
    let run = tempfile::tempdir().unwrap();
    let hierarchy = |name: &str| Hierarchy {
        mount: run.path().join(name),
        controllers: vec![name.to_owned()],
    };
    let layout = Layout::V1(["name=systemd", "misc", "memory"].map(hierarchy).into());
    let cgroup = Cgroup::at_where(&layout, "/default/one", || true).unwrap();
    for folder in &cgroup.folders {
        fs::create_dir_all(&folder.path).unwrap();
        fs::write(folder.path.join("cgroup.procs"), "").unwrap();
    }
    let memory = run.path().join("memory/default/one/cgroup.procs");
    fs::write(memory, "7\n8\n").unwrap();
    assert_eq!(cgroup.pids().unwrap(), [7, 8]);
}

#[test]
fn what_has_a_containers_accounts_stays_until_it_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let folder = |name: &str, controllers: &[&str]| {
        let path = dir.path().join(name).join("one");
        fs::create_dir_all(&path).unwrap();
        Folder {
            controllers: controllers.iter().map(ToString::to_string).collect(),
            path,
            depth: 1,
        }
    };
    let cgroup = Cgroup {
        version: Version::V1,
        folders: vec![
            folder("cpu,cpuacct", &["cpu", "cpuacct"]),
            folder("freezer", &["freezer"]),
            folder("memory", &["memory"]),
            folder("devices", &["devices"]),
        ],
        scope: None,
    };
    // Somebody is in it yet.
    fs::create_dir(dir.path().join("devices/one/busy")).unwrap();
    cgroup.remove_without_accounts();
    let there = |name: &str| dir.path().join(name).join("one").exists();
    assert!(there("cpu,cpuacct") && there("memory") && there("devices"));
    assert!(!there("freezer"));
    cgroup.remove().unwrap();
    assert!(!there("cpu,cpuacct") && !there("memory") && !there("devices"));
}

#[test]
fn on_v1_systemds_form_is_a_name_where_systemd_does_not_run() {
    let cgroup = Cgroup::at_where(&v1(), "a.slice:ctr:one", || false).unwrap();
    assert!(!cgroup.is_systemds());
    assert_eq!(cgroup.path(), Path::new("/a.slice:ctr:one"));
}

#[test]
fn on_v1_a_scope_needs_what_systemd_knows_processes_by() {
    let error = Cgroup::at_where(&v1(), "a.slice:ctr:one", || true).unwrap_err();
    assert!(error.to_string().contains("name=systemd"), "{error}");
}

#[test]
fn on_v1_a_scope_is_in_what_systemd_knows_processes_by_too() {
    let hierarchy = |mount: &str, controllers: &[&str]| Hierarchy {
        mount: mount.into(),
        controllers: controllers.iter().map(|&name| name.to_owned()).collect(),
    };
    let layout = Layout::V1(vec![
        hierarchy("/c/cpu,cpuacct", &["cpu", "cpuacct"]),
        hierarchy("/c/systemd", &["name=systemd"]),
        hierarchy("/c/unified", &[]),
    ]);
    let scope = Cgroup::at_where(&layout, "a.slice:ctr:one", || true).unwrap();
    assert!(scope.is_systemds() && !scope.may_follow());
    let tracked: Vec<_> = scope.tracked().collect();
    assert_eq!(tracked, ["name=systemd", ""]);
    // Nobody may be found outside by systemd who is inside already elsewhere.
    let files = [
        "/c/systemd/a.slice/ctr-one.scope/tasks",
        "/c/unified/a.slice/ctr-one.scope/cgroup.procs",
        "/c/cpu,cpuacct/a.slice/ctr-one.scope/tasks",
    ];
    assert_eq!(scope.join_files(), files.map(PathBuf::from));
    assert_eq!(scope.join_files_without(&["cpu"]), scope.join_files()[..2]);
    let inside: Vec<_> = scope.hierarchies().map(|(name, _)| name).collect();
    assert_eq!(inside, ["cpu,cpuacct", "cpu", "cpuacct", "systemd"]);
    let plain = Cgroup::at_where(&layout, "/a/one", || true).unwrap();
    assert_eq!(plain.join_files().len(), 2);
}

#[test]
fn a_scope_is_in_its_slice_and_what_is_beside_it_is_none() {
    let layout = Layout::V2 {
        mount: "/c".into(),
        controllers: Vec::new(),
    };
    let cgroup = Cgroup::at(&layout, "a-b.slice:ctr:one").unwrap();
    assert!(cgroup.is_systemds());
    assert_eq!(cgroup.path(), Path::new("/a.slice/a-b.slice/ctr-one.scope"));
    assert!(!cgroup.sibling("-compile").is_systemds());
    let plain = Cgroup::at(&layout, "/default/one").unwrap();
    assert!(!plain.is_systemds());
    assert_eq!(plain.path(), Path::new("/default/one"));
}

#[test]
fn limits_on_v1() {
    assert_eq!(
        lines(v1::writes(&resources()).unwrap()),
        [
            "devices.deny=a *:* rwm",
            "devices.allow=c 1:3 rwm",
            "memory.limit_in_bytes=1048576",
            "memory.memsw.limit_in_bytes=2097152",
            "cpu.shares=1024",
            "cpu.cfs_period_us=100000",
            "cpu.cfs_quota_us=50000",
            "cpuset.cpus=0-1",
            "pids.max=32"
        ]
    );
}

#[test]
fn limits_on_v2() {
    assert_eq!(
        lines(v2::writes(&resources()).unwrap()),
        [
            "memory.swap.max=1048576",
            "memory.max=1048576",
            "cpu.weight=39",
            "cpu.max=50000 100000",
            "cpuset.cpus=0-1",
            "pids.max=32"
        ]
    );
}

#[test]
fn half_a_quota_leaves_the_other_half() {
    let dir = tempfile::tempdir().unwrap();
    let cgroup = Cgroup {
        version: Version::V2,
        folders: vec![Folder {
            controllers: vec!["cpu".to_owned()],
            path: dir.path().to_owned(),
            depth: 1,
        }],
        scope: None,
    };
    let file = dir.path().join("cpu.max");
    fs::write(&file, "25000 50000").unwrap();
    for (half, whole) in [
        (json!({ "period": 100_000 }), "25000 100000"),
        (json!({ "quota": 10_000 }), "10000 100000"),
        (json!({ "shares": 0 }), "10000 100000"),
    ] {
        let resources = serde_json::from_value(json!({ "cpu": half })).unwrap();
        cgroup.update(&resources).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), whole);
    }
}

#[test]
fn a_limit_without_its_controller_is_an_error_that_names_both() {
    let cgroup = Cgroup::at(&v1(), "/x").unwrap();
    let pids = serde_json::from_value(json!({"pids": {"limit": 3}})).unwrap();
    let error = cgroup.update(&pids).unwrap_err().to_string();
    assert!(
        error.contains("pids.limit") && error.contains("pids controller"),
        "{error}"
    );
}

#[test]
fn a_cgroup_that_is_gone_has_nobody_to_resume() {
    let gone = Cgroup::at(&v1(), "/default/gone").unwrap();
    gone.set_frozen(false).unwrap();
    let error = gone.set_frozen(true).unwrap_err().to_string();
    assert!(error.contains("/c/freezer/default/gone"), "{error}");
}

#[test]
fn a_kernel_without_swap_gives_none_when_it_is_to_give_none() {
    let run = tempfile::tempdir().unwrap();
    let layout = Layout::V2 {
        mount: run.path().to_owned(),
        controllers: vec!["memory".to_owned()],
    };
    let cgroup = Cgroup::at(&layout, "/one").unwrap();
    fs::create_dir(run.path().join("one")).unwrap();
    fs::write(run.path().join("one/memory.max"), "max\n").unwrap();
    let update = |swap: i64| {
        let memory = json!({"memory": {"limit": 4096, "swap": swap}});
        cgroup.update(&serde_json::from_value(memory).unwrap())
    };
    for swap in [4096, -1] {
        update(swap).unwrap();
    }
    let error = update(8192).unwrap_err().to_string();
    assert!(error.contains("memory.swap.max: No such file"), "{error}");
}

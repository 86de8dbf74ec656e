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
fn on_v1_systemds_form_is_a_name_where_systemd_does_not_run() {
    let at = |has_systemd| Cgroup::at_where(&v1(), "a.slice:ctr:one", || has_systemd);
    let cgroup = at(false).unwrap();
    assert!(!cgroup.is_systemds());
    assert_eq!(cgroup.path(), Path::new("/a.slice:ctr:one"));
    let error = at(true).unwrap_err().to_string();
    assert!(error.contains("on cgroup v2 alone"), "{error}");
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

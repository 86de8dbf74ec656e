//! The leak detector against a real host: each sort of leak is made by hand and must be found,
//! and must be gone from the list once it is taken away. Needs root.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use trireme_tests::host::Instance;
use trireme_tests::leaks::{Kind, Snapshot, diff, wait_until_clean};

const LIMIT: Duration = Duration::from_secs(10);

/// The one host of these tests, for one test at a time; it goes with the last of them.
struct Host(MutexGuard<'static, usize>);

const TESTS: usize = 8;
static LEFT: OnceLock<Mutex<usize>> = OnceLock::new();

impl Host {
    fn take() -> Self {
        let lock = LEFT.get_or_init(|| Mutex::new(TESTS));
        let host = Self(lock.lock().unwrap_or_else(|poisoned| poisoned.into_inner()));
        host.run("true");
        host
    }

    fn instance(&self) -> Instance {
        Instance::parse(&format!("bookworm@leaks-{}", std::process::id())).unwrap()
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_trireme-host"));
        command.args([self.instance().name(), "--without-build"]);
        command
    }

    fn run(&self, script: &str) {
        let status = self.command().args(["sh", "-ec", script]).status().unwrap();
        assert!(status.success(), "`{script}` in the host: {status}");
    }

    /// Starts a process in the host that says a word when it is there, and waits for that.
    fn start(&self, script: &str) -> Child {
        let mut child = self
            .command()
            .args(["sh", "-ec", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut byte = [0];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut byte).unwrap();
        child
    }

    /// Makes a leak, and checks that it is found as this kind, and only while it is there.
    fn finds(&self, kind: Kind, word: &str, make: impl FnOnce() -> Option<Child>, undo: &str) {
        let before = Snapshot::take(&self.instance()).unwrap();
        let child = make();
        let found = diff(&before, &Snapshot::take(&self.instance()).unwrap());
        if let Some(mut child) = child {
            // The end of its input ends it.
            drop(child.stdin.take());
            child.wait().unwrap();
        }
        self.run(undo);
        assert!(
            found
                .iter()
                .any(|leak| leak.kind == kind && leak.what.contains(word)),
            "no {kind:?} `{word}` among {found:#?}"
        );
        let left = wait_until_clean(&self.instance(), &before, LIMIT).unwrap();
        assert!(left.is_empty(), "still there: {left:#?}");
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        *self.0 -= 1;
        if *self.0 == 0 {
            let status = self.command().arg("--down").status().unwrap();
            assert!(status.success(), "the host did not go down: {status}");
        }
    }
}

#[test]
fn a_process_is_found() {
    let host = Host::take();
    host.finds(
        Kind::Process,
        "cat - stowaway",
        || Some(host.start("echo; exec cat - stowaway 2>/dev/null")),
        "true",
    );
}

#[test]
fn a_process_in_a_pid_namespace_below_is_found() {
    let host = Host::take();
    let start = || Some(host.start("exec unshare -pf sh -c 'echo; cat; : below'"));
    host.finds(Kind::Process, ": below", start, "true");
}

#[test]
fn a_mount_is_found() {
    let host = Host::take();
    let make = || {
        host.run("mkdir /run/leak; mount -t tmpfs cargo /run/leak");
        None
    };
    host.finds(
        Kind::Mount,
        "tmpfs cargo at /run/leak",
        make,
        "umount /run/leak; rmdir /run/leak",
    );
}

#[test]
fn a_mount_in_the_namespace_of_a_process_is_found() {
    let host = Host::take();
    let start = || Some(host.start("exec unshare -m sh -c 'mount -t tmpfs cargo /mnt; echo; cat'"));
    host.finds(Kind::Mount, "tmpfs cargo at /mnt", start, "true");
}

#[test]
fn a_cgroup_is_found_in_every_hierarchy() {
    let host = Host::take();
    for name in ["memory", "systemd", "unified"] {
        let folder = format!("/sys/fs/cgroup/{name}/default/leak");
        let make = || {
            host.run(&format!("mkdir -p {folder}"));
            None
        };
        let word = format!("/{name}/");
        let undo = format!("rmdir {folder} /sys/fs/cgroup/{name}/default");
        host.finds(Kind::Cgroup, &word, make, &undo);
    }
}

#[test]
fn a_socket_that_listens_is_found_without_its_file() {
    let host = Host::take();
    let script = "exec python3 -c 'import os, socket, sys\n\
        s = socket.socket(socket.AF_UNIX)\n\
        s.bind(\"/run/leak.sock\")\n\
        s.listen()\n\
        os.unlink(\"/run/leak.sock\")\n\
        print(flush=True)\n\
        sys.stdin.read()'";
    host.finds(
        Kind::Socket,
        "/run/leak.sock",
        || Some(host.start(script)),
        "true",
    );
}

#[test]
fn a_network_namespace_is_found_with_a_process_and_without() {
    let host = Host::take();
    let start = || Some(host.start("exec unshare -n sh -c 'echo; cat'"));
    host.finds(Kind::NetworkNamespace, "net:[", start, "true");
    let make = || {
        host.run("ip netns add leak");
        None
    };
    // The folder that `ip` made a mount point of stays one.
    host.run("ip netns add first; ip netns delete first");
    host.finds(
        Kind::Mount,
        "nsfs nsfs at /run/netns/leak",
        make,
        "ip netns delete leak",
    );
}

#[test]
fn fifos_and_files_in_state_folders_are_found_but_the_cache_is_not() {
    let host = Host::take();
    let host = &host;
    let make = |script: &'static str| {
        move || {
            host.run(script);
            None
        }
    };
    let fifo = "/run/containerd/fifo-leak";
    host.finds(
        Kind::Fifo,
        fifo,
        make("mkfifo /run/containerd/fifo-leak"),
        "rm /run/containerd/fifo-leak",
    );
    let undo = "rm -r /run/trireme";
    host.finds(
        Kind::File,
        "/run/trireme/a/b",
        make("mkdir -p /run/trireme/a; touch /run/trireme/a/b"),
        undo,
    );
    let undo = "rm /var/lib/trireme/leak";
    host.finds(
        Kind::File,
        "/var/lib/trireme/leak",
        make("touch /var/lib/trireme/leak"),
        undo,
    );

    let before = Snapshot::take(&host.instance()).unwrap();
    host.run("mkdir -p /var/lib/trireme/cache/x");
    assert_eq!(
        diff(&before, &Snapshot::take(&host.instance()).unwrap()),
        []
    );
}

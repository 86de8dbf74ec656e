//! What a host still holds after a test: processes, mounts, cgroups, sockets, namespaces, files.
//!
//! All is read from the machine's side, through `/proc/PID/root` of the host's pid 1, so that
//! looking leaves no trace in the host. An emulated machine looks at itself.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::host::daemon::{Status, root_of};
use crate::host::{Instance, cgroup, emulated, life};

/// Folders of the host in which everything that comes with a container must go with it.
const STATE: [&str; 5] = [
    "run/trireme",
    "run/containerd",
    // Beside it, Docker keeps the mount points of networks for a minute.
    "run/docker/containerd",
    "var/lib/trireme",
    "var/lib/containerd/io.containerd.runtime.v2.task",
];
/// What stays there on purpose, for the next server: when dead ones were looked for, and what is known
/// of programs and made of profiles.
const KEPT: [&str; 5] = [
    "run/trireme/.looked",
    "run/trireme/filters",
    "run/trireme/identities",
    "run/trireme/verified",
    "var/lib/trireme/cache",
];

/// The sorts of things that are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A process in the host's pid namespace.
    Process,
    /// A mount, in the host's mount namespace or in that of one of its processes.
    Mount,
    /// A folder below the host's own in any hierarchy.
    Cgroup,
    /// A unix socket that listens, in the host's network namespace.
    Socket,
    /// A network namespace other than the host's.
    NetworkNamespace,
    /// A named pipe in a state folder.
    Fifo,
    /// Any other file in a state folder.
    File,
}

impl Kind {
    const ALL: [Self; 7] = [
        Self::Process,
        Self::Mount,
        Self::Cgroup,
        Self::Socket,
        Self::NetworkNamespace,
        Self::Fifo,
        Self::File,
    ];
}

/// One thing that was not there before.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Leak {
    /// What it is.
    pub kind: Kind,
    /// Which one.
    pub what: String,
}

impl fmt::Display for Leak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.what)
    }
}

/// All that a host holds at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot(BTreeSet<Leak>);

impl Snapshot {
    /// Looks at a host that is up.
    pub fn take(host: &Instance) -> Result<Self> {
        if host.is_emulated() {
            let program = emulated::program();
            let said = emulated::client::output(host, &[&program, "internal-snapshot"], b"")?;
            return said.parse();
        }
        let init = life::init(host)?.with_context(|| format!("host {host} is not up"))?;
        let root = root_of(host)?;
        let mut found = Self::default();
        let processes = processes(init.pid)?;
        // A daemon of the host's own has another pid once a case has started it again.
        let daemons = daemons(host)?;
        for process in processes
            .iter()
            .filter(|process| !daemons.contains(&process.pid))
        {
            found.add(Kind::Process, process.to_string());
        }
        found.add_mounts(&processes);
        found.add_network_namespaces(&processes);
        found.add_sockets(init.pid)?;
        for hierarchy in cgroup::hierarchies()? {
            found.add_cgroups(&hierarchy.folder(&host.cgroup()?))?;
        }
        for folder in STATE {
            found.add_files(&root, Path::new(folder))?;
        }
        Ok(found)
    }

    /// Looks at the machine that this program is on, which has systemd and nothing else to do than
    /// to be a host.
    pub fn of_this_machine() -> Result<Self> {
        let mut found = Self::default();
        let mut processes = processes(1)?;
        processes.retain(Process::comes_with_containers);
        for process in &processes {
            found.add(Kind::Process, process.to_string());
        }
        found.add_network_namespaces(&processes);
        processes.extend(look_at(1, 1, &fs::read_link("/proc/1/ns/pid")?));
        found.add_mounts(&processes);
        found.add_sockets(1)?;
        found.add_cgroups(Path::new(cgroup::ROOT))?;
        found
            .0
            .retain(|leak| leak.kind != Kind::Cgroup || !is_of_a_unit(&leak.what));
        for folder in STATE {
            found.add_files(Path::new("/"), Path::new(folder))?;
        }
        Ok(found)
    }

    fn add(&mut self, kind: Kind, what: String) {
        self.0.insert(Leak { kind, what });
    }

    fn add_mounts(&mut self, processes: &[Process]) {
        let mut seen = BTreeSet::new();
        for process in processes {
            let Some(namespace) = process.namespace("mnt") else {
                continue;
            };
            if !seen.insert(namespace.clone()) {
                continue;
            }
            let text = fs::read_to_string(process.folder().join("mountinfo")).unwrap_or_default();
            for (place, what) in text.lines().filter_map(parse_mount) {
                self.add(Kind::Mount, format!("{what} at {place} in {namespace}"));
            }
        }
    }

    fn add_network_namespaces(&mut self, processes: &[Process]) {
        for process in processes {
            if let Some(namespace) = process.namespace("net") {
                self.add(Kind::NetworkNamespace, namespace);
            }
        }
    }

    fn add_sockets(&mut self, init: i32) -> Result<()> {
        let file = format!("/proc/{init}/net/unix");
        let text = fs::read_to_string(&file).with_context(|| format!("read {file}"))?;
        for socket in text.lines().filter_map(parse_listening) {
            self.add(Kind::Socket, socket.to_owned());
        }
        Ok(())
    }

    fn add_cgroups(&mut self, folder: &Path) -> Result<()> {
        for entry in entries(folder)? {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                self.add(Kind::Cgroup, entry.path().display().to_string());
                self.add_cgroups(&entry.path())?;
            }
        }
        Ok(())
    }

    /// Stays on the file system of the folder: what is mounted below is told as a mount.
    fn add_files(&mut self, root: &Path, folder: &Path) -> Result<()> {
        let Ok(here) = fs::metadata(root.join(folder)) else {
            return Ok(());
        };
        for entry in entries(&root.join(folder))? {
            let path = folder.join(entry.file_name());
            if KEPT.iter().any(|kept| path == Path::new(kept)) {
                continue;
            }
            // It may have gone since the folder was read.
            let Ok(meta) = fs::symlink_metadata(root.join(&path)) else {
                continue;
            };
            let kind = if meta.file_type().is_fifo() {
                Kind::Fifo
            } else {
                Kind::File
            };
            self.add(kind, format!("/{}", path.display()));
            if meta.is_dir() && meta.dev() == here.dev() {
                self.add_files(root, &path)?;
            }
        }
        Ok(())
    }
}

/// Whether a cgroup is one of a unit that is no container's, or of a namespace of containerd. systemd
/// keeps slices, and on cgroup v1 it takes what is empty away now and then.
fn is_of_a_unit(cgroup: &str) -> bool {
    const UNITS: [&str; 4] = [".service", ".mount", ".socket", "init.scope"];
    const NAMESPACES: [&str; 2] = ["/default", "/second"];
    let is_its = |name: &&str| cgroup.ends_with(*name);
    cgroup.ends_with(".slice")
        || NAMESPACES.iter().any(is_its)
        || cgroup
            .split('/')
            .any(|part| UNITS.iter().any(|unit| part.ends_with(unit)))
}

impl fmt::Display for Snapshot {
    /// A line for each thing.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|leak| writeln!(f, "{leak}"))
    }
}

impl FromStr for Snapshot {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let leak = |line: &str| {
            let (name, what) = line.split_once(": ")?;
            let kind = Kind::ALL
                .into_iter()
                .find(|kind| format!("{kind:?}") == name)?;
            let what = what.to_owned();
            Some(Leak { kind, what })
        };
        let found = text
            .lines()
            .map(|line| leak(line).with_context(|| format!("`{line}`?")));
        found.collect::<Result<_>>().map(Self)
    }
}

/// What is there after and was not before.
pub fn diff(before: &Snapshot, after: &Snapshot) -> Vec<Leak> {
    after.0.difference(&before.0).cloned().collect()
}

/// Looks again until nothing is left that was not there before, and returns what is left at the
/// limit. The kernel takes namespaces and cgroups down some time after their last process.
pub fn wait_until_clean(host: &Instance, before: &Snapshot, limit: Duration) -> Result<Vec<Leak>> {
    let deadline = Instant::now() + limit;
    loop {
        let left = diff(before, &Snapshot::take(host)?);
        if left.is_empty() || Instant::now() > deadline {
            return Ok(left);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The pids of the host's daemons that run.
fn daemons(host: &Instance) -> Result<Vec<i32>> {
    let mut pids = Vec::new();
    for daemon in host.kind.daemons() {
        if let Status::Running(pid) = daemon.status(host)? {
            pids.push(pid);
        }
    }
    Ok(pids)
}

/// A process of a host.
struct Process {
    pid: i32,
    inside: i32,
    name: String,
}

impl Process {
    fn folder(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}", self.pid))
    }

    fn namespace(&self, kind: &str) -> Option<String> {
        let link = fs::read_link(self.folder().join("ns").join(kind)).ok()?;
        Some(link.to_string_lossy().into_owned())
    }
}

impl Process {
    /// Whether it is one of a container, or one that containerd or Docker has started for one: no
    /// thread of the kernel, and no other service of the machine.
    fn comes_with_containers(&self) -> bool {
        const THREADS: &str = "2";
        const DAEMONS: [&str; 2] = ["containerd", "docker"];
        let parent = status_field(self.pid, "PPid:").unwrap_or_default();
        if self.pid == 1 || self.pid == 2 || parent.trim() == THREADS {
            return false;
        }
        let cgroup = fs::read_to_string(self.folder().join("cgroup")).unwrap_or_default();
        let unit = cgroup
            .trim()
            .rsplit('/')
            .find_map(|part| part.strip_suffix(".service"));
        match unit {
            // The daemon itself, which systemd has started.
            Some(unit) if DAEMONS.contains(&unit) => parent.trim() != "1" || self.is_a_shim(),
            Some(_) => false,
            None => true,
        }
    }

    fn is_a_shim(&self) -> bool {
        self.name.contains("shim")
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} (pid {}, {} in the host)",
            self.name, self.pid, self.inside
        )
    }
}

/// The processes in the pid namespace of a host's pid 1 and in those below it.
fn processes(init: i32) -> Result<Vec<Process>> {
    let depth = pids_of(init).context("the host has ended")?.len();
    let own = fs::read_link(format!("/proc/{init}/ns/pid"))?;
    let mut found = Vec::new();
    for entry in entries(Path::new("/proc"))? {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        if let Some(process) = look_at(pid, depth, &own) {
            found.push(process);
        }
    }
    Ok(found)
}

fn look_at(pid: i32, depth: usize, own: &Path) -> Option<Process> {
    let pids = pids_of(pid)?;
    let inside = *pids.get(depth - 1)?;
    // A process deeper down is told by the ancestor that is in the host's namespace; a zombie has
    // no namespaces left and is told by its depth alone.
    let direct = fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    if pids.len() == depth && direct.is_some_and(|namespace| namespace != own) {
        return None;
    }
    if pids.len() > depth && !descends_from(pid, own) {
        return None;
    }
    Some(Process {
        pid,
        inside,
        name: name_of(pid),
    })
}

/// Whether an ancestor process is in the namespace.
fn descends_from(pid: i32, own: &Path) -> bool {
    let mut pid = pid;
    while let Some(parent) = status_field(pid, "PPid:").and_then(|value| value.trim().parse().ok())
    {
        if parent == 0 {
            return false;
        }
        if fs::read_link(format!("/proc/{parent}/ns/pid")).is_ok_and(|namespace| namespace == own) {
            return true;
        }
        pid = parent;
    }
    false
}

/// The pid of a process in each pid namespace from ours down to its own.
fn pids_of(pid: i32) -> Option<Vec<i32>> {
    let line = status_field(pid, "NSpid:")?;
    line.split_whitespace()
        .map(|word| word.parse().ok())
        .collect()
}

fn status_field(pid: i32, field: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    text.lines()
        .find_map(|line| line.strip_prefix(field))
        .map(str::to_owned)
}

fn name_of(pid: i32) -> String {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<_> = line
        .split(|byte| *byte == 0)
        .map(String::from_utf8_lossy)
        .collect();
    let name = words.join(" ").trim().to_owned();
    match name.is_empty() {
        true => format!(
            "[{}]",
            status_field(pid, "Name:").unwrap_or_default().trim()
        ),
        false => name,
    }
}

/// The mount point and what is mounted there.
fn parse_mount(line: &str) -> Option<(&str, String)> {
    let (front, back) = line.split_once(" - ")?;
    let place = front.split(' ').nth(4)?;
    let mut back = back.split(' ');
    Some((place, format!("{} {}", back.next()?, back.next()?)))
}

/// The path of a socket that listens; see unix(7) on `/proc/net/unix`.
fn parse_listening(line: &str) -> Option<&str> {
    const LISTENS: u32 = 1 << 16;
    let mut words = line.split_whitespace();
    let flags = u32::from_str_radix(words.nth(3)?, 16).ok()?;
    let path = words.nth(3)?;
    (flags & LISTENS != 0).then_some(path)
}

/// The entries of a folder, none if it has gone.
fn entries(folder: &Path) -> Result<Vec<fs::DirEntry>> {
    match fs::read_dir(folder) {
        Ok(entries) => Ok(entries.filter_map(|entry| entry.ok()).collect()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).with_context(|| format!("read {}", folder.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sockets_that_listen_count() {
        let line = "0000: 00000002 00000000 00010000 0001 01 1234 /run/containerd/s/abc";
        assert_eq!(parse_listening(line), Some("/run/containerd/s/abc"));
        let line = "0000: 00000003 00000000 00000000 0001 03 1234 /run/containerd/s/abc";
        assert_eq!(parse_listening(line), None);
        assert_eq!(
            parse_listening("Num RefCount Protocol Flags Type St Inode Path"),
            None
        );
    }

    #[test]
    fn a_mount_is_told_by_place_type_and_source() {
        let line = "36 35 0:32 / /mnt/a rw,noatime shared:1 - tmpfs cargo rw";
        assert_eq!(
            parse_mount(line),
            Some(("/mnt/a", "tmpfs cargo".to_owned()))
        );
    }
}

//! A pod that has no process: its namespaces are held open by a thread.
//!
//! The thread joins or makes the namespaces that the pod's containers share and
//! then sleeps. `/proc/<tid>/ns` leads to them as `/proc/<pid>/ns` does for a
//! process, so that its id stands where CRI expects the pid of a pause
//! container (containerd `internal/cri/opts`, `WithPodNamespaces`). Only a pid
//! namespace needs a process that is the first in it: [`pause`].

mod files;
mod pause;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread::{Builder, JoinHandle};

use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};
use trireme_core::plan::{NamespaceKind, sysctl_namespace};

pub use files::{Files, Resolver};
pub use pause::main as pause;

use crate::process::{Child, kill_now};
use crate::{Doing, SysError};

/// What a thread needs that does nothing, in bytes.
const STACK: usize = 64 << 10;

/// The namespaces that a pod is to have.
#[derive(Debug, Default)]
pub struct Wanted {
    /// The network namespace to join; without one it is the node's.
    pub network: Option<PathBuf>,
    /// Whether it has an IPC namespace of its own.
    pub ipc: bool,
    /// The host name in a UTS namespace of its own; without one it is the node's.
    pub hostname: Option<String>,
    /// Kernel parameters of these namespaces, by their names with dots.
    pub sysctls: BTreeMap<String, String>,
    /// Whether its containers share a pid namespace: the program of `trireme-shim`,
    /// whose verb `pause` is the first process in it.
    pub pid: Option<PathBuf>,
}

impl Wanted {
    /// Refuses kernel parameters that are not of a namespace of the pod's own,
    /// as the kubelet does (kubernetes `pkg/kubelet/sysctl`).
    fn check(&self) -> Result<(), SysError> {
        for name in self.sysctls.keys() {
            let is_own = match sysctl_namespace(name) {
                Some(NamespaceKind::Network) => self.network.is_some(),
                Some(NamespaceKind::Ipc) => self.ipc,
                Some(NamespaceKind::Uts) => self.hostname.is_some(),
                _ => false,
            };
            if !is_own || name.contains("..") || name.contains('/') {
                let why = "it belongs to no namespace of the pod's own";
                return Err(io::Error::other(why)).doing(|| format!("set kernel parameter {name}"));
            }
        }
        Ok(())
    }
}

/// The namespaces of a pod, held open.
#[derive(Debug)]
pub struct Pod {
    pid: i32,
    first: Option<Child>,
    end: mpsc::Sender<()>,
    thread: JoinHandle<()>,
}

impl Pod {
    /// Makes the namespaces; returns when they are there.
    ///
    /// # Errors
    ///
    /// When one cannot be made or joined, or a kernel parameter not be set.
    pub fn hold(wanted: Wanted) -> Result<Self, SysError> {
        wanted.check()?;
        let (tell, told) = mpsc::channel();
        let (end, ended) = mpsc::channel();
        let thread = Builder::new()
            .name("pod".into())
            .stack_size(STACK)
            .spawn(move || {
                let made = make(&wanted);
                let is_made = made.is_ok();
                if tell.send(made).is_ok() && is_made {
                    // Until the other end is dropped.
                    let _ = ended.recv();
                }
            })
            .doing(|| "start a thread for a pod".into())?;
        let made = told
            .recv()
            .map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe));
        let (pid, first) = made.doing(|| "make a pod".into())??;
        Ok(Pod {
            pid,
            first,
            end,
            thread,
        })
    }

    /// The id that leads to its namespaces below `/proc`.
    pub fn pid(&self) -> u32 {
        self.pid.unsigned_abs()
    }

    /// The first process of its pid namespace, where it has one. It has to be
    /// reaped by whoever sees its end.
    pub fn first(&self) -> Option<&Child> {
        self.first.as_ref()
    }

    /// Lets go of the namespaces. Those of running containers live on, but for
    /// the pid namespace.
    pub fn release(self) {
        if let Some(first) = &self.first {
            kill_now(first.pidfd.as_fd());
        }
        drop(self.end);
        let _ = self.thread.join();
    }
}

/// Makes the calling thread what holds the namespaces, and tells the id to find
/// them by.
fn make(wanted: &Wanted) -> Result<(i32, Option<Child>), SysError> {
    if let Some(network) = &wanted.network {
        join_network(network)?;
    }
    let mut flags = UnshareFlags::empty();
    flags.set(UnshareFlags::NEWIPC, wanted.ipc);
    flags.set(UnshareFlags::NEWUTS, wanted.hostname.is_some());
    flags.set(UnshareFlags::NEWPID, wanted.pid.is_some());
    // SAFETY: none of these namespaces changes what a file descriptor means.
    unsafe { rustix::thread::unshare_unsafe(flags) }.doing(|| "make a pod's namespaces".into())?;
    if let Some(name) = &wanted.hostname {
        rustix::system::sethostname(name.as_bytes())
            .doing(|| format!("set the host name \"{name}\""))?;
    }
    for (name, value) in &wanted.sysctls {
        let path = Path::new("/proc/sys").join(name.replace('.', "/"));
        fs::write(&path, value).doing(|| format!("set kernel parameter {name}"))?;
    }
    let own = rustix::thread::gettid().as_raw_nonzero().get();
    match &wanted.pid {
        None => Ok((own, None)),
        Some(program) => start_first(program).map(|first| (first.pid, Some(first))),
    }
}

fn join_network(path: &Path) -> Result<(), SysError> {
    let what = || format!("join the network namespace {}", path.display());
    let file = File::open(path).doing(what)?;
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).doing(what)
}

/// Starts what reaps in the pid namespace that this thread's children are in, and waits until it
/// has nothing that a container might take.
fn start_first(program: &Path) -> Result<Child, SysError> {
    let what = || format!("start {} pause", program.display());
    let mut child = Command::new(program)
        .arg("pause")
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .doing(what)?;
    let mut said = String::new();
    if let Some(mut stdout) = child.stdout.take() {
        stdout.read_to_string(&mut said).doing(what)?;
    }
    if said != pause::READY {
        let _ = child.kill();
        let _ = child.wait();
        let why = match said.as_str() {
            "" => "it ended",
            why => why,
        };
        return Err(io::Error::other(why)).doing(what);
    }
    let pid = i32::try_from(child.id())
        .map_err(io::Error::other)
        .doing(what)?;
    Child::of(pid).doing(what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_parameters_of_the_node_are_refused() {
        let refused = |wanted: Wanted| Pod::hold(wanted).unwrap_err().to_string();
        for name in [
            "kernel.panic",
            "net.ipv4.ip_forward",
            "kernel.hostname",
            "net/../kernel",
        ] {
            let sysctls = BTreeMap::from([(name.to_owned(), "1".to_owned())]);
            let message = refused(Wanted {
                sysctls,
                ipc: true,
                ..Wanted::default()
            });
            assert!(message.contains(name), "{message}");
        }
    }

    #[test]
    fn a_network_namespace_that_is_not_there_is_named() {
        let message = Pod::hold(Wanted {
            network: Some("/nowhere/net".into()),
            ..Wanted::default()
        })
        .unwrap_err()
        .to_string();
        assert!(message.contains("/nowhere/net"), "{message}");
    }

    #[test]
    fn namespaces_are_found_by_the_id_of_a_pod() {
        let own = |id: &str, kind: &str| fs::read_link(format!("/proc/{id}/ns/{kind}")).unwrap();
        let pod = Pod::hold(Wanted {
            ipc: true,
            hostname: Some("a-pod".into()),
            sysctls: BTreeMap::from([("kernel.shmmni".into(), "17".into())]),
            ..Wanted::default()
        })
        .unwrap();
        let id = pod.pid().to_string();
        for kind in ["ipc", "uts"] {
            assert_ne!(own(&id, kind), own("self", kind), "{kind}");
        }
        for kind in ["net", "pid", "mnt"] {
            assert_eq!(own(&id, kind), own("self", kind), "{kind}");
        }
        pod.release();
        assert!(!Path::new("/proc/self/task").join(id).exists());
        assert_ne!(
            fs::read_to_string("/proc/sys/kernel/shmmni")
                .unwrap()
                .trim(),
            "17"
        );
    }
}

//! The files that a pod gives to each of its containers: host name, hosts,
//! resolver, and shared memory. Without a pause container nobody else makes
//! them (containerd `internal/cri/server/container_create.go`, `linuxContainerMounts`).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags};

use crate::{Doing, SysError};

/// The shared memory of a pod, as large as CRI makes it (`defaultShmSize`).
const SHARED_MEMORY: &str = "mode=1777,size=67108864";
/// Where it is in the folder of a pod.
const SHM: &str = "shm";

/// How a pod's containers resolve names.
#[derive(Debug)]
pub enum Resolver {
    /// As the node does.
    Node,
    /// By what `resolv.conf` is to say (resolv.conf(5)).
    Own(String),
}

/// The files of a pod, below its folder.
#[derive(Clone, Debug)]
pub struct Files(PathBuf);

impl Files {
    /// The files of the pod whose folder this is.
    pub fn at(folder: &Path) -> Self {
        Files(folder.to_owned())
    }

    /// Makes them, with memory to share unless that is the node's.
    ///
    /// # Errors
    ///
    /// When one cannot be written, or the memory not be mounted.
    pub fn make(&self, hostname: &str, resolver: &Resolver, shm: bool) -> Result<(), SysError> {
        self.write("hostname", format!("{hostname}\n").as_bytes())?;
        self.write("hosts", &of_node("/etc/hosts")?)?;
        match resolver {
            Resolver::Node => self.write("resolv.conf", &of_node("/etc/resolv.conf")?)?,
            Resolver::Own(text) => self.write("resolv.conf", text.as_bytes())?,
        }
        if shm {
            self.mount()?;
        }
        Ok(())
    }

    fn write(&self, name: &str, content: &[u8]) -> Result<(), SysError> {
        let path = self.0.join(name);
        fs::write(&path, content).doing(|| format!("write {}", path.display()))
    }

    fn mount(&self) -> Result<(), SysError> {
        let path = self.0.join(SHM);
        let what = || format!("mount {}", path.display());
        match fs::create_dir(&path) {
            // A pod that could not be started is tried again.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made.doing(what)?,
        }
        let flags = MountFlags::NOEXEC | MountFlags::NOSUID | MountFlags::NODEV;
        let options = std::ffi::CString::new(SHARED_MEMORY).map_err(io::Error::from);
        let options = options.doing(what)?;
        rustix::mount::mount("shm", &path, "tmpfs", flags, options.as_c_str()).doing(what)
    }

    /// The file for a path in containers, if the pod has one for it.
    pub fn of(&self, destination: &Path) -> Option<PathBuf> {
        let name = match destination.to_str()? {
            "/etc/hostname" => "hostname",
            "/etc/hosts" => "hosts",
            "/etc/resolv.conf" => "resolv.conf",
            "/dev/shm" => SHM,
            _ => return None,
        };
        Some(self.0.join(name)).filter(|path| path.exists())
    }

    /// Unmounts what is mounted; containers keep what they have of it.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn unmount(&self) -> Result<(), SysError> {
        let path = self.0.join(SHM);
        match rustix::mount::unmount(&path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            // Nothing there, or nothing mounted.
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::INVAL) => Ok(()),
            result => result.doing(|| format!("unmount {}", path.display())),
        }
    }
}

/// A file of the node; one that is not there is empty.
fn of_node(path: &str) -> Result<Vec<u8>, SysError> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        result => result.doing(|| format!("read {path}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_made_and_found_by_their_place_in_containers() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::at(folder.path());
        let resolver = Resolver::Own("nameserver 10.0.0.1\n".into());
        files.make("web-0", &resolver, false).unwrap();
        let read = |path: &str| fs::read_to_string(files.of(Path::new(path)).unwrap()).unwrap();
        assert_eq!(read("/etc/hostname"), "web-0\n");
        assert_eq!(read("/etc/resolv.conf"), "nameserver 10.0.0.1\n");
        assert_eq!(
            read("/etc/hosts"),
            fs::read_to_string("/etc/hosts").unwrap()
        );
        for none in ["/dev/shm", "/etc/passwd"] {
            assert_eq!(files.of(Path::new(none)), None);
        }
        files.unmount().unwrap();
    }
}

//! A guest on its way to a plugin.

use std::fs::File;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};

use trireme_engine::{Directory, Guest, Rights, World};

use super::numbers::ToNumber;
use super::{MAX_ITEMS, Malformed, Number, bytes, texts};
use crate::{abi, memory};

/// The most bytes of an argument, a variable and a path: more than an exec can
/// carry.
const MAX_TEXT: usize = 16 << 20;

/// A guest in the interface's terms, with the lists that it leads to. What they
/// borrow is on the heap, and stays there when this is moved.
pub struct Lent {
    guest: Guest,
    /// The names of the directories, whose descriptors are given away.
    _names: Vec<String>,
    args: Vec<abi::Bytes>,
    env: Vec<abi::Variable>,
    directories: Vec<abi::Directory>,
}

impl Lent {
    /// Takes a guest. The descriptors of its directories are closed by whoever
    /// is handed [`Lent::abi`].
    pub fn new(mut guest: Guest) -> Self {
        let mut names = Vec::new();
        let mut directories = Vec::new();
        for directory in guest.directories.drain(..) {
            directories.push(abi::Directory {
                name: bytes(&directory.name),
                fd: directory.dir.into_raw_fd(),
                rights: directory.rights.number(),
            });
            names.push(directory.name);
        }
        let variable = |(name, value): &(String, String)| abi::Variable {
            name: bytes(name),
            value: bytes(value),
        };
        Lent {
            args: guest.args.iter().map(bytes).collect(),
            env: guest.env.iter().map(variable).collect(),
            guest,
            _names: names,
            directories,
        }
    }

    /// The guest as the other side finds it while this lives.
    pub fn abi(&self) -> abi::Guest {
        abi::Guest {
            size: size_of::<abi::Guest>(),
            world: self.guest.world.number(),
            network: u32::from(self.guest.network),
            args: texts(&self.args),
            env: self.env.as_ptr(),
            env_count: self.env.len(),
            cwd: bytes(&self.guest.cwd),
            directories: self.directories.as_ptr(),
            directory_count: self.directories.len(),
            parallelism: self.guest.parallelism,
        }
    }
}

/// A guest that came over the interface, with its directories for its own.
///
/// # Safety
///
/// `guest` must lead to a guest of a size at least this build's, whose pointers
/// lead where they say, and whose descriptors nobody else closes.
///
/// # Errors
///
/// For a guest that makes no sense.
pub unsafe fn from_abi(guest: *const abi::Guest) -> Result<Guest, Malformed> {
    // SAFETY: the caller vouches for the guest.
    let guest = unsafe { memory::item(guest, "the guest") }?;
    if guest.size < size_of::<abi::Guest>() {
        return Err(Malformed::Invalid {
            what: "the size of the guest",
            value: guest.size.to_string(),
            why: "is too small",
        });
    }
    // SAFETY: the caller vouches for all that it leads to. The directories come
    // first, so that their descriptors are closed whatever is wrong.
    unsafe {
        let directories = directories(guest.directories, guest.directory_count)?;
        Ok(Guest {
            world: World::of(guest.world)?,
            args: memory::texts(guest.args, MAX_ITEMS, MAX_TEXT, "an argument")?
                .into_iter()
                .map(str::to_owned)
                .collect(),
            env: env(guest.env, guest.env_count)?,
            cwd: memory::text(guest.cwd, MAX_TEXT, "the working directory")?.to_owned(),
            directories,
            network: guest.network != 0,
            parallelism: guest.parallelism.max(1),
        })
    }
}

/// # Safety
///
/// As [`memory::items`], for the list and its texts.
unsafe fn env(
    list: *const abi::Variable,
    count: usize,
) -> Result<Vec<(String, String)>, Malformed> {
    // SAFETY: the caller vouches for the list and its texts.
    unsafe {
        memory::items(list, count, MAX_ITEMS, "the environment")?
            .iter()
            .map(|variable| {
                let name = memory::text(variable.name, MAX_TEXT, "a variable's name")?;
                let value = memory::text(variable.value, MAX_TEXT, "a variable's value")?;
                Ok((name.to_owned(), value.to_owned()))
            })
            .collect()
    }
}

/// # Safety
///
/// As [`memory::items`], for the list and its names; its descriptors are the
/// callee's.
unsafe fn directories(
    list: *const abi::Directory,
    count: usize,
) -> Result<Vec<Directory>, Malformed> {
    // SAFETY: the caller vouches for the list.
    let list = unsafe { memory::items(list, count, MAX_ITEMS, "the list of directories") }?;
    if list.iter().any(|directory| directory.fd < 0) {
        return Err(Malformed::Invalid {
            what: "the descriptor of a directory",
            value: "-1".into(),
            why: "is not open",
        });
    }
    let owned: Vec<_> = list
        .iter()
        // SAFETY: the caller gives the descriptors away.
        .map(|directory| File::from(unsafe { OwnedFd::from_raw_fd(directory.fd) }))
        .collect();
    list.iter()
        .zip(owned)
        .map(|(directory, dir)| {
            // SAFETY: the caller vouches for the name.
            let name = unsafe { memory::text(directory.name, MAX_TEXT, "a directory's name") }?;
            Ok(Directory {
                dir,
                name: name.to_owned(),
                rights: Rights::of(directory.rights)?,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    fn guest() -> Guest {
        Guest {
            args: vec!["guest".into(), String::new(), "é".into()],
            env: vec![
                ("Z".into(), "1".into()),
                ("A".into(), String::new()),
                ("B".into(), "a=b".into()),
            ],
            cwd: "/work".into(),
            directories: vec![Directory {
                dir: File::open("/").expect("the root"),
                name: "/".into(),
                rights: Rights::ReadOnly,
            }],
            network: true,
            parallelism: 3,
            ..Guest::command("guest")
        }
    }

    #[test]
    fn a_guest_comes_through_whole_with_its_directories() {
        let wanted = guest();
        let lent = Lent::new(guest());
        let abi = lent.abi();
        // SAFETY: it was just made, and its descriptors are given away.
        let got = unsafe { from_abi(&raw const abi) }.expect("a guest");
        assert_eq!(
            (&got.args, &got.env, &got.cwd),
            (&wanted.args, &wanted.env, &wanted.cwd)
        );
        assert_eq!((got.network, got.parallelism), (true, 3));
        let [directory] = &got.directories[..] else {
            panic!("{:?}", got.directories)
        };
        assert_eq!(
            (directory.name.as_str(), directory.rights),
            ("/", Rights::ReadOnly)
        );
        let inode = |file: &File| file.metadata().expect("its status").ino();
        assert_eq!(inode(&directory.dir), inode(&wanted.directories[0].dir));
    }

    #[test]
    fn a_guest_of_another_size_or_world_is_refused() {
        let lent = Lent::new(Guest::command("guest"));
        for (abi, message) in [
            (
                abi::Guest {
                    size: 8,
                    ..lent.abi()
                },
                "too small",
            ),
            (
                abi::Guest {
                    world: 9,
                    ..lent.abi()
                },
                "the world 9",
            ),
            (
                abi::Guest {
                    env_count: 1,
                    env: std::ptr::null(),
                    ..lent.abi()
                },
                "the environment is a null pointer",
            ),
        ] {
            // SAFETY: it was just made; what is changed is refused.
            let error = unsafe { from_abi(&raw const abi) }.expect_err("a refusal");
            assert!(error.to_string().contains(message), "{error}");
        }
    }
}

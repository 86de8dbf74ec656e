//! What a guest is given: arguments, environment, directories.

use std::fs::File;

use crate::World;

/// What one run of a program is given.
///
/// Standard input, output and error are descriptors 0, 1 and 2 of the process;
/// an engine that knows terminals asks them with `isatty`.
#[derive(Debug)]
pub struct Guest {
    /// The world the program is run in.
    pub world: World,
    /// Arguments, the program's own name first.
    pub args: Vec<String>,
    /// Environment variables in the order given; names are unique.
    pub env: Vec<(String, String)>,
    /// The working directory as the guest sees it, an absolute path.
    ///
    /// WASI 0.1 has no notion of it: there it is the environment variable
    /// `PWD` and the directory named `.`; WASI 0.2 has `initial-cwd`.
    pub cwd: String,
    /// Directories in the order in which the guest finds them.
    pub directories: Vec<Directory>,
    /// Whether the guest may use the network of its process.
    pub network: bool,
    /// How many processors the guest is told of, at least 1.
    pub parallelism: usize,
}

impl Guest {
    /// A guest of the command world with nothing but its name.
    pub fn command(name: impl Into<String>) -> Self {
        Guest {
            world: World::Command,
            args: vec![name.into()],
            env: Vec::new(),
            cwd: "/".into(),
            directories: Vec::new(),
            network: false,
            parallelism: 1,
        }
    }
}

/// A directory that a guest finds already open.
#[derive(Debug)]
pub struct Directory {
    /// The open directory.
    pub dir: File,
    /// Its name for the guest, such as `/` or `.`.
    pub name: String,
    /// What the guest may do below it; mounts may allow less.
    pub rights: Rights,
}

/// What a guest may do below a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rights {
    /// Look up, list and read.
    ReadOnly,
    /// Create, write, rename and remove too.
    ReadWrite,
}

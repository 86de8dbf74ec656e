//! What an image is made of, and the rules for it.

use std::fmt;
use std::str::FromStr;

use trireme_core::program::FileKind;

/// Why an image cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The program is not a WebAssembly binary.
    #[error("{name} is {kind}; an image is built from a WebAssembly module or component{hint}")]
    NotWasm {
        /// The program's file name.
        name: String,
        /// What it is instead.
        kind: FileKind,
        /// What to do about it, if there is something.
        hint: &'static str,
    },
    /// The program's name cannot be a file name in the image.
    #[error("\"{0}\" cannot be the name of a file in the image; rename the program's file")]
    FileName(String),
    /// A platform other than those an image can be built for.
    #[error("unknown platform \"{0}\"; it can be: wasi/wasm, wasi/wasm32, linux/amd64")]
    Platform(String),
    /// A format that there is none of.
    #[error("unknown format \"{0}\"; it can be: rootfs, oci-artifact")]
    Format(String),
    /// Further files for an image without a root file system.
    #[error(
        "\"{0}\" cannot be in an OCI artifact, which holds the program and no other file; build \
         the image with the format rootfs, or mount the file when it is run"
    )]
    FileInArtifact(String),
    /// A path that is not a place in the image.
    #[error(
        "\"{0}\" is not a place in the image; write an absolute path without \".\", \"..\" or \
         empty parts"
    )]
    GuestPath(String),
    /// Two files for one place, or a file where another needs a folder.
    #[error("the image would hold two things at {0}; give each file a place of its own")]
    Clash(String),
    /// An environment variable without a name or a value.
    #[error("\"{0}\" is not an environment variable; write NAME=VALUE")]
    Env(String),
    /// The archive cannot be written.
    #[error("cannot write the archive: {0}")]
    Write(#[from] std::io::Error),
}

/// The program of an image.
#[derive(Clone, Copy, Debug)]
pub struct Program<'a> {
    /// Its file's name, without folders. In the image it stands in `/` and
    /// ends in `.wasm`.
    pub name: &'a str,
    /// The module or component.
    pub wasm: &'a [u8],
}

impl Program<'_> {
    /// Where the program is in the image, as a path from its root without the
    /// leading `/`.
    pub(crate) fn place(&self) -> Result<String, ImageError> {
        let stem = self.name.strip_suffix(".wasm").unwrap_or(self.name);
        // An entry point splits at '#', so that such a name could not be run.
        if stem.is_empty() || stem.contains(['/', '\0', '#']) {
            return Err(ImageError::FileName(self.name.to_owned()));
        }
        Ok(format!("{stem}.wasm"))
    }

    pub(crate) fn check(&self) -> Result<(), ImageError> {
        let kind = FileKind::recognise(self.wasm);
        if kind.wasm().is_some() {
            return Ok(());
        }
        let hint = match kind {
            FileKind::Text => "; translate it first, for example with `wasm-tools parse`",
            _ => "",
        };
        Err(ImageError::NotWasm {
            name: self.name.to_owned(),
            kind,
            hint,
        })
    }
}

/// The platform that an image says it is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Platform {
    /// `wasi/wasm`.
    #[default]
    WasiWasm,
    /// `wasi/wasm32`.
    WasiWasm32,
    /// `linux/amd64`, which every client pulls and unpacks unasked.
    LinuxAmd64,
}

impl Platform {
    /// The operating system, as the image specification names it.
    pub fn os(self) -> &'static str {
        match self {
            Platform::WasiWasm | Platform::WasiWasm32 => "wasi",
            Platform::LinuxAmd64 => "linux",
        }
    }

    /// The processor architecture, as the image specification names it.
    pub fn architecture(self) -> &'static str {
        match self {
            Platform::WasiWasm => "wasm",
            Platform::WasiWasm32 => "wasm32",
            Platform::LinuxAmd64 => "amd64",
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os(), self.architecture())
    }
}

impl FromStr for Platform {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self, ImageError> {
        [
            Platform::WasiWasm,
            Platform::WasiWasm32,
            Platform::LinuxAmd64,
        ]
        .into_iter()
        .find(|platform| platform.to_string() == text)
        .ok_or_else(|| ImageError::Platform(text.to_owned()))
    }
}

/// How an image holds its program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Format {
    /// In a root file system, which every client unpacks.
    #[default]
    Rootfs,
    /// As a layer of its own, which no client unpacks.
    OciArtifact,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::Rootfs => "rootfs",
            Format::OciArtifact => "oci-artifact",
        })
    }
}

impl FromStr for Format {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self, ImageError> {
        [Format::Rootfs, Format::OciArtifact]
            .into_iter()
            .find(|format| format.to_string() == text)
            .ok_or_else(|| ImageError::Format(text.to_owned()))
    }
}

/// What an image holds besides its program.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// How it holds its program.
    pub format: Format,
    /// The platform it says it is for.
    pub platform: Platform,
    /// Arguments where the container gives none.
    pub cmd: Vec<String>,
    /// Environment variables, `NAME=VALUE`.
    pub env: Vec<String>,
    /// The working directory, an absolute path; made if nothing else makes it.
    pub working_dir: Option<String>,
    /// Further files.
    pub files: Vec<ExtraFile>,
}

impl Options {
    pub(crate) fn check(&self) -> Result<(), ImageError> {
        let wrong = |env: &&String| env.split_once('=').is_none_or(|(name, _)| name.is_empty());
        if let Some(env) = self.env.iter().find(wrong) {
            return Err(ImageError::Env(env.clone()));
        }
        match self.files.first() {
            Some(file) if self.format == Format::OciArtifact => {
                Err(ImageError::FileInArtifact(file.guest.clone()))
            }
            _ => Ok(()),
        }
    }
}

/// A further file of an image.
#[derive(Clone, Debug)]
pub struct ExtraFile {
    /// Where it is in the image, an absolute path.
    pub guest: String,
    /// What it holds.
    pub content: Vec<u8>,
    /// Whether it may be executed.
    pub executable: bool,
}

/// An absolute path in the image as a path from its root without the leading
/// `/`; empty for the root itself.
pub(crate) fn place(path: &str) -> Result<&str, ImageError> {
    let wrong = || ImageError::GuestPath(path.to_owned());
    let place = path.strip_prefix('/').ok_or_else(wrong)?;
    let bad_part = |part: &str| matches!(part, "" | "." | "..") || part.contains('\0');
    if !place.is_empty() && place.split('/').any(bad_part) {
        return Err(wrong());
    }
    Ok(place)
}

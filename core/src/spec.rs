//! Reading `config.json` of a bundle (OCI runtime specification 1.2).

use std::collections::HashMap;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;

pub use oci_spec::runtime as oci;

/// The largest `config.json` that is read, in bytes.
pub const MAX_SPEC: u64 = 16 << 20;

/// Why a bundle's specification cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// The file cannot be read.
    #[error("{file}: {source}")]
    Read {
        /// The file.
        file: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The file is larger than [`MAX_SPEC`].
    #[error("{file}: larger than {MAX_SPEC} bytes")]
    TooLarge {
        /// The file.
        file: PathBuf,
    },
    /// The file is not an OCI runtime specification.
    #[error("{file}: {source}")]
    Parse {
        /// The file.
        file: PathBuf,
        /// The cause, with line and column.
        source: serde_json::Error,
    },
}

/// Reads the whole specification of `bundle`.
///
/// # Errors
///
/// When the file cannot be read, is too large or is no specification.
pub fn read(bundle: &Path) -> Result<oci::Spec, SpecError> {
    parse(bundle, &text(bundle)?)
}

/// Reads the specification of `bundle` as it is written there.
///
/// # Errors
///
/// When the file cannot be read or is too large.
pub fn text(bundle: &Path) -> Result<Vec<u8>, SpecError> {
    let file = file(bundle);
    let mut text = Vec::new();
    let read = File::open(&file).and_then(|f| f.take(MAX_SPEC + 1).read_to_end(&mut text));
    match read {
        Err(source) => Err(SpecError::Read { file, source }),
        Ok(n) if n as u64 > MAX_SPEC => Err(SpecError::TooLarge { file }),
        Ok(_) => Ok(text),
    }
}

/// The specification that is the text of `bundle`'s, or a part of it.
///
/// # Errors
///
/// When it is none.
pub fn parse<T: serde::de::DeserializeOwned>(bundle: &Path, text: &[u8]) -> Result<T, SpecError> {
    serde_json::from_slice(text).map_err(|source| SpecError::Parse {
        file: file(bundle),
        source,
    })
}

fn file(bundle: &Path) -> PathBuf {
    bundle.join("config.json")
}

/// Reads only the annotations of the specification of `bundle`. A bundle
/// without one, which is that of a pod and no container, has none.
///
/// # Errors
///
/// When it cannot be read, or is none.
pub fn read_annotations(bundle: &Path) -> Result<HashMap<String, String>, SpecError> {
    #[derive(Deserialize)]
    struct Annotated {
        #[serde(default)]
        annotations: Option<HashMap<String, String>>,
    }
    match text(bundle) {
        Ok(text) => {
            let annotated: Annotated = parse(bundle, &text)?;
            Ok(annotated.annotations.unwrap_or_default())
        }
        Err(SpecError::Read { source, .. }) if source.kind() == ErrorKind::NotFound => {
            Ok(HashMap::new())
        }
        Err(error) => Err(error),
    }
}

/// The name of the group of containers, usually a pod, that share a server.
///
/// The annotations are looked at in the order in which containerd's runc shim
/// does (`cmd/containerd-shim-runc-v2/manager/manager_linux.go`).
pub fn group<'a>(annotations: &'a HashMap<String, String>, id: &'a str) -> &'a str {
    [
        "io.containerd.runc.v2.group",
        "io.kubernetes.cri.sandbox-id",
    ]
    .iter()
    .find_map(|key| annotations.get(*key))
    .map_or(id, String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pod_of_a_container_is_its_group() {
        let mut annotations = HashMap::new();
        assert_eq!(group(&annotations, "one"), "one");
        annotations.insert("io.kubernetes.cri.sandbox-id".into(), "pod".into());
        assert_eq!(group(&annotations, "one"), "pod");
        annotations.insert("io.containerd.runc.v2.group".into(), "own".into());
        assert_eq!(group(&annotations, "one"), "own");
    }

    #[test]
    fn a_broken_specification_is_reported_with_its_file_and_place() {
        let bundle = tempfile::tempdir().unwrap();
        std::fs::write(
            bundle.path().join("config.json"),
            "{\n  \"annotations\": 3\n}",
        )
        .unwrap();
        let error = read_annotations(bundle.path()).unwrap_err().to_string();
        assert!(error.contains("config.json"), "{error}");
        assert!(error.contains("line 2"), "{error}");
    }
}

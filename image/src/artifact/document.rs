//! Manifests and indexes.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::digest::{Digest, DigestError};
use super::{MODULE_TYPES, TITLE};

/// The longest title of a layer, in bytes (`PATH_MAX` of `linux/limits.h`): it is the path of a file.
const MAX_TITLE: usize = 4096;

const MANIFESTS: [&str; 2] = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];
const INDEXES: [&str; 2] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];

/// What leads to a blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// What the blob says it is.
    pub media_type: String,
    /// The blob's digest.
    pub digest: Digest,
    /// The blob's size in bytes.
    pub size: u64,
    /// The file name that goes with it.
    pub title: Option<String>,
    /// The platform it is for, `os/architecture`.
    pub platform: Option<(String, String)>,
}

/// A document that leads to layers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Document {
    /// One image.
    Manifest {
        /// Its layers that are WebAssembly, in order.
        modules: Vec<Descriptor>,
    },
    /// A choice of images.
    Index {
        /// Their descriptors, the most fitting first. Those that are no images,
        /// such as attestations, are left out.
        manifests: Vec<Descriptor>,
    },
}

/// Why a document cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// Neither a manifest nor an index.
    #[error("its media type {0:?} is neither that of an image manifest nor of an index")]
    MediaType(String),
    /// It claims to be another thing inside than outside.
    #[error("it says of itself to be {inside:?}, but what leads to it says {outside:?}")]
    Disagreement {
        /// The media type within.
        inside: String,
        /// The media type of the descriptor.
        outside: String,
    },
    /// No JSON, or of another form.
    #[error("it cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    /// A descriptor in it has no digest.
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// A descriptor in it has no size.
    #[error("it leads to {digest} with the size {size}")]
    Size {
        /// What it leads to.
        digest: Digest,
        /// The size it gives, in bytes.
        size: i64,
    },
}

/// Reads the document that a descriptor of this media type led to.
///
/// # Errors
///
/// When it is no manifest and no index, or a descriptor in it that matters
/// makes no sense.
pub fn parse(media_type: &str, bytes: &[u8]) -> Result<Document, DocumentError> {
    if MANIFESTS.contains(&media_type) {
        let raw: RawManifest = serde_json::from_slice(bytes)?;
        agree(media_type, raw.media_type)?;
        let modules = raw.layers.into_iter();
        let modules = modules.filter(|layer| MODULE_TYPES.contains(&layer.media_type.as_str()));
        Ok(Document::Manifest {
            modules: modules
                .map(RawDescriptor::check)
                .collect::<Result<_, _>>()?,
        })
    } else if INDEXES.contains(&media_type) {
        let raw: RawIndex = serde_json::from_slice(bytes)?;
        agree(media_type, raw.media_type)?;
        let mut manifests = Vec::new();
        for raw in raw.manifests {
            if is_document(&raw.media_type) && !raw.is_attestation() {
                manifests.push(raw.check()?);
            }
        }
        manifests.sort_by_key(|manifest| rank(manifest.platform.as_ref()));
        Ok(Document::Index { manifests })
    } else {
        Err(DocumentError::MediaType(media_type.to_owned()))
    }
}

fn is_document(media_type: &str) -> bool {
    MANIFESTS.contains(&media_type) || INDEXES.contains(&media_type)
}

fn agree(outside: &str, inside: Option<String>) -> Result<(), DocumentError> {
    match inside {
        Some(inside) if !inside.is_empty() && inside != outside => {
            Err(DocumentError::Disagreement {
                inside,
                outside: outside.to_owned(),
            })
        }
        _ => Ok(()),
    }
}

/// WebAssembly first; what is for the host's own platform before what is for
/// another, since clients pull the former.
fn rank(platform: Option<&(String, String)>) -> u8 {
    let platform = platform.map(|(os, architecture)| (os.as_str(), architecture.as_str()));
    match platform {
        Some(("wasi" | "wasip1" | "wasip2", "wasm" | "wasm32")) => 0,
        Some((_, "wasm" | "wasm32")) => 1,
        None => 2,
        Some(("linux", architecture)) if architecture == HOST => 3,
        Some(_) => 4,
    }
}

/// The host's processor as the image specification names it.
const HOST: &str = if cfg!(target_arch = "x86_64") {
    "amd64"
} else if cfg!(target_arch = "aarch64") {
    "arm64"
} else {
    std::env::consts::ARCH
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawManifest {
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    layers: Vec<RawDescriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawIndex {
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    manifests: Vec<RawDescriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDescriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    #[serde(default)]
    size: i64,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
    #[serde(default)]
    platform: Option<RawPlatform>,
}

#[derive(Deserialize)]
struct RawPlatform {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
}

impl RawDescriptor {
    /// BuildKit files these beside images
    /// (<https://docs.docker.com/build/metadata/attestations/attestation-storage/>).
    fn is_attestation(&self) -> bool {
        self.platform
            .as_ref()
            .is_some_and(|platform| platform.os == "unknown")
    }

    fn check(self) -> Result<Descriptor, DocumentError> {
        let digest: Digest = self.digest.parse()?;
        let size = u64::try_from(self.size).map_err(|_| DocumentError::Size {
            digest: digest.clone(),
            size: self.size,
        })?;
        Ok(Descriptor {
            media_type: self.media_type,
            digest,
            size,
            title: self
                .annotations
                .and_then(|mut annotations| annotations.remove(TITLE))
                .filter(|title| title.len() <= MAX_TITLE),
            platform: self
                .platform
                .map(|platform| (platform.os, platform.architecture)),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn digest(of: char) -> String {
        format!("sha256:{}", of.to_string().repeat(64))
    }

    fn manifest(layers: Value) -> Result<Document, DocumentError> {
        let text = json!({ "schemaVersion": 2, "mediaType": MANIFESTS[0], "layers": layers });
        parse(MANIFESTS[0], text.to_string().as_bytes())
    }

    #[test]
    fn a_title_that_can_be_no_path_is_none() {
        let titled = |length: usize| {
            let layers = json!([{ "mediaType": MODULE_TYPES[0], "digest": digest('1'), "size": 2,
                "annotations": { TITLE: "t".repeat(length) } }]);
            match manifest(layers).unwrap() {
                Document::Manifest { modules } => modules[0].title.is_some(),
                other => panic!("{other:?}"),
            }
        };
        assert!(titled(MAX_TITLE) && !titled(MAX_TITLE + 1));
    }

    #[test]
    fn a_manifest_gives_its_modules_in_order() {
        let layers = json!([
            { "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest('0'), "size": 1 },
            { "mediaType": MODULE_TYPES[2], "digest": digest('1'), "size": 2,
              "annotations": { TITLE: "../../one.wasm" } },
            { "mediaType": MODULE_TYPES[0], "digest": digest('2'), "size": 3 },
            { "mediaType": "application/vnd.wasm.precompiled+elf", "digest": "nonsense", "size": 4 },
        ]);
        let Document::Manifest { modules } = manifest(layers).unwrap() else {
            panic!("an index");
        };
        let seen: Vec<_> = modules
            .iter()
            .map(|module| (module.size, module.title.as_deref()))
            .collect();
        assert_eq!(seen, [(2, Some("../../one.wasm")), (3, None)]);
    }

    #[test]
    fn an_index_is_sorted_by_what_fits() {
        let entry = |of: char, os: &str, architecture: &str| {
            json!({ "mediaType": MANIFESTS[0], "digest": digest(of), "size": 1,
                    "platform": { "os": os, "architecture": architecture } })
        };
        let text = json!({ "manifests": [
            entry('a', "windows", "amd64"),
            entry('b', "linux", HOST),
            entry('c', "unknown", "unknown"),
            { "mediaType": MANIFESTS[0], "digest": digest('d'), "size": 1 },
            { "mediaType": "application/json", "digest": "nonsense" },
            entry('e', "js", "wasm"),
            entry('f', "wasi", "wasm32"),
        ] });
        let document = parse(INDEXES[0], text.to_string().as_bytes()).unwrap();
        let Document::Index { manifests } = document else {
            panic!("a manifest");
        };
        let order: String = manifests
            .iter()
            .map(|manifest| &manifest.digest.hex()[..1])
            .collect();
        assert_eq!(order, "fedba");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let layer = |digest: &str, size: i64| {
            manifest(json!([{ "mediaType": MODULE_TYPES[0], "digest": digest, "size": size }]))
                .unwrap_err()
                .to_string()
        };
        assert!(layer("sha256:../../etc/shadow", 1).contains("is not a digest"));
        assert!(layer(&digest('a'), -1).contains("with the size -1"));
        let refused = |media_type: &str, text: &str| {
            parse(media_type, text.as_bytes()).unwrap_err().to_string()
        };
        assert!(refused("application/json", "{}").contains("neither"));
        assert!(refused(MANIFESTS[0], "[").contains("cannot be read"));
        assert!(refused(MANIFESTS[0], r#"{"layers":[{}]}"#).contains("digest"));
        let lie = format!(r#"{{"mediaType":"{}"}}"#, INDEXES[0]);
        assert!(refused(MANIFESTS[0], &lie).contains("says of itself"));
        let deep = "[".repeat(100_000);
        assert!(refused(INDEXES[0], &format!("{{\"manifests\":{deep}")).contains("cannot be read"));
    }
}

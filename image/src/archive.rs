//! The archive: blobs, configuration, manifest and index around the layer.
//!
//! Follows the [OCI image specification 1.1](https://github.com/opencontainers/image-spec/tree/v1.1.0).
//! The annotations of the index are those that containerd's importer reads the
//! image's name from (`images/archive/reference.go`).

use std::collections::BTreeMap;
use std::io::Write;

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::artifact::{MODULE_TYPES, TITLE};
use crate::layer::{layer, write_tar};
use crate::options::{Format, ImageError, Options, Platform, Program, place};
use crate::reference::Reference;

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// What was built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    /// The digest of the image's manifest, `sha256:…`.
    pub digest: String,
    /// The entry point in the image.
    pub entrypoint: String,
}

/// Writes the image of `program`, named `reference`, as an archive.
///
/// # Errors
///
/// When the program is not a WebAssembly binary, the options break a rule of
/// theirs, or `out` cannot be written. Nothing is written before everything
/// has been checked.
pub fn build_archive(
    program: &Program<'_>,
    reference: &Reference,
    options: &Options,
    out: impl Write,
) -> Result<Built, ImageError> {
    program.check()?;
    options.check()?;
    let entrypoint = format!("/{}", program.place()?);
    let mut blobs = Blobs::default();
    let layer = match options.format {
        Format::Rootfs => blobs.add(LAYER, layer(program, options)?),
        Format::OciArtifact => module(&mut blobs, program, options)?,
    };
    let config = Config::new(&entrypoint, options, &layer.digest);
    // The configuration's type is that of images for artifacts too: clients
    // refuse to run what has another (containerd `pkg/oci/spec_opts.go`).
    let config = blobs.add(CONFIG, json(&config));
    let manifest = Manifest {
        schema_version: 2,
        media_type: MANIFEST,
        config,
        layers: vec![layer],
    };
    let manifest = blobs.add(MANIFEST, json(&manifest));
    let digest = manifest.digest.clone();
    let index = json(&index(manifest, reference, options.platform));
    blobs.write(&index, out)?;
    Ok(Built { digest, entrypoint })
}

/// The program as a layer of its own, under the name that the entry point has
/// for it.
fn module(
    blobs: &mut Blobs,
    program: &Program<'_>,
    options: &Options,
) -> Result<Descriptor, ImageError> {
    if let Some(dir) = &options.working_dir {
        place(dir)?;
    }
    let layer = blobs.add(MODULE_TYPES[0], program.wasm.to_owned());
    let annotations = BTreeMap::from([(TITLE, program.place()?)]);
    Ok(Descriptor {
        annotations: Some(annotations),
        ..layer
    })
}

/// The blobs of an archive by their path in it.
#[derive(Default)]
struct Blobs(BTreeMap<String, Vec<u8>>);

impl Blobs {
    fn add(&mut self, media_type: &'static str, bytes: Vec<u8>) -> Descriptor {
        let hex: String = Sha256::digest(&bytes)
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        let descriptor = Descriptor {
            media_type,
            digest: format!("sha256:{hex}"),
            size: bytes.len(),
            annotations: None,
            platform: None,
        };
        self.0.insert(format!("blobs/sha256/{hex}"), bytes);
        descriptor
    }

    fn write(&self, index: &[u8], out: impl Write) -> Result<(), ImageError> {
        let layout = json(&Layout {
            image_layout_version: "1.0.0",
        });
        let folders = ["blobs", "blobs/sha256"].map(|path| (path, 0o755, None));
        let blobs = self
            .0
            .iter()
            .map(|(path, bytes)| (path.as_str(), 0o644, Some(&bytes[..])));
        let rest = [
            ("index.json", 0o644, Some(index)),
            ("oci-layout", 0o644, Some(&layout[..])),
        ];
        write_tar(out, folders.into_iter().chain(blobs).chain(rest))?;
        Ok(())
    }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    // The structs below have string keys alone, so that this cannot fail.
    serde_json::to_vec(value).expect("plain structs become JSON")
}

fn index(manifest: Descriptor, reference: &Reference, platform: Platform) -> Index {
    let annotations = BTreeMap::from([
        ("io.containerd.image.name", reference.to_string()),
        (
            "org.opencontainers.image.ref.name",
            reference.tag().to_owned(),
        ),
    ]);
    let platform = PlatformJson {
        architecture: platform.architecture(),
        os: platform.os(),
    };
    Index {
        schema_version: 2,
        media_type: INDEX,
        manifests: vec![Descriptor {
            annotations: Some(annotations),
            platform: Some(platform),
            ..manifest
        }],
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Layout {
    image_layout_version: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    schema_version: u8,
    media_type: &'static str,
    manifests: Vec<Descriptor>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    schema_version: u8,
    media_type: &'static str,
    config: Descriptor,
    layers: Vec<Descriptor>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: &'static str,
    digest: String,
    size: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<BTreeMap<&'static str, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<PlatformJson>,
}

#[derive(Serialize)]
struct PlatformJson {
    architecture: &'static str,
    os: &'static str,
}

#[derive(Serialize)]
struct Config<'a> {
    created: &'static str,
    architecture: &'static str,
    os: &'static str,
    config: Execution<'a>,
    rootfs: Rootfs<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Execution<'a> {
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    env: &'a [String],
    entrypoint: [&'a str; 1],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    cmd: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    working_dir: Option<&'a str>,
}

#[derive(Serialize)]
struct Rootfs<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    diff_ids: Vec<&'a str>,
}

impl<'a> Config<'a> {
    fn new(entrypoint: &'a str, options: &'a Options, layer: &'a str) -> Self {
        Config {
            created: "1970-01-01T00:00:00Z",
            architecture: options.platform.architecture(),
            os: options.platform.os(),
            config: Execution {
                env: &options.env,
                entrypoint: [entrypoint],
                cmd: &options.cmd,
                working_dir: options.working_dir.as_deref(),
            },
            rootfs: Rootfs {
                kind: "layers",
                // Nothing of an artifact is a part of the root file system.
                diff_ids: match options.format {
                    Format::Rootfs => vec![layer],
                    Format::OciArtifact => Vec::new(),
                },
            },
        }
    }
}

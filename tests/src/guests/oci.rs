//! OCI archives of any file tree, also such as no honest tool would build.
//!
//! `trireme-image` builds images of one checked program; the tests also need native programs,
//! links that lead out, and files that are no wasm. Follows the OCI image specification 1.1.

use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

/// The one layer of an image, file by file.
#[derive(Default)]
pub struct Layer(Vec<(String, Node)>);

enum Node {
    Folder { mode: u32 },
    File { bytes: Vec<u8>, mode: u32 },
    Link(String),
    HardLink(String),
}

impl Layer {
    /// An empty folder; parents come first.
    pub fn folder(&mut self, path: &str) -> &mut Self {
        self.add(path, Node::Folder { mode: 0o755 })
    }

    /// An empty folder that everybody may write to, each their own files.
    pub fn shared_folder(&mut self, path: &str) -> &mut Self {
        self.add(path, Node::Folder { mode: 0o1777 })
    }

    /// A file that may be executed.
    pub fn program(&mut self, path: &str, bytes: Vec<u8>) -> &mut Self {
        self.add(path, Node::File { bytes, mode: 0o755 })
    }

    /// A program that runs with root's rights, whoever executes it.
    pub fn program_of_root(&mut self, path: &str, bytes: Vec<u8>) -> &mut Self {
        let mode = 0o4755;
        self.add(path, Node::File { bytes, mode })
    }

    /// A file that may be read.
    pub fn file(&mut self, path: &str, bytes: &[u8]) -> &mut Self {
        self.add(
            path,
            Node::File {
                bytes: bytes.to_vec(),
                mode: 0o644,
            },
        )
    }

    /// Another name of a file of this layer.
    pub fn hard_link(&mut self, path: &str, file: &str) -> &mut Self {
        self.add(path, Node::HardLink(file.to_owned()))
    }

    /// A symbolic link.
    pub fn link(&mut self, path: &str, target: &str) -> &mut Self {
        self.add(path, Node::Link(target.to_owned()))
    }

    fn add(&mut self, path: &str, node: Node) -> &mut Self {
        self.0.push((path.to_owned(), node));
        self
    }

    fn to_tar(&self) -> Result<Vec<u8>> {
        let mut tar = Builder::new(Vec::new());
        for (path, node) in &self.0 {
            append_node(&mut tar, path, node).with_context(|| format!("add {path} to a layer"))?;
        }
        Ok(tar.into_inner()?)
    }
}

fn append_node<W: std::io::Write>(tar: &mut Builder<W>, path: &str, node: &Node) -> Result<()> {
    let mut header = Header::new_gnu();
    header.set_mtime(0);
    header.set_mode(0o755);
    header.set_size(0);
    match node {
        Node::Folder { mode } => {
            header.set_mode(*mode);
            header.set_entry_type(EntryType::Directory);
            tar.append_data(&mut header, format!("{path}/"), std::io::empty())?;
        }
        Node::File { bytes, mode } => {
            header.set_mode(*mode);
            header.set_size(bytes.len() as u64);
            tar.append_data(&mut header, path, bytes.as_slice())?;
        }
        Node::Link(target) => {
            header.set_entry_type(EntryType::Symlink);
            tar.append_link(&mut header, path, target)?;
        }
        Node::HardLink(file) => {
            header.set_entry_type(EntryType::Link);
            tar.append_link(&mut header, path, file)?;
        }
    }
    Ok(())
}

/// Writes an image of one layer for `linux/amd64`, which every client unpacks unasked.
pub fn write(file: &Path, name: &str, layer: &Layer, config: Value) -> Result<()> {
    let mut tar =
        Builder::new(File::create(file).with_context(|| format!("create {}", file.display()))?);
    let layer = layer.to_tar()?;
    let config = json!({
        "architecture": "amd64",
        "os": "linux",
        "config": config,
        "rootfs": { "type": "layers", "diff_ids": [digest(&layer)] },
    });
    let layer = blob(&mut tar, "application/vnd.oci.image.layer.v1.tar", &layer)?;
    let config = blob(
        &mut tar,
        "application/vnd.oci.image.config.v1+json",
        &to_bytes(&config),
    )?;
    let manifest_type = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": manifest_type,
        "config": config,
        "layers": [layer],
    });
    let mut manifest = blob(&mut tar, manifest_type, &to_bytes(&manifest))?;
    manifest["platform"] = json!({ "architecture": "amd64", "os": "linux" });
    manifest["annotations"] = json!({ "io.containerd.image.name": name });
    let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
    append(&mut tar, "index.json", &to_bytes(&index))?;
    append(&mut tar, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    tar.finish().context("finish the archive")
}

/// Adds a file to an archive.
pub fn append(tar: &mut Builder<File>, path: &str, bytes: &[u8]) -> Result<()> {
    let bytes = bytes.to_vec();
    append_node(tar, path, &Node::File { bytes, mode: 0o644 })
}

/// Adds a blob to an archive and returns its descriptor.
pub fn blob(tar: &mut Builder<File>, media_type: &str, bytes: &[u8]) -> Result<Value> {
    let digest = digest(bytes);
    let path = format!("blobs/{}", digest.replace(':', "/"));
    append(tar, &path, bytes)?;
    Ok(json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() }))
}

/// A document as it is written.
pub fn to_bytes(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("sha256:{hex}")
}

//! A registry for tests: serves the images of OCI archives, for pulls alone, in plain HTTP on the
//! loopback interface of a host.
//!
//! Follows the [OCI distribution specification
//! 1.1](https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md#pull). It runs in
//! threads of the test and not in the host, so that nothing of it can be left there.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, setns};
use serde_json::Value;

use crate::host::{Instance, life};

/// How long a client may be silent.
const PATIENCE: Duration = Duration::from_secs(30);
/// What a conversation in TLS begins with (RFC 8446, section 5.1).
const TLS: u8 = 22;
/// The annotation that holds an image's full name.
const NAME: &str = "io.containerd.image.name";

/// A registry at work; it ends when dropped.
pub struct Registry {
    /// Where it listens in the host, `127.0.0.1:PORT`.
    pub address: SocketAddr,
    listener: OwnedFd,
    thread: Option<JoinHandle<()>>,
}

/// What is served.
#[derive(Default)]
struct Images {
    /// Digest → bytes.
    blobs: HashMap<String, Vec<u8>>,
    /// `path:tag` → media type and digest.
    tags: HashMap<String, (String, String)>,
    /// The media types of manifests and indexes.
    documents: HashMap<String, String>,
}

impl Registry {
    /// Serves archives in a host that is up.
    pub fn serve(instance: &Instance, archives: &[impl AsRef<Path>]) -> Result<Self> {
        let mut images = Images::default();
        for archive in archives {
            let archive = archive.as_ref();
            images
                .add(archive)
                .with_context(|| format!("read {}", archive.display()))?;
        }
        let init = life::init(instance)?.with_context(|| format!("{instance} is not up"))?;
        let network = format!("/proc/{}/ns/net", init.pid);
        // A thread of its own, since it moves into the host's network for good.
        let listener = std::thread::spawn(move || -> Result<TcpListener> {
            setns(File::open(network)?, CloneFlags::CLONE_NEWNET)?;
            Ok(TcpListener::bind("127.0.0.1:0")?)
        })
        .join()
        .map_err(|_| anyhow::anyhow!("the registry panicked"))?
        .context("listen in the host's network")?;
        let address = listener.local_addr()?;
        let ours = listener.as_fd().try_clone_to_owned()?;
        let images = Arc::new(images);
        let thread = std::thread::spawn(move || accept(&listener, &images));
        Ok(Self {
            address,
            listener: ours,
            thread: Some(thread),
        })
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // Wakes the thread that waits for connections.
        let _ = rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn accept(listener: &TcpListener, images: &Arc<Images>) {
    while let Ok((stream, _)) = listener.accept() {
        let images = Arc::clone(images);
        std::thread::spawn(move || {
            // A client that hangs up in the middle is its own affair.
            let _ = converse(&stream, &images);
            let _ = stream.shutdown(Shutdown::Both);
        });
    }
}

/// Answers the requests of one connection.
fn converse(stream: &TcpStream, images: &Images) -> Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::new(stream);
    if reader.fill_buf()?.first() == Some(&TLS) {
        return refuse(stream);
    }
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let mut header = String::new();
        while reader.read_line(&mut header)? > 2 {
            header.clear();
        }
        let mut words = line.split_whitespace();
        let (method, path) = (words.next(), words.next().unwrap_or_default());
        let with_body = match method {
            Some("GET") => true,
            Some("HEAD") => false,
            _ => bail!("a request that only reads was expected: {line}"),
        };
        answer(stream, images, path, with_body)?;
    }
}

/// A client that finds out so that this is plain HTTP tries again without TLS.
fn refuse(mut stream: &TcpStream) -> Result<()> {
    Ok(stream.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n")?)
}

fn answer(mut stream: &TcpStream, images: &Images, path: &str, with_body: bool) -> Result<()> {
    let path = path.split('?').next().unwrap_or_default();
    let found = match path.strip_prefix("/v2/") {
        Some("") => Some((&b"{}"[..], "application/json", String::new())),
        Some(rest) => images.find(rest),
        None => None,
    };
    let (status, body, media_type, digest) = match found {
        Some((body, media_type, digest)) => ("200 OK", body, media_type, digest),
        None => (
            "404 Not Found",
            &b"{\"errors\":[{\"code\":\"MANIFEST_UNKNOWN\"}]}"[..],
            "application/json",
            String::new(),
        ),
    };
    let mut head = format!(
        "HTTP/1.1 {status}\r\nDocker-Distribution-Api-Version: registry/2.0\r\n\
         Content-Type: {media_type}\r\nContent-Length: {}\r\n",
        body.len()
    );
    if !digest.is_empty() {
        head += &format!("Docker-Content-Digest: {digest}\r\n");
    }
    stream.write_all((head + "\r\n").as_bytes())?;
    if with_body {
        stream.write_all(body)?;
    }
    Ok(())
}

impl Images {
    /// The bytes, type and digest of `NAME/manifests/REFERENCE` or `NAME/blobs/DIGEST`.
    fn find(&self, path: &str) -> Option<(&[u8], &str, String)> {
        let (digest, media_type) = if let Some((name, reference)) = path.rsplit_once("/manifests/")
        {
            match self.tags.get(&format!("{name}:{reference}")) {
                Some((media_type, digest)) => (digest.clone(), media_type.as_str()),
                None => (
                    reference.to_owned(),
                    self.documents.get(reference)?.as_str(),
                ),
            }
        } else {
            let (_, digest) = path.rsplit_once("/blobs/")?;
            (digest.to_owned(), "application/octet-stream")
        };
        Some((self.blobs.get(&digest)?, media_type, digest))
    }

    fn add(&mut self, archive: &Path) -> Result<()> {
        let mut index = None;
        for entry in tar::Archive::new(File::open(archive)?).entries()? {
            let mut entry = entry?;
            let path = entry.path()?.display().to_string();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes)?;
            if path == "index.json" {
                index = Some(serde_json::from_slice::<Value>(&bytes)?);
            } else if let Some(digest) = path.strip_prefix("blobs/") {
                self.blobs.insert(digest.replacen('/', ":", 1), bytes);
            }
        }
        let index = index.context("there is no index.json")?;
        for target in index["manifests"].as_array().into_iter().flatten() {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let name = text(&target["annotations"][NAME]);
            let (_, path) = name.split_once('/').context("an image has no name")?;
            let found = (text(&target["mediaType"]), text(&target["digest"]));
            self.tags.insert(path.to_owned(), found);
            self.note(target)?;
        }
        Ok(())
    }

    /// Notes the media type of a manifest, or of an index and all that it leads to.
    fn note(&mut self, target: &Value) -> Result<()> {
        let digest = target["digest"].as_str().context("no digest")?;
        let media_type = target["mediaType"].as_str().context("no media type")?;
        self.documents
            .insert(digest.to_owned(), media_type.to_owned());
        let Some(bytes) = self.blobs.get(digest) else {
            return Ok(());
        };
        let document: Value = serde_json::from_slice(bytes)?;
        for manifest in document["manifests"].as_array().into_iter().flatten() {
            self.note(manifest)?;
        }
        Ok(())
    }
}

/// The archives in a folder, for [`Registry::serve`].
pub fn archives(folder: &Path) -> Result<Vec<std::path::PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
    entries.map(|entry| Ok(entry?.path())).collect()
}

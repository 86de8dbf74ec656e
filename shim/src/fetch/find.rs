//! From a container to its program: container, image, manifest, layer, file.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;

use trireme_core::memory_file::{Pages, Unsealed};
use trireme_core::program::{FileKind, HEAD};
use trireme_image::artifact::{
    self, Choice, Descriptor, Digest, Document, DocumentError, MAX_DOCUMENT, MAX_DOCUMENTS,
    MAX_MODULE,
};

use super::PATIENCE;
use super::containerd::{self, Containerd};
use super::message::{Answer, Module};

/// Why there is no program.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// containerd cannot be asked.
    #[error("cannot connect to containerd at {address}: {reason}")]
    Unreachable {
        /// Where it should be.
        address: String,
        /// What is wrong.
        reason: String,
    },
    /// The container names no image. Docker before 28 gives none, and `ctr run
    /// --rootfs` has none.
    #[error("containerd's record of the container names no image")]
    NoImage,
    /// The image was removed since.
    #[error("image {0} is not there any more; pull it again")]
    ImageGone(String),
    /// The image has no layer that is WebAssembly.
    #[error("image {0} has no layer that is WebAssembly")]
    NoModules(String),
    /// A call failed.
    #[error("containerd: {call}: {reason}")]
    Call {
        /// The method.
        call: &'static str,
        /// What it said.
        reason: String,
    },
    /// It took too long.
    #[error("containerd at {address} gave no program within {PATIENCE:?}; see its log")]
    Slow {
        /// Where it is.
        address: String,
    },
    /// Something of the image cannot be used.
    #[error("image {image}: {what}: {problem}")]
    Image {
        /// The image's name.
        image: String,
        /// The digest of the part.
        what: String,
        /// What is wrong and what to do.
        problem: Problem,
    },
    /// The command does not say which program it is.
    #[error("image {image}: {reason}")]
    Unclear {
        /// The image's name.
        image: String,
        /// What is wrong and what to do.
        reason: String,
    },
    /// The program cannot be kept in memory.
    #[error("cannot keep the program in memory: {0}")]
    Keep(io::Error),
}

/// What is wrong with a part of an image.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// A manifest or an index that makes no sense.
    #[error("{0}; build or pull the image again")]
    Document(#[from] DocumentError),
    /// Content that is not in the store.
    #[error("it is not in containerd's content store; pull the image again, for this platform")]
    Missing,
    /// Content of another size than what leads to it says.
    #[error("it has {found} bytes and not {said}, as what leads to it says; build the image again")]
    Size {
        /// As the descriptor says.
        said: u64,
        /// As the content store says.
        found: u64,
    },
    /// Content of another digest than it goes by.
    #[error("its bytes have another digest; remove the image and pull it again")]
    Digest,
    /// More than is read.
    #[error("it has {size} bytes, and no more than {max} are read; make it smaller")]
    TooLarge {
        /// Its size.
        size: u64,
        /// The limit.
        max: u64,
    },
    /// Indexes that lead to ever more indexes.
    #[error("it leads to more than {MAX_DOCUMENTS} manifests and indexes; name one by its digest")]
    TooMany,
    /// A layer that says it is WebAssembly.
    #[error(
        "the layer says it is WebAssembly and is {0}; build the image from a module or a component"
    )]
    NotWasm(FileKind),
    /// A file that cannot be read.
    #[error("it cannot be read: {0}")]
    Read(io::Error),
}

impl FetchError {
    /// What to tell the server.
    pub fn answer(&self) -> Answer {
        let text = trireme_core::message::of(self);
        match self {
            FetchError::Unreachable { .. }
            | FetchError::NoImage
            | FetchError::ImageGone(_)
            | FetchError::NoModules(_)
            | FetchError::Call { .. } => Answer::NotThere { reason: text },
            _ => Answer::Failed { message: text },
        }
    }
}

/// An image that is looked through.
struct Image<'a> {
    containerd: &'a Containerd,
    name: String,
}

/// The program that `path` names in the image of a container.
pub async fn module(
    containerd: &Containerd,
    id: &str,
    path: &str,
) -> Result<(Module, File), FetchError> {
    let name = containerd.image_of(id).await?;
    if name.is_empty() {
        return Err(FetchError::NoImage);
    }
    let target = containerd.target(&name).await?;
    let target = target.ok_or_else(|| FetchError::ImageGone(name.clone()))?;
    let image = Image { containerd, name };
    let digest = target.digest.parse::<Digest>().map_err(|error| {
        let document = Problem::Document(error.into());
        image.problem(&image.name, document)
    })?;
    let modules = image
        .modules(Descriptor {
            media_type: target.media_type,
            digest,
            size: target.size.unsigned_abs(),
            title: None,
            platform: None,
        })
        .await?;
    let layer = match artifact::choose(&modules, path) {
        Choice::Module(layer) => layer,
        Choice::NoModules => return Err(FetchError::NoModules(image.name)),
        Choice::Unclear { reason } => {
            return Err(FetchError::Unclear {
                image: image.name,
                reason,
            });
        }
    };
    let file = image.open(layer).await?;
    let module = image.recognise(layer, &file)?;
    Ok((module, file))
}

impl Image<'_> {
    /// The modules of the first manifest that is there, the most fitting
    /// platform first.
    async fn modules(&self, target: Descriptor) -> Result<Vec<Descriptor>, FetchError> {
        let root = target.digest.clone();
        let mut pending = vec![target];
        let mut read = 0;
        while let Some(next) = pending.pop() {
            if read == MAX_DOCUMENTS {
                return Err(self.problem(&root, Problem::TooMany));
            }
            read += 1;
            let Some(bytes) = self.document(&next).await? else {
                continue;
            };
            let document = artifact::parse(&next.media_type, &bytes)
                .map_err(|error| self.problem(&next.digest, error.into()))?;
            match document {
                Document::Manifest { modules } => return Ok(modules),
                Document::Index { manifests } => pending.extend(manifests.into_iter().rev()),
            }
        }
        Err(self.problem(&root, Problem::Missing))
    }

    /// A manifest or an index; `None` for one that was not pulled.
    async fn document(&self, of: &Descriptor) -> Result<Option<Vec<u8>>, FetchError> {
        let Some(size) = self.size(of, MAX_DOCUMENT).await? else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        let take = |piece: &[u8]| {
            bytes.extend_from_slice(piece);
            Ok(())
        };
        let read = self.containerd.read(&of.digest, size, take).await?;
        if read != size || !of.digest.is_of(&bytes) {
            return Err(self.problem(&of.digest, Problem::Digest));
        }
        Ok(Some(bytes))
    }

    /// The size of content that this namespace has and that is what leads to it
    /// says.
    async fn size(&self, of: &Descriptor, max: u64) -> Result<Option<u64>, FetchError> {
        let Some(found) = self.containerd.size(&of.digest).await? else {
            return Ok(None);
        };
        let said = of.size;
        let problem = if found != said {
            Problem::Size { said, found }
        } else if found > max {
            Problem::TooLarge { size: found, max }
        } else {
            return Ok(Some(found));
        };
        Err(self.problem(&of.digest, problem))
    }

    /// A layer: the content store's own file, which nobody changes, or where
    /// that is out of sight a copy in memory.
    async fn open(&self, layer: &Descriptor) -> Result<File, FetchError> {
        let size = self.size(layer, MAX_MODULE).await?;
        let size = size.ok_or_else(|| self.problem(&layer.digest, Problem::Missing))?;
        if let Some(root) = self.containerd.content_root().await?
            && let Some(file) = containerd::open(&root, &layer.digest, size)
        {
            return Ok(file);
        }
        let mut memory = Unsealed::new("layer", Pages::Data).map_err(FetchError::Keep)?;
        let take = |piece: &[u8]| memory.write_all(piece);
        let read = self.containerd.read(&layer.digest, size, take).await?;
        if read != size {
            let found = read;
            return Err(self.problem(&layer.digest, Problem::Size { said: size, found }));
        }
        memory.seal().map_err(FetchError::Keep)
    }

    fn recognise(&self, layer: &Descriptor, file: &File) -> Result<Module, FetchError> {
        let mut head = [0; HEAD];
        let read = file
            .read_at(&mut head, 0)
            .map_err(|error| self.problem(&layer.digest, Problem::Read(error)))?;
        let found = FileKind::recognise(&head[..read]);
        let kind = found
            .wasm()
            .ok_or_else(|| self.problem(&layer.digest, Problem::NotWasm(found)))?;
        let digest = &layer.digest;
        Ok(Module {
            kind,
            sha256: (digest.algorithm() == "sha256").then(|| digest.hex().to_owned()),
            title: layer.title.clone(),
            origin: format!("{digest} of image {}", self.name),
        })
    }

    fn problem(&self, what: &impl ToString, problem: Problem) -> FetchError {
        FetchError::Image {
            image: self.name.clone(),
            what: what.to_string(),
            problem,
        }
    }
}

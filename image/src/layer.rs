//! The one layer of an image: a tar archive without times, owners or chance.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::{self, Write};

use crate::options::{ImageError, Options, Program, place};

/// What stands at one place.
enum Node<'a> {
    Folder,
    File { content: &'a [u8], mode: u32 },
}

/// The layer with the program and the further files.
pub(crate) fn layer(program: &Program<'_>, options: &Options) -> Result<Vec<u8>, ImageError> {
    let mut tree = BTreeMap::new();
    // Some runtimes ask for the right to execute the entry point.
    let node = Node::File {
        content: program.wasm,
        mode: 0o755,
    };
    insert(&mut tree, program.place()?, node)?;
    for file in &options.files {
        let mode = if file.executable { 0o755 } else { 0o644 };
        let node = Node::File {
            content: &file.content,
            mode,
        };
        insert(&mut tree, place(&file.guest)?.to_owned(), node)?;
    }
    if let Some(dir) = &options.working_dir {
        folders(&mut tree, place(dir)?)?;
    }
    let nodes = tree.iter().map(|(path, node)| match node {
        Node::Folder => (path.as_str(), 0o755, None),
        Node::File { content, mode } => (path.as_str(), *mode, Some(*content)),
    });
    let mut bytes = Vec::new();
    write_tar(&mut bytes, nodes)?;
    Ok(bytes)
}

fn insert<'a>(
    tree: &mut BTreeMap<String, Node<'a>>,
    path: String,
    node: Node<'a>,
) -> Result<(), ImageError> {
    if path.is_empty() {
        return Err(ImageError::Clash("/".into()));
    }
    if let Some((parent, _)) = path.rsplit_once('/') {
        folders(tree, parent)?;
    }
    match tree.entry(path) {
        Entry::Vacant(entry) => {
            entry.insert(node);
            Ok(())
        }
        Entry::Occupied(entry) => Err(ImageError::Clash(format!("/{}", entry.key()))),
    }
}

/// Puts folders at `path` and at every place above it.
fn folders(tree: &mut BTreeMap<String, Node<'_>>, path: &str) -> Result<(), ImageError> {
    let ends = path
        .match_indices('/')
        .map(|(at, _)| at)
        .chain([path.len()]);
    for folder in ends
        .map(|end| &path[..end])
        .filter(|folder| !folder.is_empty())
    {
        match tree.entry(folder.to_owned()).or_insert(Node::Folder) {
            Node::Folder => {}
            Node::File { .. } => return Err(ImageError::Clash(format!("/{folder}"))),
        }
    }
    Ok(())
}

/// Writes a tar archive of `(path, mode, content)`, a folder where there is no
/// content: owned by root, dated 1970.
pub(crate) fn write_tar<'a>(
    out: impl Write,
    nodes: impl Iterator<Item = (&'a str, u32, Option<&'a [u8]>)>,
) -> io::Result<()> {
    let mut tar = tar::Builder::new(out);
    for (path, mode, content) in nodes {
        let mut header = tar::Header::new_gnu();
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        let kind = match content {
            Some(_) => tar::EntryType::Regular,
            None => tar::EntryType::Directory,
        };
        header.set_entry_type(kind);
        let content = content.unwrap_or_default();
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, path, content)?;
    }
    tar.into_inner()?.flush()
}

//! The libraries that a shared object needs.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};

use object::elf::{DT_NEEDED, DT_RPATH, DT_RUNPATH, FileHeader64};
use object::read::elf::{Dyn, FileHeader};
use object::read::{ReadCache, ReadRef};
use object::{Endianness, elf};

use super::linker_cache::LinkerCache;
use super::{BuildIdError, open};

/// The names that the C runtime's libraries begin with. It is not part of any
/// compiler, and its updates leave code as it is.
const RUNTIME: [&str; 8] = [
    "ld-linux",
    "libc.so",
    "libdl.so",
    "libgcc_s.so",
    "libm.so",
    "libpthread.so",
    "librt.so",
    "linux-vdso",
];

/// Where the dynamic linker looks last.
const DEFAULT_FOLDERS: [&str; 4] = ["/lib64", "/usr/lib64", "/lib", "/usr/lib"];

/// Whether a library is part of the C runtime.
pub fn is_runtime(file: &Path) -> bool {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    RUNTIME.iter().any(|runtime| name.starts_with(runtime))
}

/// The real paths of all libraries that a shared object needs, and those need
/// in turn, but the C runtime's; sorted. Where the choice among several is the
/// dynamic linker's, by processor for instance, all of them.
///
/// # Errors
///
/// When one cannot be read or is not there.
pub fn libraries(file: &Path) -> Result<Vec<PathBuf>, BuildIdError> {
    let mut cache = None;
    let mut found = BTreeSet::new();
    let mut next = vec![file.to_owned()];
    while let Some(file) = next.pop() {
        let needs = needs(&file)?;
        for name in needs.names.iter().filter(|name| !is_runtime(name.as_ref())) {
            let cache = cache.get_or_insert_with(LinkerCache::read);
            let candidates = candidates(name, &needs.folders, cache);
            if candidates.is_empty() {
                let library = name.clone();
                return Err(BuildIdError::Library { file, library });
            }
            next.extend(
                candidates
                    .into_iter()
                    .filter(|library| found.insert(library.clone())),
            );
        }
    }
    Ok(found.into_iter().collect())
}

/// The real paths of the libraries that a name may mean.
fn candidates(name: &str, folders: &[PathBuf], cache: &LinkerCache) -> Vec<PathBuf> {
    let real = |path: PathBuf| path.canonicalize().ok().filter(|path| is_elf64(path));
    if name.contains('/') {
        return real(name.into()).into_iter().collect();
    }
    if let Some(own) = folders.iter().find_map(|folder| real(folder.join(name))) {
        return vec![own];
    }
    let cached: BTreeSet<_> = cache.find(name).filter_map(real).collect();
    if !cached.is_empty() {
        return cached.into_iter().collect();
    }
    DEFAULT_FOLDERS
        .iter()
        .find_map(|folder| real(Path::new(folder).join(name)))
        .into_iter()
        .collect()
}

fn is_elf64(path: &Path) -> bool {
    File::open(path).is_ok_and(|file| {
        let cache = ReadCache::new(file);
        FileHeader64::<Endianness>::parse(&cache).is_ok()
    })
}

/// What the dynamic section of an object asks for.
#[derive(Default)]
struct Needs {
    names: Vec<String>,
    /// Where it wants them looked for first.
    folders: Vec<PathBuf>,
}

fn needs(file: &Path) -> Result<Needs, BuildIdError> {
    let cache = ReadCache::new(open(file)?);
    // What is no ELF file has no build id either, which is said elsewhere.
    let (names, search) = dynamic(&cache).unwrap_or_default();
    let origin = file
        .canonicalize()
        .ok()
        .and_then(|file| file.parent().map(Path::to_owned));
    let origin = origin.unwrap_or_default().display().to_string();
    let folders = search
        .split(':')
        .filter(|folder| !folder.is_empty())
        .map(|folder| {
            folder
                .replace("${ORIGIN}", &origin)
                .replace("$ORIGIN", &origin)
                .into()
        })
        .collect();
    Ok(Needs { names, folders })
}

/// The names of `DT_NEEDED`, and the search path of `DT_RUNPATH`, or of
/// `DT_RPATH` where that is not there.
fn dynamic<'data, R: ReadRef<'data>>(data: R) -> object::Result<(Vec<String>, String)> {
    let header = FileHeader64::<Endianness>::parse(data)?;
    let endian = header.endian()?;
    let sections = header.sections(endian, data)?;
    let Some((entries, strings)) = sections.dynamic(endian, data)? else {
        return Ok(Default::default());
    };
    let strings = sections.strings(endian, data, strings)?;
    let texts = |tag: i64| {
        entries
            .iter()
            .take_while(|entry| entry.tag(endian) != elf::DT_NULL)
            .filter(move |entry| entry.tag(endian) == tag)
            .filter_map(|entry| entry.string(endian, strings).ok())
            .map(|text| String::from_utf8_lossy(text).into_owned())
    };
    let search = texts(DT_RUNPATH).next().or_else(|| texts(DT_RPATH).next());
    Ok((texts(DT_NEEDED).collect(), search.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_c_runtime_does_not_count() {
        let own = std::env::current_exe().unwrap();
        let needs = needs(&own).unwrap();
        assert!(
            needs.names.iter().any(|name| name.starts_with("libc.so")),
            "{:?}",
            needs.names
        );
        assert_eq!(libraries(&own).unwrap(), Vec::<PathBuf>::new());
    }
}

//! The entries on disk.

mod paths;
mod room;

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::key::{hex, is_digest};
use super::{CacheError, FileIdentity, Key};

pub use room::Pruned;

/// A use after which others of an entry are not noted: it would be written to the disk at each start.
const RECENT: Duration = Duration::from_secs(60);

/// A cache of precompiled code.
#[derive(Clone, Debug)]
pub struct Cache {
    dir: PathBuf,
    verified: Option<PathBuf>,
    /// The folder of code as it is opened to be handed on.
    reading: Option<Arc<OwnedFd>>,
    /// Whether others fill its disk.
    is_crowded: Arc<AtomicBool>,
}

/// Of what code was made, and by what.
#[derive(Clone, Debug)]
pub struct Origin {
    /// SHA-256 of the WebAssembly bytes, in hexadecimal.
    pub wasm: String,
    /// The engine's name.
    pub engine: String,
    /// The build id of the file that held the compiler.
    pub build: String,
}

/// What an entry says of itself, as its file holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// SHA-256 of the WebAssembly bytes, in hexadecimal.
    pub wasm: String,
    /// The engine's name.
    pub engine: String,
    /// The build id of the file that held the compiler.
    pub build: String,
    /// SHA-256 of the precompiled code, in hexadecimal.
    pub code: String,
}

/// An entry as a person sees it.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    /// What it is filed under.
    pub key: String,
    /// SHA-256 of the WebAssembly bytes, in hexadecimal.
    pub wasm: String,
    /// The engine's name.
    pub engine: String,
    /// The length of the code in bytes.
    pub size: u64,
    /// When it was last used, give or take a minute.
    pub used: SystemTime,
}

impl Cache {
    /// Opens the cache in `dir`, making it where it is missing.
    ///
    /// # Errors
    ///
    /// When the folder cannot be made, or could be changed by another user.
    pub fn open(dir: &Path) -> Result<Self, CacheError> {
        for part in ["entries", "code", "lock"] {
            let path = dir.join(part);
            if !path.is_dir() {
                fs::DirBuilder::new()
                    .recursive(true)
                    .mode(0o700)
                    .create(&path)
                    .map_err(CacheError::io(&path))?;
            }
        }
        for path in [dir.to_path_buf(), dir.join("entries"), dir.join("code")] {
            check_owner(&path)?;
        }
        Ok(Cache {
            dir: dir.to_path_buf(),
            verified: None,
            reading: None,
            is_crowded: Arc::default(),
        })
    }

    /// Opens the code of an entry, or `None` where there is none that is
    /// sound. Reads all of it once per boot; a damaged entry is removed.
    ///
    /// # Errors
    ///
    /// When the cache cannot be read.
    pub fn find(&self, key: &Key) -> Result<Option<File>, CacheError> {
        let Some((stored, file)) = self.peek(key)? else {
            return Ok(None);
        };
        if self.is_verified(&stored, &file) {
            return Ok(Some(file));
        }
        self.verify(key, &stored, file)
    }

    /// As [`Cache::find`], but `None` too where the code would have to be read
    /// to be trusted: what a caller that must not block asks first.
    ///
    /// # Errors
    ///
    /// When the cache cannot be read.
    pub fn find_verified(&self, key: &Key) -> Result<Option<File>, CacheError> {
        Ok(self
            .peek(key)?
            .and_then(|(stored, file)| self.is_verified(&stored, &file).then_some(file)))
    }

    fn peek(&self, key: &Key) -> Result<Option<(Stored, File)>, CacheError> {
        let path = self.entry_path(key);
        let Some(text) = missing_as_none(fs::read(&path)).map_err(CacheError::io(&path))? else {
            return Ok(None);
        };
        let Some(stored) = parse(&text) else {
            return Ok(None);
        };
        let code = self.reading_path(&stored.code);
        let Some(file) = missing_as_none(File::open(&code)).map_err(CacheError::io(&code))? else {
            return Ok(None);
        };
        // One whose time stays may have to make room too soon.
        let used = fs::metadata(&path).and_then(|metadata| metadata.modified());
        let is_recent = |used: SystemTime| used.elapsed().is_ok_and(|since| since < RECENT);
        if !used.is_ok_and(is_recent) {
            let _ = File::options()
                .write(true)
                .open(&path)
                .and_then(|f| f.set_modified(SystemTime::now()));
        }
        Ok(Some((stored, file)))
    }

    fn is_verified(&self, stored: &Stored, file: &File) -> bool {
        let Some(dir) = &self.verified else {
            return false;
        };
        let Ok(metadata) = file.metadata() else {
            return false;
        };
        fs::read_to_string(dir.join(&stored.code))
            .is_ok_and(|line| line == FileIdentity::of(&metadata).line())
    }

    fn verify(&self, key: &Key, stored: &Stored, file: File) -> Result<Option<File>, CacheError> {
        let code = self.code_path(&stored.code);
        let before = file.metadata().map_err(CacheError::io(&code))?;
        let digest = digest(&file).map_err(CacheError::io(&code))?;
        if digest != stored.code {
            self.discard(key, stored, &HashSet::new())?;
            return Ok(None);
        }
        self.mark_verified(&stored.code, &FileIdentity::of(&before));
        Ok(Some(file))
    }

    /// A mark that cannot be written costs another look at the code next time
    /// and nothing else, so that is no error.
    fn mark_verified(&self, code: &str, identity: &FileIdentity) {
        let Some(dir) = &self.verified else { return };
        let temporary = dir.join(format!("{code}.{}.tmp", std::process::id()));
        let _ = fs::create_dir_all(dir)
            .and_then(|()| fs::write(&temporary, identity.line()))
            .and_then(|()| fs::rename(&temporary, dir.join(code)));
    }

    /// Removes an entry, and its code unless an entry that is kept has the same.
    fn discard(
        &self,
        key: &Key,
        stored: &Stored,
        kept: &HashSet<String>,
    ) -> Result<(), CacheError> {
        let mut paths = vec![self.entry_path(key)];
        if !kept.contains(&stored.code) {
            paths.push(self.code_path(&stored.code));
            paths.extend(self.verified.iter().map(|dir| dir.join(&stored.code)));
        }
        for path in paths {
            missing_as_none(fs::remove_file(&path)).map_err(CacheError::io(&path))?;
        }
        Ok(())
    }

    /// Opens the lock of a key. Whoever holds it by `flock(2)` may compile;
    /// its death lets the next one in.
    ///
    /// # Errors
    ///
    /// When the file cannot be made.
    pub fn lock_file(&self, key: &Key) -> Result<File, CacheError> {
        let path = self.dir.join("lock").join(key.as_str());
        // Read-only: it goes to a compiler, which must not fill the disk by it.
        OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_CREAT)
            .mode(0o600)
            .open(&path)
            .map_err(CacheError::io(&path))
    }

    /// Files the code that `source` holds under `key` and opens it for
    /// reading. Entries used longest ago make room beyond `max_size` bytes, and for as much
    /// as the code takes where the disk is full.
    ///
    /// # Errors
    ///
    /// When the cache cannot be written, for want of room for instance. Code that
    /// no entry names by then goes when a later one makes room, and `source` can be
    /// read as before.
    pub fn insert(
        &self,
        key: &Key,
        origin: &Origin,
        source: &File,
        max_size: u64,
    ) -> Result<File, CacheError> {
        let file = || self.file(key, origin, source);
        let filed = match file() {
            // It may be this cache that fills it; what has not helped once is not tried again.
            Err(error)
                if error.is_want_of_room()
                    && !self.is_crowded.load(Ordering::Relaxed)
                    && self.give_way_to(source)? =>
            {
                file()
            }
            filed => filed,
        };
        self.is_crowded.store(filed.is_err(), Ordering::Relaxed);
        let filed = filed?;
        self.prune(max_size)?;
        Ok(filed)
    }

    fn file(&self, key: &Key, origin: &Origin, source: &File) -> Result<File, CacheError> {
        let temporary = Temporary::new(self.dir.join(format!("code/{key}.{}", temporary_name())));
        let code = temporary
            .fill(source)
            .map_err(CacheError::io(&temporary.path))?;
        let path = self.code_path(&code);
        fs::rename(&temporary.path, &path).map_err(CacheError::io(&path))?;
        let stored = Stored {
            wasm: origin.wasm.clone(),
            engine: origin.engine.clone(),
            build: origin.build.clone(),
            code,
        };
        self.publish(key, &stored)?;
        let path = self.reading_path(&stored.code);
        let file = File::open(&path).map_err(CacheError::io(&path))?;
        if let Ok(metadata) = file.metadata() {
            self.mark_verified(&stored.code, &FileIdentity::of(&metadata));
        }
        Ok(file)
    }

    fn publish(&self, key: &Key, stored: &Stored) -> Result<(), CacheError> {
        let path = self.entry_path(key);
        let temporary = Temporary::new(path.with_extension(temporary_name()));
        let text = serde_json::to_vec(stored).unwrap_or_default();
        fs::write(&temporary.path, text)
            .and_then(|()| fs::rename(&temporary.path, &path))
            .map_err(CacheError::io(&path))
    }

    /// The entries, last used first.
    ///
    /// # Errors
    ///
    /// When the cache cannot be read.
    pub fn entries(&self) -> Result<Vec<Entry>, CacheError> {
        let mut entries: Vec<_> = self
            .stored()?
            .into_iter()
            .map(|(key, stored, used)| Entry {
                size: fs::metadata(self.code_path(&stored.code)).map_or(0, |m| m.len()),
                key: key.to_string(),
                wasm: stored.wasm,
                engine: stored.engine,
                used,
            })
            .collect();
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.used));
        Ok(entries)
    }

    fn stored(&self) -> Result<Vec<(Key, Stored, SystemTime)>, CacheError> {
        let dir = self.dir.join("entries");
        let mut entries = Vec::new();
        for file in fs::read_dir(&dir).map_err(CacheError::io(&dir))?.flatten() {
            let name = file.file_name();
            let key = name
                .to_str()
                .and_then(|name| name.strip_suffix(".json"))
                .and_then(Key::parse);
            let stored = fs::read(file.path()).ok().and_then(|text| parse(&text));
            let used = file.metadata().and_then(|metadata| metadata.modified());
            if let (Some(key), Some(stored), Ok(used)) = (key, stored, used) {
                entries.push((key, stored, used));
            }
        }
        Ok(entries)
    }

    fn entry_path(&self, key: &Key) -> PathBuf {
        self.dir.join("entries").join(format!("{key}.json"))
    }
}

/// A name that no other thread of any process uses at this time.
fn temporary_name() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{}-{count}.tmp", std::process::id())
}

/// A file that is removed again unless it has been renamed away.
struct Temporary {
    path: PathBuf,
}

impl Temporary {
    fn new(path: PathBuf) -> Self {
        Temporary { path }
    }

    /// Copies `source` here, durably, and returns the digest of what was
    /// written.
    fn fill(&self, source: &File) -> io::Result<String> {
        let mut target = OpenOptions::new()
            .create_new(true)
            .write(true)
            .mode(0o400)
            .open(&self.path)?;
        let digest = each_part(source, |part| target.write_all(part))?;
        target.sync_data()?;
        Ok(digest)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn parse(text: &[u8]) -> Option<Stored> {
    serde_json::from_slice::<Stored>(text)
        .ok()
        .filter(|stored| is_digest(&stored.code))
}

fn digest(file: &File) -> io::Result<String> {
    each_part(file, |_| Ok(()))
}

/// Takes a file part by part, wherever those who share it have read to, and returns its digest.
fn each_part(file: &File, mut take: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    let mut at = 0;
    loop {
        let part = match file.read_at(&mut buffer, at)? {
            0 => break,
            n => &buffer[..n],
        };
        hash.update(part);
        take(part)?;
        at += part.len() as u64;
    }
    Ok(hex(&hash.finalize()))
}

fn missing_as_none<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn check_owner(path: &Path) -> Result<(), CacheError> {
    let metadata = fs::symlink_metadata(path).map_err(CacheError::io(path))?;
    let expected = rustix::process::geteuid().as_raw();
    let mode = metadata.mode() & 0o7777;
    if metadata.uid() == expected && mode & 0o022 == 0 && metadata.is_dir() {
        return Ok(());
    }
    Err(CacheError::Untrusted {
        path: path.into(),
        owner: metadata.uid(),
        mode,
        expected,
    })
}

#[cfg(test)]
mod tests;

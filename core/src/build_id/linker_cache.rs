//! The dynamic linker's own index of libraries, `/etc/ld.so.cache`: where it
//! looks for what no other rule finds. The format is glibc's
//! (`sysdeps/generic/dl-cache.h`, `struct cache_file_new`).

use std::path::PathBuf;

const FILE: &str = "/etc/ld.so.cache";
/// The largest index that is read, in bytes.
const MAX_SIZE: u64 = 16 << 20;
const MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
const HEADER: usize = 48;
const ENTRY: usize = 24;

/// The index, or nothing, where a system has none.
pub(super) struct LinkerCache(Vec<u8>);

impl LinkerCache {
    pub(super) fn read() -> Self {
        let small = std::fs::metadata(FILE).is_ok_and(|file| file.len() <= MAX_SIZE);
        let bytes = small.then(|| std::fs::read(FILE).ok()).flatten();
        LinkerCache(bytes.unwrap_or_default())
    }

    /// The paths of all libraries of a name.
    pub(super) fn find<'a>(&'a self, name: &'a str) -> impl Iterator<Item = PathBuf> + 'a {
        let count = match self.0.starts_with(MAGIC) {
            true => self.number(MAGIC.len()).unwrap_or(0),
            false => 0,
        };
        (0..count)
            .map_while(|i| {
                let at = HEADER + i * ENTRY;
                // After the flags: name and path, by their offsets in the file.
                Some((self.number(at + 4)?, self.number(at + 8)?))
            })
            .filter(move |(key, _)| self.text(*key) == Some(name))
            .filter_map(|(_, value)| Some(self.text(value)?.into()))
    }

    fn number(&self, at: usize) -> Option<usize> {
        let bytes = self.0.get(at..at + 4)?.try_into().ok()?;
        usize::try_from(u32::from_ne_bytes(bytes)).ok()
    }

    fn text(&self, at: usize) -> Option<&str> {
        let rest = self.0.get(at..)?;
        let length = rest.iter().position(|byte| *byte == 0)?;
        str::from_utf8(&rest[..length]).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_c_library_is_found_and_a_damaged_index_holds_nothing() {
        let cache = LinkerCache::read();
        let found: Vec<_> = cache.find("libc.so.6").collect();
        assert!(
            !found.is_empty() && found.iter().all(|path| path.is_absolute()),
            "{found:?}"
        );
        assert_eq!(cache.find("libnonesuch.so.1").count(), 0);
        let cut = LinkerCache(cache.0[..HEADER + ENTRY / 2].to_vec());
        assert_eq!(cut.find("libc.so.6").count(), 0);
        assert_eq!(LinkerCache(Vec::new()).find("libc.so.6").count(), 0);
    }
}

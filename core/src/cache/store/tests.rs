use std::io::Read;
use std::os::unix::fs::PermissionsExt;

use rustix::fs::FlockOperation;

use super::*;
use crate::cache::KeyParts;

struct Fixture {
    dir: tempfile::TempDir,
    cache: Cache,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(&dir.path().join("cache"))
            .unwrap()
            .with_run_dir(&dir.path().join("run"));
        Fixture { dir, cache }
    }

    fn key(&self, wasm: &str) -> Key {
        Key::new(KeyParts {
            wasm,
            engine: "e",
            build: "b",
            settings: "",
            processor: "",
        })
    }

    fn compiled(&self, code: &[u8]) -> File {
        let path = self.dir.path().join("compiled");
        fs::write(&path, code).unwrap();
        File::open(&path).unwrap()
    }

    fn file(&self, wasm: &str, compiled: &File, max_size: u64) -> Result<File, CacheError> {
        let origin = Origin {
            wasm: wasm.to_owned(),
            engine: "e".to_owned(),
            build: "b".to_owned(),
        };
        self.cache
            .insert(&self.key(wasm), &origin, compiled, max_size)
    }

    fn insert(&self, wasm: &str, code: &[u8], max_size: u64) -> Result<File, CacheError> {
        self.file(wasm, &self.compiled(code), max_size)
    }

    fn found(&self, wasm: &str) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        self.cache
            .find(&self.key(wasm))
            .unwrap()?
            .read_to_end(&mut bytes)
            .unwrap();
        Some(bytes)
    }

    fn code_file(&self) -> PathBuf {
        fs::read_dir(self.dir.path().join("cache/code"))
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path()
    }
}

#[test]
fn what_was_inserted_is_found_and_already_trusted() {
    let f = Fixture::new();
    assert_eq!(f.found("one"), None);
    f.insert("one", b"code", 1 << 20).unwrap();
    assert!(f.cache.find_verified(&f.key("one")).unwrap().is_some());
    assert_eq!(f.found("one").unwrap(), b"code");
    assert_eq!(f.found("two"), None);
}

#[test]
fn a_flipped_bit_is_noticed_and_the_entry_removed() {
    let f = Fixture::new();
    f.insert("one", b"machine code", 1 << 20).unwrap();
    let path = f.code_file();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&path, b"machine bode").unwrap();
    assert!(f.cache.find_verified(&f.key("one")).unwrap().is_none());
    assert_eq!(f.found("one"), None);
    assert_eq!(f.cache.entries().unwrap().len(), 0);
    f.insert("one", b"machine code", 1 << 20).unwrap();
    assert_eq!(f.found("one").unwrap(), b"machine code");
}

#[test]
fn after_a_boot_the_code_is_read_once_before_it_is_trusted() {
    let f = Fixture::new();
    f.insert("one", b"code", 1 << 20).unwrap();
    fs::remove_dir_all(f.dir.path().join("run")).unwrap();
    assert!(f.cache.find_verified(&f.key("one")).unwrap().is_none());
    assert!(f.cache.find(&f.key("one")).unwrap().is_some());
    assert!(f.cache.find_verified(&f.key("one")).unwrap().is_some());
}

#[test]
fn the_entry_used_longest_ago_makes_room() {
    let f = Fixture::new();
    for (age, wasm) in [(3, "old"), (2, "used"), (1, "young")] {
        f.insert(wasm, format!("{wasm} 34567890").as_bytes(), 1 << 20)
            .unwrap();
        let entry = File::options()
            .write(true)
            .open(f.cache.entry_path(&f.key(wasm)))
            .unwrap();
        let then = SystemTime::now() - Duration::from_secs(1000 * age);
        entry.set_modified(then).unwrap();
    }
    assert!(f.found("old").is_some());
    let pruned = f.cache.prune(30).unwrap();
    assert_eq!(pruned.removed, 1);
    assert!(f.found("used").is_none());
    assert!(f.found("old").is_some() && f.found("young").is_some());
    assert_eq!(f.cache.prune(0).unwrap().removed, 2);
    assert_eq!(f.cache.entries().unwrap().len(), 0);
}

#[test]
fn uses_in_one_minute_are_noted_once() {
    let f = Fixture::new();
    f.insert("one", b"code", 1 << 20).unwrap();
    let entry = File::options()
        .write(true)
        .open(f.cache.entry_path(&f.key("one")))
        .unwrap();
    let hour = Duration::from_secs(3600);
    let now = SystemTime::now();
    let recent = now - Duration::from_secs(10);
    for (then, is_noted) in [(recent, false), (now - hour, true), (now + hour, true)] {
        entry.set_modified(then).unwrap();
        assert!(f.found("one").is_some());
        let seen = entry.metadata().unwrap().modified().unwrap();
        assert_eq!(seen != then, is_noted, "{then:?}");
    }
}

#[test]
fn where_the_disk_is_full_the_oldest_give_way_for_as_much_as_is_needed() {
    let fixture = Fixture::new();
    for (wasm, code) in [
        ("first", &b"12345"[..]),
        ("second", b"67890"),
        ("third", b"abcde"),
    ] {
        fixture.insert(wasm, code, 1000).unwrap();
        std::thread::sleep(Duration::from_millis(10));
    }
    let give_way_to = |code: &[u8]| {
        let code = fixture.compiled(code);
        fixture.cache.give_way_to(&code).unwrap()
    };
    assert!(give_way_to(b"......"));
    let is_left = ["first", "second", "third"].map(|wasm| fixture.found(wasm).is_some());
    assert_eq!(is_left, [false, false, true]);
    // Of another build.
    fixture.insert("fourth", b"abcde", 1000).unwrap();
    assert!(give_way_to(b"....."));
    assert!(!give_way_to(b"."), "there is nothing left");
}

#[test]
fn entries_that_share_code_stay_and_go_together() {
    let f = Fixture::new();
    for wasm in ["one", "two"] {
        f.insert(wasm, b"the same code", 1 << 20).unwrap();
    }
    assert_eq!(f.cache.prune(13).unwrap().removed, 0);
    assert!(f.found("one").is_some() && f.found("two").is_some());
    assert_eq!(f.cache.prune(0).unwrap().removed, 2);
    assert_eq!(f.cache.entries().unwrap().len(), 0);
}

#[test]
fn a_folder_that_others_can_write_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cache");
    Cache::open(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
    let error = Cache::open(&path).unwrap_err().to_string();
    assert!(error.contains("777"), "{error}");
}

#[test]
fn an_entry_that_names_no_digest_is_no_path() {
    let f = Fixture::new();
    let evil = r#"{"wasm":"w","engine":"e","build":"b","code":"../../../../etc/passwd"}"#;
    fs::write(f.cache.entry_path(&f.key("one")), evil).unwrap();
    assert_eq!(f.found("one"), None);
}

#[test]
fn code_that_cannot_be_filed_is_read_from_its_beginning_all_the_same() {
    let f = Fixture::new();
    let entry = f.cache.entry_path(&f.key("one"));
    fs::create_dir_all(entry.join("in the way")).unwrap();
    let mut source = f.compiled(b"code");
    assert!(f.file("one", &source, 1 << 20).is_err());
    let mut code = String::new();
    source.read_to_string(&mut code).unwrap();
    assert_eq!(code, "code");
}

#[test]
fn locks_of_keys_without_code_go_unless_they_are_held() {
    let fixture = Fixture::new();
    fixture.insert("kept", b"code", 1 << 20).unwrap();
    let long_ago = SystemTime::now() - Duration::from_secs(3600);
    let [kept, held, idle] = ["kept", "held", "idle"].map(|wasm| {
        let lock = fixture.cache.lock_file(&fixture.key(wasm)).unwrap();
        lock.set_modified(long_ago).unwrap();
        lock
    });
    rustix::fs::flock(&held, FlockOperation::LockExclusive).unwrap();
    drop((kept, idle));
    let young = fixture.cache.lock_file(&fixture.key("young")).unwrap();
    fixture.cache.prune(1 << 20).unwrap();
    let is_there = |wasm| {
        let lock = fixture
            .cache
            .dir
            .join("lock")
            .join(fixture.key(wasm).as_str());
        lock.exists()
    };
    assert_eq!(
        ["kept", "held", "young", "idle"].map(is_there),
        [true, true, true, false]
    );
    drop((held, young));
}

#[test]
fn what_was_checked_is_forgotten_with_the_code() {
    let fixture = Fixture::new();
    fixture.insert("one", b"code", 1 << 20).unwrap();
    let verified = fixture.dir.path().join("run/verified");
    assert_eq!(fs::read_dir(&verified).unwrap().count(), 1);
    fixture.cache.prune(0).unwrap();
    assert_eq!(fs::read_dir(&verified).unwrap().count(), 0);
}

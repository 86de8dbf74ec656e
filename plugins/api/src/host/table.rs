//! Reading a plugin's table.

use std::mem::MaybeUninit;
use std::path::Path;

use super::OpenError;
use crate::abi::{ABI, Plugin, REQUIRED_SIZE};

/// The largest table that makes sense, in bytes.
const MAX_SIZE: usize = 64 << 10;

/// A table whose required functions are all there.
pub(super) type Table = Plugin;

/// What is wrong with a table.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    Version(u32),
    Table(String),
}

impl Wrong {
    pub(super) fn of(self, file: &Path) -> OpenError {
        let file = file.to_owned();
        match self {
            Wrong::Version(theirs) => OpenError::Version { file, theirs },
            Wrong::Table(reason) => OpenError::Table { file, reason },
        }
    }
}

/// A copy of the table at an address that a plugin exports.
pub(super) fn read(address: *const u8) -> Result<Table, Wrong> {
    let wrong = |reason: &str| Wrong::Table(reason.to_owned());
    if address.is_null() {
        return Err(wrong("at no address"));
    }
    if !address.cast::<Plugin>().is_aligned() {
        return Err(wrong("not aligned"));
    }
    // SAFETY: every version of the table begins with these two.
    let [version, size] = unsafe { *address.cast::<[u32; 2]>() };
    if version != ABI {
        return Err(Wrong::Version(version));
    }
    let size = size as usize;
    if !(REQUIRED_SIZE..=MAX_SIZE).contains(&size) {
        return Err(Wrong::Table(format!(
            "of {size} bytes, where {REQUIRED_SIZE} are required"
        )));
    }
    let mut table = MaybeUninit::<Plugin>::zeroed();
    // SAFETY: the plugin says that so many bytes are there, and no more than a
    // table's are copied. All bytes of zero are a table, without functions.
    let table = unsafe {
        let bytes = size.min(size_of::<Plugin>());
        std::ptr::copy_nonoverlapping(address, table.as_mut_ptr().cast::<u8>(), bytes);
        table.assume_init()
    };
    match missing(&table) {
        None => Ok(table),
        Some(name) => Err(Wrong::Table(format!("without `{name}`"))),
    }
}

fn missing(table: &Plugin) -> Option<&'static str> {
    [
        ("info", table.info.is_none()),
        ("create", table.create.is_none()),
        ("accepts", table.accepts.is_none()),
        ("compile", table.compile.is_none()),
        ("load", table.load.is_none()),
        ("run", table.run.is_none()),
        ("destroy_program", table.destroy_program.is_none()),
        ("destroy_engine", table.destroy_engine.is_none()),
        ("free", table.free.is_none()),
    ]
    .into_iter()
    .find_map(|(name, is_missing)| is_missing.then_some(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export;
    use trireme_engine::Adapter;
    use trireme_engine::testing::fake;

    struct Fake;

    impl export::Exported for Fake {
        fn adapter() -> &'static dyn Adapter {
            &fake::ADAPTER
        }
    }

    const TABLE: Plugin = export::table::<Fake>();

    fn read_of(table: &Plugin) -> Result<Table, Wrong> {
        read((&raw const *table).cast())
    }

    #[test]
    fn a_table_that_ends_before_its_optional_members_is_whole() {
        let short = Plugin {
            size: REQUIRED_SIZE as u32,
            ..TABLE
        };
        assert!(read_of(&short).expect("a table").instantiate.is_none());
        let long = Plugin {
            size: size_of::<Plugin>() as u32 + 64,
            ..TABLE
        };
        assert!(read_of(&long).is_ok());
    }

    #[test]
    fn another_version_is_told_from_a_table_that_is_too_small() {
        let other = Plugin { abi: 2, ..TABLE };
        assert_eq!(read_of(&other).unwrap_err(), Wrong::Version(2));
        for size in [0, REQUIRED_SIZE as u32 - 1, u32::MAX] {
            let small = Plugin { size, ..TABLE };
            assert!(matches!(read_of(&small), Err(Wrong::Table(_))), "{size}");
        }
    }

    #[test]
    fn a_missing_function_is_named() {
        let without = Plugin {
            load: None,
            ..TABLE
        };
        let wrong = read_of(&without).unwrap_err();
        assert_eq!(wrong, Wrong::Table("without `load`".into()));
    }
}

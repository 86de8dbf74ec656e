//! What an engine says of itself.

use trireme_engine::{Info, Kind, Limit, Preview, Setting, SettingType, World};

use super::numbers::ToNumber;
use super::{MAX_MESSAGE, MAX_NAME, Malformed, Number, bytes, texts};
use crate::abi;
use crate::memory;

/// The most settings of an engine, and words of a setting.
const MAX_SETTINGS: usize = 1024;
/// The most values of an enumeration in a list.
const MAX_NUMBERS: usize = 64;

/// An [`Info`] in the interface's terms, for as long as the process lives.
pub fn to_abi(info: &Info) -> &'static abi::Info {
    let settings = leak(info.settings.iter().map(setting_to_abi).collect());
    Box::leak(Box::new(abi::Info {
        size: size_of::<abi::Info>(),
        name: bytes(info.name),
        version: bytes(info.version),
        kinds: numbers(info.kinds),
        worlds: numbers(info.worlds),
        wasi: numbers(info.wasi),
        limits: numbers(info.limits),
        settings: settings.as_ptr(),
        setting_count: settings.len(),
    }))
}

fn numbers<T: ToNumber + Copy>(values: &[T]) -> abi::Numbers {
    let numbers = leak(values.iter().map(|value| value.number()).collect());
    abi::Numbers {
        data: numbers.as_ptr(),
        count: numbers.len(),
    }
}

fn setting_to_abi(setting: &Setting) -> abi::Setting {
    let (kind, words) = match setting.kind {
        SettingType::Bool => (abi::SETTING_BOOL, &[][..]),
        SettingType::Integer => (abi::SETTING_INTEGER, &[][..]),
        SettingType::Choice(words) => (abi::SETTING_CHOICE, words),
    };
    abi::Setting {
        key: bytes(setting.key),
        kind,
        words: texts(leak(words.iter().map(bytes).collect())),
        default_value: bytes(setting.default),
        doc: bytes(setting.doc),
    }
}

fn leak<T>(items: Vec<T>) -> &'static [T] {
    Box::leak(items.into_boxed_slice())
}

/// A copy, for as long as the process lives, of what a plugin says of its
/// engine.
///
/// # Safety
///
/// As far as pointers are not null, aligned, and lengths are sensible, they must
/// lead to what they say.
///
/// # Errors
///
/// For everything that [`abi::Info`] does not allow.
pub unsafe fn from_abi(info: *const abi::Info) -> Result<&'static Info, Malformed> {
    // SAFETY: the size comes first, whatever else the plugin knows of.
    let size = unsafe { memory::item(info.cast::<usize>(), "info") }?;
    if *size < size_of::<abi::Info>() {
        return Err(Malformed::Invalid {
            what: "the size of info",
            value: size.to_string(),
            why: "is too small",
        });
    }
    // SAFETY: the caller vouches for it, and it is large enough.
    let info = unsafe { memory::item(info, "info") }?;
    // SAFETY: the caller vouches for all that it leads to.
    unsafe {
        Ok(Box::leak(Box::new(Info {
            name: name(info.name, "the engine's name")?,
            version: version(info.version)?,
            kinds: some(values::<Kind>(info.kinds)?, "the list of kinds")?,
            worlds: some(values::<World>(info.worlds)?, "the list of worlds")?,
            wasi: values::<Preview>(info.wasi)?,
            limits: values::<Limit>(info.limits)?,
            settings: settings(info.settings, info.setting_count)?,
        })))
    }
}

/// # Safety
///
/// As [`memory::items`].
unsafe fn values<T: Number>(list: abi::Numbers) -> Result<&'static [T], Malformed> {
    // SAFETY: the caller vouches for the list.
    let numbers = unsafe { memory::items(list.data, list.count, MAX_NUMBERS, T::WHAT) }?;
    let values: Result<Vec<T>, _> = numbers.iter().map(|number| T::of(*number)).collect();
    Ok(leak(values?))
}

fn some<T>(values: &'static [T], what: &'static str) -> Result<&'static [T], Malformed> {
    match values.is_empty() {
        false => Ok(values),
        true => Err(Malformed::Invalid {
            what,
            value: String::new(),
            why: "is empty",
        }),
    }
}

/// # Safety
///
/// As [`memory::text`].
unsafe fn name(text: abi::Bytes, what: &'static str) -> Result<&'static str, Malformed> {
    // SAFETY: the caller vouches for the text.
    let text = unsafe { memory::text(text, MAX_NAME, what) }?;
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    match !text.is_empty() && text.chars().all(fits) {
        true => Ok(keep(text)),
        false => Err(invalid(
            what,
            text,
            "is not made of lower case letters, digits and -",
        )),
    }
}

/// # Safety
///
/// As [`memory::text`].
unsafe fn version(text: abi::Bytes) -> Result<&'static str, Malformed> {
    const WHAT: &str = "the engine's version";
    // SAFETY: the caller vouches for the text.
    let text = unsafe { memory::text(text, MAX_NAME, WHAT) }?;
    let fits = text.starts_with(|c: char| c.is_ascii_digit()) && !text.contains(char::is_control);
    match fits {
        true => Ok(keep(text)),
        false => Err(invalid(WHAT, text, "does not begin with a digit")),
    }
}

/// # Safety
///
/// As [`memory::items`], for the list and all that it leads to.
unsafe fn settings(
    list: *const abi::Setting,
    count: usize,
) -> Result<&'static [Setting], Malformed> {
    const WHAT: &str = "the list of settings";
    // SAFETY: the caller vouches for the list.
    let list = unsafe { memory::items(list, count, MAX_SETTINGS, WHAT) }?;
    let mut settings: Vec<Setting> = Vec::with_capacity(list.len());
    for declared in list {
        // SAFETY: the caller vouches for what it leads to.
        let setting = unsafe { setting(declared) }?;
        if settings.iter().any(|other| other.key == setting.key) {
            return Err(invalid("the setting", setting.key, "stands twice"));
        }
        settings.push(setting);
    }
    Ok(leak(settings))
}

/// # Safety
///
/// As [`memory::text`], for all its texts.
unsafe fn setting(declared: &abi::Setting) -> Result<Setting, Malformed> {
    // SAFETY: the caller vouches for the texts.
    let (key, default, doc) = unsafe {
        (
            name(declared.key, "the key of a setting")?,
            memory::text(declared.default_value, MAX_NAME, "the default of a setting")?,
            memory::text(declared.doc, MAX_MESSAGE, "the doc of a setting")?,
        )
    };
    let kind = match declared.kind {
        abi::SETTING_BOOL => SettingType::Bool,
        abi::SETTING_INTEGER => SettingType::Integer,
        // SAFETY: the caller vouches for the words.
        abi::SETTING_CHOICE => SettingType::Choice(unsafe { words(declared.words) }?),
        number => {
            return Err(Malformed::Unknown {
                what: "the type of a setting",
                number,
            });
        }
    };
    let fits = match kind {
        SettingType::Bool => default.parse::<bool>().is_ok(),
        SettingType::Integer => default.parse::<u64>().is_ok(),
        SettingType::Choice(words) => words.contains(&default),
    };
    if !fits {
        return Err(invalid(
            "the default of a setting",
            default,
            "is not of its type",
        ));
    }
    if doc.contains(char::is_control) {
        return Err(invalid("the doc of a setting", doc, "is not one line"));
    }
    Ok(Setting {
        key,
        kind,
        default: keep(default),
        doc: keep(doc),
    })
}

/// # Safety
///
/// As [`memory::texts`].
unsafe fn words(list: abi::Texts) -> Result<&'static [&'static str], Malformed> {
    const WHAT: &str = "the words of a setting";
    // SAFETY: the caller vouches for the words.
    let words = unsafe { memory::texts(list, MAX_SETTINGS, MAX_NAME, WHAT) }?;
    if let Some(word) = words
        .iter()
        .find(|word| word.contains(|c: char| c.is_control() || c == '"'))
    {
        return Err(invalid(WHAT, word, "is not a word"));
    }
    Ok(leak(words.into_iter().map(keep).collect()))
}

fn keep(text: &str) -> &'static str {
    Box::leak(text.to_owned().into_boxed_str())
}

fn invalid(what: &'static str, value: &str, why: &'static str) -> Malformed {
    Malformed::Invalid {
        what,
        value: value.to_owned(),
        why,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static INFO: Info = Info {
        name: "some-engine",
        version: "1.2.3",
        kinds: &[Kind::Module, Kind::Component],
        worlds: &[World::Command],
        wasi: &[Preview::P2],
        limits: &[Limit::Fuel, Limit::Memory],
        settings: &[
            Setting {
                key: "fast",
                kind: SettingType::Bool,
                default: "true",
                doc: "whether to hurry",
            },
            Setting {
                key: "size",
                kind: SettingType::Integer,
                default: "18446744073709551615",
                doc: "",
            },
            Setting {
                key: "tier",
                kind: SettingType::Choice(&["a", "b"]),
                default: "b",
                doc: "which — of two",
            },
        ],
    };

    /// Reads a copy of [`INFO`] that was changed.
    fn changed(change: impl Fn(&mut abi::Info)) -> Result<&'static Info, Malformed> {
        // SAFETY: a copy of a constant, whose change a case vouches for.
        let mut info = unsafe { std::ptr::read(to_abi(&INFO)) };
        change(&mut info);
        // SAFETY: as above.
        unsafe { from_abi(&info) }
    }

    fn refused(change: impl Fn(&mut abi::Info)) -> String {
        changed(change).expect_err("a refusal").to_string()
    }

    /// Reads [`INFO`] with one setting, changed.
    fn refused_setting(change: impl Fn(&mut abi::Setting)) -> String {
        let mut setting = setting_to_abi(&INFO.settings[2]);
        change(&mut setting);
        refused(|info| {
            info.settings = &raw const setting;
            info.setting_count = 1;
        })
    }

    #[test]
    fn what_an_engine_says_of_itself_comes_through_whole() {
        assert_eq!(changed(|_| ()), Ok(&INFO));
    }

    #[test]
    fn a_size_of_a_later_version_is_taken_and_a_smaller_one_is_not() {
        assert_eq!(changed(|info| info.size += 64), Ok(&INFO));
        assert!(refused(|info| info.size -= 8).contains("too small"));
        // SAFETY: null is refused.
        let null = unsafe { from_abi(std::ptr::null()) };
        assert_eq!(null, Err(Malformed::Null("info")));
    }

    #[test]
    fn garbage_is_refused_with_what_it_is() {
        let null = abi::Bytes {
            data: std::ptr::null(),
            length: 4,
        };
        for (said, message) in [
            (
                refused(|info| info.name = null),
                "the engine's name is a null pointer",
            ),
            (
                refused(|info| info.name = bytes("Engine")),
                "lower case letters",
            ),
            (
                refused(|info| info.name.length = usize::MAX),
                "63 is the most",
            ),
            (refused(|info| info.name = bytes("")), "lower case letters"),
            (
                refused(|info| info.version = bytes(b"1\xff")),
                "version is not UTF-8",
            ),
            (
                refused(|info| info.version = bytes("new\nline")),
                "begin with a digit",
            ),
            (refused(|info| info.kinds.count = 0), "kinds \"\" is empty"),
            (
                refused(|info| info.limits = numbers_of(&[9])),
                "the limit 9 is not known",
            ),
            (
                refused(|info| info.wasi = numbers_of(&[0])),
                "the level of WASI 0",
            ),
            (
                refused(|info| info.wasi.count = usize::MAX),
                "64 is the most",
            ),
            (
                refused(|info| info.settings = std::ptr::null()),
                "settings is a null",
            ),
            (
                refused(|info| info.setting_count = 1 << 40),
                "1024 is the most",
            ),
        ] {
            assert!(said.contains(message), "{said}");
        }
    }

    fn numbers_of(numbers: &'static [u32]) -> abi::Numbers {
        abi::Numbers {
            data: numbers.as_ptr(),
            count: numbers.len(),
        }
    }

    #[test]
    fn a_setting_that_makes_no_sense_is_refused() {
        for (said, message) in [
            (refused_setting(|s| s.kind = 7), "type of a setting 7"),
            (
                refused_setting(|s| s.key = bytes("a key")),
                "lower case letters",
            ),
            (
                refused_setting(|s| s.default_value = bytes("c")),
                "\"c\" is not of its type",
            ),
            (
                refused_setting(|s| s.words.data = std::ptr::null()),
                "null pointer",
            ),
            (
                refused_setting(|s| s.doc = bytes("two\nlines")),
                "not one line",
            ),
        ] {
            assert!(said.contains(message), "{said}");
        }
        let twice = [setting_to_abi(&INFO.settings[0]); 2];
        let said = refused(|info| {
            info.settings = twice.as_ptr();
            info.setting_count = 2;
        });
        assert_eq!(said, "the setting \"fast\" stands twice");
    }
}

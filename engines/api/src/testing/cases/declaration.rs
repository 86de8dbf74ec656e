//! What an engine says of itself.

use std::collections::BTreeMap;

use super::{Case, cases};
use crate::testing::process::{End, Refusal};
use crate::testing::subject::Subject;
use crate::{Kind, SettingType, SettingValue, Settings, SettingsError};

pub(super) const CASES: &[Case] = cases![
    info_is_well_formed,
    settings_have_defaults_of_their_type_and_a_line_of_doc,
    an_unknown_setting_is_refused_with_the_known_ones,
    it_can_be_created_with_its_defaults,
    every_value_of_a_setting_works_or_is_refused_with_a_reason,
];

fn info_is_well_formed(subject: &Subject) {
    let info = subject.info();
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    assert!(
        !info.name.is_empty() && info.name.chars().all(is_word),
        "name {:?}",
        info.name
    );
    assert!(
        info.version.starts_with(|c: char| c.is_ascii_digit()),
        "version {:?}",
        info.version
    );
    assert!(!info.kinds.is_empty(), "it takes no kind of WebAssembly");
    assert!(!info.worlds.is_empty(), "it runs no world");
    unique("kind", info.kinds);
    unique("world", info.worlds);
    unique("level of WASI", info.wasi);
    unique("limit", info.limits);
    assert_eq!(subject.info(), info, "it differs from one call to the next");
}

fn unique<T: PartialEq + std::fmt::Debug>(what: &str, items: &[T]) {
    for (i, item) in items.iter().enumerate() {
        assert!(
            !items[..i].contains(item),
            "the {what} {item:?} stands twice"
        );
    }
}

fn settings_have_defaults_of_their_type_and_a_line_of_doc(subject: &Subject) {
    let settings = subject.info().settings;
    unique(
        "setting",
        &settings
            .iter()
            .map(|setting| setting.key)
            .collect::<Vec<_>>(),
    );
    for setting in settings {
        // Panics when the default is not of the type.
        setting.default_value();
        assert!(!setting.doc.is_empty(), "{} has no doc", setting.key);
        assert!(
            !setting.doc.contains('\n'),
            "{}: more than a line of doc",
            setting.key
        );
        let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        assert!(setting.key.chars().all(is_word), "key {:?}", setting.key);
    }
}

fn an_unknown_setting_is_refused_with_the_known_ones(subject: &Subject) {
    let given = BTreeMap::from([("no-such-setting".to_owned(), SettingValue::Bool(true))]);
    let checked = Settings::check(subject.info().settings, &given);
    let Err(SettingsError::Unknown { known, .. }) = checked else {
        panic!("{checked:?}")
    };
    for setting in subject.info().settings {
        assert!(known.contains(setting.key), "{known}");
    }
}

fn it_can_be_created_with_its_defaults(subject: &Subject) {
    assert_eq!(subject.wasm(Kind::Module, []).create(), End::Done);
}

fn every_value_of_a_setting_works_or_is_refused_with_a_reason(subject: &Subject) {
    for setting in subject.info().settings {
        for value in values(setting.kind) {
            let shown = format!("{} = {value}", setting.key);
            match subject
                .wasm(Kind::Module, [])
                .setting(setting.key, value)
                .create()
            {
                End::Done => {}
                End::Refused {
                    by: Refusal::Settings,
                    why,
                } => {
                    assert!(why.contains(setting.key), "{shown}: {why}");
                }
                other => panic!("{shown}: {other:?}"),
            }
        }
    }
}

fn values(kind: SettingType) -> Vec<SettingValue> {
    match kind {
        SettingType::Bool => vec![SettingValue::Bool(false), SettingValue::Bool(true)],
        SettingType::Integer => [0, 1, u64::MAX].map(SettingValue::Integer).to_vec(),
        SettingType::Choice(words) => words
            .iter()
            .map(|word| SettingValue::Text((*word).into()))
            .collect(),
    }
}

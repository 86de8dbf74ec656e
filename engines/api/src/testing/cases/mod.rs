//! The cases, and which of them an engine gets.

mod component;
mod declaration;
mod files;
mod limits;
mod refusals;
mod runs;

use super::subject::Subject;
use crate::{Info, Kind, Limit, Preview};

/// A name and what it does; a case fails by a panic.
pub(super) type Case = (&'static str, fn(&Subject));

/// The cases for an engine that says this of itself.
pub(super) fn of(info: &Info) -> Vec<Case> {
    let mut cases = declaration::CASES.to_vec();
    cases.extend(
        if info.kinds.contains(&Kind::Module) && info.wasi.contains(&Preview::P1) {
            [runs::CASES, files::CASES, refusals::CASES].concat()
        } else {
            refusals::NO_MODULES.to_vec()
        },
    );
    cases.extend(
        if info.kinds.contains(&Kind::Component) && info.wasi.contains(&Preview::P2) {
            component::CASES
        } else {
            refusals::NO_COMPONENTS
        },
    );
    for limit in info.limits {
        cases.extend(match limit {
            Limit::Memory => limits::MEMORY,
            Limit::Table => limits::TABLE,
            Limit::Stack => limits::STACK,
            Limit::Fuel => limits::FUEL,
        });
    }
    cases
}

/// Builds a case list whose names are the functions' own.
macro_rules! cases {
    ($($name:ident),* $(,)?) => {
        &[$((stringify!($name), $name as fn(&crate::testing::subject::Subject))),*]
    };
}
use cases;

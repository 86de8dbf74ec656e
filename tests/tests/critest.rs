//! `critest` with Trireme's handlers, held against what it says of runc on the same host: every spec
//! that runc passes has to pass, unless a difference is listed with its reason. What it said of
//! each is left in the cache, in `critest/HOST.json` and `critest/HOST.md`.
//!
//! `make test` tries one handler on one host; with `TRIREME_SOAK` set, as by `make soak`, all are
//! tried on both.

#[path = "critest/host.rs"]
mod host;
#[path = "critest/site.rs"]
mod site;

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use trireme_tests::critest::{RUNC, specs};

use site::Site;

/// The hosts, with the handlers that are tried on each.
const ALL: &[(&str, &[&str])] = &[
    (
        "forky-2.3",
        &["wasm", "wasm-node", "wasm-sandbox", "wasm-node-sandbox"],
    ),
    ("trixie", &["wasm", "wasm-node"]),
];
/// Those of `make test`.
const BRIEFLY: &[(&str, &[&str])] = &[("forky-2.3", &["wasm"])];

fn main() -> ExitCode {
    host::MARK.take_down_on_signals();
    let arguments = Arguments::from_args();
    let is_soak = std::env::var_os("TRIREME_SOAK").is_some();
    let chosen = if is_soak { ALL } else { BRIEFLY };
    let mut sites = Vec::new();
    let mut trials = Vec::new();
    for (kind, handlers) in chosen {
        let site = Arc::new(Site::new(kind));
        trials.push(trial(&site, RUNC, "enough_specs_pass", Site::passes_enough));
        for handler in *handlers {
            trials.extend(specs().map(|spec| {
                trial(&site, handler, spec, move |site, handler| {
                    site.is_as_with_runc(handler, spec)
                })
            }));
            trials.push(trial(
                &site,
                handler,
                "nothing_stays_behind",
                Site::is_clean,
            ));
        }
        sites.push(site);
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    for site in sites {
        site.take_down();
    }
    conclusion.exit_code()
}

fn trial(
    site: &Arc<Site>,
    handler: &'static str,
    name: &str,
    check: impl FnOnce(&Site, &'static str) -> anyhow::Result<()> + Send + 'static,
) -> Trial {
    let name = format!("{}::{handler}::{name}", site.kind());
    let site = Arc::clone(site);
    let run = move || check(&site, handler).map_err(|error| Failed::from(format!("{error:#}")));
    Trial::test(name, run)
}

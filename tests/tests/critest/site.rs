//! A host with what `critest` said of each handler there, asked once for each.

use std::collections::BTreeMap;
use std::fs;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, anyhow, bail, ensure};
use trireme_tests::critest::differences::{find, judge, may_end};
use trireme_tests::critest::{RUNC, Results, page};
use trireme_tests::paths;

use crate::host::Host;

/// What a handler left.
#[derive(Clone)]
struct Seen {
    results: Arc<Results>,
    left: Arc<[String]>,
}

/// A host and its handlers.
pub struct Site {
    kind: &'static str,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    host: Option<Host>,
    /// What was seen, or why nothing was, by handler.
    seen: BTreeMap<&'static str, Result<Seen, String>>,
}

impl Site {
    pub fn new(kind: &'static str) -> Self {
        Self {
            kind,
            state: Mutex::default(),
        }
    }

    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// That the run means something.
    pub fn passes_enough(&self, handler: &'static str) -> Result<()> {
        let results = self.ask(handler)?.results;
        let unlisted = results
            .0
            .iter()
            .filter(|(spec, outcome)| !may_end(self.kind, spec, outcome))
            .map(|(spec, outcome)| format!("{spec}: {} {}", outcome.state, outcome.message));
        let unlisted: Vec<_> = unlisted.collect();
        ensure!(
            unlisted.is_empty(),
            "not passed, and not listed in differences.rs:\n{}",
            unlisted.join("\n")
        );
        results.is_enough()
    }

    /// That a spec ends as it does with runc, or as is listed.
    pub fn is_as_with_runc(&self, handler: &'static str, spec: &str) -> Result<()> {
        let runc = self.ask(RUNC)?.results;
        let ours = self.ask(handler)?.results;
        let (ours, runcs) = (ours.get(spec)?, runc.get(spec)?);
        match judge(ours, runcs, find(self.kind, spec)) {
            None => Ok(()),
            Some(problem) => bail!(
                "{problem}\n  {handler}: {} {}\n  {RUNC}: {} {}",
                ours.state,
                ours.message,
                runcs.state,
                runcs.message
            ),
        }
    }

    /// That the handler's pods left nothing in the host.
    pub fn is_clean(&self, handler: &'static str) -> Result<()> {
        let left = self.ask(handler)?.left;
        ensure!(left.is_empty(), "left behind:\n{}", left.join("\n"));
        Ok(())
    }

    /// Ends the host.
    pub fn take_down(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.host = None;
    }

    /// What `critest` says of a handler; the first to ask has it run, with runc first.
    fn ask(&self, handler: &'static str) -> Result<Seen> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for wanted in [RUNC, handler] {
            if !state.seen.contains_key(wanted) {
                let seen = state.run(self.kind, wanted);
                let seen = seen.map_err(|error| format!("{error:#}"));
                state.seen.insert(wanted, seen);
                self.write(&state)?;
            }
        }
        let seen = state.seen.get(handler).context("it was not asked")?;
        seen.clone().map_err(|error| anyhow!(error))
    }

    /// Leaves what is known so far in the cache.
    fn write(&self, state: &State) -> Result<()> {
        let folder = paths::cache()?.join("critest");
        fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        let known: BTreeMap<_, _> = state
            .seen
            .iter()
            .filter_map(|(handler, seen)| Some((*handler, &*seen.as_ref().ok()?.results)))
            .collect();
        let file = |extension: &str| folder.join(format!("{}.{extension}", self.kind));
        fs::write(file("json"), serde_json::to_string_pretty(&known)?)?;
        fs::write(file("md"), page::table(self.kind, &known)?)?;
        Ok(())
    }
}

impl State {
    fn run(&mut self, kind: &'static str, handler: &str) -> Result<Seen> {
        if self.host.is_none() {
            self.host = Some(Host::up(kind)?);
        }
        let host = self.host.as_ref().context("there is no host")?;
        let (results, left) = host.run(handler)?;
        Ok(Seen {
            results: Arc::new(results),
            left: left.into(),
        })
    }
}

//! Where a handler of Trireme does otherwise than runc, and why.

use super::{Outcome, State};

/// Specs that end otherwise than they have to: with a handler of Trireme, or with runc itself.
#[derive(Debug)]
pub struct Difference {
    /// The beginning of their names, or all of one.
    pub spec: &'static str,
    /// The kinds of hosts where it is so.
    pub hosts: &'static [&'static str],
    /// How they end there.
    pub state: State,
    /// What their messages say.
    pub says: &'static str,
    /// Why.
    pub reason: &'static str,
}

/// What runc passes and a handler of Trireme does not, for every handler alike.
pub const DIFFERENCES: &[Difference] = &[Difference {
    spec: "Security Context UserNamespaces",
    hosts: &["forky-2.3"],
    state: State::Skipped,
    says: "no runtime handler found which supports user namespaces",
    reason: "pods with `hostUsers: false` are refused: no process of Trireme maps users",
}];

const BOTH: &[&str] = &["forky-2.3", "trixie"];
const OLD: &[&str] = &["trixie"];
const NOT_YET: &str = "containerd 1.7 does not have it";

/// What runc need not pass, so that it says nothing of a handler.
pub const UNPASSED: &[Difference] = &[
    Difference {
        spec: "AppArmor runtime",
        hosts: BOTH,
        state: State::Skipped,
        says: "AppArmor is disabled on this host",
        reason: "the hosts have the machine's kernel; the end-to-end tests have one with AppArmor",
    },
    Difference {
        spec: "Image Manager public image with digest should be pulled and removed",
        hosts: BOTH,
        state: State::Failed,
        says: "failed to pull image",
        reason: "it names the digest of a public image, which no image built here can have",
    },
    Difference {
        spec: "Container Mount Readonly runtime should support readonly mounts should",
        hosts: OLD,
        state: State::Skipped,
        says: "does not implement recursive readonly mounts",
        reason: NOT_YET,
    },
    Difference {
        spec: "Image Identifier Consistency",
        hosts: OLD,
        state: State::Skipped,
        says: "does not seem to implement CRI API image_id",
        reason: NOT_YET,
    },
    Difference {
        spec: "Security Context SupplementalGroupsPolicy",
        hosts: OLD,
        state: State::Skipped,
        says: "does not support SupplementalGroupsPolicy",
        reason: NOT_YET,
    },
    Difference {
        spec: "Security Context UserNamespaces",
        hosts: OLD,
        state: State::Skipped,
        says: "no runtime handler found which supports user namespaces",
        reason: NOT_YET,
    },
];

impl Difference {
    fn is_of(&self, host: &str, spec: &str) -> bool {
        self.hosts.contains(&host) && spec.starts_with(self.spec)
    }

    fn is_so(&self, outcome: &Outcome) -> bool {
        outcome.state == self.state && outcome.message.contains(self.says)
    }
}

/// Whether runc may end a spec so on a host.
pub fn may_end(host: &str, spec: &str, runcs: &Outcome) -> bool {
    let is_known = |known: &Difference| known.is_of(host, spec) && known.is_so(runcs);
    runcs.state == State::Passed || UNPASSED.iter().any(is_known)
}

/// The difference that is listed for a spec on a host.
pub fn find(host: &str, spec: &str) -> Option<&'static Difference> {
    DIFFERENCES.iter().find(|known| known.is_of(host, spec))
}

/// What is wrong with how a spec ended with a handler of Trireme, given how it ended with runc.
///
/// A spec that runc does not pass says nothing of the handler, unless it fails where runc has it
/// skipped.
pub fn judge(ours: &Outcome, runcs: &Outcome, known: Option<&Difference>) -> Option<String> {
    let is_worse = match runcs.state {
        State::Passed => ours.state != State::Passed,
        State::Skipped => ours.state == State::Failed,
        State::Failed => false,
    };
    match known {
        None if !is_worse => None,
        None => Some("not as with runc, and not listed in differences.rs".to_owned()),
        Some(known) if !is_worse => Some(format!("no worse than runc: remove {known:?}")),
        Some(known) if known.is_so(ours) => None,
        Some(known) => Some(format!("not as in {known:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::specs;
    use super::*;

    const KNOWN: Difference = Difference {
        spec: "some spec",
        hosts: &["some-host"],
        state: State::Skipped,
        says: "no such thing",
        reason: "there is no such thing",
    };

    fn outcome(state: State) -> Outcome {
        Outcome {
            state,
            message: "there is no such thing here".to_owned(),
        }
    }

    fn is_right(ours: State, runcs: State, known: Option<&Difference>) -> bool {
        judge(&outcome(ours), &outcome(runcs), known).is_none()
    }

    #[test]
    fn what_runc_does_not_pass_is_listed() {
        for known in UNPASSED {
            assert!(
                specs().any(|spec| spec.starts_with(known.spec)),
                "{known:?}"
            );
            let outcome = |state, says: &str| Outcome {
                state,
                message: format!("it {says} here"),
            };
            let so = outcome(known.state, known.says);
            let host = known.hosts[0];
            assert!(may_end(host, known.spec, &so));
            let otherwise = outcome(known.state, "is tired");
            assert!(!may_end(host, known.spec, &otherwise));
            assert!(!may_end("elsewhere", known.spec, &so));
            assert!(!may_end(host, "another spec", &so));
            assert!(may_end(host, known.spec, &outcome(State::Passed, "")));
        }
    }

    #[test]
    fn what_runc_passes_has_to_pass() {
        assert!(is_right(State::Passed, State::Passed, None));
        assert!(!is_right(State::Skipped, State::Passed, None));
        assert!(!is_right(State::Failed, State::Passed, None));
    }

    #[test]
    fn what_runc_skips_may_not_fail() {
        assert!(is_right(State::Skipped, State::Skipped, None));
        assert!(is_right(State::Passed, State::Skipped, None));
        assert!(!is_right(State::Failed, State::Skipped, None));
        assert!(is_right(State::Failed, State::Failed, None));
    }

    #[test]
    fn a_difference_that_is_listed_has_to_be_one() {
        assert!(is_right(State::Skipped, State::Passed, Some(&KNOWN)));
        assert!(!is_right(State::Passed, State::Passed, Some(&KNOWN)));
        assert!(!is_right(State::Failed, State::Passed, Some(&KNOWN)));
        let other = Difference {
            says: "another reason",
            ..KNOWN
        };
        assert!(!is_right(State::Skipped, State::Passed, Some(&other)));
    }

    #[test]
    fn every_difference_is_of_a_spec() {
        for known in DIFFERENCES {
            let is_there = specs().any(|spec| spec.starts_with(known.spec));
            assert!(is_there, "there is no spec `{}`", known.spec);
        }
    }
}

//! Rules on devices as properties of a unit (`DevicePolicy=` and `DeviceAllow=` in
//! `systemd.resource-control(5)`). On v1 systemd writes them to the cgroup again whenever it is
//! reloaded or told of a limit, and without any allows every device then.

use trireme_core::spec::oci::LinuxDeviceCgroup;

use super::Value;
use super::properties::Property;
use crate::cgroup::CgroupError;
use crate::cgroup::devices::{ALWAYS, Kind, Rule, rule};

/// The properties of some rules, and of what every container may do.
pub fn of_devices(rules: &[LinuxDeviceCgroup]) -> Result<Vec<Property>, CgroupError> {
    let rules = rules.iter().map(rule).collect::<Result<Vec<_>, _>>()?;
    let (policy, allowed) = match allowed(&rules) {
        Some(mut allowed) => {
            allowed.extend(ALWAYS);
            ("strict", allowed)
        }
        None => ("auto", Vec::new()),
    };
    let allowed = allowed.iter().flat_map(entries).collect();
    // In this order: the other one has systemd say that the unit has changed on disk.
    Ok(vec![
        ("DeviceAllow", Value::Pairs(allowed)),
        ("DevicePolicy", Value::Text(policy.into())),
    ])
}

/// What the rules allow, one after the other; none where that is everything. Without a rule for
/// everything, what is not allowed is denied, and so is all where everything is allowed but some:
/// systemd has no words for that.
fn allowed(rules: &[Rule]) -> Option<Vec<Rule>> {
    let mut allowed = Some(Vec::<Rule>::new());
    for rule in rules {
        // As the kernel reads it on v1, whatever else it says.
        if rule.kind == Kind::Any {
            allowed = (!rule.allow).then(Vec::new);
            continue;
        }
        match &mut allowed {
            Some(allowed) if rule.allow => allowed.push(*rule),
            Some(allowed) => {
                let devices = |rule: &Rule| (rule.kind, rule.major, rule.minor);
                for known in allowed.iter_mut() {
                    if devices(known) == devices(rule) {
                        known.access = known.access.without(rule.access);
                    }
                }
                allowed.retain(|known| !known.access.is_none());
            }
            None if rule.allow => {}
            None => allowed = Some(Vec::new()),
        }
    }
    allowed
}

/// A device by its numbers, or all with a major number; there is no name for all with a minor one.
fn entries(rule: &Rule) -> Option<(String, String)> {
    let kind = match rule.kind {
        Kind::Block => "block",
        Kind::Char | Kind::Any => "char",
    };
    let name = match (rule.major, rule.minor) {
        (Some(major), Some(minor)) => format!("/dev/{kind}/{major}:{minor}"),
        (Some(major), None) => format!("{kind}-{major}"),
        (None, None) => format!("{kind}-*"),
        (None, Some(_)) => return None,
    };
    Some((name, rule.access.to_string()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn properties(rules: serde_json::Value) -> (String, Vec<(String, String)>) {
        let rules: Vec<LinuxDeviceCgroup> = serde_json::from_value(rules).unwrap();
        match &of_devices(&rules).unwrap()[..] {
            [(_, Value::Pairs(allowed)), (_, Value::Text(policy))] => {
                (policy.clone(), allowed.clone())
            }
            other => panic!("{other:?}"),
        }
    }

    fn pair(name: &str, access: &str) -> (String, String) {
        (name.to_owned(), access.to_owned())
    }

    #[test]
    fn what_is_allowed_is_listed_and_the_rest_denied() {
        let none = json!({"allow": false, "access": "rwm"});
        let disk = json!({"allow": true, "type": "b", "major": 8, "minor": 1, "access": "rwm"});
        let read_only = json!({"allow": false, "type": "b", "major": 8, "minor": 1, "access": "w"});
        let (policy, always) = properties(json!([none]));
        assert_eq!(policy, "strict");
        assert_eq!(always[0], pair("char-*", "m"));
        for allowed in [pair("/dev/char/1:3", "rwm"), pair("char-136", "rwm")] {
            assert!(always.contains(&allowed), "{always:?}");
        }
        assert_eq!(properties(json!([])), (policy, always));
        let (_, allowed) = properties(json!([none, disk]));
        assert_eq!(allowed[0], pair("/dev/block/8:1", "rwm"));
        let (_, allowed) = properties(json!([none, disk, read_only]));
        assert_eq!(allowed[0], pair("/dev/block/8:1", "rm"));
    }

    #[test]
    fn whoever_may_use_every_device_may_still_when_systemd_is_reloaded() {
        let all = json!({"allow": true, "access": "rwm"});
        let (policy, allowed) = properties(json!([all]));
        assert_eq!((policy.as_str(), allowed.len()), ("auto", 0));
        let but_disks = json!({"allow": false, "type": "b", "major": 8, "access": "rwm"});
        let (policy, allowed) = properties(json!([all, but_disks]));
        assert_eq!((policy.as_str(), allowed.len()), ("strict", ALWAYS.len()));
    }
}

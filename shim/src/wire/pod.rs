//! What Kubernetes says of a pod: `runtime.v1.PodSandboxConfig` (cri-api
//! `pkg/apis/runtime/v1/api.proto`), which CRI hands on to a shim that makes
//! pods itself (containerd `core/sandbox/controller.go`, `CreateOptions`).

use std::collections::BTreeMap;

use protobuf::well_known_types::any::Any;

use super::fields::{Value, each};
use super::protobuf;

const NAME: &str = "runtime.v1.PodSandboxConfig";

/// What of a pod's configuration concerns its sandbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodConfig {
    /// The host name; empty for the node's own.
    pub hostname: String,
    /// How names are resolved; as on the node where this is missing.
    pub dns: Option<Dns>,
    /// Kernel parameters of the pod's namespaces, by their names with dots.
    pub sysctls: BTreeMap<String, String>,
    /// The cgroup that those of the pod's containers are in, or empty.
    pub cgroup_parent: String,
    /// Which network namespace.
    pub network: Scope,
    /// Which pid namespace.
    pub pid: Scope,
    /// Which IPC namespace.
    pub ipc: Scope,
    /// Whether a user namespace of the pod's own is asked for.
    pub user_namespace: bool,
}

/// Whose namespace it is (`NamespaceMode`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// The pod's, shared by its containers.
    #[default]
    Pod,
    /// Each container's own.
    Container,
    /// The node's.
    Node,
}

/// How names are resolved (`DNSConfig`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dns {
    /// Addresses of servers.
    pub servers: Vec<String>,
    /// Domains to search.
    pub searches: Vec<String>,
    /// Options of the resolver.
    pub options: Vec<String>,
}

/// The configuration of a pod cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum PodError {
    /// Another type.
    #[error("a sandbox's options are of type \"{0}\"; only {NAME} is supported")]
    Type(String),
    /// Damaged bytes.
    #[error("the configuration of the pod: {0}")]
    Damaged(#[from] protobuf::Error),
}

/// Reads the configuration of a pod; without any, it is that of a pod in the
/// node's network.
///
/// # Errors
///
/// For another type and damaged bytes.
pub fn parse(any: Option<&Any>) -> Result<PodConfig, PodError> {
    let Some(any) = any.filter(|any| !any.type_url.is_empty()) else {
        return Ok(PodConfig {
            network: Scope::Node,
            pid: Scope::Container,
            ..PodConfig::default()
        });
    };
    match any.type_url.rsplit('/').next() {
        Some(NAME) => Ok(config(&any.value)?),
        _ => Err(PodError::Type(any.type_url.clone())),
    }
}

fn config(bytes: &[u8]) -> Result<PodConfig, protobuf::Error> {
    let mut config = PodConfig::default();
    let mut parts = Vec::new();
    each(bytes, |field, value| match (field, value) {
        (2, value) => config.hostname = value.text(),
        (4 | 8, Value::Bytes(part)) => parts.push((field, part)),
        _ => {}
    })?;
    for (field, part) in parts {
        match field {
            4 => config.dns = Some(dns(&part)?),
            _ => linux(&part, &mut config)?,
        }
    }
    Ok(config)
}

fn dns(bytes: &[u8]) -> Result<Dns, protobuf::Error> {
    let mut dns = Dns::default();
    each(bytes, |field, value| match field {
        1 => dns.servers.push(value.text()),
        2 => dns.searches.push(value.text()),
        3 => dns.options.push(value.text()),
        _ => {}
    })?;
    Ok(dns)
}

/// `LinuxPodSandboxConfig`.
fn linux(bytes: &[u8], config: &mut PodConfig) -> Result<(), protobuf::Error> {
    let (mut security, mut entries) = (Vec::new(), Vec::new());
    each(bytes, |field, value| match (field, value) {
        (1, value) => config.cgroup_parent = value.text(),
        (2, Value::Bytes(part)) => security = part,
        (3, Value::Bytes(entry)) => entries.push(entry),
        _ => {}
    })?;
    for entry in entries {
        let (mut key, mut text) = (String::new(), String::new());
        each(&entry, |field, value| match field {
            1 => key = value.text(),
            2 => text = value.text(),
            _ => {}
        })?;
        config.sysctls.insert(key, text);
    }
    // `LinuxSandboxSecurityContext`, whose first field is `NamespaceOption`.
    let mut options = Vec::new();
    each(&security, |field, value| {
        if let (1, Value::Bytes(part)) = (field, value) {
            options = part;
        }
    })?;
    namespaces(&options, config)
}

/// `NamespaceOption`.
fn namespaces(bytes: &[u8], config: &mut PodConfig) -> Result<(), protobuf::Error> {
    let mut users = None;
    each(bytes, |field, value| match (field, value) {
        (1, Value::Number(mode)) => config.network = scope(mode),
        (2, Value::Number(mode)) => config.pid = scope(mode),
        (3, Value::Number(mode)) => config.ipc = scope(mode),
        (5, Value::Bytes(part)) => users = Some(part),
        _ => {}
    })?;
    if let Some(users) = users {
        // `UserNamespace`, whose mode is left out where it is that of the pod.
        let mut mode = Scope::Pod;
        each(&users, |field, value| {
            if let (1, Value::Number(number)) = (field, value) {
                mode = scope(number);
            }
        })?;
        config.user_namespace = mode == Scope::Pod;
    }
    Ok(())
}

fn scope(mode: u64) -> Scope {
    match mode {
        0 => Scope::Pod,
        2 => Scope::Node,
        // A target is a matter between two containers.
        _ => Scope::Container,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A field that holds bytes, which are few.
    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, bytes.len() as u8], bytes].concat()
    }

    fn any(value: Vec<u8>) -> Any {
        Any {
            type_url: NAME.into(),
            value,
            ..Any::default()
        }
    }

    #[test]
    fn a_configuration_is_read() {
        let sysctl = [
            field(1, b"net.ipv4.ip_unprivileged_port_start"),
            field(2, b"0"),
        ]
        .concat();
        // Network of the node, pid of each container, user namespace of the node.
        let namespaces = [&[0x08, 2, 0x10, 1][..], &field(5, &[0x08, 2])].concat();
        let linux = [
            field(1, b"/kubepods/pod1"),
            field(2, &field(1, &namespaces)),
            field(3, &sysctl),
        ]
        .concat();
        let dns = [
            field(1, b"10.0.0.1"),
            field(2, b"local"),
            field(3, b"ndots:5"),
        ]
        .concat();
        let value = [field(2, b"web-0"), field(4, &dns), field(8, &linux)].concat();
        let config = parse(Some(&any(value))).unwrap();
        assert_eq!(config.hostname, "web-0");
        assert_eq!(config.cgroup_parent, "/kubepods/pod1");
        assert_eq!(config.sysctls["net.ipv4.ip_unprivileged_port_start"], "0");
        assert_eq!(
            (config.network, config.pid, config.ipc),
            (Scope::Node, Scope::Container, Scope::Pod)
        );
        assert!(!config.user_namespace);
        let dns = config.dns.unwrap();
        assert_eq!(dns.servers, ["10.0.0.1"]);
        assert_eq!(
            (dns.searches, dns.options),
            (vec!["local".into()], vec!["ndots:5".into()])
        );
    }

    #[test]
    fn a_user_namespace_of_the_pod_is_its_default_mode() {
        let value = field(8, &field(2, &field(1, &field(5, &[]))));
        assert!(parse(Some(&any(value))).unwrap().user_namespace);
    }

    #[test]
    fn without_a_configuration_the_network_is_the_nodes() {
        assert_eq!(parse(None).unwrap().network, Scope::Node);
    }

    #[test]
    fn other_types_and_damage_are_refused() {
        let other = Any {
            type_url: "x.Y".into(),
            ..Any::default()
        };
        assert!(parse(Some(&other)).unwrap_err().to_string().contains("x.Y"));
        assert!(parse(Some(&any(vec![0x12, 200]))).is_err());
    }
}

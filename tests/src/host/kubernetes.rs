//! Kubernetes in a host: a cluster of one node, with all daemons on loopback in the host's own
//! network namespace. There is neither a service proxy nor a name server in it.

use anyhow::{Result, bail};

use super::Instance;
use super::daemon::{Daemon, Ready, in_host, root_of, write};

/// What it needs of the machine beside what every host over it does: keys for service accounts,
/// and address translation for pods.
pub const PACKAGES: &[&str] = &[
    "busybox-static",
    "containerd",
    "containernetworking-plugins",
    "iproute2",
    "iptables",
    "openssl",
    "runc",
];

/// How `kubectl` finds the cluster, and where it keeps what it has learnt of it.
pub const ENVIRONMENT: [(&str, &str); 2] = [
    ("KUBECONFIG", "/etc/kubernetes/kubeconfig.yaml"),
    ("KUBECACHEDIR", "/run/kubernetes/cache"),
];

/// Settings of the kernel, below `/proc/sys`, that the kubelet would change for the whole machine
/// if they were not as it wants them; see its `setupKernelTunables`.
pub const SETTINGS: [(&str, &str); 6] = [
    ("vm/overcommit_memory", "1\n"),
    ("vm/panic_on_oom", "0\n"),
    ("kernel/panic", "10\n"),
    ("kernel/panic_on_oops", "1\n"),
    ("kernel/keys/root_maxkeys", "1000000\n"),
    ("kernel/keys/root_maxbytes", "25000000\n"),
];

/// All of it, in the order in which it is started.
pub const DAEMONS: [Daemon; 5] = [
    Daemon {
        name: "etcd",
        command: &[
            "etcd",
            "--data-dir=/run/etcd",
            "--unsafe-no-fsync",
            "--listen-client-urls=http://127.0.0.1:2379",
            "--advertise-client-urls=http://127.0.0.1:2379",
        ],
        ready: Ready::Port(2379),
        configure: nothing,
    },
    Daemon {
        name: "kube-apiserver",
        command: &[
            "kube-apiserver",
            "--etcd-servers=http://127.0.0.1:2379",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            // It would not take loopback for an endpoint.
            "--endpoint-reconciler-type=none",
            "--cert-dir=/run/kubernetes",
            "--token-auth-file=/etc/kubernetes/tokens.csv",
            "--authorization-mode=AlwaysAllow",
            "--allow-privileged",
            "--service-cluster-ip-range=10.96.0.0/24",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--service-account-key-file=/etc/kubernetes/accounts.key",
            "--service-account-signing-key-file=/etc/kubernetes/accounts.key",
        ],
        ready: Ready::Command(&["kubectl", "get", "--raw", "/readyz"]),
        configure: configure_cluster,
    },
    Daemon {
        name: "kube-controller-manager",
        command: &[
            "kube-controller-manager",
            KUBECONFIG_FLAG,
            "--leader-elect=false",
            "--secure-port=0",
            "--service-account-private-key-file=/etc/kubernetes/accounts.key",
            // Pods wait for it.
            "--root-ca-file=/run/kubernetes/apiserver.crt",
            "--flex-volume-plugin-dir=/var/lib/kubelet/volume-plugins",
        ],
        // A pod cannot be made before it.
        ready: Ready::Command(&["kubectl", "get", "serviceaccount", "default"]),
        configure: nothing,
    },
    Daemon {
        name: "kube-scheduler",
        command: &[
            "kube-scheduler",
            KUBECONFIG_FLAG,
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
            "--cert-dir=/run/kubernetes/scheduler",
        ],
        ready: Ready::Port(10259),
        configure: nothing,
    },
    Daemon {
        name: "kubelet",
        command: &[
            "kubelet",
            KUBECONFIG_FLAG,
            "--config=/etc/kubernetes/kubelet.yaml",
            // The API server asks it for logs by this name.
            "--hostname-override=127.0.0.1",
        ],
        ready: Ready::Command(&[
            "kubectl",
            "wait",
            "--for=condition=Ready",
            "node/127.0.0.1",
            "--timeout=5s",
        ]),
        configure: configure_node,
    },
];

const KUBECONFIG_FLAG: &str = "--kubeconfig=/etc/kubernetes/kubeconfig.yaml";

fn nothing(_: &Instance) -> Result<()> {
    Ok(())
}

fn configure_cluster(instance: &Instance) -> Result<()> {
    let folder = root_of(instance)?.join("etc/kubernetes");
    write(
        &folder.join("kubeconfig.yaml"),
        include_str!("../../hosts/kubernetes/kubeconfig.yaml"),
    )?;
    write(
        &folder.join("tokens.csv"),
        include_str!("../../hosts/kubernetes/tokens.csv"),
    )?;
    if folder.join("accounts.key").exists() {
        return Ok(());
    }
    let words = "openssl ecparam -genkey -noout -name prime256v1 -out /etc/kubernetes/accounts.key";
    let output = in_host(instance, &words.split_whitespace().collect::<Vec<_>>())?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        bail!("`{words}` failed: {}", text.trim());
    }
    Ok(())
}

fn configure_node(instance: &Instance) -> Result<()> {
    write(
        &root_of(instance)?.join("etc/kubernetes/kubelet.yaml"),
        include_str!("../../hosts/kubernetes/kubelet.yaml"),
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    #[test]
    fn each_handler_of_containerd_has_a_runtime_class() {
        let config = include_str!("../../../deploy/containerd/config-v3.toml");
        let classes = include_str!("../../../deploy/kubernetes/runtimeclasses.yaml");
        let handlers = config.lines().filter_map(|line| {
            let (_, name) = line.split_once("containerd.runtimes.")?;
            name.strip_suffix(']').filter(|name| *name != "runc")
        });
        let named = classes
            .lines()
            .filter_map(|line| line.strip_prefix("handler: "));
        let handlers: BTreeSet<_> = handlers.collect();
        assert_eq!(handlers, named.collect());
        assert!(handlers.contains("wasm"), "{handlers:?}");
    }
}

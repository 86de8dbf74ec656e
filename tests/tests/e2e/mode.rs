//! What runs the guest of a case.

use std::fmt::Write as _;

use trireme_tests::engines::Engine;

use crate::cases::soak;

/// A runtime and the form of the guests that it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Trireme with an engine and a sort of server.
    Wasm(Engine, Server),
    /// Trireme with a sort of server, and guests built for Linux.
    Linux(Server),
    /// runc and guests built for Linux.
    Runc,
}

/// How many pods a server of Trireme has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    PerPod,
    PerNode,
}

impl Server {
    /// Each of them.
    pub const BOTH: [Self; 2] = [Self::PerPod, Self::PerNode];

    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::PerPod => "per-pod",
            Self::PerNode => "per-node",
        }
    }
}

/// The kinds of hosts on which Linux programs are tried with Trireme in a run that is not
/// `make soak`.
const LINUX: [&str; 2] = ["containerd-2.3", "trixie"];

/// The same for wasmer and wasmi: hosts with Docker, of two versions of containerd.
const ENGINES: [&str; 2] = ["trixie", "forky"];

impl Mode {
    /// The modes of one host of the run, which `position` tells from the others: wasmtime with one of
    /// the servers, in turns, which together are both; other engines and Linux programs, in turns as
    /// well, on two of the hosts. `make soak` has all. In a cluster it is wasmtime with both, since
    /// what is tried there are pods.
    pub fn on(kind: &str, position: usize) -> Vec<Self> {
        // Machines of their own, where it is the version of cgroups that matters.
        if kind == "cgroup1" {
            let guests = Self::Wasm(Engine::Wasmtime, Server::PerNode);
            return vec![guests, Self::Linux(Server::PerPod), Self::Runc];
        }
        if kind == "cgroup2" {
            let servers = Server::BOTH.map(|server| Self::Wasm(Engine::Wasmtime, server));
            return [&servers[..], &[Self::Linux(Server::PerPod), Self::Runc]].concat();
        }
        if kind == "kube" {
            let servers = Server::BOTH.into_iter();
            let wasm = servers.map(|server| Self::Wasm(Engine::Wasmtime, server));
            return wasm.chain([Self::Runc]).collect();
        }
        // Its containerd is another host's too, but that has no WasmEdge.
        let is_for_one = kind == "forky-2.3";
        let mut modes = Vec::new();
        for (number, engine) in Engine::ALL.iter().enumerate() {
            let is_tried = match engine {
                Engine::WasmEdge => true,
                Engine::Wasmtime => !is_for_one,
                _ => !is_for_one && (soak() || ENGINES.contains(&kind)),
            };
            if engine.is_on(kind) && is_tried {
                // Of two hosts with one thing in common, as Docker, each has another server.
                let of_host = match engine {
                    Engine::Wasmtime => position.div_ceil(2),
                    _ => number + position,
                };
                let servers = Server::BOTH.into_iter().enumerate();
                let chosen = servers.filter(|(turn, _)| soak() || of_host % 2 == *turn);
                modes.extend(chosen.map(|(_, server)| Self::Wasm(*engine, server)));
            }
        }
        if !is_for_one {
            let servers = Server::BOTH.into_iter().enumerate();
            let is_there = |turn| LINUX.contains(&kind) && position % 2 == turn;
            let chosen = servers.filter(|(turn, _)| soak() || is_there(*turn));
            modes.extend(chosen.map(|(_, server)| Self::Linux(server)));
            modes.push(Self::Runc);
        }
        modes
    }

    /// The part of a trial's name. wasmtime, the default, is not told.
    pub fn name(self) -> String {
        match self {
            Self::Wasm(engine, server) => {
                let server = server.name().replace('-', "_");
                match engine {
                    Engine::Wasmtime => server,
                    _ => format!("{}_{server}", engine.name()),
                }
            }
            Self::Linux(server) => format!("linux_{}", server.name().replace('-', "_")),
            Self::Runc => "runc".into(),
        }
    }

    pub fn is_wasm(self) -> bool {
        matches!(self, Self::Wasm(..))
    }

    /// The engine; none for Linux programs.
    pub fn engine(self) -> Option<Engine> {
        match self {
            Self::Wasm(engine, _) => Some(engine),
            Self::Linux(_) | Self::Runc => None,
        }
    }

    /// The server, per pod where Trireme does not run the guest.
    pub fn server(self) -> Server {
        match self {
            Self::Wasm(_, server) | Self::Linux(server) => server,
            Self::Runc => Server::PerPod,
        }
    }

    pub fn runtime(self) -> &'static str {
        match self {
            Self::Wasm(engine, server) => runtime(engine, server, Patience::Usual),
            Self::Linux(server) => runtime(Engine::Wasmtime, server, Patience::Usual),
            Self::Runc => "io.containerd.runc.v2",
        }
    }

    /// The runtime whose handler gives a compiler little time.
    pub fn impatient_runtime(self) -> &'static str {
        match self {
            Self::Wasm(engine, server) => runtime(engine, server, Patience::Little),
            Self::Linux(server) => runtime(Engine::Wasmtime, server, Patience::Little),
            Self::Runc => "io.containerd.runc.v2",
        }
    }

    pub fn image(self) -> &'static str {
        match self {
            Self::Linux(_) | Self::Runc => "trireme.test/native:latest",
            Self::Wasm(..) => "trireme.test/guests:latest",
        }
    }
}

/// How long a handler gives a compiler.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Patience {
    Usual,
    Little,
}

fn runtime(engine: Engine, server: Server, patience: Patience) -> &'static str {
    use Patience::{Little, Usual};
    use Server::{PerNode, PerPod};
    match (engine, server, patience) {
        (Engine::Wasmtime, PerPod, Usual) => "io.containerd.wasmtime.v1",
        (Engine::Wasmtime, PerNode, Usual) => "io.containerd.wasm-node.v1",
        (Engine::Wasmtime, PerPod, Little) => "io.containerd.wasmtime-hasty.v1",
        (Engine::Wasmtime, PerNode, Little) => "io.containerd.wasmtime-node-hasty.v1",
        (Engine::Wasmer, PerPod, Usual) => "io.containerd.wasmer.v1",
        (Engine::Wasmer, PerNode, Usual) => "io.containerd.wasmer-node.v1",
        (Engine::Wasmer, PerPod, Little) => "io.containerd.wasmer-hasty.v1",
        (Engine::Wasmer, PerNode, Little) => "io.containerd.wasmer-node-hasty.v1",
        (Engine::Wasmi, PerPod, Usual) => "io.containerd.wasmi.v1",
        (Engine::Wasmi, PerNode, Usual) => "io.containerd.wasmi-node.v1",
        (Engine::Wasmi, PerPod, Little) => "io.containerd.wasmi-hasty.v1",
        (Engine::Wasmi, PerNode, Little) => "io.containerd.wasmi-node-hasty.v1",
        (Engine::WasmEdge, PerPod, Usual) => "io.containerd.wasmedge.v1",
        (Engine::WasmEdge, PerNode, Usual) => "io.containerd.wasmedge-node.v1",
        (Engine::WasmEdge, PerPod, Little) => "io.containerd.wasmedge-hasty.v1",
        (Engine::WasmEdge, PerNode, Little) => "io.containerd.wasmedge-node-hasty.v1",
    }
}

/// The handler that a runtime's name has.
pub fn handler(runtime: &str) -> &str {
    runtime.split('.').nth(2).unwrap_or(runtime)
}

/// The runtime of a handler whose engine is not there.
pub const MISSING: &str = "io.containerd.without-engine.v1";
/// The runtime of a handler with a setting that its engine lacks.
pub const UNSET: &str = "io.containerd.unset.v1";

/// Where the hosts have their plugins.
pub const PLUGINS: &str = "/opt/trireme/engines";

/// The names under which the hosts of a kind must have the shim.
pub fn handlers(kind: &str) -> impl Iterator<Item = &'static str> {
    let of_modes = every_handler(kind).map(|(_, _, _, runtime)| runtime);
    of_modes.chain([MISSING, UNSET]).map(handler)
}

fn every_handler(
    kind: &str,
) -> impl Iterator<Item = (Engine, Server, Patience, &'static str)> + use<> {
    let engines: Vec<_> = Engine::ALL.iter().filter(|one| one.is_on(kind)).collect();
    engines.into_iter().flat_map(|engine| {
        Server::BOTH.into_iter().flat_map(|server| {
            [Patience::Usual, Patience::Little].map(|patience| {
                (
                    *engine,
                    server,
                    patience,
                    runtime(*engine, server, patience),
                )
            })
        })
    })
}

/// `/etc/trireme/config.toml` of the hosts without any plugin: the defaults, but servers that leave
/// at once, since they are looked for after each case.
pub const CONFIG: &str = "[server]\nidle_timeout = \"100ms\"\n";

/// The same with every engine of the hosts of a kind, and two handlers with little patience for
/// each.
pub fn config(kind: &str) -> String {
    let mut text = CONFIG.to_owned();
    for engine in Engine::ALL.iter().filter(|engine| engine.is_on(kind)) {
        if let Some(file) = engine.plugin() {
            let _ = write!(
                text,
                "[engines.{}]\nplugin = \"{PLUGINS}/{file}\"\n",
                engine.name()
            );
        }
    }
    for (engine, server, patience, runtime) in every_handler(kind) {
        let (handler, engine, server) = (handler(runtime), engine.name(), server.name());
        let _ = write!(
            text,
            "[handlers.{handler}]\nengine = \"{engine}\"\nserver = \"{server}\"\n"
        );
        if patience == Patience::Little {
            text.push_str("limits = { compile_timeout = \"2s\" }\n");
        }
    }
    let _ = write!(
        text,
        "[handlers.{}]\nengine = \"triton\"\n[handlers.{}]\nengine = \"wasmer\"\n\
         settings = {{ colour = \"red\" }}\n",
        handler(MISSING),
        handler(UNSET)
    );
    text
}

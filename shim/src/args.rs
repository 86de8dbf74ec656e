//! The command line that containerd gives a shim: flags in the form of Go's
//! `flag` package, then a verb (containerd `pkg/shim/shim.go`).

use std::path::PathBuf;

/// What containerd asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Find or start a server and print its address.
    Start,
    /// Clean up after a task.
    Delete,
    /// Say what this shim is, as protobuf.
    Info,
    /// Say which version this is, as text.
    Version,
}

/// A parsed command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Args {
    /// What to do.
    pub verb: Verb,
    /// The namespace in containerd.
    pub namespace: String,
    /// The id of the task.
    pub id: String,
    /// The address of containerd's gRPC socket.
    pub address: String,
    /// The bundle, the working directory where it is not given.
    pub bundle: Option<PathBuf>,
    /// Whether to log what is of use to developers only.
    pub debug: bool,
}

/// Why a command line is not understood.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArgsError {
    /// An unknown flag.
    #[error("flag provided but not defined: -{0}")]
    Flag(String),
    /// A flag without its value.
    #[error("flag needs an argument: -{0}")]
    Value(String),
    /// Not `start` or `delete`, or nothing.
    #[error("expected `start` or `delete`, not \"{0}\"; this program is run by containerd")]
    Verb(String),
    /// A flag that the verb needs.
    #[error("-{0} is not given")]
    Missing(&'static str),
}

const WITH_VALUE: &[&str] = &[
    "namespace",
    "id",
    "address",
    "bundle",
    "socket",
    "publish-binary",
];
const SWITCHES: &[&str] = &["debug", "v", "info"];

impl Args {
    /// Parses the arguments after the program's name.
    ///
    /// # Errors
    ///
    /// For an unknown flag or verb, and where a verb lacks what it needs.
    pub fn parse(args: impl IntoIterator<Item = String>) -> Result<Self, ArgsError> {
        let mut parsed = Args {
            verb: Verb::Start,
            namespace: String::new(),
            id: String::new(),
            address: String::new(),
            bundle: None,
            debug: false,
        };
        let mut verb = None;
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            let Some(flag) = arg
                .strip_prefix('-')
                .map(|f| f.strip_prefix('-').unwrap_or(f))
            else {
                verb = Some(named(&arg)?);
                break;
            };
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (flag, None),
            };
            if SWITCHES.contains(&name) {
                match name {
                    "v" => verb = Some(Verb::Version),
                    "info" => verb = Some(Verb::Info),
                    _ => parsed.debug = value.as_deref() != Some("false"),
                }
                continue;
            }
            if !WITH_VALUE.contains(&name) {
                return Err(ArgsError::Flag(name.to_owned()));
            }
            let value = value
                .or_else(|| args.next())
                .ok_or_else(|| ArgsError::Value(name.to_owned()))?;
            match name {
                "namespace" => parsed.namespace = value,
                "id" => parsed.id = value,
                "address" => parsed.address = value,
                "bundle" => parsed.bundle = (!value.is_empty()).then(|| value.into()),
                _ => {}
            }
        }
        parsed.verb = verb.ok_or_else(|| ArgsError::Verb(String::new()))?;
        parsed.complete()
    }

    /// The bundle: what the flag says, or the working directory.
    ///
    /// # Errors
    ///
    /// When there is no working directory.
    pub fn bundle(&self) -> std::io::Result<PathBuf> {
        self.bundle.clone().map_or_else(std::env::current_dir, Ok)
    }

    fn complete(self) -> Result<Self, ArgsError> {
        if matches!(self.verb, Verb::Start | Verb::Delete) {
            for (name, value) in [("namespace", &self.namespace), ("id", &self.id)] {
                if value.is_empty() {
                    return Err(ArgsError::Missing(name));
                }
            }
        }
        Ok(self)
    }
}

fn named(verb: &str) -> Result<Verb, ArgsError> {
    match verb {
        "start" => Ok(Verb::Start),
        "delete" => Ok(Verb::Delete),
        other => Err(ArgsError::Verb(other.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Args, ArgsError> {
        Args::parse(line.split_ascii_whitespace().map(str::to_owned))
    }

    #[test]
    fn the_line_that_containerd_writes() {
        let args = parse(
            "-namespace default -address /run/containerd/containerd.sock -publish-binary /usr/bin/containerd \
             -id one -debug start",
        )
        .unwrap();
        assert_eq!(args.verb, Verb::Start);
        assert_eq!(
            (args.namespace.as_str(), args.id.as_str()),
            ("default", "one")
        );
        assert!(args.debug);
        let args = parse("--namespace=n -id=i -bundle /b delete").unwrap();
        assert_eq!(args.verb, Verb::Delete);
        assert_eq!(args.bundle, Some(PathBuf::from("/b")));
        assert_eq!(parse("-v").unwrap().verb, Verb::Version);
        assert_eq!(parse("-info").unwrap().verb, Verb::Info);
    }

    #[test]
    fn a_line_that_makes_no_sense_is_refused() {
        assert_eq!(parse("-id x start"), Err(ArgsError::Missing("namespace")));
        assert_eq!(parse("-bogus start"), Err(ArgsError::Flag("bogus".into())));
        assert_eq!(parse("-id"), Err(ArgsError::Value("id".into())));
        assert!(matches!(
            parse("-namespace n -id i stop"),
            Err(ArgsError::Verb(_))
        ));
        assert!(matches!(parse(""), Err(ArgsError::Verb(_))));
    }
}

//! Commands in a host that is up: in its cgroups and namespaces, with the caller's own stdin,
//! stdout, stderr and terminal.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use anyhow::{Context, Result, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::process::{Pid, PidfdFlags};

use super::namespace::PID_FILE;
use super::{Instance, cgroup, emulated, kubernetes};
use crate::process::Known;

/// Signals that end this program and are meant for the command.
pub const FORWARDED: [Signal; 6] = [
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
];

/// Runs a command in a host to its end and returns its exit code, 128 + n if signal n ended it.
///
/// The calling process moves into the host for good and must have one thread. The command ends
/// when the caller is killed.
pub fn run(instance: &Instance, command: &[String]) -> Result<i32> {
    if instance.is_emulated() {
        return emulated::client::run(instance, command);
    }
    let folder = std::env::current_dir().ok();
    let mut command = prepare(instance, command)?;
    join(instance)?;
    if let Some(folder) = folder.filter(|folder| folder.is_dir()) {
        command.current_dir(folder);
    }
    let mut forwarded = SigSet::empty();
    forwarded.extend(FORWARDED);
    forwarded.thread_block()?;
    // SAFETY: prctl and pthread_sigmask are async-signal-safe and touch no memory of the parent.
    unsafe {
        command.pre_exec(move || {
            nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
            Ok(forwarded.thread_unblock()?)
        });
    }
    let child = spawn(&mut command)?;
    Ok(code(wait_and_forward(child, &forwarded)?))
}

/// Starts a daemon in a host, with its output added to a log, and notes its pid in a file. Call it
/// in a process of its own: the caller moves into the host.
pub fn daemon(instance: &Instance, name: &str, command: &[String]) -> Result<()> {
    let state = instance.state()?;
    let log = File::options()
        .create(true)
        .append(true)
        .open(state.join(format!("{name}.log")))?;
    let mut command = prepare(instance, command)?;
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .current_dir("/");
    join(instance)?;
    // SAFETY: setsid is async-signal-safe and touches no memory of the parent.
    unsafe {
        command.pre_exec(|| {
            nix::unistd::setsid()?;
            Ok(())
        });
    }
    let child = spawn(&mut command)?;
    // /proc is the host's by now, so the pid is looked up by the caller.
    println!("{}", child.id());
    Ok(())
}

fn prepare(instance: &Instance, command: &[String]) -> Result<Command> {
    let [program, args @ ..] = command else {
        bail!("no command was given");
    };
    let mut prepared = Command::new(program);
    prepared.args(args).envs(environment(instance)?);
    if instance.kind.kubernetes {
        prepared.envs(kubernetes::ENVIRONMENT);
    }
    Ok(prepared)
}

/// What commands in a host have in their environment beside what the caller has.
pub fn environment(instance: &Instance) -> Result<[(&'static str, String); 3]> {
    Ok([
        ("PATH", instance.path()?),
        ("TRIREME_TEST_HOST", instance.name().to_owned()),
        // ctr would say at each call that cgroup v1 is deprecated.
        (
            "CONTAINERD_SUPPRESS_DEPRECATION_WARNINGS",
            "true".to_owned(),
        ),
    ])
}

fn join(instance: &Instance) -> Result<()> {
    let Some(init) = Known::load(&instance.state()?.join(PID_FILE))? else {
        bail!("host {instance} is not up");
    };
    let open = |kind: &str| {
        let path = format!("/proc/{}/ns/{kind}", init.pid);
        File::open(&path).with_context(|| format!("open {path}"))
    };
    // All are opened first: once in the host's mounts, /proc is the host's.
    let namespaces = [
        (open("cgroup")?, CloneFlags::CLONE_NEWCGROUP),
        (open("net")?, CloneFlags::CLONE_NEWNET),
        (open("ipc")?, CloneFlags::CLONE_NEWIPC),
        (open("pid")?, CloneFlags::CLONE_NEWPID),
        (open("mnt")?, CloneFlags::CLONE_NEWNS),
    ];
    if !init.is_alive() {
        bail!("host {instance} has ended");
    }
    cgroup::join(&instance.cgroup()?)?;
    for (file, kind) in namespaces {
        setns(file, kind).with_context(|| format!("enter {kind:?} of host {instance}"))?;
    }
    Ok(())
}

fn spawn(command: &mut Command) -> Result<Child> {
    let program = Path::new(command.get_program()).display().to_string();
    command
        .spawn()
        .with_context(|| format!("run {program} in the host"))
}

fn wait_and_forward(mut child: Child, forwarded: &SigSet) -> Result<ExitStatus> {
    let pid = Pid::from_raw(child.id() as i32).context("the command has no pid")?;
    let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
    let signals = SignalFd::with_flags(forwarded, SfdFlags::SFD_CLOEXEC)?;
    loop {
        let mut fds = [
            PollFd::new(pidfd.as_fd(), PollFlags::POLLIN),
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
        ];
        match nix::poll::poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error).context("wait for the command"),
        }
        if fds[0].any() == Some(true) {
            return child.wait().context("wait for the command");
        }
        if fds[1].any() == Some(true)
            && let Some(signal) = signals.read_signal()?
            // A terminal sends its signals to the command as well; only what was sent to this
            // process alone is passed on.
            && signal.ssi_code <= 0
            && let Ok(signal) = Signal::try_from(signal.ssi_signo as i32)
        {
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(child.id() as i32), signal)?;
        }
    }
}

fn code(status: ExitStatus) -> i32 {
    status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

//! The processes that are an emulated machine: qemu, and the server of its shared folder.
//!
//! Sockets are named from the host's state folder, which must be the working directory: the whole
//! path may be longer than an address takes.

use std::fs;
use std::io;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use super::agent::PORT;
use super::wire::{Frame, Kind};
use crate::host::Cgroups;
use crate::process::Known;

/// What the machine's kernel says.
pub const CONSOLE: &str = "console.log";
/// What qemu and the server of files say.
const LOG: &str = "emulator.log";
/// The shared folder, in the host's state.
pub const SHARED: &str = "share";

const FILE_SERVER: &str = "/usr/lib/qemu/virtiofsd";
const PORT_SOCKET: &str = "port.sock";
/// The files that name the processes, for [`end_all`].
const PID_FILES: [&str; 2] = ["files.pid", "qemu.pid"];
/// A boot takes some 12 s, several times that where others work at the same time.
const BOOT_LIMIT: Duration = Duration::from_secs(150);
const SOCKET_LIMIT: Duration = Duration::from_secs(20);
const END_LIMIT: Duration = Duration::from_secs(20);

/// `cx16=off`: with it, kernels panicked now and then in tries with qemu 7.2. Nothing is
/// found out about a processor that is none. A kernel that panics ends qemu.
const KERNEL_ARGUMENTS: &str = "root=/dev/nvme0n1 rw console=ttyS0 quiet panic=-1 mitigations=off \
    tsc=reliable clocksource=tsc systemd.default_timeout_start_sec=300 systemd.show_status=false";
const HARDWARE: &[&str] = &[
    "-nodefaults",
    "-no-reboot",
    "-display",
    "none",
    "-action",
    "panic=exit-failure",
    "-M",
    "q35,memory-backend=memory",
    "-accel",
    "tcg,thread=multi",
    "-cpu",
    "max,la57=off,cx16=off",
    "-smp",
    "2",
    "-m",
    "2G",
    "-object",
    "memory-backend-memfd,id=memory,size=2G,share=on",
    "-device",
    "nvme,drive=disk,serial=disk",
    "-device",
    "vhost-user-fs-pci,chardev=files,tag=machine",
    "-device",
    "virtio-serial-pci",
];

fn kernel_arguments(cgroups: Cgroups) -> String {
    let of_version = match cgroups {
        Cgroups::Hybrid => "systemd.unified_cgroup_hierarchy=0",
        Cgroups::Unified => "systemd.unified_cgroup_hierarchy=1",
    };
    format!("{KERNEL_ARGUMENTS} {of_version}")
}

/// The processes of a machine; they end with the thread that boots it.
pub struct Machine {
    files: Child,
    qemu: Child,
}

impl Machine {
    /// Starts a machine with an image, a folder with a disk and a kernel.
    pub fn start(image: &Path, cgroups: Cgroups) -> Result<Self> {
        let files = serve_files()?;
        match emulate(image, cgroups) {
            Ok(qemu) => Ok(Self { files, qemu }),
            Err(error) => {
                end(files);
                Err(error)
            }
        }
    }

    /// Waits until it has booted. The way to its agent, which has said hello.
    pub fn wait(&mut self) -> Result<UnixStream> {
        for (name, child) in PID_FILES.iter().zip([&self.files, &self.qemu]) {
            Known::of(child.id() as i32)?.save(Path::new(name))?;
        }
        let deadline = Instant::now() + SOCKET_LIMIT;
        let mut port = loop {
            match UnixStream::connect(PORT_SOCKET) {
                Ok(port) => break port,
                Err(error) if Instant::now() > deadline => {
                    return Err(error).context("qemu does not listen");
                }
                Err(_) => check(&mut self.qemu, "qemu")?,
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        port.set_read_timeout(Some(BOOT_LIMIT))?;
        let hello = match Frame::read(&mut port) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                bail!("the machine has not booted after {BOOT_LIMIT:?}")
            }
            result => result?.context("the machine ended while it booted")?,
        };
        if hello.kind != Kind::Hello {
            bail!("{hello:?} is no hello");
        }
        port.set_read_timeout(None)?;
        Ok(port)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        for child in [&mut self.qemu, &mut self.files] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The end of what the kernel and the emulator said, for messages.
pub fn last_words() -> String {
    let tail = |file| {
        let text = fs::read(file).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    };
    let (console, log) = (tail(CONSOLE), tail(LOG));
    format!("its console ends so:\n{console}\nand the emulator's log so:\n{log}\n")
}

/// Ends what is left of the machine of a host and waits for that.
pub fn end_all(state: &Path) -> Result<()> {
    for name in PID_FILES {
        if let Some(known) = Known::load(&state.join(name))? {
            known.signal(rustix::process::Signal::KILL)?;
            known.wait_for_end(END_LIMIT)?;
            // Where it is a child of this process.
            let _ = waitpid(Pid::from_raw(known.pid), None);
        }
    }
    Ok(())
}

/// The socket of the server of files. That holds a lock of the name in a folder of the machine's.
fn files_socket() -> String {
    format!("files-{}.sock", std::process::id())
}

fn serve_files() -> Result<Child> {
    let socket = files_socket();
    remove(&socket)?;
    let shared = std::env::current_dir()?.join(SHARED);
    let mut command = Command::new(FILE_SERVER);
    command.args([
        "-f",
        &format!("--socket-path={socket}"),
        "-o",
        &format!(
            "source={},sandbox=chroot,cache=auto,xattr",
            shared.display()
        ),
        // Raising it takes a capability that not every machine gives.
        "--rlimit-nofile=0",
    ]);
    let mut child = spawn(&mut command)?;
    let deadline = Instant::now() + SOCKET_LIMIT;
    while !Path::new(&socket).exists() {
        check(&mut child, FILE_SERVER)?;
        if Instant::now() > deadline {
            end(child);
            bail!("{FILE_SERVER} does not listen after {SOCKET_LIMIT:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(child)
}

fn emulate(image: &Path, cgroups: Cgroups) -> Result<Child> {
    remove(PORT_SOCKET)?;
    let disk = image.join("disk");
    let mut command = Command::new("qemu-system-x86_64");
    command
        // What is written to the disk lies in a file without a name there.
        .env("TMPDIR", ".")
        .arg("-drive")
        .arg(format!(
            "if=none,id=disk,format=raw,snapshot=on,cache=unsafe,file={}",
            disk.display()
        ))
        .args([
            "-chardev",
            &format!("socket,id=files,path={}", files_socket()),
        ])
        .args(HARDWARE)
        .args([
            "-chardev",
            &format!("socket,id=port,path={PORT_SOCKET},server=on,wait=off"),
        ])
        .args([
            "-device",
            &format!("virtserialport,chardev=port,name={PORT}"),
        ])
        .args(["-serial", &format!("file:{CONSOLE}")])
        .arg("-kernel")
        .arg(image.join("kernel"))
        .args(["-append", &kernel_arguments(cgroups)]);
    spawn(&mut command)
}

fn spawn(command: &mut Command) -> Result<Child> {
    let log = fs::File::options().create(true).append(true).open(LOG)?;
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    // SAFETY: prctl is async-signal-safe and touches no memory of the parent.
    unsafe {
        command.pre_exec(|| Ok(nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?));
    }
    let program = command.get_program().to_string_lossy().into_owned();
    command.spawn().with_context(|| format!("run {program}"))
}

fn check(child: &mut Child, name: &str) -> Result<()> {
    match child.try_wait()? {
        Some(status) => bail!("{name} ended at once ({status})"),
        None => Ok(()),
    }
}

fn end(mut child: Child) {
    let _ = child.kill();
    let _ = child.wait();
}

fn remove(file: &str) -> Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {file}"))
        }
        _ => Ok(()),
    }
}

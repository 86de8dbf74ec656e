//! A deadline for calls into a plugin: one that hangs must not keep whoever
//! waits for this process waiting. There is no thread to watch it, since init
//! has one alone; the kernel's alarm ends the process, with a message.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicUsize, Ordering};
use std::time::Duration;

use trireme_container::link::FromInit;
use trireme_container::process::LINK_FD;

/// How long a call may take that is not to compile or run a program. Loading
/// one may be work for an engine without precompiled code.
pub const LIMIT: Duration = Duration::from_secs(30);

static TO_SERVER: AtomicBool = AtomicBool::new(false);
static MESSAGE: AtomicPtr<u8> = AtomicPtr::new(std::ptr::null_mut());
static LENGTH: AtomicUsize = AtomicUsize::new(0);
static TO: AtomicI32 = AtomicI32::new(2);

/// From here on, messages go to the server, on the link of init and compilers.
pub fn report_to_server() {
    TO_SERVER.store(true, Ordering::Relaxed);
}

/// Does `work`. After [`LIMIT`], the process ends as one that failed, and
/// `message` says why.
pub fn within<T>(message: &str, work: impl FnOnce() -> T) -> T {
    let _armed = Armed::new(message);
    work()
}

/// An alarm that is set.
struct Armed {
    before: libc::sighandler_t,
}

impl Armed {
    fn new(message: &str) -> Self {
        let (text, to) = addressed(message);
        // It may be read by the handler until the end of the process.
        let text = Box::leak(text.into_boxed_slice());
        MESSAGE.store(text.as_mut_ptr(), Ordering::Relaxed);
        LENGTH.store(text.len(), Ordering::Relaxed);
        TO.store(to, Ordering::Release);
        let handler = give_up as extern "C" fn(libc::c_int);
        // SAFETY: the handler does only what a handler may do, and finds its
        // message in place.
        let before = unsafe {
            let before = libc::signal(libc::SIGALRM, handler as libc::sighandler_t);
            libc::alarm(LIMIT.as_secs() as u32);
            before
        };
        Armed { before }
    }
}

impl Drop for Armed {
    fn drop(&mut self) {
        // SAFETY: takes the alarm back, and then its handler.
        unsafe {
            libc::alarm(0);
            libc::signal(libc::SIGALRM, self.before);
        }
    }
}

/// The message in the form of whoever reads it, and where they read.
fn addressed(message: &str) -> (Vec<u8>, i32) {
    let failed = FromInit::Failed {
        message: message.to_owned(),
    };
    match TO_SERVER.load(Ordering::Relaxed) {
        // Init and compilers report a failure in the same form.
        true => (serde_json::to_vec(&failed).unwrap_or_default(), LINK_FD),
        false => (
            format!("trireme-executor: {message}\n").into_bytes(),
            libc::STDERR_FILENO,
        ),
    }
}

extern "C" fn give_up(_: libc::c_int) {
    let to = TO.load(Ordering::Acquire);
    let (message, length) = (
        MESSAGE.load(Ordering::Relaxed),
        LENGTH.load(Ordering::Relaxed),
    );
    // SAFETY: both may be called in a handler; the message is leaked.
    unsafe {
        libc::write(to, message.cast(), length);
        libc::_exit(crate::FAILED.into());
    }
}

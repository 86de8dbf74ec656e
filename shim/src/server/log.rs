//! A task's log: the FIFO in its bundle that containerd copies to its own, in
//! the text form of logrus.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::SystemTime;

/// The log of one task.
#[derive(Debug)]
pub struct TaskLog {
    file: Option<File>,
    id: String,
    debug: bool,
}

impl TaskLog {
    /// Opens the log of a bundle. It is open for reading too, so that it
    /// survives a containerd that goes and comes back; a line that does not fit
    /// is lost, since nothing may wait for a log.
    pub fn open(bundle: &Path, id: &str, debug: bool) -> Self {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(bundle.join("log"))
            .ok();
        TaskLog {
            file,
            id: id.to_owned(),
            debug,
        }
    }

    /// Something that a user may have to act on.
    pub fn warn(&self, text: &str) {
        self.line("warning", text);
    }

    /// Something of use to developers.
    pub fn debug(&self, text: &str) {
        if self.debug {
            self.line("debug", text);
        }
    }

    fn line(&self, level: &str, text: &str) {
        let Some(mut file) = self.file.as_ref() else {
            return;
        };
        let time = rfc3339(SystemTime::now());
        let line = format!(
            "time=\"{time}\" level={level} msg={text:?} id={} shim=trireme\n",
            self.id
        );
        let _ = file.write_all(line.as_bytes());
    }
}

/// A time in UTC to the second (RFC 3339).
fn rfc3339(at: SystemTime) -> String {
    let seconds = at
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    )
}

/// The date of a day since 1970-01-01 in the Gregorian calendar.
fn civil(mut days: u64) -> (u64, u64, u64) {
    let leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let mut year = 1970;
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let february = 28 + u64::from(leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, days + 1)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_are_in_the_form_of_rfc_3339() {
        let at = |seconds| rfc3339(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01T00:00:00Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(at(1_798_761_599), "2026-12-31T23:59:59Z");
    }

    #[test]
    fn a_bundle_without_a_log_is_no_obstacle() {
        TaskLog::open(Path::new("/nonexistent"), "one", true).warn("lost");
    }
}

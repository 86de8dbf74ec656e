//! What `ps` shows of a process: a copy of a zygote is not to be taken for one.

use std::fs;
use std::io;

/// Where the kernel finds the first argument of this process, and how long it is.
pub struct Title {
    start: *mut u8,
    length: usize,
}

impl Title {
    /// Finds the first argument, which this process has not changed yet.
    ///
    /// # Errors
    ///
    /// When there is none, or `/proc/self` cannot be read.
    pub fn find() -> io::Result<Self> {
        let damaged = |what| io::Error::new(io::ErrorKind::InvalidData, what);
        let stat = fs::read_to_string("/proc/self/stat")?;
        // Field 48 of proc_pid_stat(5); the second, in parentheses, may hold anything.
        let start = stat
            .rsplit_once(')')
            .and_then(|(_, rest)| rest.split_ascii_whitespace().nth(45)?.parse::<usize>().ok())
            .filter(|start| *start != 0)
            .ok_or_else(|| damaged("no arg_start in /proc/self/stat"))?;
        let arguments = fs::read("/proc/self/cmdline")?;
        let mut words = arguments.split(|byte| *byte == 0);
        let (Some(name), Some(first)) = (words.next(), words.next()) else {
            return Err(damaged("no argument in /proc/self/cmdline"));
        };
        Ok(Title {
            start: std::ptr::with_exposed_provenance_mut(start + name.len() + 1),
            length: first.len(),
        })
    }

    /// Puts a word in its place, or as much of it as there is room for.
    pub fn set(self, word: &str) {
        let kept = word.len().min(self.length);
        // SAFETY: the kernel has put the arguments there, on the stack, for this
        // process to use as it likes (environ(7), proc_pid_cmdline(5)); nothing here
        // holds a reference to them, since `std::env::args` copies.
        unsafe {
            std::ptr::copy_nonoverlapping(word.as_ptr(), self.start, kept);
            std::ptr::write_bytes(self.start.add(kept), 0, self.length - kept);
        }
    }
}

//! Settings of Trireme that a benchmark needs beside those that the host has.

use anyhow::{Context, Result};

use crate::config;

/// Servers of a node leave soon: who counts what is there has no minute to wait.
pub const LEAVE_SOON: &str = "[server]\nidle_timeout = \"1s\"\n";

/// The host's configuration with more tables; dropped, it is again what it was.
pub struct Settings {
    before: Option<Vec<u8>>,
}

impl Settings {
    /// Adds tables to the configuration. Those that it has are left as they are.
    ///
    /// # Errors
    ///
    /// When it cannot be read or written.
    pub fn add(tables: &[&str]) -> Result<Self> {
        let before = config::read()?;
        let own = before.as_deref().unwrap_or_default();
        let own = std::str::from_utf8(own).context("read Trireme's configuration")?;
        let text = with(own, tables);
        let settings = Self { before };
        config::write(Some(text.as_bytes()))?;
        Ok(settings)
    }
}

impl Drop for Settings {
    fn drop(&mut self) {
        if let Err(error) = config::write(self.before.as_deref()) {
            eprintln!("bench: put the configuration back: {error:#}");
        }
    }
}

/// A configuration with more tables; those that it has are left as they are.
pub fn with(own: &str, tables: &[&str]) -> String {
    let mut text = own.to_owned();
    for table in tables {
        let head = table.lines().next().unwrap_or_default();
        if own.lines().all(|line| line.trim() != head) {
            text.push('\n');
            text.push_str(table);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_of_the_host_are_left_as_they_are() {
        let own = "[server]\nidle_timeout = \"5s\"\n";
        assert_eq!(with(own, &[LEAVE_SOON]), own);
        let both = with(own, &[LEAVE_SOON, "[cache]\nmax_size = 1\n"]);
        assert!(
            both.starts_with(own) && both.ends_with("[cache]\nmax_size = 1\n"),
            "{both}"
        );
    }
}

//! What a file is, told by its content, and what of it is to be run.

use std::fmt;

use serde::{Deserialize, Serialize};
use trireme_engine::Kind;

/// How much of a file's beginning [`FileKind::recognise`] looks at, in bytes.
pub const HEAD: usize = 512;

/// What a file is. Names and extensions say nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// A WebAssembly core module.
    Module,
    /// A WebAssembly component.
    Component,
    /// WebAssembly text, of either kind.
    Text,
    /// A Linux executable or library.
    Elf,
    /// A script that names its interpreter.
    Script,
    /// None of these.
    Unknown,
}

impl FileKind {
    /// Recognises a file by its first bytes; [`HEAD`] of them are enough, and
    /// more are not looked at.
    ///
    /// The header of a binary follows the [component model's binary
    /// format](https://github.com/WebAssembly/component-model/blob/main/design/mvp/Binary.md#component-definitions):
    /// after the magic, a version and a layer of two bytes each. Text whose
    /// opening comment is longer than the head is taken for text by that
    /// comment.
    pub fn recognise(head: &[u8]) -> Self {
        let head = &head[..head.len().min(HEAD)];
        match head {
            [0, b'a', b's', b'm', 1, 0, 0, 0, ..] => FileKind::Module,
            [0, b'a', b's', b'm', _, _, 1, 0, ..] => FileKind::Component,
            [0x7f, b'E', b'L', b'F', ..] => FileKind::Elf,
            [b'#', b'!', ..] => FileKind::Script,
            _ if is_text(head) => FileKind::Text,
            _ => FileKind::Unknown,
        }
    }

    /// The kind of WebAssembly binary. `None` for text too: its kind shows
    /// once it is translated.
    pub fn wasm(self) -> Option<Kind> {
        match self {
            FileKind::Module => Some(Kind::Module),
            FileKind::Component => Some(Kind::Component),
            FileKind::Text | FileKind::Elf | FileKind::Script | FileKind::Unknown => None,
        }
    }
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FileKind::Module => "a WebAssembly module",
            FileKind::Component => "a WebAssembly component",
            FileKind::Text => "WebAssembly text",
            FileKind::Elf => "a Linux executable",
            FileKind::Script => "a script",
            FileKind::Unknown => "neither WebAssembly nor a Linux executable",
        })
    }
}

/// Whether the head begins `(module` or `(component`, after white space and
/// comments, or has room for nothing but a comment.
fn is_text(head: &[u8]) -> bool {
    let rest = skip_space(head);
    let Some(inside) = rest.strip_prefix(b"(") else {
        let start = head.trim_ascii_start();
        return rest.is_empty() && (start.starts_with(b";;") || start.starts_with(b"(;"));
    };
    let inside = skip_space(inside);
    [&b"module"[..], b"component"].iter().any(|word| {
        inside
            .strip_prefix(*word)
            .is_some_and(|after| after.first().is_none_or(|b| b" \t\r\n();".contains(b)))
    })
}

/// What follows white space, `;;` comments and nested `(; ;)` comments.
fn skip_space(mut text: &[u8]) -> &[u8] {
    loop {
        text = text.trim_ascii_start();
        text = match text {
            [b';', b';', ..] => after_line(text),
            [b'(', b';', ..] => after_block(text),
            _ => return text,
        }
    }
}

fn after_line(text: &[u8]) -> &[u8] {
    let end = text.iter().position(|b| *b == b'\n');
    end.map_or(&[], |end| &text[end + 1..])
}

fn after_block(text: &[u8]) -> &[u8] {
    let mut depth = 0usize;
    let mut rest = text;
    loop {
        rest = match rest {
            [b'(', b';', rest @ ..] => {
                depth += 1;
                rest
            }
            [b';', b')', rest @ ..] => {
                depth -= 1;
                rest
            }
            [_, rest @ ..] => rest,
            [] => return rest,
        };
        if depth == 0 {
            return rest;
        }
    }
}

/// A program's file and the function to call in it, written `path#function`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryPoint {
    /// The file's path as it is given, absolute or not.
    pub path: String,
    /// The exported function, or `None` for the program's own entry point.
    pub function: Option<String>,
}

/// Why an entry point cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryPointError {
    /// There is nothing before the `#`, or nothing at all.
    #[error("the entry point \"{0}\" names no file; write PATH or PATH#FUNCTION")]
    NoPath(String),
    /// There is nothing after the `#`.
    #[error("the entry point \"{0}\" names no function after \"#\"; write PATH or PATH#FUNCTION")]
    NoFunction(String),
}

impl EntryPoint {
    /// Splits at the last `#`, so that a path with a `#` in it can be given
    /// together with its function.
    ///
    /// # Errors
    ///
    /// When the path is empty, or the function after a `#` is.
    pub fn parse(text: &str) -> Result<Self, EntryPointError> {
        let (path, function) = match text.rsplit_once('#') {
            Some((path, function)) => (path, Some(function)),
            None => (text, None),
        };
        if path.is_empty() {
            return Err(EntryPointError::NoPath(text.to_owned()));
        }
        if function == Some("") {
            return Err(EntryPointError::NoFunction(text.to_owned()));
        }
        Ok(EntryPoint {
            path: path.to_owned(),
            function: function.map(str::to_owned),
        })
    }
}

impl fmt::Display for EntryPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.function {
            Some(function) => write!(f, "{}#{function}", self.path),
            None => f.write_str(&self.path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODULE: &[u8] = b"\0asm\x01\0\0\0";
    const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

    #[test]
    fn binaries_are_told_by_their_header() {
        let cases: [(&[u8], FileKind); 12] = [
            (MODULE, FileKind::Module),
            (COMPONENT, FileKind::Component),
            (b"\0asm\x0e\0\x01\0", FileKind::Component),
            (b"\0asm\x02\0\0\0", FileKind::Unknown),
            (b"\0asm\x01\0\x02\0", FileKind::Unknown),
            (b"\0asm\x01\0\0", FileKind::Unknown),
            (b"\0as", FileKind::Unknown),
            (b"\x7fELF\x02", FileKind::Elf),
            (b"\x7fEL", FileKind::Unknown),
            (b"#!/bin/sh\n", FileKind::Script),
            (b"#", FileKind::Unknown),
            (b"", FileKind::Unknown),
        ];
        for (head, kind) in cases {
            assert_eq!(FileKind::recognise(head), kind, "{head:?}");
        }
    }

    #[test]
    fn what_follows_the_header_changes_nothing() {
        for header in [MODULE, COMPONENT, b"\x7fELF", b"#!", b"(module "] {
            let kind = FileKind::recognise(header);
            for byte in 0..=255u8 {
                for length in [1, 7, HEAD, 3 * HEAD] {
                    let mut file = header.to_vec();
                    file.resize(header.len() + length, byte);
                    assert_eq!(FileKind::recognise(&file), kind, "{byte} x {length}");
                }
            }
        }
    }

    #[test]
    fn text_is_told_by_its_first_word() {
        for text in [
            "(module",
            "(module)",
            "(module $m",
            " \t\r\n(module(func",
            ";; a comment\n(component\n",
            "(; a (; nested ;) one ;)(module)",
            "(;;)(;x;);;y\n( ;;z\n module)",
            "(component(; ;))",
            ";; no end of line",
        ] {
            assert_eq!(
                FileKind::recognise(text.as_bytes()),
                FileKind::Text,
                "{text}"
            );
        }
        for text in [
            "module",
            "(modules)",
            "(func)",
            "()",
            "(",
            ";",
            "; (module)",
            " ",
            "\n\n",
            "(; ;) x",
            "#(module)",
            "(module\0",
            "((module))",
            "(@module)",
            ";)(module)",
        ] {
            assert_eq!(
                FileKind::recognise(text.as_bytes()),
                FileKind::Unknown,
                "{text}"
            );
        }
    }

    #[test]
    fn text_behind_a_long_comment_is_text() {
        for (open, close) in [(";;", "\n"), ("(;", ";)"), ("\n (; ", " ;)")] {
            let text = format!("{open}{}{close}(module)", "x".repeat(2 * HEAD));
            assert_eq!(
                FileKind::recognise(text.as_bytes()),
                FileKind::Text,
                "{open}"
            );
        }
        let lines = format!("{}(module)", ";; x\n".repeat(HEAD));
        assert_eq!(FileKind::recognise(lines.as_bytes()), FileKind::Text);
    }

    #[test]
    fn no_input_of_the_marker_bytes_panics() {
        let alphabet = b"(;) \n#m\0";
        let mut state = 1u32;
        for _ in 0..20_000 {
            let head: Vec<u8> = (0..state % 40)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    alphabet[(state >> 24) as usize % alphabet.len()]
                })
                .collect();
            state = state.wrapping_add(1);
            let kind = FileKind::recognise(&head);
            assert_eq!(kind.wasm(), None, "{head:?}");
        }
    }

    #[test]
    fn only_binaries_have_a_kind_of_wasm() {
        assert_eq!(FileKind::Module.wasm(), Some(Kind::Module));
        assert_eq!(FileKind::Component.wasm(), Some(Kind::Component));
        for kind in [
            FileKind::Text,
            FileKind::Elf,
            FileKind::Script,
            FileKind::Unknown,
        ] {
            assert_eq!(kind.wasm(), None);
        }
    }

    #[test]
    fn an_entry_point_splits_at_the_last_hash() {
        let entry = EntryPoint::parse;
        let point = |path: &str, function: Option<&str>| EntryPoint {
            path: path.into(),
            function: function.map(str::to_owned),
        };
        assert_eq!(entry("/a.wasm").unwrap(), point("/a.wasm", None));
        assert_eq!(entry("a.wasm#run").unwrap(), point("a.wasm", Some("run")));
        assert_eq!(entry("/a#b#c").unwrap(), point("/a#b", Some("c")));
        assert_eq!(entry(""), Err(EntryPointError::NoPath("".into())));
        assert_eq!(entry("#"), Err(EntryPointError::NoPath("#".into())));
        assert_eq!(entry("#run"), Err(EntryPointError::NoPath("#run".into())));
        assert_eq!(entry("/a#"), Err(EntryPointError::NoFunction("/a#".into())));
    }

    #[test]
    fn an_entry_point_prints_as_it_was_read() {
        let parts = ["", "a", "/", "#", "b.wasm", " ", "é"];
        for (a, b, c) in triples(&parts) {
            let text = format!("{a}{b}{c}");
            if let Ok(entry) = EntryPoint::parse(&text) {
                assert_eq!(entry.to_string(), text);
                assert!(!entry.path.is_empty());
                assert!(
                    entry
                        .function
                        .is_none_or(|f| !f.is_empty() && !f.contains('#'))
                );
            } else {
                assert!(
                    text.is_empty() || text.starts_with('#') || text.ends_with('#'),
                    "{text}"
                );
            }
        }
    }

    fn triples<'a>(parts: &'a [&'a str]) -> impl Iterator<Item = (&'a str, &'a str, &'a str)> {
        parts.iter().flat_map(move |a| {
            parts
                .iter()
                .flat_map(move |b| parts.iter().map(move |c| (*a, *b, *c)))
        })
    }
}

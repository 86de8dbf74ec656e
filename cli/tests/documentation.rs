//! The commands of the documentation, run as they stand there.

#![allow(
    clippy::unwrap_used,
    reason = "the helpers of tests may panic as tests may"
)]

mod common;

use std::env;
use std::path::Path;
use std::process::Command;

use common::Place;

/// An executor that answers as one without engines would.
const EXECUTOR: &str = r#"case $1 in
probe) echo '[]';;
precompile) echo '{"wasm": "ab", "key": "k", "size": 2048, "cached": false}';;
*) echo "not a command of these pages: $1" >&2; exit 1;;
esac"#;

/// Runs the `sh` blocks of a page one after the other in one folder. A `text`
/// block that follows is what such a block prints.
fn replay(page: &str) {
    let place = Place::new();
    place.script("executor", EXECUTOR);
    let blocks = blocks(page);
    let mut run = 0;
    for (i, (language, script)) in blocks.iter().enumerate() {
        if language != "sh" {
            continue;
        }
        let (status, printed) = shell(&place, script);
        let expected = blocks.get(i + 1).filter(|(language, _)| language == "text");
        let failure = expected.is_some_and(|(_, text)| text.starts_with("trireme: "));
        assert_eq!(status, if failure { 125 } else { 0 }, "{script}{printed}");
        if let Some((_, text)) = expected {
            assert_eq!(&printed, text, "{script}");
        }
        run += 1;
    }
    assert!(run > 0, "the page has no commands");
}

fn shell(place: &Place, script: &str) -> (i32, String) {
    let bin = Path::new(env!("CARGO_BIN_EXE_trireme")).parent().unwrap();
    let path = format!("{}:{}", bin.display(), env::var("PATH").unwrap());
    let output = Command::new("sh")
        .args(["-e", "-c", &format!("{{ {script}\n}} 2>&1")])
        .current_dir(place.path(""))
        .env("PATH", path)
        .env("TRIREME_EXECUTOR", place.path("executor"))
        .env("HOME", place.path(""))
        .output()
        .unwrap();
    (
        output.status.code().unwrap(),
        String::from_utf8(output.stdout).unwrap(),
    )
}

/// The fenced blocks of a page: language and content.
fn blocks(page: &str) -> Vec<(String, String)> {
    let mut blocks = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let content = lines.by_ref().take_while(|line| *line != "```");
            blocks.push((
                language.to_owned(),
                content.map(|line| format!("{line}\n")).collect(),
            ));
        }
    }
    blocks
}

#[test]
fn the_page_on_configuration_holds() {
    replay(include_str!("../../docs/configuration.md"));
}

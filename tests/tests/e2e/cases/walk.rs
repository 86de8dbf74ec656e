//! One program through all that WASI 0.1 offers, and what it sees on the way.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use trireme_tests::engines::differences::{self, WALK};
use trireme_tests::engines::page::WALKED;

use super::cases;
use crate::test::Test;

cases! {
    as_with_runc: [],
    wasm: [],
    on_each_engine: {
        as_with_runc: [a_walk_through_wasi_sees_and_leaves_the_same],
        wasm: [],
    },
}

/// What Linux shows to the program, and what it leaves there, a step to a line.
const EXPECTED: &str = WALKED;
/// In place of a line that is not there.
const NOTHING: &str = "(nothing)";

/// The steps of the walk.
pub fn steps() -> impl Iterator<Item = &'static str> {
    EXPECTED.lines().map(|line| step(line).0)
}

fn step(line: &str) -> (&str, &str) {
    let (step, result) = line.split_once(':').unwrap_or((line, ""));
    (step, result.trim())
}

fn a_walk_through_wasi_sees_and_leaves_the_same(test: &Test<'_>) -> Result<()> {
    let folder = format!("/run/folder-of-{}", test.id);
    test.exec(&["mkdir", &folder])?.expect(0)?;
    let mount = format!("type=bind,src={folder},dst=/mnt/one,options=rbind:rw");
    let flags = [
        "--mount",
        &mount,
        "--env",
        "PORT=Piraeus",
        "--env",
        "EMPTY=",
    ];
    let words = ["/walk.wasm", "/mnt/one", "7", "two words", ""];
    let output = test.run(&flags, &words)?;
    // Of every file its sort, and what it holds or leads to.
    let list = format!(
        "cd {folder}; find . ! -type d | sort | while read -r file; do\n\
         [ -L $file ] && echo \"left ${{file#./}}: l $(readlink $file)\" ||\n\
         echo \"left ${{file#./}}: f $(cat $file)\"; done; rm -r {folder}"
    );
    let left = test.exec(&["sh", "-c", &list])?.expect(0)?;
    let output = output.expect(7)?;
    ensure!(output.stderr.is_empty(), "{output:?}");
    let wrong = compare(test, &format!("{}{}", output.stdout, left.stdout));
    ensure!(
        wrong.is_empty(),
        "{}\nof {output:?}{left:?}",
        wrong.join("\n")
    );
    Ok(())
}

/// The steps that did not end as they should: as on Linux, or as the engine is known to differ.
fn compare(test: &Test<'_>, seen: &str) -> Vec<String> {
    let seen: BTreeMap<_, _> = seen.lines().map(step).collect();
    let expected: BTreeMap<_, _> = EXPECTED.lines().map(step).collect();
    let mut wrong = Vec::new();
    for name in expected
        .keys()
        .chain(seen.keys().filter(|name| !expected.contains_key(*name)))
    {
        let known = test
            .mode
            .engine()
            .and_then(|engine| differences::find(engine, &format!("{WALK}{name}")));
        let usual = expected.get(name).copied().unwrap_or(NOTHING);
        let wanted = known.map_or(usual, |(wanted, _)| wanted);
        let result = seen.get(name).copied().unwrap_or(NOTHING);
        if result != wanted {
            wrong.push(format!("{name}: `{result}`, not `{wanted}`"));
        }
    }
    wrong
}

//! Real programs, with files, arguments and exit codes.

use anyhow::{Result, ensure};

use super::cases;
use crate::command::LIMIT;
use crate::test::Test;

cases! {
    as_with_runc: [],
    wasm: [
        a_go_program_runs,
    ],
    on_each_engine: {
        as_with_runc: [],
        wasm: [
            python_computes_and_ends_with_its_own_code,
            python_reads_and_writes_files,
            a_c_program_lists_a_folder,
            a_component_runs_from_every_platform,
        ],
    },
}

fn python(test: &Test<'_>, flags: &[&str], script: &str) -> Result<crate::command::Output> {
    let words = [
        &["ctr", "run", "--rm", "--runtime", test.mode.runtime()],
        flags,
    ]
    .concat();
    let guest = [
        "trireme.test/python:latest",
        &test.id,
        "/python.wasm",
        "-c",
        script,
    ];
    let mut running = test.start(&[words, guest.to_vec()].concat())?;
    running.close_stdin();
    running.finish(LIMIT)
}

fn python_computes_and_ends_with_its_own_code(test: &Test<'_>) -> Result<()> {
    let script = "import sys, math; print(math.factorial(20)); sys.exit(7)";
    let output = python(test, &[], script)?.expect(7)?;
    ensure!(output.stdout.trim() == "2432902008176640000", "{output:?}");
    Ok(())
}

fn python_reads_and_writes_files(test: &Test<'_>) -> Result<()> {
    let folder = format!("/run/{}", test.id);
    let make = format!("mkdir -p {folder} && echo from the host > {folder}/in");
    test.exec(&["sh", "-ec", &make])?.expect(0)?;
    let mount = format!("type=bind,src={folder},dst=/data,options=rbind:rw");
    let script = "text = open('/data/in').read(); open('/data/out', 'w').write(text.upper())";
    python(test, &["--mount", &mount], script)?.expect(0)?;
    let output = test.exec(&["sh", "-c", &format!("cat {folder}/out; rm -r {folder}")])?;
    ensure!(output.stdout == "FROM THE HOST\n", "{output:?}");
    Ok(())
}

fn a_go_program_runs(test: &Test<'_>) -> Result<()> {
    let output = test
        .run_of(
            test.mode.runtime(),
            "trireme.test/go:latest",
            &["/go.wasm", "one", "two"],
        )?
        .expect(0)?;
    ensure!(output.stdout == "go gogo gogogo gogogogo 3\n", "{output:?}");
    Ok(())
}

fn a_c_program_lists_a_folder(test: &Test<'_>) -> Result<()> {
    let output = test
        .run(&[], &["/files.wasm", "read:/where.txt"])?
        .expect(0)?;
    ensure!(output.stdout.contains("in the root folder"), "{output:?}");
    Ok(())
}

fn a_component_runs_from_every_platform(test: &Test<'_>) -> Result<()> {
    for platform in ["linux-amd64", "wasi-wasm", "wasi-wasm32"] {
        let image = format!("trireme.test/hello-component:{platform}");
        let flags: &[&str] = match platform {
            "wasi-wasm" => &["--platform", "wasi/wasm"],
            "wasi-wasm32" => &["--platform", "wasi/wasm32"],
            _ => &[],
        };
        let words = [
            &["ctr", "run", "--rm", "--runtime", test.mode.runtime()],
            flags,
        ]
        .concat();
        let output = test
            .exec(&[words, vec![&image, &test.id]].concat())?
            .expect(0)?;
        ensure!(
            output.stdout == "hello from the guest\n",
            "{platform}: {output:?}"
        );
    }
    Ok(())
}

//! One guest contract on every engine that is linked in.

use anyhow::{Result, ensure};

use super::cases;
use crate::command::Output;
use crate::test::Test;

cases! {
    as_with_runc: [],
    wasm: [
        wasmer_runs_guests_as_wasmtime_does,
        wasmer_runs_go_and_python,
        wasmer_names_itself_where_a_guest_traps,
        wasmer_refuses_a_component_and_says_why,
    ],
}

const WASMTIME: &str = "io.containerd.wasmtime.v1";
const WASMER: &str = "io.containerd.wasmer.v1";

/// That a program ends alike and prints the same on both engines.
fn compare(test: &Test<'_>, image: &str, guest: &[&str]) -> Result<Output> {
    let one = test.run_of(WASMTIME, image, guest)?;
    let other = test.run_of(WASMER, image, guest)?;
    let seen = |output: &Output| (output.code, output.stdout.clone(), output.stderr.clone());
    ensure!(seen(&one) == seen(&other), "{one:?}\n{other:?}");
    Ok(other)
}

fn wasmer_runs_guests_as_wasmtime_does(test: &Test<'_>) -> Result<()> {
    let guests: [(&[&str], i32); 6] = [
        (&["/hello.wasm"], 0),
        (&["/args.wasm", "one", "two words", ""], 0),
        (&["/env.wasm"], 0),
        (&["/cwd.wasm"], 0),
        (&["/exit.wasm", "7"], 7),
        (&["/streams.wasm"], 0),
    ];
    for (guest, code) in guests {
        compare(test, test.mode.image(), guest)?.expect(code)?;
    }
    Ok(())
}

fn wasmer_runs_go_and_python(test: &Test<'_>) -> Result<()> {
    compare(test, "trireme.test/go:latest", &["/go.wasm"])?;
    let script = "import math, sys; print(math.factorial(20)); sys.exit(7)";
    let python = ["/python.wasm", "-c", script];
    let output = compare(test, "trireme.test/python:latest", &python)?.expect(7)?;
    ensure!(output.stdout.trim() == "2432902008176640000", "{output:?}");
    Ok(())
}

fn wasmer_names_itself_where_a_guest_traps(test: &Test<'_>) -> Result<()> {
    let output = test.run_of(WASMER, test.mode.image(), &["/trap.wasm"])?;
    let output = output.expect(134)?;
    for word in ["wasmer", "/trap.wasm", "unreachable", "run_aground"] {
        ensure!(output.stderr.contains(word), "{word}: {output:?}");
    }
    Ok(())
}

fn wasmer_refuses_a_component_and_says_why(test: &Test<'_>) -> Result<()> {
    let image = "trireme.test/hello-component:linux-amd64";
    let output = test.run_of(WASMER, image, &[])?;
    ensure!(output.code != 0, "{output:?}");
    for word in ["wasmer", "component"] {
        ensure!(output.stderr.contains(word), "{word}: {output:?}");
    }
    Ok(())
}

//! Output that goes to a file, or to a logging binary.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::cases;
use super::exec::words;
use crate::command::LIMIT;
use crate::test::Test;

cases! {
    as_with_runc: [
        output_goes_to_a_file_that_is_made,
        output_goes_to_a_logging_binary,
        output_of_what_is_executed_goes_to_a_logging_binary,
        a_logging_binary_has_all_of_a_long_output,
    ],
    wasm: [
        a_logging_binary_ends_with_its_server,
        a_logging_binary_that_cannot_log_is_an_error,
        a_logging_binary_that_is_never_ready_is_an_error,
        a_logging_binary_that_stays_is_ended,
    ],
}

/// A folder of the host with a logging binary, a script for the shell.
struct Logger<'a> {
    test: &'a Test<'a>,
    folder: String,
}

/// Says who it is for, and that it is ready; then takes both outputs to their ends.
const USUAL: &str = "echo \"$CONTAINER_ID of $CONTAINER_NAMESPACE, $*\" > $0.who
printf . >&5
exec 5>&-
cat <&4 > $0.err &
cat <&3 > $0.out
wait
echo > $0.end
";

impl<'a> Logger<'a> {
    fn with(test: &'a Test<'a>, script: &str, act: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        let folder = format!("/run/logs-of-{}", test.id);
        let make = format!(
            "mkdir {folder}; (echo '#!/bin/sh'; cat) > {folder}/logger; chmod +x {folder}/logger"
        );
        let mut running = test.start(&["sh", "-ec", &make])?;
        running.write(script)?;
        running.close_stdin();
        running.finish(LIMIT)?.expect(0)?;
        let logger = Self { test, folder };
        let result = act(&logger);
        test.exec(&["rm", "-r", &logger.folder])?.expect(0)?;
        result
    }

    fn uri(&self) -> String {
        format!("binary://{}/logger?tag=two+words", self.folder)
    }

    /// Waits until a file of the logger's holds this.
    fn wait_for(&self, suffix: &str, wanted: &str) -> Result<()> {
        let file = format!("{}/logger.{suffix}", self.folder);
        let deadline = Instant::now() + LIMIT;
        loop {
            let seen = self.test.exec(&["cat", &file])?;
            if seen.stdout == wanted {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "not `{wanted}`: {seen:?}");
        }
    }
}

fn output_goes_to_a_file_that_is_made(test: &Test<'_>) -> Result<()> {
    let folder = format!("/run/logs-of-{}", test.id);
    let uri = format!("file://{folder}/a/log");
    for _ in 0..2 {
        let output = test
            .run(&["--log-uri", &uri], &["/args.wasm", "a"])?
            .expect(0)?;
        ensure!(output.stdout.is_empty(), "{output:?}");
    }
    let log = test.exec(&["cat", &format!("{folder}/a/log")])?.expect(0)?;
    ensure!(log.stdout == "/args.wasm\na\n/args.wasm\na\n", "{log:?}");
    test.exec(&["rm", "-r", &folder])?.expect(0)?;
    Ok(())
}

fn output_goes_to_a_logging_binary(test: &Test<'_>) -> Result<()> {
    Logger::with(test, USUAL, |logger| {
        let output = test.run(&["--log-uri", &logger.uri()], &["/streams.wasm"])?;
        let output = output.expect(0)?;
        ensure!(output.stdout.is_empty(), "{output:?}");
        logger.wait_for("who", &format!("{} of default, tag two words\n", test.id))?;
        logger.wait_for("out", "to stdout\n")?;
        logger.wait_for("err", "to stderr\n")
    })
}

fn output_of_what_is_executed_goes_to_a_logging_binary(test: &Test<'_>) -> Result<()> {
    Logger::with(test, USUAL, |logger| {
        test.run_detached(&[], &["/sleep.wasm", "60"])?;
        let uri = logger.uri();
        for (id, program) in [
            ("one", &["/args.wasm", "ahoy"][..]),
            ("two", &["/bin/busybox", "echo", "ahoy"]),
        ] {
            test.exec(&words(test, id, &["--log-uri", &uri], program))?
                .expect(0)?;
            logger.wait_for("who", &format!("{id} of default, tag two words\n"))?;
            let told = if id == "one" {
                "/args.wasm\nahoy\n"
            } else {
                "ahoy\n"
            };
            logger.wait_for("out", told)?;
        }
        test.remove()
    })
}

fn a_logging_binary_has_all_of_a_long_output(test: &Test<'_>) -> Result<()> {
    const COUNT: usize = 3000;
    Logger::with(test, USUAL, |logger| {
        let words: Vec<_> = (0..COUNT)
            .map(|number| format!("word-{number:060}"))
            .collect();
        let guest: Vec<_> = ["/args.wasm"]
            .into_iter()
            .chain(words.iter().map(String::as_str))
            .collect();
        test.run(&["--log-uri", &logger.uri()], &guest)?.expect(0)?;
        let whole = guest.join("\n") + "\n";
        logger.wait_for("out", &whole)
    })
}

fn a_logging_binary_ends_with_its_server(test: &Test<'_>) -> Result<()> {
    Logger::with(test, USUAL, |logger| {
        let uri = logger.uri();
        let run = test.run_words(&["--detach", "--log-uri", &uri], &["/sleep.wasm", "60"]);
        test.exec(&run)?.expect(0)?;
        test.exec(&["sh", "-c", "kill -KILL $(pgrep -f '[t]rireme-shim server')"])?
            .expect(0)?;
        logger.wait_for("end", "\n")?;
        test.exec(&["ctr", "container", "delete", &test.id])?;
        test.next_container_runs()
    })
}

fn a_logging_binary_that_cannot_log_is_an_error(test: &Test<'_>) -> Result<()> {
    let missing = "binary:///nonexistent/logger";
    let output = test
        .run(&["--log-uri", missing], &["/hello.wasm"])?
        .expect(1)?;
    let told = "start the logging binary /nonexistent/logger: No such file or directory";
    ensure!(output.stderr.contains(told), "{output:?}");
    Logger::with(test, "exit 3\n", |logger| {
        let output = test.run(&["--log-uri", &logger.uri()], &["/hello.wasm"])?;
        let output = output.expect(1)?;
        let told = format!(
            "the logging binary {}/logger ended with status 3 before it was ready",
            logger.folder
        );
        ensure!(output.stderr.contains(&told), "{output:?}");
        test.run_detached(&[], &["/sleep.wasm", "60"])?;
        let uri = logger.uri();
        for program in ["/hello.wasm", "/bin/true"] {
            let output = test.exec(&words(test, "one", &["--log-uri", &uri], &[program]))?;
            let output = output.expect(1)?;
            ensure!(output.stderr.contains(&told), "{output:?}");
        }
        test.remove()
    })
}

fn a_logging_binary_that_is_never_ready_is_an_error(test: &Test<'_>) -> Result<()> {
    Logger::with(test, "exec sleep 1000\n", |logger| {
        let began = Instant::now();
        let output = test.run(&["--log-uri", &logger.uri()], &["/hello.wasm"])?;
        let output = output.expect(1)?;
        ensure!(
            output.stderr.contains("was not ready after 10s"),
            "{output:?}"
        );
        let took = began.elapsed();
        ensure!(took < Duration::from_secs(20), "it took {took:?}");
        Ok(())
    })
}

/// It reads nothing and does not see that the container has ended.
fn a_logging_binary_that_stays_is_ended(test: &Test<'_>) -> Result<()> {
    let script = "printf . >&5; exec 5>&-; echo $$ > $0.pid; exec sleep 1000\n";
    Logger::with(test, script, |logger| {
        test.run(&["--log-uri", &logger.uri()], &["/hello.wasm"])?
            .expect(0)?;
        let pid = test.exec(&["cat", &format!("{}/logger.pid", logger.folder)])?;
        let pid = pid.stdout.trim().to_owned();
        let alive = test.exec(&["kill", "-0", &pid])?;
        ensure!(alive.code != 0, "{pid} is still there: {alive:?}");
        Ok(())
    })
    .context("of a binary that stays")
}

//! `ctr run --rm`: what goes in and what comes out.

use anyhow::{Result, ensure};

use super::cases;
use super::exec_linux::its_terminal_fits;
use crate::command::LIMIT;
use crate::test::Test;

cases! {
    as_with_runc: [],
    wasm: [
        every_platform_of_an_image_runs,
        text_is_refused_with_what_to_do,
    ],
    on_each_engine: {
        as_with_runc: [
            output_is_the_guests_own,
            exit_code_is_the_guests_own,
            arguments_reach_the_guest,
            environment_reaches_the_guest,
            working_directory_is_the_one_asked_for,
            stdin_reaches_the_guest_up_to_its_end,
            stderr_is_apart_from_stdout,
            a_terminal_is_a_terminal,
            the_user_is_the_one_asked_for,
            a_read_only_root_cannot_be_written,
            a_writable_root_can_be_written,
            a_mount_read_only_can_be_read_alone,
            a_mount_can_be_written,
            a_memory_limit_ends_the_guest,
            the_hosts_network_is_shared_when_asked_for,
            a_network_namespace_by_path_is_joined,
        ],
        wasm: [
            a_component_runs,
            a_go_program_runs,
            python_runs,
            a_function_by_name_runs,
        ],
    },
}

fn output_is_the_guests_own(test: &Test<'_>) -> Result<()> {
    let output = test.run(&[], &["/hello.wasm"])?.expect(0)?;
    ensure!(
        output.stdout == "hello from the guest\n" && output.stderr.is_empty(),
        "{output:?}"
    );
    Ok(())
}

fn exit_code_is_the_guests_own(test: &Test<'_>) -> Result<()> {
    for code in [0, 1, 7, 125, 126, 255] {
        test.run(&[], &["/exit.wasm", &code.to_string()])?
            .expect(code)?;
    }
    Ok(())
}

fn arguments_reach_the_guest(test: &Test<'_>) -> Result<()> {
    let output = test
        .run(&[], &["/args.wasm", "one", "", "two words", "ünï"])?
        .expect(0)?;
    ensure!(
        output.stdout == "/args.wasm\none\n\ntwo words\nünï\n",
        "{output:?}"
    );
    Ok(())
}

fn environment_reaches_the_guest(test: &Test<'_>) -> Result<()> {
    let flags = ["--env", "PORT=Piraeus", "--env", "EMPTY="];
    let output = test.run(&flags, &["/env.wasm"])?.expect(0)?;
    let lines: Vec<_> = output.stdout.lines().collect();
    for line in ["PATH=/bin", "PORT=Piraeus", "EMPTY="] {
        ensure!(lines.contains(&line), "no {line}: {output:?}");
    }
    ensure!(
        !output.stdout.contains("TRIREME"),
        "more than the container's own: {output:?}"
    );
    Ok(())
}

fn working_directory_is_the_one_asked_for(test: &Test<'_>) -> Result<()> {
    let output = test.run(&["--cwd", "/work"], &["/cwd.wasm"])?.expect(0)?;
    ensure!(
        output.stdout.ends_with("in the work folder\n"),
        "{output:?}"
    );
    let output = test.run(&[], &["/cwd.wasm"])?.expect(0)?;
    ensure!(
        output.stdout.ends_with("in the root folder\n"),
        "{output:?}"
    );
    Ok(())
}

fn stdin_reaches_the_guest_up_to_its_end(test: &Test<'_>) -> Result<()> {
    const LINE: &str = "a line of input\n";
    // More than pipes hold. The runc shim of containerd 1.6 gives its own copying two seconds
    // after the end of the guest (`pkg/process/init.go`), which a busy machine may not keep.
    let lines = if test.mode.is_wasm() { 20_000 } else { 20 };
    let text = LINE.repeat(lines);
    let mut guest = test.start_guest(&[], &["/cat.wasm"])?;
    guest.write(LINE)?;
    if !test.mode.is_wasm() {
        // An end of input before the start is lost on the way through `ctr` and the runc shim.
        guest.wait_for(LINE)?;
    }
    guest.write(&text[LINE.len()..])?;
    guest.close_stdin();
    let output = guest.finish(LIMIT)?.expect(0)?;
    ensure!(
        output.stdout == text,
        "{} of {} bytes came back",
        output.stdout.len(),
        text.len()
    );
    ensure!(
        output.stderr == format!("end of input after {} bytes\n", text.len()),
        "{}",
        output.stderr
    );
    Ok(())
}

fn stderr_is_apart_from_stdout(test: &Test<'_>) -> Result<()> {
    let output = test.run(&[], &["/streams.wasm"])?.expect(0)?;
    ensure!(
        output.stdout == "to stdout\n" && output.stderr == "to stderr\n",
        "{output:?}"
    );
    Ok(())
}

fn a_terminal_is_a_terminal(test: &Test<'_>) -> Result<()> {
    let words = test.run_words(&["--rm", "-t"], &["/isatty.wasm"]).join(" ");
    let output = test
        .exec(&["script", "-qec", &words, "/dev/null"])?
        .expect(0)?;
    // `script` passes the end of its input on, which a terminal shows somewhere, before a line or
    // after the last.
    let lines = output.stdout.lines().map(str::trim_end);
    let lines: Vec<_> = lines.filter(|line| line.contains("terminal")).collect();
    let expected = ["0 terminal", "1 terminal", "2 terminal"];
    ensure!(
        lines.len() == 3
            && lines
                .iter()
                .zip(expected)
                .all(|(seen, line)| seen.ends_with(line) && !seen.contains("no")),
        "{output:?}"
    );
    let output = test.run(&[], &["/isatty.wasm"])?.expect(0)?;
    ensure!(
        output.stdout == "0 no terminal\n1 no terminal\n2 no terminal\n",
        "{output:?}"
    );
    // WASI has no way to ask for its size.
    if !test.mode.is_wasm() {
        its_terminal_fits(test, &test.run_words(&["--rm", "-t"], &[]))?;
    }
    Ok(())
}

fn the_user_is_the_one_asked_for(test: &Test<'_>) -> Result<()> {
    let image = test.mode.image().replace(":latest", ":sailor");
    test.run_detached_of(&image, &[], &["/sleep.wasm", "60"])?;
    let (pid, _) = test.task()?;
    let status = test
        .exec(&["grep", "-E", "^(Uid|Gid):", &format!("/proc/{pid}/status")])?
        .expect(0)?;
    let expected = "Uid:\t1000\t1000\t1000\t1000\nGid:\t1000\t1000\t1000\t1000\n";
    ensure!(status.stdout == expected, "{status:?}");
    test.remove()
}

fn a_read_only_root_cannot_be_written(test: &Test<'_>) -> Result<()> {
    let guest = [
        "/files.wasm",
        "write:/new.txt",
        "append:/where.txt",
        "read:/where.txt",
    ];
    let output = test.run(&["--read-only"], &guest)?.expect(0)?;
    let expected = "write /new.txt: EROFS\nappend /where.txt: EROFS\n\
        read /where.txt: ok in the root folder\n";
    ensure!(output.stdout == expected, "{output:?}");
    Ok(())
}

fn a_writable_root_can_be_written(test: &Test<'_>) -> Result<()> {
    let guest = [
        "/files.wasm",
        "write:/new.txt",
        "read:/new.txt",
        "mkdir:/d",
        "list:/d",
        "remove:/new.txt",
    ];
    let output = test.run(&[], &guest)?.expect(0)?;
    let expected = "write /new.txt: ok\nread /new.txt: ok written by the guest\n\
        mkdir /d: ok\nlist /d: ok\nremove /new.txt: ok\n";
    ensure!(output.stdout == expected, "{output:?}");
    Ok(())
}

/// A folder of the host with one file, mounted at `/mnt/one`.
fn with_folder(test: &Test<'_>, options: &str, guest: &[&str]) -> Result<(String, String)> {
    let folder = format!("/run/folder-of-{}", test.id);
    test.exec(&[
        "sh",
        "-ec",
        &format!("mkdir {folder}; echo cargo > {folder}/hold"),
    ])?
    .expect(0)?;
    let mount = format!("type=bind,src={folder},dst=/mnt/one,options={options}");
    let output = test.run(&["--mount", &mount], guest)?.expect(0)?;
    let after = test
        .exec(&["sh", "-ec", &format!("ls {folder}; rm -r {folder}")])?
        .expect(0)?;
    Ok((output.stdout, after.stdout))
}

fn a_mount_read_only_can_be_read_alone(test: &Test<'_>) -> Result<()> {
    let guest = ["/files.wasm", "read:/mnt/one/hold", "write:/mnt/one/more"];
    let (output, after) = with_folder(test, "rbind:ro", &guest)?;
    ensure!(
        after == "hold\n" && output.starts_with("read /mnt/one/hold: ok cargo\n"),
        "{output}{after}"
    );
    ensure!(output.ends_with("write /mnt/one/more: EROFS\n"), "{output}");
    Ok(())
}

fn a_mount_can_be_written(test: &Test<'_>) -> Result<()> {
    let guest = ["/files.wasm", "read:/mnt/one/hold", "write:/mnt/one/more"];
    let (output, after) = with_folder(test, "rbind:rw", &guest)?;
    ensure!(
        output == "read /mnt/one/hold: ok cargo\nwrite /mnt/one/more: ok\n",
        "{output}"
    );
    ensure!(after == "hold\nmore\n", "{after}");
    Ok(())
}

fn a_memory_limit_ends_the_guest(test: &Test<'_>) -> Result<()> {
    let flags = ["--memory-limit", "67108864"];
    let output = test.run(&flags, &["/grow.wasm", "256"])?.expect(137)?;
    ensure!(!output.stdout.contains("96 MiB"), "{output:?}");
    test.run(&["--memory-limit", "268435456"], &["/grow.wasm", "32"])?
        .expect(0)?;
    Ok(())
}

fn network_of(test: &Test<'_>, path: &str) -> Result<String> {
    Ok(test.exec(&["stat", "-Lc", "%i", path])?.expect(0)?.stdout)
}

fn the_hosts_network_is_shared_when_asked_for(test: &Test<'_>) -> Result<()> {
    let host = network_of(test, "/proc/1/ns/net")?;
    for (flags, shared) in [(vec!["--net-host"], true), (vec![], false)] {
        test.run_detached(&flags, &["/sleep.wasm", "60"])?;
        let (pid, _) = test.task()?;
        let own = network_of(test, &format!("/proc/{pid}/ns/net"))?;
        ensure!(
            (own == host) == shared,
            "flags {flags:?}: {own} in the container, {host} in the host"
        );
        test.remove()?;
    }
    Ok(())
}

fn a_network_namespace_by_path_is_joined(test: &Test<'_>) -> Result<()> {
    let file = format!("/run/net-of-{}", test.id);
    let make = format!("touch {file}; unshare --net={file} true");
    test.exec(&["sh", "-ec", &make])?.expect(0)?;
    let wanted = network_of(test, &file)?;
    test.run_detached(
        &["--with-ns", &format!("network:{file}")],
        &["/sleep.wasm", "60"],
    )?;
    let (pid, _) = test.task()?;
    let own = network_of(test, &format!("/proc/{pid}/ns/net"));
    test.remove()?;
    test.exec(&["sh", "-ec", &format!("umount {file}; rm {file}")])?
        .expect(0)?;
    let own = own?;
    ensure!(
        own == wanted,
        "{own} in the container, {wanted} at the path"
    );
    Ok(())
}

fn every_platform_of_an_image_runs(test: &Test<'_>) -> Result<()> {
    for tag in ["wasi-wasm", "wasi-wasm32", "linux-amd64"] {
        let image = format!("trireme.test/hello:{tag}");
        let output = test.run_of(test.mode.runtime(), &image, &[])?.expect(0)?;
        ensure!(output.stdout == "hello from the guest\n", "{output:?}");
    }
    Ok(())
}

fn a_component_runs(test: &Test<'_>) -> Result<()> {
    let output = test.run(&[], &["/hello-component.wasm"])?.expect(0)?;
    ensure!(output.stdout == "hello from the guest\n", "{output:?}");
    Ok(())
}

fn text_is_refused_with_what_to_do(test: &Test<'_>) -> Result<()> {
    let output = test.run(&[], &["/tiny.wat"])?.expect(1)?;
    for words in ["/tiny.wat", "WebAssembly text", "wat2wasm"] {
        ensure!(
            output.stderr.contains(words),
            "`{words}` is not told: {output:?}"
        );
    }
    Ok(())
}

fn a_go_program_runs(test: &Test<'_>) -> Result<()> {
    let image = "trireme.test/go:latest";
    let output = test
        .run_of(test.mode.runtime(), image, &["/go.wasm", "x", "y"])?
        .expect(0)?;
    ensure!(output.stdout == "go gogo gogogo gogogogo 3\n", "{output:?}");
    Ok(())
}

fn python_runs(test: &Test<'_>) -> Result<()> {
    let guest = [
        "/python.wasm",
        "-c",
        "import json; print(json.dumps({'oars': 2 ** 10}))",
    ];
    let output = test
        .run_of(test.mode.runtime(), "trireme.test/python:latest", &guest)?
        .expect(0)?;
    ensure!(output.stdout == "{\"oars\": 1024}\n", "{output:?}");
    Ok(())
}

fn a_function_by_name_runs(test: &Test<'_>) -> Result<()> {
    let output = test.run(&[], &["/tiny.wasm#other"])?.expect(0)?;
    ensure!(
        output.stdout.is_empty() && output.stderr == "tiny\n",
        "{output:?}"
    );
    Ok(())
}

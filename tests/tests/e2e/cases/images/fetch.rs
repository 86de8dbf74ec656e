//! `trireme-shim fetch` alone, asked as a server asks it, from outside the host: there the content
//! store of the host's containerd is out of sight, so that the bytes come by gRPC.

use std::fs::File;
use std::io::{IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, SocketFlags,
    SocketType,
};
use serde_json::{Value, json};
use trireme_tests::{host::daemon, paths};

use super::super::cases;
use super::{import, is_1_6, is_refused_by_1_6, name};
use crate::test::Test;

cases! {
    as_with_runc: [],
    wasm: [
        an_artifact_is_copied_where_the_store_is_out_of_sight,
        what_is_no_artifact_is_told_from_what_is,
    ],
}

/// Asks for a program of this case's container.
fn ask(test: &Test<'_>, namespace: &str, path: &str) -> Result<(Value, Option<OwnedFd>)> {
    let socket = daemon::root_of(&test.host.instance)?.join("run/containerd/containerd.sock");
    let request = json!({
        "address": socket, "namespace": namespace, "id": test.id, "path": path,
    });
    let flags = SocketFlags::CLOEXEC;
    let (ours, theirs) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    rustix::net::send(&ours, request.to_string().as_bytes(), SendFlags::empty())?;
    let mut child = Command::new(paths::dist_bin()?.join("trireme-shim"))
        .arg("fetch")
        .stdin(Stdio::from(theirs))
        .spawn()
        .context("run trireme-shim fetch")?;
    let answer = receive(&ours);
    end(&mut child)?;
    answer
}

fn end(child: &mut Child) -> Result<()> {
    let status = child.wait()?;
    ensure!(status.success(), "fetch ended with {status}");
    Ok(())
}

fn receive(socket: &OwnedFd) -> Result<(Value, Option<OwnedFd>)> {
    let mut bytes = vec![0; 64 << 10];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let got = rustix::net::recvmsg(socket, &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let fd = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    Ok((serde_json::from_slice(&bytes[..got.bytes])?, fd))
}

/// Makes the container that is asked about, of this image, and removes it.
fn with_container(test: &Test<'_>, image: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let runtime = test.mode.runtime();
    test.ctr(&["container", "create", "--runtime", runtime, image, &test.id])?;
    let result = work();
    test.ctr(&["container", "delete", &test.id])?;
    result
}

fn an_artifact_is_copied_where_the_store_is_out_of_sight(test: &Test<'_>) -> Result<()> {
    if is_1_6(test) {
        return is_refused_by_1_6(test, "default", "many");
    }
    import(test, "default", "many")?;
    let result = with_container(test, &name("many"), || {
        let (answer, fd) = ask(test, "default", "exit.wasm")?;
        let module = &answer["Module"];
        ensure!(module["title"] == "exit.wasm", "{answer}");
        let (mut copy, mut original) = (Vec::new(), Vec::new());
        let mut file = File::from(fd.with_context(|| format!("no file: {answer}"))?);
        file.read_to_end(&mut copy)?;
        File::open(test.host.guests()?.join("wasm/exit.wasm"))?.read_to_end(&mut original)?;
        ensure!(
            copy == original,
            "{} bytes of {}",
            copy.len(),
            original.len()
        );
        ensure!(file.set_len(0).is_err(), "the copy can be changed");
        Ok(())
    });
    test.ctr(&["images", "rm", &name("many")])?;
    result
}

fn what_is_no_artifact_is_told_from_what_is(test: &Test<'_>) -> Result<()> {
    let reason = |answer: Value| answer["NotThere"]["reason"].as_str().map(str::to_owned);
    let not_there = |namespace: &str, words: &str| -> Result<()> {
        let (answer, fd) = ask(test, namespace, "/nothing.wasm")?;
        ensure!(fd.is_none(), "a file of {answer}");
        let text = answer.to_string();
        let said = reason(answer).unwrap_or_default();
        ensure!(said.contains(words), "no `{words}` in {text}");
        Ok(())
    };
    with_container(test, test.mode.image(), || {
        not_there("default", "has no layer that is WebAssembly")?;
        not_there("nowhere", "names no image")
    })?;
    if is_1_6(test) {
        return is_refused_by_1_6(test, "default", "built");
    }
    import(test, "default", "built")?;
    let image = name("built");
    with_container(test, &image, || {
        test.ctr(&["images", "rm", &image])?;
        not_there("default", &format!("{image} is not there any more"))
    })
}

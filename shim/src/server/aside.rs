//! Work that may take long, on a thread of its own while the server goes on.

use std::sync::{Arc, Mutex};

use super::process::lock;

/// Does something on a thread of its own, or here when there is no thread to be
/// had: the work must leave its thread as it was. A thread that panics aborts.
pub(super) async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, result) = tokio::sync::oneshot::channel();
    // The work stays within reach of this thread in case it gets no other.
    let work = Arc::new(Mutex::new(Some(move || {
        let _ = done.send(work());
    })));
    let theirs = work.clone();
    let spawned = std::thread::Builder::new().spawn(move || run(&theirs));
    if spawned.is_err() {
        run(&work);
    }
    drop(work);
    match result.await {
        Ok(value) => value,
        // The sender is dropped unsent only by a panic.
        Err(_) => std::process::abort(),
    }
}

/// The same, or nothing where there is no thread to be had: the work may do with its thread as it
/// likes.
pub(super) async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (done, result) = tokio::sync::oneshot::channel();
    let work = move || {
        // Nobody waits for it where the server is about to end.
        let _ = done.send(work());
    };
    std::thread::Builder::new().spawn(work).ok()?;
    result.await.ok()
}

fn run(work: &Mutex<Option<impl FnOnce()>>) {
    let work = lock(work).take();
    if let Some(work) = work {
        work();
    }
}

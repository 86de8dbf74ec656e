//! Streams of files for components, without the threads that `wasmtime-wasi`
//! starts for them: a file never keeps a guest waiting in the sense of a poll,
//! so a read or write is done where it is asked for.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use rustix::io::{ReadWriteFlags, pwritev2, retry_on_intr};
use wasmtime::component::Resource;
use wasmtime::{Error, StoreContextMut};
use wasmtime_wasi::filesystem::Descriptor;
use wasmtime_wasi::p2::bindings::filesystem::types::ErrorCode;
use wasmtime_wasi::p2::{
    DynInputStream, DynOutputStream, InputStream, OutputStream, Pollable, StreamError, StreamResult,
};
use wasmtime_wasi::{FsPerms, async_trait};

use crate::load::{ComponentHost, ComponentLinker};
use crate::stdio::CHUNK;

/// The interface as `wasmtime-wasi` 48 names it; an import of an older 0.2 is
/// given it too.
const TYPES: &str = "wasi:filesystem/types@0.2.12";

type Store<'a> = StoreContextMut<'a, ComponentHost>;
type Opened<T> = Result<(Result<Resource<T>, ErrorCode>,), Error>;

/// Puts these streams in the place of `wasmtime-wasi`'s.
pub(crate) fn shadow(linker: &mut ComponentLinker) -> Result<(), Error> {
    linker.allow_shadowing(true);
    let mut types = linker.instance(TYPES)?;
    types.func_wrap("[method]descriptor.read-via-stream", read)?;
    types.func_wrap("[method]descriptor.write-via-stream", write)?;
    types.func_wrap("[method]descriptor.append-via-stream", append)
}

fn read(mut store: Store<'_>, (fd, at): (Resource<Descriptor>, u64)) -> Opened<DynInputStream> {
    let table = &mut store.data_mut().table;
    let stream: DynInputStream = match table.get(&fd)? {
        Descriptor::File(file) => Box::new(Reader {
            file: file.file.clone(),
            at,
        }),
        Descriptor::Dir(_) => return Ok((Err(ErrorCode::IsDirectory),)),
    };
    Ok((Ok(table.push(stream)?),))
}

fn write(store: Store<'_>, (fd, at): (Resource<Descriptor>, u64)) -> Opened<DynOutputStream> {
    writer(store, &fd, Some(at))
}

fn append(store: Store<'_>, (fd,): (Resource<Descriptor>,)) -> Opened<DynOutputStream> {
    writer(store, &fd, None)
}

fn writer(
    mut store: Store<'_>,
    fd: &Resource<Descriptor>,
    at: Option<u64>,
) -> Opened<DynOutputStream> {
    let table = &mut store.data_mut().table;
    let stream: DynOutputStream = match table.get(fd)? {
        Descriptor::File(file) if file.perms == FsPerms::ReadOnly => {
            return Ok((Err(ErrorCode::NotPermitted),));
        }
        Descriptor::File(file) => Box::new(Writer {
            file: file.file.clone(),
            at,
        }),
        Descriptor::Dir(_) => return Ok((Err(ErrorCode::BadDescriptor),)),
    };
    Ok((Ok(table.push(stream)?),))
}

/// Reads on from an offset.
struct Reader {
    file: Arc<File>,
    at: u64,
}

#[async_trait]
impl Pollable for Reader {
    async fn ready(&mut self) {}
}

#[async_trait]
impl InputStream for Reader {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        if size == 0 {
            return Ok(Bytes::new());
        }
        let mut buffer = BytesMut::zeroed(size.min(CHUNK));
        let n = uninterrupted(|| self.file.read_at(&mut buffer, self.at))?;
        if n == 0 {
            return Err(StreamError::Closed);
        }
        self.at += n as u64;
        buffer.truncate(n);
        Ok(buffer.freeze())
    }
}

/// Writes on from an offset, or at the end where there is none.
struct Writer {
    file: Arc<File>,
    at: Option<u64>,
}

impl Writer {
    fn write_some(&self, bytes: &[u8]) -> io::Result<usize> {
        match self.at {
            Some(at) => self.file.write_at(bytes, at),
            None => {
                let bytes = [io::IoSlice::new(bytes)];
                let write = || pwritev2(&*self.file, &bytes, 0, ReadWriteFlags::APPEND);
                Ok(retry_on_intr(write)?)
            }
        }
    }
}

#[async_trait]
impl Pollable for Writer {
    async fn ready(&mut self) {}
}

#[async_trait]
impl OutputStream for Writer {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let n = uninterrupted(|| self.write_some(rest))?;
            rest = &rest[n..];
            self.at = self.at.map(|at| at + n as u64);
        }
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(CHUNK)
    }
}

fn uninterrupted(mut call: impl FnMut() -> io::Result<usize>) -> StreamResult<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => {
                return result.map_err(|error| StreamError::LastOperationFailed(error.into()));
            }
        }
    }
}

//! Keeps what `libcontainer` says of a failure. The processes that it makes hand
//! on no more than the name of the step; what went wrong there is in its log.

use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{self, Seek, Write};

use rustix::fs::MemfdFlags;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// The errors of this process and of those that it forks, in their order.
pub struct Errors(File);

/// Collects them from here on.
///
/// # Errors
///
/// When the kernel has no memory to give.
pub fn collect() -> io::Result<Errors> {
    let file = File::from(rustix::fs::memfd_create("errors", MemfdFlags::CLOEXEC)?);
    let writer = Writer(file.try_clone()?);
    tracing::subscriber::set_global_default(writer).map_err(io::Error::other)?;
    Ok(Errors(file))
}

impl Errors {
    /// The first, which is the cause of those that follow.
    pub fn first(mut self) -> Option<String> {
        self.0.rewind().ok()?;
        let text = io::read_to_string(self.0).ok()?;
        text.lines().next().map(str::to_owned)
    }
}

struct Writer(File);

impl Subscriber for Writer {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::ERROR
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        let text = format!("{}{}", line.message, line.fields).replace('\n', " ");
        // One call, so that lines of several processes stay whole.
        let _ = (&self.0).write_all(format!("{text}\n").as_bytes());
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        } else {
            let _ = write!(self.fields, ", {}: {value:?}", field.name());
        }
    }
}

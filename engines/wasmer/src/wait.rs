//! Waiting on the guest's own thread.
//!
//! `wasmer-wasix` drives a system call's future in a loop that parks the thread
//! between two rounds (`virtual_mio::block_on`), for other threads to wake it.
//! Here there are no others. Whoever cannot go on within a round registers what
//! it waits for and asks for another round. The one that comes around a second
//! time with nothing happened knows that everybody has been asked, and waits
//! for whatever comes first.

use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// What the system call in hand waits for.
#[derive(Debug, Default)]
pub(crate) struct Waits(Mutex<Round>);

#[derive(Debug, Default)]
struct Round {
    /// The call that is driven: each has a waker of its own. Held, so that no
    /// later one can have its address.
    call: Option<Waker>,
    streams: Vec<(BorrowedFd<'static>, PollFlags)>,
    sleepers: Vec<(usize, Option<Instant>)>,
    /// Sleepers there have been.
    count: usize,
}

impl Waits {
    /// Has the caller polled again, at the latest when `stream` is ready.
    pub(crate) fn stream(
        &self,
        stream: BorrowedFd<'static>,
        events: PollFlags,
        cx: &mut Context<'_>,
    ) {
        self.in_round(cx, |round| {
            let known = |(fd, flags): &(BorrowedFd<'_>, PollFlags)| {
                std::os::fd::AsRawFd::as_raw_fd(fd) == std::os::fd::AsRawFd::as_raw_fd(&stream)
                    && *flags == events
            };
            if round.streams.iter().any(known) {
                round.wait();
            }
            round.streams.push((stream, events));
        });
    }

    /// A future that is ready after `time`.
    pub(crate) fn sleep(self: &Arc<Self>, time: Duration) -> Sleep {
        let mut round = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        round.count += 1;
        Sleep {
            waits: Arc::clone(self),
            number: round.count,
            until: Instant::now().checked_add(time),
        }
    }

    fn in_round(&self, cx: &mut Context<'_>, register: impl FnOnce(&mut Round)) {
        let mut round = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !round
            .call
            .as_ref()
            .is_some_and(|call| call.will_wake(cx.waker()))
        {
            round.call = Some(cx.waker().clone());
            round.clear();
        }
        register(&mut round);
        cx.waker().wake_by_ref();
    }
}

impl Round {
    fn clear(&mut self) {
        self.streams.clear();
        self.sleepers.clear();
    }

    /// Waits for the first of all that is registered, and begins anew.
    fn wait(&mut self) {
        let first = self.sleepers.iter().filter_map(|(_, until)| *until).min();
        let timeout = first.map(|until| {
            let left = until.saturating_duration_since(Instant::now());
            Timespec {
                tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            }
        });
        let mut streams: Vec<_> = self
            .streams
            .iter()
            .map(|(fd, events)| PollFd::from_borrowed_fd(*fd, *events))
            .collect();
        // Whether it was a stream, the time or a signal: each waiter looks for
        // itself in the next round.
        let _ = poll(&mut streams, timeout.as_ref());
        self.clear();
    }
}

/// See [`Waits::sleep`].
pub(crate) struct Sleep {
    waits: Arc<Waits>,
    number: usize,
    /// `None` is for ever.
    until: Option<Instant>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.until.is_some_and(|until| until <= Instant::now()) {
            return Poll::Ready(());
        }
        self.waits.in_round(cx, |round| {
            if round
                .sleepers
                .iter()
                .any(|(number, _)| *number == self.number)
            {
                round.wait();
            }
            round.sleepers.push((self.number, self.until));
        });
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Polls until all are ready, in rounds; the number of rounds.
    fn drive(sleeps: &mut [Sleep]) -> usize {
        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(Arc::clone(&wakes));
        let mut cx = Context::from_waker(&waker);
        for round in 1.. {
            let ready = sleeps
                .iter_mut()
                .any(|sleep| Pin::new(sleep).poll(&mut cx).is_ready());
            if ready {
                return round;
            }
            assert!(
                wakes.0.load(Ordering::Relaxed) > 0,
                "it would park for ever"
            );
        }
        unreachable!()
    }

    #[test]
    fn a_sleep_takes_its_time_in_few_rounds() {
        let waits = Arc::new(Waits::default());
        let start = Instant::now();
        let rounds = drive(&mut [waits.sleep(Duration::from_millis(30))]);
        assert!(start.elapsed() >= Duration::from_millis(30));
        assert!(rounds <= 4, "{rounds} rounds: it is busy");
    }

    #[test]
    fn the_first_of_several_ends_the_wait() {
        let waits = Arc::new(Waits::default());
        let start = Instant::now();
        drive(&mut [
            waits.sleep(Duration::MAX),
            waits.sleep(Duration::from_secs(600)),
            waits.sleep(Duration::from_millis(20)),
        ]);
        assert!(start.elapsed() < Duration::from_secs(60));
    }

    #[test]
    fn what_an_earlier_call_waited_for_is_forgotten() {
        let waits = Arc::new(Waits::default());
        let (mut long, short) = (
            waits.sleep(Duration::from_secs(600)),
            waits.sleep(Duration::from_millis(1)),
        );
        let waker = Waker::from(Arc::new(Wakes::default()));
        assert!(
            Pin::new(&mut long)
                .poll(&mut Context::from_waker(&waker))
                .is_pending()
        );
        let start = Instant::now();
        // Were `long` still registered, it would wait at once, for itself alone.
        drive(&mut [long, short]);
        assert!(start.elapsed() < Duration::from_secs(60));
    }

    #[test]
    fn a_stream_that_is_ready_ends_the_wait() {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let reader: &'static std::io::PipeReader = Box::leak(Box::new(reader));
        let fd = std::os::fd::AsFd::as_fd(reader);
        drop(writer);
        let waits = Waits::default();
        let waker = Waker::from(Arc::new(Wakes::default()));
        for _ in 0..2 {
            waits.stream(fd, PollFlags::IN, &mut Context::from_waker(&waker));
        }
    }
}

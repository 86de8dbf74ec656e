//! Giving up on a container that is still being made.
//!
//! A call over ttrpc runs to its end whether or not anybody waits for the
//! answer. A Create that compiles for minutes would then make a container that
//! nobody knows of; so its client's Delete ends it.

use tokio::sync::watch;

/// The side that gives up.
pub struct Abandon(watch::Sender<bool>);

/// The side that makes.
pub struct Abandoned(watch::Receiver<bool>);

/// Both sides of one container's making.
pub fn pair() -> (Abandon, Abandoned) {
    let (sender, receiver) = watch::channel(false);
    (Abandon(sender), Abandoned(receiver))
}

impl Abandon {
    /// Gives up, and waits until the other side is through.
    pub async fn ask(&self) {
        self.0.send_replace(true);
        self.0.closed().await;
    }
}

impl Abandoned {
    /// The outcome of `work`, or `None` once it is of no use to anybody; the
    /// work is dropped then.
    pub async fn or<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut asked = self.0.clone();
        tokio::select! {
            biased;
            // The other side is dropped only after this one.
            Ok(_) = asked.wait_for(|asked| *asked) => None,
            outcome = work => Some(outcome),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_goes_on_until_it_is_abandoned() {
        let (abandon, abandoned) = pair();
        assert_eq!(abandoned.or(async { 1 }).await, Some(1));
        let making = tokio::spawn(async move { abandoned.or(std::future::pending::<()>()).await });
        abandon.ask().await;
        assert_eq!(making.await.unwrap(), None);
    }

    #[tokio::test]
    async fn giving_up_on_what_is_over_returns_at_once() {
        let (abandon, abandoned) = pair();
        drop(abandoned);
        abandon.ask().await;
    }
}

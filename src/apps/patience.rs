//! Waits for what is not there yet, for a limited time. Never judges whether that makes sense.

use std::{fmt::Display, time::Duration};

use tokio::time::{self, Instant};

use crate::{client::Backoff, clock::SystemClock, units::Span};

/// Time to try again in.
#[derive(Debug)]
pub struct Patience {
    limit: Duration,
    /// Since when nothing works.
    since: Option<Instant>,
    backoff: Backoff,
}

impl Patience {
    /// Lasts for `limit`, counted from the first failure.
    pub fn new(limit: Duration) -> Self {
        let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        Patience { limit, since: None, backoff }
    }

    /// Waits until it is time for another try, and says on standard error that it does, and why, if that begins; false if
    /// there is no time left. `asked` is what whoever failed asks to wait.
    pub async fn again(&mut self, asked: Option<Duration>, why: impl Display) -> bool {
        let first = self.since.is_none();
        let Some(delay) = self.delay(asked) else { return false };
        if first {
            eprintln!("waiting for up to {}: {why}", Span(self.limit));
        }
        time::sleep(delay).await;
        true
    }

    /// Does something, as long as there is time left; None if that was not enough.
    pub async fn bound<F: Future>(&mut self, work: F) -> Option<F::Output> {
        let begun = Instant::now();
        let left = self.limit.saturating_sub(self.since.map_or(Duration::ZERO, |since| since.elapsed()));
        let done = time::timeout(left, work).await.ok();
        if done.is_none() {
            self.since.get_or_insert(begun);
        }
        done
    }

    fn delay(&mut self, asked: Option<Duration>) -> Option<Duration> {
        let waited = self.since.get_or_insert_with(Instant::now).elapsed();
        let delay = self.backoff.next(&SystemClock, asked);
        // The last try comes when the time is over, however long it is asked to wait.
        let left = self.limit.saturating_sub(waited);
        (!left.is_zero()).then_some(delay.min(left))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_ends() {
        let mut patience = Patience::new(Duration::from_secs(3));
        let mut tries = 0;
        while let Some(delay) = patience.delay(Some(Duration::from_secs(1))) {
            time::advance(delay).await;
            tries += 1;
        }
        assert!((1..=4).contains(&tries));
        assert!(Patience::new(Duration::ZERO).delay(None).is_none());
    }
}

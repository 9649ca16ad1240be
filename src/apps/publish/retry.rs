//! Whether and when a publish that failed is tried again. Never where it could then be published twice.

use std::time::Duration;

use tokio::time::{self, Instant};

use super::super::remote::Remote;
use crate::{
    client::{Backoff, Fate, Fault},
    clock::SystemClock,
    units::Span,
};

/// Tries again as long as it is safe, sensible and not too late.
#[derive(Debug)]
pub struct Retry {
    limit: Duration,
    /// Since when nothing was published.
    since: Option<Instant>,
    repeatable: bool,
    backoff: Backoff,
}

impl Retry {
    /// Goes on for `limit`, counted from the first failure. `repeatable`: the message has an id, so that the broker knows
    /// it again.
    pub fn new(limit: Duration, repeatable: bool) -> Self {
        let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        Retry { limit, since: None, repeatable, backoff }
    }

    /// Waits until another try makes sense, and says on standard error that it does; false if it makes none.
    pub async fn again(&mut self, fault: &Fault, remote: &Remote) -> bool {
        let first = self.since.is_none();
        let Some(delay) = self.delay(fault) else { return false };
        if first {
            eprintln!("waiting for up to {}: {}", Span(self.limit), remote.failure(fault.clone()));
        }
        time::sleep(delay).await;
        true
    }

    fn delay(&mut self, fault: &Fault) -> Option<Duration> {
        let waited = self.since.get_or_insert_with(Instant::now).elapsed();
        let safe = self.repeatable || fault.fate != Fate::Unknown;
        let delay = self.backoff.next(&SystemClock, fault.retry_delay);
        // The last try comes when the time is over, however long the broker asks to wait.
        let left = self.limit.saturating_sub(waited);
        (safe && fault.is_passing() && !left.is_zero()).then_some(delay.min(left))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb::v1::PublishError;

    fn fault(reason: &str, code: tonic::Code) -> Fault {
        let retry_delay = Some(prost_types::Duration { seconds: 1, nanos: 0 });
        Fault::from(PublishError { code: code.into(), reason: reason.into(), retry_delay, ..Default::default() })
    }

    #[test]
    fn only_what_was_surely_refused_is_tried_again_without_an_id() {
        let broken = Fault::from(tonic::Status::unknown("the connection broke"));
        let full = fault("STORAGE_FULL", tonic::Code::ResourceExhausted);
        let failed = fault("STORAGE_FAILED", tonic::Code::Unavailable);
        let mut careful = Retry::new(Duration::from_secs(30), false);
        assert!(careful.delay(&full).is_some());
        assert!(careful.delay(&broken).is_none());
        assert!(careful.delay(&failed).is_none());
        let mut repeatable = Retry::new(Duration::from_secs(30), true);
        assert!(repeatable.delay(&broken).is_some());
        assert!(repeatable.delay(&failed).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn it_ends() {
        let mut retry = Retry::new(Duration::from_secs(3), true);
        let full = fault("STORAGE_FULL", tonic::Code::ResourceExhausted);
        let mut tries = 0;
        while let Some(delay) = retry.delay(&full) {
            time::advance(delay).await;
            tries += 1;
        }
        assert!((1..=4).contains(&tries));
        let refused = fault("TOPIC_INVALID", tonic::Code::InvalidArgument);
        assert!(Retry::new(Duration::from_secs(30), true).delay(&refused).is_none());
    }
}

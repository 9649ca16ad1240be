//! Whether and when a publish that failed is tried again. Never where it could then be published twice.

use std::time::Duration;

use super::super::{patience::Patience, remote::Remote};
use crate::client::{Fate, Fault};

/// Tries again as long as it is safe, sensible and not too late.
#[derive(Debug)]
pub struct Retry {
    patience: Patience,
    repeatable: bool,
}

impl Retry {
    /// Goes on for `limit`, counted from the first failure. `repeatable`: the message has an id, so that the broker knows
    /// it again.
    pub fn new(limit: Duration, repeatable: bool) -> Self {
        Retry { patience: Patience::new(limit), repeatable }
    }

    /// Waits until another try makes sense, and says on standard error that it does; false if it makes none.
    pub async fn again(&mut self, fault: &Fault, remote: &Remote) -> bool {
        self.is_worth_it(fault) && self.patience.again(fault.retry_delay, remote.failure(fault.clone())).await
    }

    fn is_worth_it(&self, fault: &Fault) -> bool {
        let safe = self.repeatable || fault.fate != Fate::Unknown;
        safe && fault.is_passing()
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
        let careful = Retry::new(Duration::from_secs(30), false);
        assert!(careful.is_worth_it(&full));
        assert!(!careful.is_worth_it(&broken) && !careful.is_worth_it(&failed));
        let repeatable = Retry::new(Duration::from_secs(30), true);
        assert!(repeatable.is_worth_it(&broken) && repeatable.is_worth_it(&failed));
        assert!(!repeatable.is_worth_it(&fault("TOPIC_INVALID", tonic::Code::InvalidArgument)));
    }
}

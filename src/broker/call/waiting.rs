//! One who waits for the replies to his request, or to an equal one of somebody else. Never asks.

use std::sync::Arc;

use bytes::Bytes;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit},
    time::{Instant, sleep_until},
};

use super::{
    super::{Shared, served::Served},
    Replied,
    groups::Joined,
};
use crate::model::{Error, Reason, Result};

/// A caller's place; it is given back when this is dropped.
pub(super) struct Waiting {
    served: Arc<Served>,
    id: u64,
    is_first: bool,
    changed: Arc<Notify>,
    _permit: OwnedSemaphorePermit,
}

impl Waiting {
    pub fn new(served: Arc<Served>, joined: &Joined, permit: OwnedSemaphorePermit) -> Self {
        served.place.metrics.waiting_calls.inc();
        let Joined { id, is_first, changed } = joined;
        Waiting { served, id: *id, is_first: *is_first, changed: changed.clone(), _permit: permit }
    }

    /// Waits for what the group waits for, at most until `deadline`, or until a broker that stops waits no longer: then what
    /// has come by then counts.
    pub async fn replies(&self, deadline: Instant, shared: &Shared) -> Result<Replied> {
        let place = &self.served.place;
        let ended = async {
            loop {
                let changed = self.changed.notified();
                if let Some(outcome) = place.replies.groups().outcome(self.id) {
                    return outcome;
                }
                changed.await;
            }
        };
        let stopped_at = async {
            shared.closing.cancelled().await;
            if let Some(deadline) = shared.deadline.get() {
                sleep_until(*deadline).await;
            }
        };
        let outcome = tokio::select! {
            biased;
            outcome = ended => outcome,
            () = sleep_until(deadline) => self.so_far(no_reply()),
            () = stopped_at => self.so_far(stopped()),
        };
        match &outcome {
            Ok(_) => place.metrics.answered_calls.inc(),
            Err(_) => place.metrics.unanswered_calls.inc(),
        };
        Ok(Replied { records: outcome?, collapsed: !self.is_first })
    }

    fn so_far(&self, otherwise: Error) -> Result<Vec<Bytes>> {
        let replies = self.served.place.replies.groups().so_far(self.id);
        if replies.is_empty() { Err(otherwise) } else { Ok(replies) }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.served.place.replies.groups().leave(self.id);
        self.served.place.metrics.waiting_calls.dec();
    }
}

pub(super) fn stopped() -> Error {
    let message = "the broker stops, and nobody answered yet: whether anybody worked on the request is not known; ask again if \
                   that does no harm, another broker or this one when it is back";
    Error::new(Reason::NoReply, message)
}

fn no_reply() -> Error {
    let message = "nobody answered in time: whether anybody worked on the request is not known; ask again if that does no \
                   harm, or wait longer (timeout)";
    Error::new(Reason::NoReply, message)
}

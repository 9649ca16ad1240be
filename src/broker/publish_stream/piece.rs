//! Messages of a publish stream that are appended together: as they gather, and as they wait for the log.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use super::event::{Answer, PublishEvent};
use crate::{
    broker::served::Served,
    engine::{Appended, Batch, OutcomeRun, Outcomes, Receipt, refusal},
    model::{Error, Result},
};

/// Messages for one namespace that are appended together.
pub struct Piece {
    pub served: Arc<Served>,
    pub batch: Batch,
    pub requests: Requests,
    pub refused: Vec<Refused>,
}

impl Piece {
    /// One without messages.
    pub fn new(served: Arc<Served>, batch: Batch) -> Self {
        Piece { served, batch, requests: Vec::new(), refused: Vec::new() }
    }

    /// A message was added to the batch.
    pub fn push(&mut self, request: u64) {
        match self.requests.last_mut() {
            Some((first, count)) if *first + *count == request => *count += 1,
            _ => self.requests.push((request, 1)),
        }
    }

    /// A message was refused for good, and has this number: the log passes over it.
    pub fn refuse(&mut self, request: u64, number: u64, error: Error) {
        self.batch.skip_number();
        self.refused.push(Refused { request, number, error });
    }

    /// Whether the log has nothing to do with it: all that was to be in it was refused at once.
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty() && self.refused.is_empty()
    }

    /// Hands it to the log.
    pub fn append(self, permit: Result<OwnedSemaphorePermit>) -> Waiting {
        let Piece { served, mut batch, requests, refused } = self;
        let bytes = batch.bytes();
        let receipt = match permit {
            Ok(permit) => {
                batch.reserve(permit);
                served.place.log.append(batch)
            }
            Err(error) => Receipt::ready(Err(error)),
        };
        Waiting { served, receipt, requests, refused, bytes }
    }
}

/// A message that was refused for good, before the log passed over its number.
pub struct Refused {
    request: u64,
    number: u64,
    error: Error,
}

impl Refused {
    /// What is told when the log has answered: that it `failed` as a whole, or that a request before is `missing`.
    fn told(self, failed: Option<&Error>, missing: Option<u64>) -> Answer {
        let Refused { request, number, error } = self;
        let error = match (failed, missing) {
            (Some(failed), _) => failed.clone(),
            // Within a piece, numbers and requests rise together.
            (None, Some(missing)) if missing < request => refusal::preceding(number, number - (request - missing)),
            _ => error,
        };
        Answer::Refused { request, error }
    }
}

/// A piece that the log has.
pub struct Waiting {
    pub served: Arc<Served>,
    pub receipt: Receipt,
    requests: Requests,
    pub refused: Vec<Refused>,
    bytes: usize,
}

/// Which requests of the stream: the first and the number of neighbours, rising.
pub type Requests = Vec<(u64, u64)>;

impl Waiting {
    /// Tells what the log has answered; `same` says that the answers before were of the same namespace.
    pub fn tell(self, outcomes: Result<Outcomes>, same: bool, event: &mut PublishEvent) {
        let failed = outcomes.as_ref().err().cloned();
        let messages = self.requests.iter().map(|(_, count)| *count as usize).sum();
        let outcomes = outcomes.unwrap_or_else(|error| Outcomes::all(messages, Err(error)));
        self.count(&outcomes);
        let missing = event.answer(&self.requests, &outcomes, same);
        event.answers.extend(self.refused.into_iter().map(|refused| refused.told(failed.as_ref(), missing)));
    }

    /// Counts what became of the messages; what had been published before is neither taken nor refused.
    fn count(&self, outcomes: &Outcomes) {
        let (mut taken, mut refused) = (0, 0);
        for OutcomeRun { count, outcome } in outcomes.runs() {
            match outcome {
                Ok(Appended { duplicate: false, .. }) => taken += *count as u64,
                Ok(_) => {}
                Err(_) => refused += *count as u64,
            }
        }
        let metrics = &self.served.place.metrics;
        metrics.published_messages.inc_by(taken);
        if refused > 0 {
            metrics.refused_messages.inc_by(refused);
        }
        let messages = outcomes.len() as u64;
        if taken > 0 {
            // Where only some were taken, of the bytes as many in proportion.
            metrics.published_bytes.inc_by(self.bytes as u64 * taken / messages);
        }
    }
}

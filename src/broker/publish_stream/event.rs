//! What the broker says on a publish stream: what became of messages, as runs. Pure.

use crate::{
    broker::{Closing, Heartbeat},
    engine::{Appended, OutcomeRun, Outcomes},
    model::{Durability, Error, Sequence},
};

use super::piece::Requests;

/// Answers that one event carries: a client takes only so much at a time.
pub const ANSWERS: usize = 1_000;

/// What the broker says on the stream.
#[derive(Clone, Debug, Default)]
pub struct PublishEvent {
    /// What became of messages.
    pub answers: Vec<Answer>,
    /// In the first event, with a producer: its next number that is not used.
    pub next_number: Option<u64>,
    /// Where the stream would otherwise be silent.
    pub heartbeat: Option<Heartbeat>,
    /// Nothing more is taken on this stream.
    pub closing: Option<Closing>,
}

/// What became of some messages. They are counted from 0 as they were handed over.
#[derive(Clone, Debug)]
pub enum Answer {
    /// They were taken, one right after the other.
    Published(PublishedRun),
    /// One was refused.
    Refused {
        /// Which.
        request: u64,
        /// Why.
        error: Error,
    },
}

/// Messages that were taken one right after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublishedRun {
    /// The first of them.
    pub request: u64,
    /// How many.
    pub count: u64,
    /// The place of the first; zero if they are duplicates whose place nobody knows any more.
    pub sequence: Sequence,
    /// They had been published before.
    pub duplicate: bool,
    /// What the answer is worth.
    pub durability: Durability,
}

impl PublishEvent {
    /// What is to be said, if there is anything. The next number is said by itself.
    pub(super) fn take(&mut self) -> Option<Self> {
        if let Some(next) = self.next_number.take() {
            return Some(PublishEvent { next_number: Some(next), ..PublishEvent::default() });
        }
        if self.answers.len() > ANSWERS {
            let later = self.answers.split_off(ANSWERS);
            return Some(std::mem::replace(self, PublishEvent { answers: later, ..PublishEvent::default() }));
        }
        (!self.answers.is_empty()).then(|| std::mem::take(self))
    }

    /// Adds what became of these requests; `same` says that they went to the namespace of those before. Answers the first
    /// that was refused and may be sent again.
    pub(super) fn answer(&mut self, requests: &Requests, outcomes: &Outcomes, mut same: bool) -> Option<u64> {
        let mut missing = None;
        let mut requests = requests.iter().copied();
        let (mut request, mut left) = requests.next().unwrap_or_default();
        for OutcomeRun { count, outcome } in outcomes.runs() {
            let (mut done, count) = (0, *count as u64);
            while done < count {
                if left == 0 {
                    let Some(next) = requests.next() else { return missing };
                    (request, left) = next;
                }
                let step = left.min(count - done);
                match outcome {
                    Ok(first) => {
                        self.published(request, step, first, done, same);
                        same = true;
                    }
                    Err(error) => {
                        if error.retry_delay().is_some() {
                            missing.get_or_insert(request);
                        }
                        let refused = |request| Answer::Refused { request, error: error.clone() };
                        self.answers.extend((request..request + step).map(refused));
                    }
                }
                (request, left, done) = (request + step, left - step, done + step);
            }
        }
        missing
    }

    /// Adds `count` messages, the first of which lies `offset` behind `first`.
    fn published(&mut self, request: u64, count: u64, first: &Appended, offset: u64, same: bool) {
        let Appended { sequence, duplicate, durability, .. } = *first;
        let sequence = if sequence == Sequence::ZERO { sequence } else { sequence.plus(offset) };
        let run = PublishedRun { request, count, sequence, duplicate, durability };
        match self.answers.last_mut() {
            Some(Answer::Published(last)) if same && last.is_followed_by(&run) => last.count += count,
            _ => self.answers.push(Answer::Published(run)),
        }
    }
}

impl PublishedRun {
    fn is_followed_by(&self, next: &PublishedRun) -> bool {
        let known = self.sequence != Sequence::ZERO;
        let sequence = if known { self.sequence.plus(self.count) } else { self.sequence };
        self.request + self.count == next.request
            && sequence == next.sequence
            && self.duplicate == next.duplicate
            && self.durability == next.durability
    }
}

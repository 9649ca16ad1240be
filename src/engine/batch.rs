//! What is handed to a log to append, and what comes back. Never decides anything.

use std::{
    future::Future,
    ops::Range,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::producers::{Numbered, Session};
use crate::model::{
    Durability, Error, Message, Reason, Record, Records, Result, Sequence, Timestamp, limits, record::LEAST,
};

/// Records that are appended together: one waiter, one answer, and a result for each.
pub struct Batch {
    /// Encoded records, one after the other, all but their sequences and times.
    pub(super) records: Vec<u8>,
    /// One a record, in order.
    pub(super) entries: Vec<Entry>,
    /// How durable the records must be before the answer.
    pub(super) durability: Durability,
    /// All or none.
    pub(super) atomic: bool,
    /// Some records may expire.
    pub(super) expiring: bool,
    /// Some records have a message id, or expect a sequence: each must be looked at by itself.
    pub(super) picky: bool,
    /// The numbers that the producer gave them.
    pub(super) numbered: Option<Numbered>,
    /// Bounds what is pending; given back with the batch.
    pub(super) reservation: Option<OwnedSemaphorePermit>,
}

/// What must be known of a record before it has its place.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Where its bytes end in [`Batch::records`].
    pub end: usize,
    /// It has a message id.
    pub has_id: bool,
    /// Publish only if the topic's last sequence is this one.
    pub expected: Option<Sequence>,
    /// Its number, where the batch has numbers; else zero.
    pub number: u64,
}

impl Batch {
    /// A batch that takes no more than it must.
    pub fn new(durability: Durability) -> Self {
        Batch {
            records: Vec::new(),
            entries: Vec::new(),
            durability,
            atomic: false,
            expiring: false,
            picky: false,
            numbered: None,
            reservation: None,
        }
    }

    /// All or none, also across a crash.
    pub fn atomic(mut self, atomic: bool) -> Self {
        self.atomic = atomic;
        self
    }

    /// The records are those of a producer: the first has the number `first`, each that follows the next one.
    pub fn number(mut self, session: Arc<Session>, first: u64) -> Self {
        self.numbered = Some(Numbered { session, numbers: first..first });
        self
    }

    /// The number of the next record, where they have numbers.
    pub fn next_number(&self) -> Option<u64> {
        self.numbered.as_ref().map(|numbered| numbered.numbers.end)
    }

    /// Passes over a number, which is used up: its message was refused for good.
    pub fn skip_number(&mut self) {
        if let Some(numbered) = &mut self.numbered {
            numbered.numbers.end += 1;
        }
    }

    /// Keeps `permit` until the records are stored or refused.
    pub fn reserve(&mut self, permit: OwnedSemaphorePermit) {
        self.reservation = Some(permit);
    }

    /// Raises what is asked for; never lowers it.
    pub fn require(&mut self, durability: Durability) {
        self.durability = self.durability.max(durability);
    }

    /// Encodes a message and adds it. Nothing is added if it is refused. `most` is the number of bytes that an
    /// encoded message may have.
    pub fn push(&mut self, message: &Message, most: usize, expected: Option<Sequence>) -> Result<()> {
        message.encode(most, &mut self.records)?;
        let has_id = !message.message_id.is_empty();
        self.expiring |= message.expire_time.is_some();
        self.picky |= has_id || expected.is_some();
        let number = self.numbered.as_ref().map_or(0, |numbered| numbered.numbers.end);
        self.skip_number();
        self.entries.push(Entry { end: self.records.len(), has_id, expected, number });
        Ok(())
    }

    /// The same for a message that was published elsewhere and moves: its id was looked at there. It is kept with the
    /// message, and nobody looks at it again or remembers it.
    pub fn push_moved(&mut self, message: &Message, most: usize) -> Result<()> {
        message.encode(most, &mut self.records)?;
        self.expiring |= message.expire_time.is_some();
        self.entries.push(Entry { end: self.records.len(), has_id: false, expected: None, number: 0 });
        Ok(())
    }

    /// Takes the records from the one at `at` on out of it, with all else that was asked for them.
    pub(super) fn split_off(&mut self, at: usize) -> Batch {
        let start = if at == 0 { 0 } else { self.entries[at - 1].end };
        let mut entries = self.entries.split_off(at);
        entries.iter_mut().for_each(|entry| entry.end -= start);
        let numbered = self.numbered.as_mut().map(|numbered| {
            let first = entries.first().map_or(numbered.numbers.end, |entry| entry.number);
            let rest = Numbered { session: numbered.session.clone(), numbers: first..numbered.numbers.end };
            numbered.numbers.end = first;
            rest
        });
        Batch {
            records: self.records.split_off(start),
            entries,
            numbered,
            reservation: self.reservation.take(),
            ..*self
        }
    }

    /// How many records.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Their encoded bytes together.
    pub fn bytes(&self) -> usize {
        self.records.len()
    }

    /// Where the bytes of record `at` lie.
    pub(super) fn range(&self, at: usize) -> Range<usize> {
        let start = if at == 0 { 0 } else { self.entries[at - 1].end };
        start..self.entries[at].end
    }

    /// Record `at`; its sequence and time mean nothing yet.
    pub(super) fn record(&self, at: usize) -> Record<'_> {
        let bytes = &self.records[self.range(at)];
        debug_assert!(bytes.len() >= LEAST);
        Records::new(bytes).next().and_then(Result::ok).expect("a batch holds what Message::encode made")
    }
}

/// The most that one batch can hold: a whole request, each message with the fields that the broker adds.
pub const BATCH_BYTES: usize = limits::REQUEST_BYTES + limits::BATCH_MESSAGES * 64;

/// A record that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Its place.
    pub sequence: Sequence,
    /// When it was taken.
    pub publish_time: Timestamp,
    /// It had been published before; place and time are those of the first.
    pub duplicate: bool,
    /// What this answer is worth.
    pub durability: Durability,
}

impl Appended {
    /// What the record `count` behind this one has, where both lie in one run.
    fn plus(self, count: usize) -> Self {
        match self.sequence {
            // Nothing is known of its place, nor of its neighbours'.
            Sequence::ZERO => self,
            sequence => Appended { sequence: sequence.plus(count as u64), ..self },
        }
    }
}

/// What became of one record.
pub type Outcome = Result<Appended>;

/// What became of the records of a batch, in order. Those that were taken one after the other are told as one run, so
/// that a full stream costs nothing a message.
#[derive(Clone, Debug, Default)]
pub struct Outcomes(Vec<OutcomeRun>);

/// Records with the same outcome, each taken right after the one before.
#[derive(Clone, Debug)]
pub struct OutcomeRun {
    /// How many; never zero.
    pub count: usize,
    /// Of the first. (A sequence of zero says that it was published before, and nobody knows where any more.)
    pub outcome: Outcome,
}

impl Outcomes {
    /// Adds what became of the next record.
    pub fn push(&mut self, outcome: Outcome) {
        self.push_run(OutcomeRun { count: 1, outcome });
    }

    /// Adds what became of the next records.
    pub fn push_run(&mut self, run: OutcomeRun) {
        if let Some(OutcomeRun { count, outcome: Ok(first) }) = self.0.last_mut()
            && run.outcome.as_ref().is_ok_and(|next| *next == first.plus(*count))
        {
            *count += run.count;
            return;
        }
        self.0.push(run);
    }

    /// The same for `count` records.
    pub fn all(count: usize, outcome: Outcome) -> Self {
        match outcome {
            Err(error) => (0..count).map(|_| Err(error.clone())).collect(),
            Ok(_) if count == 0 => Outcomes::default(),
            outcome => Outcomes(vec![OutcomeRun { count, outcome }]),
        }
    }

    /// The runs.
    pub fn runs(&self) -> &[OutcomeRun] {
        &self.0
    }

    /// One outcome a record.
    pub fn iter(&self) -> impl Iterator<Item = Outcome> {
        let each = |run: &OutcomeRun| {
            let outcome = run.outcome.clone();
            (0..run.count).map(move |at| outcome.clone().map(|first| first.plus(at)))
        };
        self.0.iter().flat_map(each)
    }

    /// How many records.
    pub fn len(&self) -> usize {
        self.0.iter().map(|run| run.count).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Says what the answers are worth.
    pub fn worth(&mut self, durability: Durability) {
        self.0.iter_mut().flat_map(|run| &mut run.outcome).for_each(|appended| appended.durability = durability);
    }
}

impl FromIterator<Outcome> for Outcomes {
    fn from_iter<I: IntoIterator<Item = Outcome>>(outcomes: I) -> Self {
        let mut all = Outcomes::default();
        outcomes.into_iter().for_each(|outcome| all.push(outcome));
        all
    }
}

/// The answer to an append: one outcome a record, in order, or one error for all.
pub struct Receipt(Answer);

enum Answer {
    Ready(Option<Result<Outcomes>>),
    Waiting(oneshot::Receiver<Result<Outcomes>>),
}

impl Receipt {
    /// One that is known already.
    pub fn ready(result: Result<Outcomes>) -> Self {
        Receipt(Answer::Ready(Some(result)))
    }

    /// One that comes later, through the sender.
    pub fn waiting() -> (oneshot::Sender<Result<Outcomes>>, Self) {
        let (sender, receiver) = oneshot::channel();
        (sender, Receipt(Answer::Waiting(receiver)))
    }
}

impl Future for Receipt {
    type Output = Result<Outcomes>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Answer::Ready(result) => Poll::Ready(result.take().expect("a receipt is not polled after its answer")),
            Answer::Waiting(receiver) => Pin::new(receiver).poll(cx).map(|answer| {
                answer.unwrap_or_else(|_| {
                    let message = "the broker stopped before the messages were stored: publish them again";
                    Err(Error::new(Reason::Draining, message))
                })
            }),
        }
    }
}

//! What is handed to a log to append, and what comes back. Never decides anything.

use std::{
    future::Future,
    ops::Range,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::sync::{OwnedSemaphorePermit, oneshot};

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
            reservation: None,
        }
    }

    /// All or none, also across a crash.
    pub fn atomic(mut self, atomic: bool) -> Self {
        self.atomic = atomic;
        self
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
        self.expiring |= message.expire_time.is_some();
        self.entries.push(Entry { end: self.records.len(), has_id: !message.message_id.is_empty(), expected });
        Ok(())
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

/// What became of one record.
pub type Outcome = Result<Appended>;

/// The answer to an append: one outcome a record, in order, or one error for all.
pub struct Receipt(Answer);

enum Answer {
    Ready(Option<Result<Vec<Outcome>>>),
    Waiting(oneshot::Receiver<Result<Vec<Outcome>>>),
}

impl Receipt {
    /// One that is known already.
    pub fn ready(result: Result<Vec<Outcome>>) -> Self {
        Receipt(Answer::Ready(Some(result)))
    }

    /// One that comes later, through the sender.
    pub fn waiting() -> (oneshot::Sender<Result<Vec<Outcome>>>, Self) {
        let (sender, receiver) = oneshot::channel();
        (sender, Receipt(Answer::Waiting(receiver)))
    }
}

impl Future for Receipt {
    type Output = Result<Vec<Outcome>>;

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

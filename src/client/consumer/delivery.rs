//! One message to be worked on, and what becomes of it. Never waits: what is said goes out with whatever else there is.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::sync::oneshot;

use super::{
    book::Answer,
    outbox::Word,
    shared::{Shared, Waiter},
};
use crate::{
    client::Fault,
    pb::v1::{Message, Verdict},
};

/// What the broker keeps of a delivery that was dropped.
const DROPPED: &str = "the consumer dropped it";

/// A message that is to be settled, in whatever task. It stays valid across broken connections.
///
/// Whoever drops it without a word has failed, as by a panic or an early return: that is [`Delivery::nack`], which counts
/// an attempt, so that a message that no one can work on does not circle for ever. [`Delivery::release`] counts nothing.
#[derive(Debug)]
#[must_use = "dropping it says that the work has failed"]
pub struct Delivery {
    /// What was published.
    pub message: Message,
    /// How often it was handed to somebody, with this time; from 1.
    pub attempt: u32,
    lease: Lease,
}

/// A settlement on its way. Ends when a crash of the broker can no longer undo it, or with why it was not taken. Dropping
/// it does not take the settlement back: who does not want to know need not wait.
#[derive(Debug)]
pub struct Settling(oneshot::Receiver<Answer>);

/// Says the worst of a message if nothing else is said.
#[derive(Debug)]
struct Lease {
    shared: Arc<Shared>,
    sequence: u64,
    is_settled: bool,
}

impl Delivery {
    pub(super) fn new(message: Message, attempt: u32, shared: Arc<Shared>) -> Self {
        let lease = Lease { shared, sequence: message.sequence, is_settled: false };
        Delivery { message, attempt, lease }
    }

    /// The work is done.
    pub fn ack(self) -> Settling {
        self.lease.settle(Word::bare(Verdict::Ack))
    }

    /// The work has failed, which counts an attempt: the message comes again when the subscription's retry policy says, or
    /// after `delay`, of at most 12 hours; and after the last attempt it goes to the dead letters. `reason` is kept with
    /// it and may be empty; beyond 255 bytes it is cut.
    pub fn nack(self, delay: impl Into<Option<Duration>>, reason: impl Into<String>) -> Settling {
        self.lease.settle(Word::new(Verdict::Nack, delay.into(), reason.into()))
    }

    /// Nobody will ever be able to do it: the message goes to the dead letters now. `reason` is as in [`Delivery::nack`].
    pub fn reject(self, reason: impl Into<String>) -> Settling {
        self.lease.settle(Word::new(Verdict::Reject, None, reason.into()))
    }

    /// It was not tried: the message goes to whoever has room, at once, and no attempt is counted.
    pub fn release(self) -> Settling {
        self.lease.settle(Word::bare(Verdict::Release))
    }

    /// The same, but nobody gets it before so much time has passed, at most 12 hours.
    pub fn release_after(self, delay: Duration) -> Settling {
        self.lease.settle(Word::new(Verdict::Release, Some(delay), String::new()))
    }

    /// The work goes on: nobody else gets the message for so long from now, at most 12 hours, or for the subscription's ack
    /// deadline if nothing is said. [`Consume::keep_leases`](super::Consume::keep_leases) does that by itself.
    pub fn extend(&self, by: impl Into<Option<Duration>>) -> Settling {
        let (settling, waiter) = Settling::begin();
        self.lease.shared.extend(self.lease.sequence, by.into(), waiter);
        settling
    }
}

impl Settling {
    fn begin() -> (Self, Waiter) {
        let (waiter, answer) = oneshot::channel();
        (Settling(answer), waiter)
    }
}

impl Future for Settling {
    type Output = Result<(), Fault>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(Pin::new(&mut self.0).poll(cx));
        Poll::Ready(match answer {
            Ok(answer) => answer.map_err(|fault| *fault),
            // The runtime stops, and took the consumer with it.
            Err(_) => Err(Fault::late()),
        })
    }
}

impl Lease {
    fn settle(mut self, word: Word) -> Settling {
        self.is_settled = true;
        let (settling, waiter) = Settling::begin();
        self.shared.settle(self.sequence, word, Some(waiter));
        settling
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.is_settled {
            self.shared.settle(self.sequence, Word::new(Verdict::Nack, None, DROPPED.to_owned()), None);
        }
    }
}

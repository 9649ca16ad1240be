//! Working off a durable subscription, across broken connections: every message is handed out, and what is said of it is
//! said until the broker has confirmed it.
//!
//! A delivery passes `driver`, which reads what the broker says and begins another stream when one breaks; the `book` of
//! all that is held and said; the application, as a `delivery`; and, when that is settled, the `outbox`, from which
//! `requests` hands whatever has gathered to the connection.

mod book;
mod delivery;
mod driver;
mod outbox;
mod requests;
mod shared;

use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_core::Stream;
use tokio::sync::watch;

pub use self::delivery::{Delivery, Settling};
use self::{
    book::{Book, Handed},
    driver::Driver,
    shared::{Next, Shared},
};
use super::{Client, Fault};
use crate::{
    model::limits,
    pb::v1::{AckMode, Attach, Gap},
};

/// Outstanding at most, unless told otherwise.
const WINDOW: Window = Window { messages: 100, bytes: 4 << 20 };

/// What is to be worked off, before it begins.
#[derive(Clone, Debug)]
#[must_use = "nothing happens before it is started"]
pub struct Consume {
    client: Client,
    attach: Attach,
    window: Window,
    keep: Duration,
    in_order: bool,
}

/// What may be outstanding.
#[derive(Clone, Copy, Debug)]
struct Window {
    messages: u32,
    bytes: u64,
}

/// Works off a subscription, beside any number of others, and comes back by itself when the connection breaks. A `Stream`
/// of [deliveries](Delivery), each of which is to be settled. Ends after [`Consumer::detach`], when all is settled, or
/// with a fault that waiting does not mend.
///
/// A message may come more than once. What the application still has when the connection breaks it can go on working on,
/// and settle: if the message is delivered to this consumer again meanwhile it is not handed out twice. If another
/// consumer has it by then, the settlement is refused, and whoever waits for it is told.
///
/// Dropping it is [`Consumer::detach`]: what is held is still settled, as long as the runtime lives.
#[derive(Debug)]
pub struct Consumer(Arc<Shared>);

impl Consume {
    pub(super) fn new(client: Client, subscription: String) -> Self {
        let attach = Attach {
            subscription,
            consumer_id: Client::random_id(),
            ack_mode: AckMode::Explicit.into(),
            // What is not confirmed is said again after a break.
            confirm: true,
            namespace: client.namespace().to_owned(),
            ..Attach::default()
        };
        Consume { client, attach, window: WINDOW, keep: Duration::ZERO, in_order: false }
    }

    /// By which name this consumer stands in stats and with dead letters; chance makes one if nobody says otherwise. 1 to
    /// 255 bytes, by the rules of topics.
    pub fn consumer_id(mut self, id: impl Into<String>) -> Self {
        self.attach.consumer_id = id.into();
        self
    }

    /// Whose world; the client's if nobody says otherwise.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.attach.namespace = namespace.into();
        self
    }

    /// How many messages may be delivered and not settled, and how many bytes they may have: 100 and 4 MiB if nobody says
    /// otherwise, at most 100,000 and 256 MiB. What is delivered waits here until it is asked for, and nobody else gets it
    /// meanwhile: for work that takes long, as many as are worked on at the same time are enough.
    pub fn window(mut self, messages: u32, bytes: u64) -> Self {
        self.window = Window { messages, bytes };
        self
    }

    /// Extends the lease of a delivery by itself, until it is settled, or for so long after it was handed out. If nobody
    /// says otherwise it is not extended then, and comes again after the subscription's ack deadline. What is not handed
    /// out yet is extended in any case, so that whoever gets it has time for it.
    pub fn keep_leases(mut self, limit: Duration) -> Self {
        self.keep = limit;
        self
    }

    /// For a subscription that is ordered by key and lets more than one message of a key be outstanding. When one comes back,
    /// by [`Delivery::nack`] or [`Delivery::release`], then nothing behind it in its key is handed out before it is. What the
    /// application has of that already is to be given back too, or is done before it.
    pub fn in_order(mut self) -> Self {
        self.in_order = true;
        self
    }

    /// How often the broker is heard at least: 15 seconds if nobody says otherwise, 1 to 300. Two and a half times as
    /// long without a word, and the connection counts as broken.
    pub fn heartbeat(mut self, interval: Duration) -> Self {
        let interval = interval.clamp(limits::HEARTBEAT_MIN, limits::HEARTBEAT_MAX);
        self.attach.heartbeat_interval = interval.try_into().ok();
        self
    }

    /// Begins. Must be called within a Tokio runtime. Connects by itself.
    pub fn start(self) -> Consumer {
        let shared = Arc::new(Shared::new(self.window, Book::new(self.keep, self.in_order)));
        tokio::spawn(Driver::new(shared.clone(), self).run());
        Consumer(shared)
    }
}

impl Consumer {
    /// The next delivery; none after the end. May be dropped while it waits: nothing is lost.
    ///
    /// ```no_run
    /// # async fn example(client: tilde::client::Client) -> Result<(), tilde::client::Fault> {
    /// let mut mails = client.consume("mails").start();
    /// while let Some(delivery) = mails.next().await {
    ///     let delivery = delivery?;
    ///     match std::str::from_utf8(delivery.message.bytes()) {
    ///         Ok(text) => {
    ///             println!("{text}");
    ///             delivery.ack();
    ///         }
    ///         Err(error) => {
    ///             let settling = delivery.reject(error.to_string());
    ///             // Who waits knows that it is settled for good.
    ///             settling.await?;
    ///         }
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn next(&mut self) -> Option<Result<Delivery, Fault>> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// Takes nothing more. What was not handed out yet goes to others at once, and no attempt is counted. [`Consumer::next`]
    /// answers none when all that was handed out is settled, and the broker has confirmed that.
    pub fn detach(&self) {
        self.0.detach();
    }

    /// The same, and waits for it: also for deliveries that other tasks still have. Fails if the broker could not be told
    /// everything, for a reason that waiting does not mend.
    pub async fn close(mut self) -> Result<(), Fault> {
        self.detach();
        match self.next().await {
            Some(Err(fault)) => Err(fault),
            _ => Ok(()),
        }
    }

    /// Lets so much be outstanding from now on, as [`Consume::window`] does from the beginning. No messages is a pause.
    /// What was not handed out yet and is too much goes to others.
    pub fn set_window(&self, messages: u32, bytes: u64) {
        self.0.set_window(Window { messages, bytes });
    }

    /// Tells why nothing is delivered just now: the connection is broken. None once there is one again.
    pub fn trouble(&self) -> watch::Receiver<Option<Fault>> {
        self.0.trouble.subscribe()
    }

    /// Whether the broker has ever answered. Until then what troubles it may be how it was begun.
    pub fn has_begun(&self) -> bool {
        self.0.state().begun
    }

    /// Tells what will never come: messages that were removed before they were settled, the last that it was told of. The
    /// subscription's stats count them all.
    pub fn gap(&self) -> watch::Receiver<Option<Gap>> {
        self.0.gap.subscribe()
    }
}

impl Stream for Consumer {
    type Item = Result<Delivery, Fault>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = self.0.state().next(cx.waker());
        match next {
            Some(Next::Handed(Handed { message, attempt })) => {
                Poll::Ready(Some(Ok(Delivery::new(message, attempt, self.0.clone()))))
            }
            Some(Next::Over(fault)) => Poll::Ready(fault.map(Err)),
            None => Poll::Pending,
        }
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.detach();
    }
}

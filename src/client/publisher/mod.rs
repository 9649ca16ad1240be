//! Publishing over one stream with many messages in flight, in order, and each of them once: numbered, so that what is
//! sent again after a broken connection is not published twice.
//!
//! A message passes `Publisher::send`, which encodes it into the `window`; `frames`, which hands whatever has queued to
//! the connection; and `driver`, which reads the answers and begins another stream when one breaks.

mod driver;
mod frames;
mod shared;
mod window;

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use prost::Message as _;
use tokio::{
    sync::{oneshot, watch},
    time::Instant,
};

use self::{driver::Driver, shared::Shared, window::Answer};
use super::{Client, Fault};
use crate::{
    model::limits,
    pb::v1::{Durability, PublishRequest},
};

/// Unanswered at most, unless told otherwise: what comes in while a slow disk syncs once.
const MESSAGES: u32 = 8_192;
const BYTES: u32 = 16 << 20;
/// How long a message may be unanswered, unless told otherwise. Half of what the broker remembers producers for.
const PATIENCE: Duration = Duration::from_secs(60);
/// The largest request that is sent: with room for what a frame holds besides.
const REQUEST_BYTES: usize = limits::REQUEST_BYTES - (4 << 10);

/// Publishes. Clones are the same publisher: the order of all their messages is the order in which they were taken.
/// Whatever was taken is sent to its end, also after the last clone was dropped, as long as the runtime lives.
#[derive(Clone, Debug)]
pub struct Publisher(Arc<Handle>);

/// Ends the publisher when the last clone is gone.
#[derive(Debug)]
struct Handle(Arc<Shared>);

/// What the broker said of a message that it has published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// The position in the namespace's log. None if the answer was lost on the way, and when the message was sent again
    /// the broker still knew that it is published, but no longer where.
    pub sequence: Option<u64>,
    /// What the answer is worth.
    pub durability: Durability,
}

/// A message on its way. Ends with what became of it. Dropping it does not take the message back.
#[derive(Debug)]
#[must_use = "what became of the message is known only to whoever waits"]
pub struct Pending(oneshot::Receiver<Answer>);

/// How a [`Publisher`] works.
#[derive(Clone, Debug)]
pub struct PublisherOptions {
    client: Client,
    producer_id: Option<String>,
    namespace: String,
    limits: Limits,
    patience: Duration,
    trouble_limit: Option<Duration>,
    heartbeat: Duration,
}

/// What may be unanswered.
#[derive(Clone, Copy, Debug)]
struct Limits {
    messages: u32,
    bytes: u32,
}

impl Publisher {
    /// Publishes a message, and ends when it is as durable as it asks for. Many calls may wait at the same time: what
    /// comes while the last frame is being sent goes out together.
    ///
    /// The broker's refusals are the fault's reason, as in the README's table; those that pass by waiting are not seen,
    /// unless they last. If the [fate](Fault::fate) is unknown the message may be published nevertheless.
    pub async fn publish(&self, request: impl Into<PublishRequest>) -> Result<Published, Fault> {
        self.send(request).await?.await
    }

    /// Takes a message, as soon as there is room, and returns at once: so one task can have thousands in flight, in the
    /// order of its calls.
    ///
    /// ```no_run
    /// # async fn example(publisher: tilde::client::Publisher) -> Result<(), tilde::client::Fault> {
    /// use tilde::client::PublishRequest;
    ///
    /// let mut pending = Vec::new();
    /// for n in 0..1_000 {
    ///     pending.push(publisher.send(PublishRequest::text("numbers", n.to_string())).await?);
    /// }
    /// for one in pending {
    ///     one.await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn send(&self, request: impl Into<PublishRequest>) -> Result<Pending, Fault> {
        let (request, shared) = (request.into(), &self.0.0);
        let bytes = request.encoded_len();
        if bytes > REQUEST_BYTES {
            return Err(too_large(bytes));
        }
        let cost = shared.cost(bytes);
        let permit = match shared.room.try_acquire_many(cost) {
            Ok(permit) => permit,
            // The room is closed when nothing is taken any more.
            Err(_) => match shared.room.acquire_many(cost).await {
                Ok(permit) => permit,
                Err(_) => return Err(shared.state().refusal().unwrap_or_else(Fault::late)),
            },
        };
        let (waiter, answer) = oneshot::channel();
        shared.push(&request, bytes, cost, waiter, Instant::now())?;
        // It comes back with the answer.
        permit.forget();
        Ok(Pending(answer))
    }

    /// Ends when all that was taken before is answered, whatever the answers are.
    pub async fn flush(&self) {
        self.0.0.flushed().await;
    }

    /// Takes no messages any more, of no clone, and ends when all that were taken are answered.
    pub async fn close(self) {
        self.0.0.close();
        self.flush().await;
    }

    /// Tells why nothing is published just now: the connection is broken, or the broker cannot take a message yet. None
    /// once messages are published again.
    pub fn trouble(&self) -> watch::Receiver<Option<Fault>> {
        self.0.0.trouble.subscribe()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Future for Pending {
    type Output = Result<Published, Fault>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(Pin::new(&mut self.0).poll(cx));
        Poll::Ready(match answer {
            Ok(answer) => answer.map_err(|fault| *fault),
            // The runtime stops, and took the publisher with it.
            Err(_) => Err(Fault::late()),
        })
    }
}

impl PublisherOptions {
    pub(super) fn new(client: Client) -> Self {
        PublisherOptions {
            namespace: client.namespace().to_owned(),
            client,
            producer_id: None,
            limits: Limits { messages: MESSAGES, bytes: BYTES },
            patience: PATIENCE,
            trouble_limit: None,
            heartbeat: limits::HEARTBEAT_DEFAULT,
        }
    }

    /// By which name the broker numbers the messages; chance makes one if nobody says otherwise. There is one publisher
    /// of a name: another one ends it. 1 to 255 bytes, by the rules of topics.
    pub fn producer_id(mut self, id: impl Into<String>) -> Self {
        self.producer_id = Some(id.into());
        self
    }

    /// Whose world; the client's if nobody says otherwise.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// How many messages may be unanswered, and how many bytes they may have: 8,192 and 16 MiB if nobody says otherwise.
    /// Beyond that [`Publisher::send`] waits. At least 1 each; a message that has more bytes goes alone.
    pub fn window(mut self, messages: u32, bytes: u32) -> Self {
        let messages = messages.max(1);
        self.limits = Limits { messages, bytes: bytes.max(messages) };
        self
    }

    /// How long a message may be unanswered, all tries together: 60 seconds if nobody says otherwise. Beyond that its
    /// caller is told, and it is not sent again. Should be less than the namespace's deduplication window.
    pub fn patience(mut self, limit: Duration) -> Self {
        self.patience = limit;
        self
    }

    /// How long nothing at all may be published because of one trouble after the other, before everything that waits is
    /// given up; as long as the patience lasts if nobody says otherwise. Zero never tries again.
    pub fn trouble_limit(mut self, limit: Duration) -> Self {
        self.trouble_limit = Some(limit);
        self
    }

    /// How often the broker is heard at least: 15 seconds if nobody says otherwise, 1 to 300. Two and a half times as
    /// long without a word, and the connection counts as broken.
    pub fn heartbeat(mut self, interval: Duration) -> Self {
        self.heartbeat = interval.clamp(limits::HEARTBEAT_MIN, limits::HEARTBEAT_MAX);
        self
    }

    /// Begins. Must be called within a Tokio runtime. Connects by itself: faults of that are faults of messages.
    pub fn start(self) -> Publisher {
        let shared = Arc::new(Shared::new(self.limits));
        let named = self.producer_id.is_some();
        let id = self.producer_id.clone().unwrap_or_else(Client::random_id);
        tokio::spawn(Driver::new(shared.clone(), self, id, named).run());
        Publisher(Arc::new(Handle(shared)))
    }
}

fn too_large(bytes: usize) -> Fault {
    let message =
        format!("the message has {bytes} bytes, and a request at most {REQUEST_BYTES}: publish where it lies");
    Fault { reason: Some("MESSAGE_TOO_LARGE".into()), ..Fault::invalid(message) }
}

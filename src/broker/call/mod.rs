//! Request and reply over topics: a request is published with the address of whoever waits for its replies, and those are
//! messages as any others. Decides who waits for what, and for how long. Nothing is repeated, and nothing kept: whoever
//! needs that publishes, and has a subscription.
//!
//! Replies come to the topic `$reply/` and this broker's own number, in the namespace of the request, and tell by their
//! correlation id what they answer. So it does not matter to which broker the one who answers is connected.

mod groups;
mod replies;
pub mod responders;
mod waiting;

use std::{future::Future, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::time::Instant;

pub use self::replies::Replies;
use self::{groups::Key, replies::correlation, waiting::Waiting};
use super::{Broker, Publish, publish::Single, served::Served};
use crate::model::{Durability, Error, Reason, Result, limits, topic};

/// What a caller asks.
#[derive(Clone, Debug)]
pub struct Call<'a> {
    /// The request.
    pub publish: Publish<'a>,
    /// How many replies are wanted, from 1.
    pub max_replies: u32,
    /// Shared with equal ones that wait at the same time; empty: with none.
    pub collapse_key: String,
    /// How long the caller waits.
    pub timeout: Duration,
}

/// What a caller gets.
#[derive(Clone, Debug)]
pub struct Replied {
    /// The replies as they came: encoded records.
    pub records: Vec<Bytes>,
    /// They were those of an earlier caller's request.
    pub collapsed: bool,
}

impl Broker {
    /// Publishes a request, or joins an equal one, and waits for its replies. The request is encoded at once: the future
    /// keeps nothing of it. Dropping it takes nothing from others who share the request.
    pub fn call<'a>(self: &'a Arc<Self>, call: Call<'_>) -> impl Future<Output = Result<Replied>> + Send + use<'a> {
        let deadline = Instant::now() + call.timeout;
        let begun = self.begin(call);
        async move {
            let (waiting, asking) = begun?;
            let mut replied = pin!(waiting.replies(deadline, &self.shared));
            if let Some(asking) = asking {
                tokio::select! {
                    biased;
                    () = asking => {}
                    replied = &mut replied => return replied,
                }
            }
            replied.await
        }
    }

    /// Finds a call its place; and what is to be done for it, if nobody else does.
    fn begin(self: &Arc<Self>, call: Call<'_>) -> Result<(Waiting, Option<BoxFuture<'static, ()>>)> {
        self.refuse_while_draining()?;
        let Call { mut publish, max_replies, collapse_key, timeout } = call;
        check(&publish)?;
        let permit = self.calls.clone().try_acquire_owned().map_err(|_| {
            let most = self.shared.config.calls;
            let message = format!("{most} calls wait for a reply, as many as the broker holds: try again");
            Error::new(Reason::TooManyCalls, message).with("limit", most)
        })?;
        let served = self.served(publish.namespace.as_ref().unwrap_or(&self.default))?;
        let is_shared = !collapse_key.is_empty();
        let topic: Box<str> = publish.message.topic.as_str().into();
        let key = is_shared.then(|| Key { topic: topic.clone(), max_replies, word: collapse_key.into() });
        let joined = served.place.replies.groups().join(self.shared.clock.random(), key, max_replies);
        let waiting = Waiting::new(served.clone(), &joined, permit);
        if !joined.is_first {
            return Ok((waiting, None));
        }
        publish.message.reply_to = self.shared.reply_topic.clone().into();
        publish.message.correlation_id = correlation(joined.id).into();
        publish.durability = publish.durability.or(Some(Durability::Memory));
        if !is_shared {
            publish.ttl = publish.ttl.or(Some(timeout));
        }
        let (broker, single) = (self.clone(), self.single(publish));
        let ask = async move {
            if let Err(error) = broker.ask(&served, &topic, single).await {
                served.place.replies.groups().fail(joined.id, error);
            }
        };
        let asking = async move {
            match is_shared {
                // Whoever makes a request for others may leave them.
                true => drop(tokio::spawn(ask)),
                false => ask.await,
            }
        };
        // Whoever waits for long need not carry it along.
        Ok((waiting, Some(Box::pin(asking))))
    }

    /// Makes a request, if somebody is there for it.
    async fn ask(self: &Arc<Self>, served: &Arc<Served>, topic: &str, single: Result<Single>) -> Result<()> {
        if !self.shared.responders.answer(&served.place.name, topic).await {
            let message = format!(
                "nobody answers calls on {topic:?}: start one who does (`tilde respond`, or a stream with `responder` set), \
                 and try again"
            );
            return Err(Error::new(Reason::NoResponders, message).with("topic", topic));
        }
        self.listen(served).await?;
        self.take(single).await.map(drop)
    }
}

/// What a request may not say, as the broker says it, or as nobody could wait for it.
fn check(publish: &Publish<'_>) -> Result<()> {
    let message = &publish.message;
    let refuse = |field: &str, why: &str| {
        Err(Error::new(Reason::RequestInvalid, format!("a call's request has no {field}: {why}"))
            .field(format!("request.{field}")))
    };
    if !message.reply_to.is_empty() {
        return refuse("reply_to", "the broker says where replies are awaited");
    }
    if !message.correlation_id.is_empty() {
        return refuse("correlation_id", "the broker gives it one");
    }
    if !message.message_id.is_empty() {
        return refuse("message_id", "what was published before would not be published again, and nobody would answer");
    }
    if message.deliver_time.is_some() {
        return refuse("deliver_time", "its caller waits now");
    }
    if message.topic.is_reply() {
        return refuse("reply topic as its topic", "replies are not answered");
    }
    Ok(())
}

/// Checks a message to a topic where replies are awaited.
pub(super) fn check_reply(served: &Served, reply_topic: &str, publish: &Publish<'_>) -> Result<()> {
    let message = &publish.message;
    let id = replies::id(&message.correlation_id).ok_or_else(|| {
        let why = "a reply has the correlation_id of the request that it answers: take it from there";
        Error::new(Reason::MessageInvalid, why).field("correlation_id")
    })?;
    if message.topic.as_str() == reply_topic && !served.place.replies.groups().wait_for(id) {
        let why = "nobody waits for this reply: the call has its replies already, or its time is over";
        return Err(Error::new(Reason::CallEnded, why));
    }
    Ok(())
}

/// Where a broker's replies come: a name that nobody guesses.
pub(super) fn reply_topic(number: u64) -> String {
    format!("{}{number:016x}", topic::REPLIES)
}

impl Call<'_> {
    /// Checks what is asked for besides the request.
    pub fn check_bounds(&self) -> Result<()> {
        let invalid =
            |field: &str, what: String| Err(Error::new(Reason::RequestInvalid, format!("{field} {what}")).field(field));
        if !(1..=limits::CALL_REPLIES).contains(&self.max_replies) {
            return invalid("max_replies", format!("is {}: it takes 1 to {}", self.max_replies, limits::CALL_REPLIES));
        }
        if self.collapse_key.len() > limits::NAME_BYTES {
            let bytes = self.collapse_key.len();
            return invalid("collapse_key", format!("has {bytes} bytes: at most {} are allowed", limits::NAME_BYTES));
        }
        if self.timeout.is_zero() || self.timeout > limits::CALL_TIMEOUT {
            let most = limits::CALL_TIMEOUT.as_secs();
            return invalid("timeout", format!("is {:?}: it takes more than 0 and at most {most} s", self.timeout));
        }
        Ok(())
    }
}

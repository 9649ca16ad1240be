//! Answering calls: requests come over a live stream, replies leave over a publisher. Nothing is kept: a request that comes
//! while there is no connection is answered by somebody else, or by nobody. Whoever must not miss any works off a
//! subscription, and publishes to `reply_to` himself.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::{
    clock::{Clock as _, SystemClock},
    model::Timestamp,
};

use super::{Client, Event, Fault, Message, PublishRequest, Published, Publisher, Subscriber};

/// Questions, as they come. It comes back by itself when the connection breaks, and goes on where it broke. Dropping it
/// ends it.
#[derive(Debug)]
pub struct Responder {
    subscriber: Subscriber,
    client: Client,
    // There from the first question on.
    publisher: Option<Publisher>,
    waiting: VecDeque<Message>,
}

/// What somebody asks, and waits for.
#[derive(Clone, Debug)]
pub struct Question {
    /// The request as it was published.
    pub message: Message,
    publisher: Publisher,
}

impl Responder {
    pub(super) fn new(client: &Client, patterns: Vec<String>) -> Self {
        Responder {
            subscriber: client.subscribe(patterns).responder().start(),
            client: client.clone(),
            publisher: None,
            waiting: VecDeque::new(),
        }
    }

    /// The next question; none after the end, which comes with a fault before it that waiting does not mend. What was
    /// published to the topics by others who await no reply is passed over, and what nobody waits for any more. May be dropped while it waits.
    pub async fn next(&mut self) -> Option<Result<Question, Fault>> {
        loop {
            if let Some(message) = self.waiting.pop_front() {
                if has_expired(&message) {
                    continue;
                }
                let publisher = self.publisher.get_or_insert_with(|| self.client.publisher()).clone();
                return Some(Ok(Question { message, publisher }));
            }
            match self.subscriber.next().await? {
                Ok(event) => self.take(event),
                Err(fault) => return Some(Err(fault)),
            }
        }
    }

    /// Ends when the broker knows that somebody answers here.
    pub async fn ready(&mut self) -> Result<(), Fault> {
        loop {
            let event = self.subscriber.next().await.unwrap_or_else(|| Err(Fault::late()))?;
            let is_ready = !matches!(event, Event::Disconnected(_));
            self.take(event);
            if is_ready {
                return Ok(());
            }
        }
    }

    fn take(&mut self, event: Event) {
        // What is lost while there is no connection its callers know.
        if let Event::Messages { messages, .. } = event {
            self.waiting.extend(messages.into_iter().filter(|message| !message.reply_to.is_empty()));
        }
    }
}

/// Whether nobody waits any more, by this machine's clock.
fn has_expired(message: &Message) -> bool {
    let time = message.expire_time.and_then(|time| Timestamp::from_parts(time.seconds, time.nanos));
    time.is_some_and(|time| time < SystemClock.now())
}

impl Question {
    /// Answers. `reply` is published where the caller awaits it, whatever topic it names. A fault with the reason
    /// CALL_ENDED: nobody waits any more.
    pub async fn reply(&self, reply: PublishRequest) -> Result<Published, Fault> {
        let reply = PublishRequest {
            topic: self.message.reply_to.clone(),
            correlation_id: self.message.correlation_id.clone(),
            ..reply
        };
        self.publisher.publish(reply).await
    }

    /// Answers with text.
    pub async fn reply_text(&self, text: impl Into<String>) -> Result<Published, Fault> {
        self.reply(PublishRequest::text("", text)).await
    }

    /// Answers with bytes.
    pub async fn reply_data(&self, data: impl Into<Bytes>) -> Result<Published, Fault> {
        self.reply(PublishRequest::data("", data)).await
    }
}

//! A client of one broker: what its publishers, subscribers and consumers have in common. Cheap to clone; never ends by itself.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::time::{self, Instant};
use tonic::transport::{Channel, Endpoint};

use super::{
    Backoff, Call, Consume, Fault, PublishRequest, Publisher, PublisherOptions, Responder, Subscribe,
    endpoint::endpoint,
};
use crate::clock::{Clock as _, SystemClock};

/// How long [`Client::connect`] tries, unless told otherwise.
const CONNECT_FOR: Duration = Duration::from_secs(10);

/// The first wait between two tries to connect, and the longest.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// A client of one broker. Clones share everything.
#[derive(Clone, Debug)]
pub struct Client(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    endpoint: Endpoint,
    namespace: String,
    line: Mutex<Line>,
}

/// The connection that subscribers share.
#[derive(Debug, Default)]
struct Line {
    channel: Option<Channel>,
    /// How many there were.
    number: u64,
}

/// How to connect.
#[derive(Clone, Debug)]
pub struct Options {
    url: String,
    namespace: String,
    connect_for: Duration,
}

impl Client {
    /// Connects to the broker at `url`, written as [`full_url`](super::full_url) takes it. Tries for 10 seconds if nobody
    /// listens there yet. From then on whatever uses the client comes back by itself when the connection breaks.
    pub async fn connect(url: &str) -> Result<Client, Fault> {
        Client::options(url).connect().await
    }

    /// How to connect, where the defaults do not fit.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), tilde::client::Fault> {
    /// use std::time::Duration;
    /// use tilde::client::Client;
    ///
    /// let client = Client::options("broker").namespace("team-7").connect_for(Duration::from_secs(60)).connect().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn options(url: &str) -> Options {
        Options { url: url.to_owned(), namespace: String::new(), connect_for: CONNECT_FOR }
    }

    /// Publishes over a stream of its own, with the defaults of [`PublisherOptions`]. Must be called within a Tokio
    /// runtime.
    pub fn publisher(&self) -> Publisher {
        self.publisher_options().start()
    }

    /// The same with other settings.
    pub fn publisher_options(&self) -> PublisherOptions {
        PublisherOptions::new(self.clone())
    }

    /// Follows all topics that match one of the patterns: `orders/~` is every topic that begins with `orders/`. Nothing
    /// happens before [`Subscribe::start`].
    pub fn subscribe<P: Into<String>>(&self, patterns: impl IntoIterator<Item = P>) -> Subscribe {
        Subscribe::new(self.clone(), patterns.into_iter().map(Into::into).collect())
    }

    /// Asks, and waits for what is answered. Nothing happens before it is awaited.
    ///
    /// ```no_run
    /// # async fn example(client: tilde::client::Client) -> Result<(), tilde::client::Fault> {
    /// use tilde::client::PublishRequest;
    ///
    /// let replies = client.call(PublishRequest::text("prices/eu", "7")).await?;
    /// println!("{} bytes", replies.messages[0].bytes().len());
    /// # Ok(())
    /// # }
    /// ```
    pub fn call(&self, request: PublishRequest) -> Call {
        Call::new(self.clone(), request)
    }

    /// Answers calls on all topics that match one of the patterns, from when it is polled for the first time. Must be called
    /// within a Tokio runtime.
    ///
    /// ```no_run
    /// # async fn example(client: tilde::client::Client) -> Result<(), tilde::client::Fault> {
    /// let mut questions = client.respond(["prices/~"]);
    /// while let Some(question) = questions.next().await {
    ///     let question = question?;
    ///     question.reply_text("12.50 EUR").await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn respond<P: Into<String>>(&self, patterns: impl IntoIterator<Item = P>) -> Responder {
        Responder::new(self, patterns.into_iter().map(Into::into).collect())
    }

    /// Works off a durable subscription, which must be there. Nothing happens before [`Consume::start`].
    pub fn consume(&self, subscription: impl Into<String>) -> Consume {
        Consume::new(self.clone(), subscription.into())
    }

    pub(super) fn namespace(&self) -> &str {
        &self.0.namespace
    }

    /// A connection that nobody else uses.
    pub(super) async fn own_channel(&self) -> Result<Channel, Fault> {
        self.0.endpoint.connect().await.map_err(|error| Fault::unreachable(&error))
    }

    /// The shared connection, made if there is none, and its number.
    pub(super) async fn channel(&self) -> Result<(Channel, u64), Fault> {
        if let Line { channel: Some(channel), number } = &*self.line() {
            return Ok((channel.clone(), *number));
        }
        let made = self.own_channel().await?;
        let mut line = self.line();
        if line.channel.is_none() {
            line.number += 1;
        }
        // Whoever was faster has made the one that all use.
        Ok((line.channel.get_or_insert(made).clone(), line.number))
    }

    /// The shared connection with this number is broken: the next one to need it makes another.
    pub(super) fn forget(&self, number: u64) {
        let mut line = self.line();
        if line.number == number {
            line.channel = None;
        }
    }

    fn line(&self) -> std::sync::MutexGuard<'_, Line> {
        self.0.line.lock().expect("nobody panics while holding the line")
    }
}

impl Options {
    /// Whose world; `default` if nobody says otherwise.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// How long [`Options::connect`] tries; 10 seconds if nobody says otherwise. Zero tries once.
    pub fn connect_for(mut self, limit: Duration) -> Self {
        self.connect_for = limit;
        self
    }

    /// Connects. The error is that of the last try.
    pub async fn connect(self) -> Result<Client, Fault> {
        let limit = self.connect_for;
        let client = self.lazy()?;
        let began = Instant::now();
        let mut backoff = Client::backoff();
        loop {
            let fault = match client.channel().await {
                Ok(_) => return Ok(client),
                Err(fault) => fault,
            };
            let left = limit.saturating_sub(began.elapsed());
            if left.is_zero() {
                return Err(fault);
            }
            time::sleep(backoff.next(&SystemClock, None).min(left)).await;
        }
    }

    /// A client that connects when it is first used. Fails only if the URL is none.
    pub fn lazy(self) -> Result<Client, Fault> {
        let endpoint = endpoint(&self.url).map_err(Fault::invalid)?;
        Ok(Client(Arc::new(Inner { endpoint, namespace: self.namespace, line: Mutex::default() })))
    }
}

impl Client {
    /// The waits between tries to come back.
    pub(super) fn backoff() -> Backoff {
        Backoff::new(FIRST_WAIT, LONGEST_WAIT)
    }

    /// A name that nobody else has.
    pub(super) fn random_id() -> String {
        format!("{:016x}{:016x}", SystemClock.random(), SystemClock.random())
    }
}

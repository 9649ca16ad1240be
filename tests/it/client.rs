//! The Rust client against the real binary, over a network and a broker that fail wherever they like.
//!
//! Short by default; with `TILDE_CAMPAIGN` in the environment the numbers in `rounds` are the large ones.

mod consumer;
mod cuts;
mod examples;
mod publisher;
mod subscriber;

use std::{future::Future, time::Duration};

use tilde::client::{Client, Event, Fault, Message, PublishRequest, Start, Subscriber};
use tokio::time::timeout;

use crate::support::{Tilde, proxy::Proxy};

/// Longer than anything takes: a test that would hang fails instead.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits, and no longer than anything takes.
async fn soon<T>(what: &str, done: impl Future<Output = T>) -> T {
    timeout(PATIENCE, done).await.unwrap_or_else(|_| panic!("{what}: it hangs"))
}

/// A client that reaches a broker directly.
async fn client(broker: &Tilde) -> Client {
    Client::connect(&broker.url).await.unwrap()
}

/// One that reaches it over a proxy.
async fn over(broker: &Tilde) -> (Proxy, Client) {
    let proxy = Proxy::to(&broker.url).await;
    let client = Client::connect(&proxy.url).await.unwrap();
    (proxy, client)
}

/// A message with a number.
fn numbered(number: u64) -> PublishRequest {
    PublishRequest::text("numbers", number.to_string())
}

fn number(message: &Message) -> u64 {
    std::str::from_utf8(message.bytes()).unwrap().parse().unwrap()
}

/// The next event that is no news of the connection, nor that all has come.
async fn next(subscriber: &mut Subscriber) -> Option<Result<Event, Fault>> {
    loop {
        match soon("a subscriber", subscriber.next()).await {
            Some(Ok(Event::Connected | Event::Disconnected(_) | Event::CaughtUp)) => {}
            event => return event,
        }
    }
}

/// The messages of the next event, which must be that.
async fn messages(subscriber: &mut Subscriber) -> Vec<Message> {
    match next(subscriber).await {
        Some(Ok(Event::Messages { messages, .. })) => messages,
        other => panic!("no messages: {other:?}"),
    }
}

/// The number and sequence of every message that the log has, in order.
async fn all(client: &Client) -> Vec<(u64, u64)> {
    let mut subscriber = client.subscribe(["~"]).from(Start::Earliest).stop_at_end(true).start();
    let mut all = Vec::new();
    while let Some(event) = next(&mut subscriber).await {
        match event {
            Ok(Event::Messages { messages, .. }) => {
                all.extend(messages.iter().map(|message| (number(message), message.sequence)));
            }
            other => panic!("the log cannot be read: {other:?}"),
        }
    }
    all
}

/// Waits until a subscriber that began with what is new is there.
async fn arrived(subscriber: &mut Subscriber) {
    let event = soon("a subscriber", subscriber.next()).await;
    assert_eq!(event, Some(Ok(Event::CaughtUp)));
}

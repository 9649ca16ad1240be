//! What a system is to the work: how its connections are opened, what a publish looks like, and how deliveries are found
//! in what comes back. Never moves a byte: a `Link` does.

use anyhow::Result;
use bytes::BytesMut;

use super::link::Link;

/// Bytes that a subscriber must send back.
pub type Back = Vec<u8>;

/// One of the four.
pub trait System: 'static {
    /// Its publishing side.
    type Publisher: Publisher;
    /// Its receiving side.
    type Subscriber: Subscriber;

    /// Makes what has to be there before anybody publishes.
    fn prepare(&self) -> Result<()>;

    /// A connection that publishes.
    fn publisher(&self) -> Result<(Link, Self::Publisher)>;

    /// A connection for several subscribers, each with its patterns, from now on or from the beginning.
    fn subscriber(&self, patterns: &[Vec<String>], from: From) -> Result<(Link, Self::Subscriber)>;

    /// How many subscribers one connection can serve.
    fn subscribers_on_one(&self) -> usize;

    /// Whether anything can be read again.
    fn keeps(&self) -> bool;

    /// The topic with this number below a prefix.
    fn topic(&self, number: u64) -> String;

    /// The pattern that such a topic alone matches.
    fn pattern(&self, number: u64) -> String;

    /// How many messages may be unanswered, if so many are asked for.
    fn in_flight(&self, asked: u64) -> u64 {
        asked
    }
}

/// Where receiving begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// With what is published from now on.
    Now,
    /// With the first message that is kept.
    Beginning,
}

/// Writes publishes, and counts what is answered.
pub trait Publisher: 'static {
    /// Writes one.
    fn put(&mut self, topic: &str, payload: &[u8], out: &mut Vec<u8>);

    /// Called behind the last one that goes now.
    fn flush(&mut self, _out: &mut Vec<u8>) {}

    /// Takes whole answers off `input`, and tells how many publishes they answer.
    fn answers(&mut self, input: &mut BytesMut) -> Result<u64>;
}

/// Finds deliveries.
pub trait Subscriber: 'static {
    /// Takes whole deliveries off `input`, shows each payload, and tells how many there were.
    fn take(&mut self, input: &mut BytesMut, back: &mut Back, each: &mut dyn FnMut(&[u8])) -> Result<u64>;
}

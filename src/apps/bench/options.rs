//! What the subcommands have in common on the command line: which broker, what is published, and how much of it.

use std::time::Duration;

use serde::Serialize;

use crate::{
    apps::{
        durability::Durability,
        failure::Failure,
        remote::{Remote, Tenant},
    },
    client::{self, Channel, Fault},
    units::{Size, above_zero},
};

/// Which broker, whose world there, and with how many threads.
#[derive(clap::Args, Clone, Debug)]
pub struct Target {
    /// Threads of this client; it shares the machine with a broker on it, so fewer are often faster
    #[arg(long, value_name = "N", default_value_t = 1, global = true, display_order = 900)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=1_024))]
    pub threads: u16,

    /// Whose world there.
    #[command(flatten)]
    pub tenant: Tenant,

    /// Which broker.
    #[command(flatten)]
    pub remote: Remote,
}

/// What is published.
#[derive(clap::Args, Clone, Copy, Debug, Serialize)]
pub struct Payload {
    /// Bytes of a message's payload, at least 8: its number is in it; as in 128 or 1KiB
    #[arg(long, value_name = "BYTES", default_value = "128", value_parser = payload_bytes)]
    pub size: usize,

    /// What a publish asks for
    #[arg(long, value_enum, default_value = "synced")]
    pub durability: Durability,
}

/// How much.
#[derive(clap::Args, Clone, Debug)]
#[group(multiple = false)]
pub struct Amount {
    /// So many messages
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub messages: Option<u64>,

    /// As long as this, as in 10s; what is under way by then is waited for and counted [default: 5s]
    #[arg(long = "for", value_name = "DURATION", value_parser = above_zero)]
    pub length: Option<Duration>,
}

/// When to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// After so many messages.
    Count(u64),
    /// After this time.
    Time(Duration),
}

/// How long a run goes on if nobody says otherwise.
const USUAL_LENGTH: Duration = Duration::from_secs(5);

impl Target {
    /// A connection of its own.
    pub async fn connect(&self) -> Result<Channel, Fault> {
        client::connect(&self.remote.broker).await
    }

    /// So many connections.
    pub async fn connect_many(&self, connections: usize) -> Result<Vec<Channel>, Fault> {
        let mut channels = Vec::with_capacity(connections);
        for _ in 0..connections {
            channels.push(self.connect().await?);
        }
        Ok(channels)
    }
}

impl Amount {
    /// What it says, or the usual time.
    pub fn end(&self) -> End {
        match self.messages {
            Some(messages) => End::Count(messages),
            None => End::Time(self.length.unwrap_or(USUAL_LENGTH)),
        }
    }
}

impl End {
    /// After how many messages, if they are counted.
    pub fn count(self) -> Option<u64> {
        match self {
            End::Count(count) => Some(count),
            End::Time(_) => None,
        }
    }

    /// The share of one of `parts` that do the same: all parts together end after as many.
    pub fn share(self, part: u64, parts: u64) -> End {
        match self {
            End::Count(count) => End::Count(count / parts + u64::from(part < count % parts)),
            End::Time(length) => End::Time(length),
        }
    }
}

/// Refuses frames that would wait for ever for room, be it in flight or ahead of those who receive.
pub fn frame_fits(frame: u32, in_flight: u64, lead: u64) -> Result<(), Failure> {
    let frame = u64::from(frame);
    let (most, flag) = match () {
        () if frame > in_flight => (format!("{in_flight} may be in flight"), "--in-flight"),
        () if frame > lead => (format!("the publisher may be {lead} ahead"), "--lead"),
        () => return Ok(()),
    };
    let message = format!("a frame of {frame} messages never goes while {most}");
    Err(Failure::usage(message).hint(format!("raise {flag}, or make --frame smaller")))
}

fn payload_bytes(text: &str) -> Result<usize, String> {
    // A message with its topic has at most 1,020 KiB.
    const MOST: usize = 1_000_000;
    match text.parse::<Size>()?.bytes() {
        size @ 8..=MOST => Ok(size),
        size => Err(format!("{size} bytes are not within 8 and {MOST}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_make_the_whole() {
        let shares = |count, parts| (0..parts).map(move |part| End::Count(count).share(part, parts).count().unwrap());
        assert_eq!(shares(10, 4).collect::<Vec<_>>(), [3, 3, 2, 2]);
        assert_eq!(shares(2, 3).collect::<Vec<_>>(), [1, 1, 0]);
    }

    #[test]
    fn payloads_have_room_for_their_number() {
        assert_eq!(payload_bytes("1KiB"), Ok(1_024));
        assert!(payload_bytes("7").is_err() && payload_bytes("2MiB").is_err() && payload_bytes("x").is_err());
    }
}

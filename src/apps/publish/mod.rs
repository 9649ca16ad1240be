//! `tilde publish`: one message, or one a line.

mod input;
mod lines;
mod retry;
mod scheduled;

use std::{path::PathBuf, time::Duration};

use jiff::Timestamp;
use serde::Serialize;

use super::{
    durability::{self, Durability},
    failure::Failure,
    number,
    output::{self, Format},
    payload,
    remote::{self, Remote, Tenant},
};
use crate::{
    client::{self, Channel, Fate, Fault},
    clock::{Clock as _, SystemClock},
    pb::v1::{PublishRequest, PublishResponse, broker_client::BrokerClient},
    units::Span,
};
use retry::Retry;
use scheduled::Scheduled;

/// Publish a message, or each line of standard input as one
///
/// Prints where the message lies once the broker has answered, which it does when the message is as durable as was
/// asked. What is valid UTF-8 travels as text, anything else as data; both arrive byte for byte.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Where to: 1 to 1,024 bytes, no `~`; it exists once published to
    topic: String,

    /// The payload; without it a file or pipe on standard input is read as one message
    #[arg(conflicts_with_all = ["file", "lines"])]
    text: Option<String>,

    /// Publish what this file holds, as one message
    #[arg(long, value_name = "PATH", conflicts_with = "lines")]
    file: Option<PathBuf>,

    /// Publish each line of standard input as a message, without its newline, as soon as it comes. Many are under way at
    /// the same time, and they keep their order. The first that is refused ends it; those that were under way are told
    #[arg(long)]
    lines: bool,

    /// An attribute; may be given up to 64 times
    #[arg(short = 'a', long = "attribute", value_name = "KEY=VALUE", value_parser = payload::attribute)]
    attributes: Vec<(String, String)>,

    /// The ordering key: messages with one key keep their order in subscriptions that order by key
    #[arg(long, group = "ordering_key")]
    key: Option<String>,

    /// Your own id: a second publish of the same id to the topic returns the first result
    #[arg(long, conflicts_with = "lines", group = "message_id", value_parser = id)]
    id: Option<String>,

    /// What the payload is, as in application/json
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,

    /// Nobody receives the message after this time, as in 90s, 1h or 7d; at most a year [default: as long as it is kept]
    #[arg(long, value_name = "DURATION")]
    ttl: Option<Span>,

    /// Deliver it then, as in 2026-11-21T10:00:00Z, and not before; at most a year ahead
    #[arg(long, value_name = "TIME", group = "deliver_time", value_parser = time)]
    deliver_at: Option<Timestamp>,

    /// Deliver it after this time, as in 90s, 1h or 7d, and not before
    #[arg(long, value_name = "DURATION", group = "deliver_time")]
    delay: Option<Span>,

    /// Publish only if the topic's last sequence is this one; 0: if there is no message
    #[arg(long, value_name = "SEQUENCE", conflicts_with = "lines", group = "expected_last_sequence")]
    #[arg(value_parser = number::sequence)]
    expect_last: Option<u64>,

    /// How durable the message is before the broker answers [default: as the namespace says, synced if it says nothing]
    #[arg(long, value_enum)]
    durability: Option<Durability>,

    /// How long to wait and try again while the broker cannot be reached, or says that it cannot take the message yet.
    /// Only what cannot have been published already is tried again, or is known again by the broker: with --id or --lines
    /// that is everything. 0s: fail at once
    #[arg(long, value_name = "DURATION", default_value = "30s")]
    retry_for: Span,

    /// How long a try may take. If there is no answer by then, nobody knows whether the message was published. With
    /// --lines a line may take as long as --retry-for says, if that is longer
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = timeout)]
    timeout: Span,

    /// How to print the answer
    #[arg(long, value_enum, default_value = "text")]
    format: Format,

    #[command(flatten)]
    tenant: Tenant,

    #[command(flatten)]
    remote: Remote,
}

const EXAMPLES: &str = "\
Examples:
  tilde publish orders/eu '{\"id\":7}' --content-type application/json
  tilde publish images/7 --file photo.jpg -a width=640 -a height=480
  tilde publish logs/app --lines < app.log
  tail -f app.log | tilde publish logs/app --lines
  tilde publish jobs/7 start --id job-7-start      safe to repeat
  tilde publish config/a v2 --expect-last 41       only if nobody was faster
  tilde publish reminders/7 'call back' --delay 1d";

/// Runs it.
pub fn run(args: Args) -> anyhow::Result<()> {
    remote::run(async {
        match args.lines {
            true => lines::publish(&args).await,
            false => one(&args).await,
        }
    })
}

async fn one(args: &Args) -> anyhow::Result<()> {
    let payload = payload::read(args.text.as_deref(), args.file.as_deref(), "publish")?;
    let request = PublishRequest { payload: Some(payload), ..args.request() };
    let mut retry = Retry::new(args.retry_for.0, args.id.is_some());
    let mut client = args.connect(&mut retry).await?;
    let answer = loop {
        match client::within(args.timeout.0, request.clone(), |request| client.publish(request)).await {
            Ok(answer) => break answer,
            Err(fault) if retry.again(&fault, &args.remote).await => {}
            Err(fault) => return Err(args.failure(fault).into()),
        }
    };
    // Of what was published before, the time of then holds.
    let deliver_time = request.deliver_time.filter(|_| !answer.duplicate);
    let scheduled = Scheduled::at(deliver_time, answer.publish_time);
    match args.format {
        Format::Text => output::line(format!("{}{scheduled}", sentence(&args.topic, &answer)))?,
        Format::Json => output::json(&Object::new(&args.topic, &answer, scheduled))?,
    }
    Ok(())
}

fn sentence(topic: &str, answer: &PublishResponse) -> String {
    let again = if answer.duplicate { ", as it was published before" } else { "" };
    format!("{topic} {} {}{again}", answer.sequence, durability::word(answer.durability))
}

impl Args {
    /// Connects, as patiently as it publishes.
    async fn connect(&self, retry: &mut Retry) -> Result<BrokerClient<Channel>, Failure> {
        loop {
            match self.remote.messages().await {
                Ok(client) => return Ok(client),
                Err(fault) if retry.again(&fault, &self.remote).await => {}
                Err(fault) => return Err(self.remote.failure(fault)),
            }
        }
    }

    /// What to tell of a publish that failed, or may have failed.
    fn failure(&self, fault: Fault) -> Failure {
        let (unsure, unsaid) = (fault.fate == Fate::Unknown, fault.reason.is_none());
        let mut failure = self.remote.failure(fault);
        if unsure && unsaid {
            failure = failure.so("whether the message was published is unknown");
        }
        match &self.id {
            _ if !unsure => failure,
            Some(_) => failure.hint("the same command again is safe, as long as the namespace remembers its ids"),
            None => failure.hint(format!(
                "`tilde topics show {}` tells what has arrived there; with --id ID a publish is safe to repeat",
                self.topic
            )),
        }
    }

    /// The request without its payload.
    fn request(&self) -> PublishRequest {
        PublishRequest {
            topic: self.topic.clone(),
            payload: None,
            attributes: self.attributes.iter().cloned().collect(),
            ordering_key: self.key.clone().unwrap_or_default(),
            message_id: self.id.clone().unwrap_or_default(),
            content_type: self.content_type.clone().unwrap_or_default(),
            ttl: self.ttl.map(|ttl| super::output::wire_duration(ttl.0)),
            deliver_time: self.deliver_time(),
            expected_last_sequence: self.expect_last,
            durability: self.durability.map_or(0, |durability| durability.wire().into()),
            namespace: self.tenant.namespace.clone(),
            ..PublishRequest::default()
        }
    }

    /// When it is to be delivered, if not at once.
    fn deliver_time(&self) -> Option<prost_types::Timestamp> {
        let (seconds, nanos) = match (self.deliver_at, self.delay) {
            (Some(at), _) => (at.as_second(), at.subsec_nanosecond()),
            (None, Some(delay)) => SystemClock.now().plus(delay.0).parts(),
            (None, None) => return None,
        };
        Some(prost_types::Timestamp { seconds, nanos })
    }
}

fn time(text: &str) -> Result<Timestamp, String> {
    let wrong =
        "write a time as in 2026-11-21T10:00:00Z or 2026-11-21T12:00:00+02:00; for how long from now is --delay";
    text.parse().map_err(|_| wrong.into())
}

fn timeout(text: &str) -> Result<Span, String> {
    match text.parse()? {
        // What the contract counts in.
        Span(limit) if limit < Duration::from_millis(1) => Err("nothing is answered in less than 1ms".into()),
        span => Ok(span),
    }
}

fn id(text: &str) -> Result<String, String> {
    match text.is_empty() {
        true => Err("an id has at least one character; without --id the message has none".into()),
        false => Ok(text.to_owned()),
    }
}

/// An answer, with the names of the contract.
#[derive(Serialize)]
struct Object<'a> {
    topic: &'a str,
    sequence: u64,
    publish_time: String,
    duplicate: bool,
    durability: &'static str,
    cursor: &'a str,
    #[serde(flatten)]
    scheduled: Scheduled,
}

impl<'a> Object<'a> {
    fn new(topic: &'a str, answer: &'a PublishResponse, scheduled: Scheduled) -> Self {
        Object {
            topic,
            sequence: answer.sequence,
            publish_time: output::time(answer.publish_time.as_ref()),
            duplicate: answer.duplicate,
            durability: durability::word(answer.durability),
            cursor: &answer.cursor,
            scheduled,
        }
    }
}

//! `tilde events`: makes events for `tilde route`, to try it and to load it.
//!
//! `event` says what one is; `producer` publishes them.

mod event;
mod producer;

use std::{num::NonZeroU64, time::Duration};

use serde::Serialize;

use self::{
    event::{Destination, Form, Maker, Origin},
    producer::{Pace, Producer, Tally},
};
use super::{
    failure::Failure,
    interrupt::Interrupt,
    level::Level,
    number,
    output::{self, Format},
    patience::Patience,
    payload,
    registry::{Refusal, Registry, patiently},
    remote::{self, Remote, Tenant},
};
use crate::units::{Size, Span};

/// Publish sample events, each for a destination
///
/// Each event is an Avro record with the fields origin_service_id, origin_service_type, destination_service_type,
/// event_timestamp (milliseconds) and payload, by the newest schema of the topic's subject, framed as serializers do it. Its
/// ordering key is origin and destination, as in 123456:FINANCE. Flags may also be written with one dash, and with `_`.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES, mut_arg("broker", |arg| arg.visible_alias("bootstrap-server")))]
pub struct Args {
    /// Where to; its schema is the newest of the subject TOPIC-value
    #[arg(long, value_name = "TOPIC", group = "topic")]
    target_topic: String,

    /// The origin's type
    #[arg(long, value_name = "TYPE")]
    origin_service_type: String,

    /// The origin's id
    #[arg(long, value_name = "ID")]
    origin_service_id: String,

    /// Where the events are to go in the end, in turn; written in capitals
    #[arg(long, value_name = "DESTINATION", num_args = 1.., required = true)]
    list_of_destinations: Vec<String>,

    /// How many
    #[arg(long, value_name = "N", value_parser = number::from_one)]
    amount_of_messages: u64,

    /// Wait so many seconds between two events, as in 1 or 0.5
    #[arg(long, value_name = "N", default_value = "0", value_parser = seconds)]
    sleep_between_messages_in_seconds: Duration,

    /// Look at the broker's answers after every so many events, and while nothing is to be sent. Publishing never waits for
    /// an answer; an event that is refused ends it once that is seen
    #[arg(long, value_name = "N", default_value = "10")]
    amount_of_messages_before_poll: NonZeroU64,

    /// Fill payloads up to so many bytes, as in 300 or 1KiB [default: 50, which they have at least]
    #[arg(long, value_name = "SIZE", default_value = "0", hide_default_value = true, value_parser = payload_size)]
    payload_bytes: usize,

    /// The registry with the schema: http://HOST:PORT, and a path if it has one [default: the broker's own]
    #[arg(long, value_name = "URL")]
    schema_registry_url: Option<String>,

    /// How long to wait for the broker and the registry, if they cannot be reached at the start; 0s: not at all
    #[arg(long, value_name = "DURATION", default_value = "30s")]
    start_within: Span,

    /// What is logged, on standard error
    #[arg(long, value_name = "LEVEL", value_enum, default_value = "DEBUG", ignore_case = true)]
    log_level: Level,

    /// How the log is written, and at the end how many were published
    #[arg(long, value_enum, default_value = "text")]
    format: Format,

    #[command(flatten)]
    tenant: Tenant,

    #[command(flatten)]
    remote: Remote,
}

const EXAMPLES: &str = "\
Examples:
  tilde schema register orders.in-value producer-to-processor.avsc
  tilde events --target-topic orders.in --origin-service-type Ledger --origin-service-id 7 \\
    --list-of-destinations finance marketing --amount-of-messages 100
  tilde events -bootstrap_server 127.0.0.1:7126 -target_topic orders.in -log_level INFO \\
    -origin_service_type Ledger -origin_service_id 7 -list_of_destinations finance \\
    -amount_of_messages 60 -sleep_between_messages_in_seconds 1

Ctrl-C or SIGTERM: sends no more, waits for the answers to what is under way, and says how many were published. A second time: \
does not wait for long.";

/// Bytes of a payload: an event has others besides.
const MOST: usize = payload::BYTES - (64 << 10);
/// What the broker's own port has its registry below.
const REGISTRY: &str = "/schema-registry";

/// Runs it.
pub fn run(args: Args) -> anyhow::Result<()> {
    args.log_level.start(args.format);
    remote::run(async {
        let mut interrupt = Interrupt::listen_patiently(1)?;
        let begun = tokio::select! {
            form = args.begin() => Some(form?),
            () = interrupt.wait() => None,
        };
        let (tally, stopped) = match begun {
            Some(form) => args.producer(form)?.run(interrupt).await,
            None => (Tally::default(), true),
        };
        match &tally.fault {
            None => args.tell(&tally, stopped),
            Some(fault) => Err(args.remote.failure(fault.clone()).so(&tally.to_string()).into()),
        }
    })
}

impl Args {
    /// Waits for the broker and the registry, and learns how events are written.
    async fn begin(&self) -> Result<Form, Failure> {
        let mut patience = Patience::new(self.start_within.0);
        while let Err(fault) = self.remote.messages().await {
            let failure = self.remote.failure(fault.clone());
            if !fault.is_passing() || !patience.again(fault.retry_delay, &failure).await {
                return Err(failure);
            }
        }
        let beside = || format!("{}{REGISTRY}", self.remote.broker);
        let url = self.schema_registry_url.clone().unwrap_or_else(beside);
        let registry = Registry::new(&url, &self.tenant.namespace)?;
        let subject = format!("{}-value", self.target_topic);
        let mut patience = Patience::new(self.start_within.0);
        let registered = patiently(&mut patience, || registry.latest(&subject)).await.map_err(|refusal| {
            let is_missing = matches!(refusal, Refusal::Missing(_));
            let failure = Failure::from(refusal);
            match is_missing {
                true => failure.hint(format!("`tilde schema register {subject} FILE.avsc` registers one")),
                false => failure,
            }
        })?;
        let id = registered.id;
        let form = Form::new(id, &registered.schema).map_err(|broken| {
            Failure::new(format!("events cannot be written by schema {id} of subject {subject}: {broken}"))
        })?;
        tracing::info!(subject, schema = id, registry = url, "the schema is known");
        Ok(form)
    }

    fn producer(&self, form: Form) -> Result<Producer, Failure> {
        let origin = Origin { id: self.origin_service_id.clone(), kind: self.origin_service_type.clone() };
        let destinations = self.list_of_destinations.iter().map(|name| Destination::new(name, &origin)).collect();
        tracing::info!(
            topic = self.target_topic,
            origin = origin.id,
            destinations = self.list_of_destinations.len(),
            events = self.amount_of_messages,
            "publishing begins"
        );
        let topic = self.target_topic.clone();
        let maker = Maker { topic, origin, destinations, form, payload_bytes: self.payload_bytes };
        let pace = Pace {
            count: self.amount_of_messages,
            pause: self.sleep_between_messages_in_seconds,
            look_every: self.amount_of_messages_before_poll,
        };
        let publisher = self.remote.client(&self.tenant)?.publisher_options().start();
        Ok(Producer::new(maker, publisher, pace))
    }

    fn tell(&self, tally: &Tally, stopped: bool) -> anyhow::Result<()> {
        let topic = &self.target_topic;
        match self.format {
            Format::Text => {
                let how = if stopped { "stopped: " } else { "" };
                output::line(format!("{how}{tally} to {topic}"))?;
            }
            Format::Json => output::json(&Object { topic, published: tally.published, stopped })?,
        }
        Ok(())
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.ok_or_else(|| "write seconds from zero on, as in 1 or 0.5".into())
}

fn payload_size(text: &str) -> Result<usize, String> {
    match text.parse::<Size>()?.bytes() {
        size if size <= MOST => Ok(size),
        _ => Err(format!("an event fits into a message: payloads have at most {}", Size(MOST as u64))),
    }
}

/// What was done, for programs.
#[derive(Serialize)]
struct Object<'a> {
    topic: &'a str,
    published: u64,
    stopped: bool,
}

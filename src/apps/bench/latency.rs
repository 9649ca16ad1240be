//! `tilde bench latency`: how long a message takes from when it was due to its arrival, in an open loop.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use serde::Serialize;
use tokio::{sync::watch, task::JoinSet, time};
use tonic::{Status, Streaming};

use super::{
    feed::{Feed, Pace, Sent},
    frames::{Frames, number},
    latencies::Gathered,
    options::{Payload, Target},
    progress::Progress,
    raw::{Delivered, Deliveries, Receive},
    report::Report,
    schedule::{Alarm, Schedule},
    stream::{self, Response},
    usage::Usage,
    working::{Consumer, Working},
};
use crate::{
    clock::{Clock, SystemClock},
    pb::v1::start_position::Preset,
    units::{Span, above_zero},
};

/// Publish at a fixed rate, and measure how long messages take to arrive
///
/// An open loop: every message has a time at which it is due, whatever became of those before it, and what is measured
/// is the time from then to its arrival at each subscriber. A broker that stands still is charged for all messages that
/// were due meanwhile.
#[derive(clap::Args, Clone, Debug, Serialize)]
pub struct Args {
    /// Messages a second
    #[arg(long, value_name = "N", default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    #[serde(rename = "offered_rate")]
    rate: u64,

    /// Streams that receive every message
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    subscribers: u64,

    /// Consumers of one durable subscription instead: each message goes to one of them, who settles it
    #[arg(long, value_name = "N", conflicts_with = "subscribers", value_parser = clap::value_parser!(u64).range(1..=1_000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    consumers: Option<u64>,

    /// Connections that they share; the publisher has one of its own [default: one for each]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=4_096))]
    connections: Option<u64>,

    /// How long, after the warm-up, as in 10s
    #[arg(long = "for", value_name = "DURATION", default_value = "5s", value_parser = above_zero)]
    #[serde(skip)]
    length: Duration,

    /// What is due in this time at the beginning is not counted
    #[arg(long, value_name = "DURATION", default_value = "1s")]
    #[serde(skip)]
    warm_up: Span,

    #[command(flatten)]
    #[serde(flatten)]
    payload: Payload,
}

/// Without any arrival for so long, what is missing never comes.
const PATIENCE: Duration = Duration::from_secs(30);

/// Messages that a consumer may have at the same time.
const WINDOW: u32 = 1_000;

/// From opening the streams to the first message: everything has settled by then.
const HEAD_START: Duration = Duration::from_millis(50);

/// Runs it.
pub async fn run(mut args: Args, target: Target) -> anyhow::Result<()> {
    let topic = format!("bench/latency/{:016x}", SystemClock.random());
    let namespace = &target.tenant.namespace;
    let publisher = target.connect().await?;
    if args.consumers.is_some() {
        args.subscribers = 0;
    }
    let receivers = args.consumers.unwrap_or(args.subscribers);
    let connections = *args.connections.get_or_insert(receivers.min(4_096));
    let channels = target.connect_many(connections as usize).await?;
    let requests = (0..args.subscribers).map(|_| stream::request(namespace, vec![topic.clone()], Preset::New));
    let streams = stream::open_many(&channels, requests, Numbers::default()).await?;
    let mut consumers = Vec::new();
    let mut subscription = None;
    if let Some(count) = args.consumers {
        let working = subscription.insert(Working::begin(&target, topic.clone(), Preset::New).await?);
        for channel in channels.iter().cycle().take(count as usize) {
            consumers.push(working.attach(channel.clone(), WINDOW, true).await?);
        }
    }

    let before = Usage::ask(&target).await?;
    let [warm_up, counted] = [args.warm_up.0, args.length].map(|length| messages(args.rate, length));
    let schedule = Schedule::new(Instant::now() + HEAD_START, args.rate, warm_up + counted.max(1));
    let (latencies, arrived) = (Gathered::default(), Arc::new(AtomicU64::new(0)));
    let all_arrivals = schedule.count() * args.subscribers.max(1);
    let progress = Progress::show(arrived.clone(), Some(all_arrivals));
    let mut receiving = JoinSet::new();
    for stream in streams {
        receiving.spawn(receive(stream, schedule, warm_up, latencies.clone(), arrived.clone()));
    }
    let ended = watch::Sender::new(false);
    for consumer in consumers {
        let (ended, latencies, arrived) = (ended.clone(), latencies.clone(), arrived.clone());
        receiving.spawn(consume(consumer, schedule, warm_up, latencies, arrived, ended));
    }
    let frames = Arc::new(Frames::new(&[topic], &args.payload));
    let durability = args.payload.durability.wire().into();
    let pace = OnTime { schedule, alarm: Alarm::new()? };
    let feed = Feed::open(publisher, frames, namespace, durability, IN_FLIGHT, pace).await?;
    tokio::select! {
        result = async { tokio::try_join!(publish(feed), all(receiving)) } => result?,
        missing = silence(&arrived, all_arrivals) => bail!("{missing} deliveries never came"),
    };
    drop(progress);
    let used = Usage::ask(&target).await? - before;
    if let Some(subscription) = subscription {
        subscription.end().await?;
    }
    // The last is due one step before the end.
    let took = schedule.due(schedule.count()) - schedule.due(warm_up);
    Report::new("latency", args, schedule.count() - warm_up, took, &latencies.lock(), used).print()
}

/// So many may be unanswered while some of them are timed; the answers' times are not told.
const IN_FLIGHT: u64 = 1_024;

async fn publish(mut feed: Feed) -> anyhow::Result<()> {
    let answers = Gathered::default();
    while feed.next(&answers).await?.is_some() {}
    Ok(())
}

async fn all(mut receiving: JoinSet<anyhow::Result<()>>) -> anyhow::Result<()> {
    while let Some(received) = receiving.join_next().await {
        received??;
    }
    Ok(())
}

/// Ends when nothing has arrived for a while, with what is missing of so many. Looks at it now and then: a timer for each
/// arrival would cost as much as the arrival.
async fn silence(arrived: &AtomicU64, all: u64) -> u64 {
    let mut before = None;
    loop {
        let now = arrived.load(Relaxed);
        if before.replace(now) == Some(now) {
            return all - now;
        }
        time::sleep(PATIENCE).await;
    }
}

/// Takes all messages of one stream, and records how late each arrived.
async fn receive(
    mut stream: Streaming<Numbered>,
    schedule: Schedule,
    warm_up: u64,
    latencies: Gathered,
    arrived: Arc<AtomicU64>,
) -> anyhow::Result<()> {
    let mut next = 0;
    while next < schedule.count() {
        let Some(response) = stream::next(&mut stream).await? else { bail!("the broker ended a stream") };
        let now = Instant::now();
        for number in response.numbers {
            ensure!(number == next, "message {number} came where message {next} was due");
            next += 1;
            if number >= warm_up {
                latencies.lock().record(schedule.late(number, now));
            }
        }
        arrived.fetch_add(response.delivered.messages, Relaxed);
    }
    Ok(())
}

/// Takes what comes of a subscription and settles it, until all consumers together have had everything.
async fn consume(
    consumer: Consumer,
    schedule: Schedule,
    warm_up: u64,
    latencies: Gathered,
    arrived: Arc<AtomicU64>,
    ended: watch::Sender<bool>,
) -> anyhow::Result<()> {
    let Consumer { say, mut stream } = consumer;
    let mut end = ended.subscribe();
    loop {
        let handed = tokio::select! {
            handed = stream.message() => handed?,
            _ = end.wait_for(|ended| *ended) => break,
        };
        let now = Instant::now();
        let handed = handed.context("the broker ended a stream")?;
        ensure!(!handed.refused, "the broker refused a settlement, or is stopping: the run is of no worth");
        for number in handed.numbers.into_iter().filter(|number| *number >= warm_up) {
            latencies.lock().record(schedule.late(number, now));
        }
        if handed.messages > 0 {
            say.send(handed.settlements).await?;
        }
        if arrived.fetch_add(handed.messages, Relaxed) + handed.messages >= schedule.count() {
            ended.send_replace(true);
        }
    }
    // Whoever closes his half detaches, and hears the end when all that he said is settled.
    drop(say);
    while stream.message().await?.is_some() {}
    Ok(())
}

/// How many are due within such a time.
fn messages(rate: u64, length: Duration) -> u64 {
    (length.as_secs_f64() * rate as f64) as u64
}

/// Each message goes when it is due, in a frame of its own.
struct OnTime {
    schedule: Schedule,
    alarm: Alarm,
}

impl Pace for OnTime {
    fn poll_next(&mut self, sent: u64, _: &Sent, context: &mut Context<'_>) -> Poll<Option<u32>> {
        if sent == self.schedule.count() {
            return Poll::Ready(None);
        }
        self.alarm.poll(self.schedule.due(sent), context).map(|()| Some(1))
    }
}

/// Reads the messages' numbers out of their payloads.
#[derive(Clone, Debug, Default)]
struct Numbers(Deliveries);

/// What one response held.
#[derive(Debug)]
struct Numbered {
    delivered: Delivered,
    numbers: Vec<u64>,
}

impl Response for Numbered {
    fn delivered(&self) -> &Delivered {
        &self.delivered
    }
}

impl Receive for Numbers {
    type Item = Numbered;

    fn receive(&mut self, bytes: &[u8]) -> Result<Numbered, Status> {
        let mut numbers = Vec::new();
        let delivered = self.0.each(bytes, |message| {
            numbers.push(number(message)?);
            Ok(())
        })?;
        Ok(Numbered { delivered, numbers })
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::pb::v1::{Message, SubscribeResponse, message::Payload};

    #[test]
    fn numbers_are_read_out_of_payloads() {
        let message = |number: u64| {
            let data = [&number.to_le_bytes()[..], b"xxx"].concat();
            Message {
                topic: "a".into(),
                sequence: number + 10,
                payload: Some(Payload::Data(data.into())),
                ..Default::default()
            }
        };
        let response = SubscribeResponse { messages: vec![message(3), message(1 << 50)], ..Default::default() };
        let numbered = Numbers::default().receive(&response.encode_to_vec()).unwrap();
        assert_eq!(numbered.numbers, [3, 1 << 50]);
        assert_eq!(numbered.delivered.messages, 2);
    }

    #[test]
    fn as_many_as_are_due() {
        assert_eq!(messages(5_000, Duration::from_millis(1_500)), 7_500);
        assert_eq!(messages(1, Duration::from_millis(999)), 0);
    }
}

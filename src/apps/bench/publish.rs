//! `tilde bench publish`: how many messages a second the broker takes over `PublishStream`.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use anyhow::Context;
use serde::Serialize;
use tokio::task::JoinSet;

use super::{
    feed::Feed,
    frames::Frames,
    latencies::Gathered,
    options::{self, Amount, Payload, Target},
    progress::Progress,
    report::Report,
    through::{self, Through},
    usage::Usage,
    window::{self, Window},
};

/// Publish over streams, as fast as the broker answers
///
/// Each stream has a connection of its own, and names a producer, as a publisher does that wants to send again what a
/// broken connection left unanswered. Prints the messages answered a second, and how long answers took.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    #[command(flatten)]
    parameters: Parameters,

    #[command(flatten)]
    amount: Amount,
}

#[derive(clap::Args, Clone, Debug, Serialize)]
struct Parameters {
    /// Streams, each on a connection of its own
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=4_096))]
    streams: u64,

    /// Messages that may be unanswered on each stream
    #[arg(long, value_name = "N", default_value_t = 1_024, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    in_flight: u64,

    /// Messages in each frame
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    frame: u32,

    /// The topic; with more than one, what they begin with
    #[arg(long, value_name = "TOPIC", default_value = "bench/publish")]
    topic: String,

    /// Topics, which take turns
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    topics: u32,

    /// Publish through the Rust client, which makes each message and hands out each answer by itself, and chooses its
    /// frames
    #[arg(long, conflicts_with = "frame")]
    client: bool,

    #[command(flatten)]
    #[serde(flatten)]
    payload: Payload,
}

/// Runs it.
pub async fn run(args: Args, target: Target) -> anyhow::Result<()> {
    if args.parameters.client {
        return through(args, target).await;
    }
    let Parameters { in_flight, frame, streams, .. } = args.parameters;
    options::frame_fits(frame, in_flight, u64::MAX)?;
    let frames = Arc::new(Frames::new(&args.parameters.topics(), &args.parameters.payload));
    let (end, stopped) = (args.amount.end(), Arc::new(AtomicBool::new(false)));
    let channels = target.connect_many(streams as usize).await?;
    let before = Usage::ask(&target).await?;
    let start = Instant::now();
    let answered = Arc::new(AtomicU64::new(0));
    let progress = Progress::show(answered.clone(), end.count());
    let mut feeds = Vec::new();
    for (n, channel) in (0..streams).zip(channels) {
        let window = Window::new(in_flight, frame, end.share(n, streams), stopped.clone(), None);
        let durability = args.parameters.payload.durability.wire().into();
        let namespace = &target.tenant.namespace;
        feeds.push(Feed::open(channel, frames.clone(), namespace, durability, in_flight, window).await?);
    }
    window::stop_in_time(end, &stopped, feeds.iter().map(|feed| feed.progress().clone()).collect());
    let latencies = Gathered::default();
    let mut receiving = JoinSet::new();
    for feed in feeds {
        receiving.spawn(receive(feed, answered.clone(), latencies.clone()));
    }
    let mut last = start;
    while let Some(received) = receiving.join_next().await {
        last = last.max(received.context("a task of the run failed")??);
    }
    drop(progress);
    let used = Usage::ask(&target).await? - before;
    let messages = answered.load(Relaxed);
    Report::new("publish", args.parameters, messages, last - start, &latencies.lock(), used).print()
}

/// The same through the Rust client.
async fn through(args: Args, target: Target) -> anyhow::Result<()> {
    let Parameters { in_flight, streams, payload, .. } = args.parameters;
    let (end, stopped) = (args.amount.end(), Arc::new(AtomicBool::new(false)));
    let client = target.remote.client(&target.tenant)?;
    let before = Usage::ask(&target).await?;
    let start = Instant::now();
    let answered = Arc::new(AtomicU64::new(0));
    let progress = Progress::show(answered.clone(), end.count());
    let latencies = Gathered::default();
    let mut publishing = JoinSet::new();
    through::stop_in_time(end, &stopped);
    for n in 0..streams {
        let messages = u32::try_from(in_flight).unwrap_or(u32::MAX);
        let publisher = client.publisher_options().window(messages, u32::MAX / 8).start();
        let through = Through::new(publisher, payload, args.parameters.topics(), in_flight);
        publishing.spawn(through.run(end.share(n, streams), stopped.clone(), answered.clone(), latencies.clone()));
    }
    let mut last = start;
    while let Some(published) = publishing.join_next().await {
        last = last.max(published.context("a task of the run failed")??);
    }
    drop(progress);
    let used = Usage::ask(&target).await? - before;
    let messages = answered.load(Relaxed);
    Report::new("publish", args.parameters, messages, last - start, &latencies.lock(), used).print()
}

/// Takes all answers of a stream, and tells when the last came.
async fn receive(mut feed: Feed, answered: Arc<AtomicU64>, latencies: Gathered) -> anyhow::Result<Instant> {
    let mut last = Instant::now();
    while let Some(count) = feed.next(&latencies).await? {
        answered.fetch_add(count, Relaxed);
        last = Instant::now();
    }
    Ok(last)
}

impl Parameters {
    fn topics(&self) -> Vec<String> {
        match self.topics {
            1 => vec![self.topic.clone()],
            topics => (0..topics).map(|n| format!("{}/{n:06}", self.topic)).collect(),
        }
    }
}

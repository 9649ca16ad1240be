//! `tilde bench fanout`: how many deliveries a second the broker makes to many streams.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use anyhow::{anyhow, bail, ensure};
use serde::Serialize;
use tokio::{
    task::{JoinError, JoinSet},
    time,
};
use tonic::Streaming;

use super::{
    feed::{Feed, Sent},
    frames::Frames,
    latencies::Gathered,
    options::{self, Amount, Payload, Target},
    progress::Progress,
    raw::{Delivered, Deliveries},
    report::{Report, rate},
    stream,
    usage::Usage,
    window::{self, Lead, Window},
};
use crate::{
    clock::{Clock, SystemClock},
    pb::v1::start_position::Preset,
};

/// Publish over one stream, and receive over many
///
/// Every stream receives every message, unless --apart gives each stream patterns of its own: then each message goes to
/// one. Prints the deliveries (`messages`, and `rate` a second), how many messages a second were published
/// (`published_rate`), and how long the publisher's answers took. Every stream must receive exactly what it should.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    #[command(flatten)]
    parameters: Parameters,

    #[command(flatten)]
    amount: Amount,
}

#[derive(clap::Args, Clone, Debug, Serialize)]
struct Parameters {
    /// Live streams
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    subscribers: u64,

    /// Connections that they share; the publisher has one of its own
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=4_096))]
    connections: u64,

    /// Patterns of each stream; a message matches one of them
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    patterns: u64,

    /// No two streams have a pattern in common, so each message goes to one stream
    #[arg(long)]
    apart: bool,

    /// Topics that are published to in turn, spread over all patterns; never more than there are patterns
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    topics: u64,

    /// Messages that may be unanswered
    #[arg(long, value_name = "N", default_value_t = 1_024, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    in_flight: u64,

    /// Messages in each frame
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    frame: u32,

    /// How many messages the publisher may be ahead of the streams' mean. Far ahead they fall behind the broker's
    /// memory, and what is measured is its disk
    #[arg(long, value_name = "N", default_value_t = 50_000, value_parser = clap::value_parser!(u64).range(1..))]
    lead: u64,

    #[command(flatten)]
    #[serde(flatten)]
    payload: Payload,
}

/// What a run tells beside what all tell.
#[derive(Serialize)]
struct Told {
    #[serde(flatten)]
    parameters: Parameters,
    published: u64,
    published_rate: u64,
}

/// Without any delivery for so long, what is missing never comes.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs it.
pub async fn run(args: Args, target: Target) -> anyhow::Result<()> {
    let (mut parameters, end) = (args.parameters, args.amount.end());
    options::frame_fits(parameters.frame, parameters.in_flight, parameters.lead)?;
    let names = Names::new(&parameters, SystemClock.random());
    parameters.topics = names.topics;
    let namespace = &target.tenant.namespace;
    let publisher = target.connect().await?;
    let channels = target.connect_many(parameters.connections as usize).await?;
    let requests = (0..parameters.subscribers).map(|n| stream::request(namespace, names.patterns(n), Preset::New));
    let streams = stream::open_many(&channels, requests, Deliveries::default()).await?;

    let before = Usage::ask(&target).await?;
    let arrived = Arc::new(Arrived::new(streams.len()));
    let progress = Progress::show(arrived.all.clone(), end.count().map(|count| count * names.copies()));
    let lead = Lead { most: parameters.lead, copies: names.copies(), delivered: arrived.all.clone() };
    let stopped = Arc::new(AtomicBool::new(false));
    let window = Window::new(parameters.in_flight, parameters.frame, end, stopped.clone(), Some(lead));
    let frames = Arc::new(Frames::new(&names.topics(), &parameters.payload));
    let durability = parameters.payload.durability.wire().into();
    let start = Instant::now();
    let mut feed = Feed::open(publisher, frames, namespace, durability, parameters.in_flight, window).await?;
    window::stop_in_time(end, &stopped, vec![feed.progress().clone()]);
    let mut receiving = JoinSet::new();
    for (n, stream) in streams.into_iter().enumerate() {
        receiving.spawn(receive(stream, n, arrived.clone(), feed.progress().clone()));
    }
    let latencies = Gathered::default();
    let working = async {
        while feed.next(&latencies).await?.is_some() {}
        let (published, took) = (feed.progress().answered.load(Relaxed), start.elapsed());
        arrived.wait_for(published * names.copies()).await?;
        anyhow::Ok((published, took, start.elapsed()))
    };
    let (published, published_in, took) = tokio::select! {
        worked = working => worked?,
        Some(ended) = receiving.join_next() => return Err(why(ended)),
    };
    drop(progress);
    arrived.check(&names, published)?;
    let used = Usage::ask(&target).await? - before;
    let told = Told { published, published_rate: rate(published, published_in), parameters };
    Report::new("fanout", told, published * names.copies(), took, &latencies.lock(), used).print()
}

/// Counts what a stream brings; it goes on until it is dropped.
async fn receive(
    mut stream: Streaming<Delivered>,
    n: usize,
    arrived: Arc<Arrived>,
    publisher: Arc<Sent>,
) -> anyhow::Result<()> {
    while let Some(delivered) = stream::next(&mut stream).await? {
        arrived.each[n].fetch_add(delivered.messages, Relaxed);
        arrived.all.fetch_add(delivered.messages, Relaxed);
        publisher.waker.wake();
    }
    bail!("the broker ended a stream")
}

fn why(ended: Result<anyhow::Result<()>, JoinError>) -> anyhow::Error {
    match ended {
        Ok(Err(error)) => error,
        Ok(Ok(())) => anyhow!("a stream ended"),
        Err(error) => error.into(),
    }
}

/// What has arrived so far.
struct Arrived {
    all: Arc<AtomicU64>,
    each: Vec<AtomicU64>,
}

impl Arrived {
    fn new(streams: usize) -> Arrived {
        Arrived { all: Arc::default(), each: (0..streams).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Until so many have arrived at all streams together.
    async fn wait_for(&self, expected: u64) -> anyhow::Result<()> {
        let mut moved = (0, Instant::now());
        loop {
            let all = self.all.load(Relaxed);
            if all >= expected {
                return Ok(());
            }
            if all != moved.0 {
                moved = (all, Instant::now());
            }
            ensure!(moved.1.elapsed() < PATIENCE, "{} of {expected} deliveries never came", expected - all);
            time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Each stream has exactly what it should.
    fn check(&self, names: &Names, published: u64) -> anyhow::Result<()> {
        for (n, each) in self.each.iter().enumerate() {
            let (expected, came) = (names.expected(n as u64, published), each.load(Relaxed));
            ensure!(expected == came, "{expected} messages were for one stream, and {came} came");
        }
        Ok(())
    }
}

/// Who wants what: patterns are numbered, and topics are spread over them.
struct Names {
    prefix: String,
    subscribers: u64,
    /// Of each stream.
    patterns: u64,
    apart: bool,
    topics: u64,
}

impl Names {
    fn new(parameters: &Parameters, run: u64) -> Names {
        let Parameters { subscribers, patterns, apart, .. } = *parameters;
        let all = if apart { subscribers * patterns } else { patterns };
        let prefix = format!("bench/fanout/{run:016x}");
        Names { prefix, subscribers, patterns, apart, topics: parameters.topics.min(all) }
    }

    /// Streams that receive a message.
    fn copies(&self) -> u64 {
        if self.apart { 1 } else { self.subscribers }
    }

    /// What this stream asks for.
    fn patterns(&self, stream: u64) -> Vec<String> {
        let first = if self.apart { stream * self.patterns } else { 0 };
        (first..first + self.patterns).map(|pattern| format!("{}/{pattern}/~", self.prefix)).collect()
    }

    /// The pattern that a topic matches.
    fn pattern(&self, topic: u64) -> u64 {
        let all = if self.apart { self.subscribers * self.patterns } else { self.patterns };
        topic * all / self.topics
    }

    fn topics(&self) -> Vec<String> {
        (0..self.topics).map(|topic| format!("{}/{}/a", self.prefix, self.pattern(topic))).collect()
    }

    /// Of so many messages, which go through the topics in turn, those for this stream.
    fn expected(&self, stream: u64, published: u64) -> u64 {
        let wanted = |&topic: &u64| !self.apart || self.pattern(topic) / self.patterns == stream;
        let of_topic = |topic| published / self.topics + u64::from(topic < published % self.topics);
        (0..self.topics).filter(wanted).map(of_topic).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apps::durability::Durability;

    fn names(subscribers: u64, patterns: u64, apart: bool, topics: u64) -> Names {
        let payload = Payload { size: 8, durability: Durability::Synced };
        let (connections, in_flight, frame, lead) = (1, 1, 1, 1);
        let parameters =
            Parameters { subscribers, connections, patterns, apart, topics, in_flight, frame, lead, payload };
        Names::new(&parameters, 0)
    }

    #[test]
    fn each_message_matches_one_pattern_of_those_that_get_it() {
        for (subscribers, patterns, apart) in [(3, 4, true), (3, 4, false), (5, 1, true), (5, 1, false)] {
            for topics in [1, 2, 5, 100] {
                let names = names(subscribers, patterns, apart, topics);
                let published = 17;
                let list = names.topics();
                for stream in 0..subscribers {
                    let wanted = names.patterns(stream);
                    assert_eq!(wanted.len() as u64, patterns);
                    let matches = |topic: &str| {
                        wanted.iter().filter(|pattern| topic.starts_with(pattern.trim_end_matches('~'))).count() as u64
                    };
                    let came = (0..published).map(|n| matches(&list[n as usize % list.len()])).sum::<u64>();
                    assert_eq!(names.expected(stream, published), came);
                }
                let all: u64 = (0..subscribers).map(|stream| names.expected(stream, published)).sum();
                assert_eq!(all, published * names.copies());
            }
        }
    }
}

//! Publishes over one connection and receives over many.

use std::{
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};
use serde::Serialize;
use tilde::apps::bench::{latencies::Gathered, report::rate, timed::Timed};
use tokio::{sync::Notify, task::JoinSet, time};

use super::{
    link::{Lead, Messages, Pace, Until},
    options::{self, line},
    system::{From, System},
};

/// What to do.
#[derive(clap::Args, Clone, Serialize)]
pub struct Args {
    /// Subscribers.
    #[arg(long, default_value_t = 100)]
    subscribers: u64,
    /// Connections that they share, where a connection can serve more than one.
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// Patterns of each.
    #[arg(long, default_value_t = 1)]
    patterns: u64,
    /// No two have a pattern in common.
    #[arg(long)]
    apart: bool,
    /// Topics that take turns, spread over all patterns.
    #[arg(long, default_value_t = 1_000)]
    topics: u64,
    /// Messages unanswered.
    #[arg(long, default_value_t = 1_024)]
    in_flight: u64,
    /// How many messages the publisher may be ahead of the subscribers' mean.
    #[arg(long, default_value_t = 10_000)]
    lead: u64,
}

/// What a run tells beside what all tell.
#[derive(Serialize)]
struct Told {
    #[serde(flatten)]
    args: Args,
    published: u64,
    published_rate: u64,
}

/// Without any delivery for so long, what is missing never comes.
const PATIENCE: Duration = Duration::from_secs(10);

/// From the subscribers' questions to the first message.
const HEAD_START: Duration = Duration::from_millis(200);

impl Args {
    fn copies(&self) -> u64 {
        if self.apart { 1 } else { self.subscribers }
    }

    fn all_patterns(&self) -> u64 {
        if self.apart { self.subscribers * self.patterns } else { self.patterns }
    }

    fn topics(&self, system: &impl System) -> Rc<[String]> {
        let (all, topics) = (self.all_patterns(), self.topics.min(self.all_patterns()));
        (0..topics).map(|topic| system.topic(topic * all / topics)).collect()
    }

    fn patterns(&self, system: &impl System, subscriber: u64) -> Vec<String> {
        let first = if self.apart { subscriber * self.patterns } else { 0 };
        // All receive one topic: no pattern is needed.
        match self.all_patterns() {
            1 => vec![system.topic(0)],
            _ => (first..first + self.patterns).map(|pattern| system.pattern(pattern)).collect(),
        }
    }
}

/// Publishes, receives, and says how fast.
pub async fn run(system: &impl System, args: &Args, all: &options::Args) -> Result<String> {
    system.prepare()?;
    let subscribers: Vec<_> = (0..args.subscribers).map(|n| args.patterns(system, n)).collect();
    let each = subscribers.len().div_ceil(args.connections).min(system.subscribers_on_one());
    let (arrived, moved) = (Arc::new(AtomicU64::new(0)), Rc::new(Notify::new()));
    let mut receiving = JoinSet::new();
    for patterns in subscribers.chunks(each) {
        let (link, subscriber) = system.subscriber(patterns, From::Now)?;
        let (arrived, moved) = (arrived.clone(), moved.clone());
        let count = move |more| {
            arrived.fetch_add(more, Relaxed);
            moved.notify_one();
        };
        receiving.spawn_local(link.receive(subscriber, u64::MAX, count, |_, _| {}));
    }
    // A subscriber that asks with XREAD is not answered before something comes: that it was heard can only be hoped for.
    time::sleep(HEAD_START).await;
    let (link, publisher) = system.publisher()?;
    let (latencies, start) = (Gathered::default(), Instant::now());
    let in_flight = system.in_flight(args.in_flight);
    let lead = Lead { most: args.lead, copies: args.copies(), arrived: arrived.clone(), moved };
    let pace = Pace::Closed { in_flight, until: Until::Time(start + all.length), lead: Some(lead) };
    let messages = Messages { topics: args.topics(system), size: all.size() };
    let publishing = link.publish(publisher, messages, pace, Timed::new(in_flight), latencies.clone());
    let (published, last, end) = tokio::select! {
        done = async {
            let (published, last) = publishing.await?;
            let end = drain(&arrived, published * args.copies()).await?;
            anyhow::Ok((published, last, end))
        } => done?,
        Some(ended) = receiving.join_next() => bail!("a subscriber ended: {ended:?}"),
    };
    let told = Told { args: args.clone(), published, published_rate: rate(published, last - start) };
    line("fanout", all, &told, published * args.copies(), end - start, &latencies)
}

/// Waits until all have arrived.
async fn drain(arrived: &AtomicU64, expected: u64) -> Result<Instant> {
    let mut moved = (0, Instant::now());
    loop {
        let now = arrived.load(Relaxed);
        ensure!(now <= expected, "{} deliveries too many came", now - expected);
        if now == expected {
            return Ok(Instant::now());
        }
        if now != moved.0 {
            moved = (now, Instant::now());
        }
        ensure!(moved.1.elapsed() < PATIENCE, "{} of {expected} deliveries never came", expected - now);
        time::sleep(Duration::from_millis(1)).await;
    }
}

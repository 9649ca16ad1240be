//! `tilde bench consume`: how many messages a second a subscription hands out and takes back as settled.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use anyhow::{Context as _, ensure};
use serde::Serialize;
use tokio::{sync::watch, task::JoinSet};

use super::{
    latencies::Gathered,
    options::{Payload, Target},
    progress::Progress,
    report::Report,
    store,
    usage::Usage,
    working::{Consumer, Working},
};
use crate::{
    clock::{Clock, SystemClock},
    pb::v1::start_position::Preset,
};

/// Store messages, then work them off through a subscription, each settled by itself
///
/// Prints the messages a second from attaching the consumers to the last settlement, and as latency the time from one
/// response to the next. The subscription is deleted afterwards.
#[derive(clap::Args, Clone, Debug, Serialize)]
pub struct Args {
    /// Messages to store first
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    #[serde(skip)]
    messages: u64,

    /// Consumers that share the work, each on a connection of its own
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=4_096))]
    consumers: u64,

    /// Messages that a consumer may have at the same time
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    window: u32,

    /// Where messages are stored
    #[arg(long, value_name = "TOPIC", default_value = "bench/consume")]
    #[serde(skip)]
    topic: String,

    #[command(flatten)]
    #[serde(flatten)]
    payload: Payload,
}

/// What a run tells beside what all tell.
#[derive(Serialize)]
struct Told {
    #[serde(flatten)]
    args: Args,
    /// Of the consumers, the one that had least and the one that had most.
    least: u64,
    most: u64,
}

/// Runs it.
pub async fn run(args: Args, target: Target) -> anyhow::Result<()> {
    let topic = format!("{}/{:016x}", args.topic, SystemClock.random());
    store::fill(&topic, args.messages, &args.payload, &target).await?;
    let subscription = Working::begin(&target, topic, Preset::Earliest).await?;

    let channels = target.connect_many(args.consumers as usize).await?;
    let before = Usage::ask(&target).await?;
    let work = Arc::new(Work {
        all: args.messages,
        settled: Arc::default(),
        latencies: Gathered::default(),
        ended: watch::Sender::new(false),
    });
    let progress = Progress::show(work.settled.clone(), Some(args.messages));
    let start = Instant::now();
    let mut consumers = Vec::new();
    for channel in channels {
        consumers.push(subscription.attach(channel, args.window, false).await?);
    }
    // All begin together.
    let mut working = JoinSet::new();
    for consumer in consumers {
        working.spawn(consume(consumer, work.clone()));
    }
    let mut shares = Vec::new();
    while let Some(worked) = working.join_next().await {
        shares.push(worked??);
    }
    let took = start.elapsed();
    drop(progress);
    let used = Usage::ask(&target).await? - before;
    subscription.end().await?;
    let messages = shares.iter().sum();
    ensure!(messages == args.messages, "{} messages were stored, and {messages} came", args.messages);
    let told = Told {
        args,
        least: shares.iter().min().copied().unwrap_or_default(),
        most: shares.iter().max().copied().unwrap_or_default(),
    };
    Report::new("consume", told, messages, took, &work.latencies.lock(), used).print()
}

/// What the consumers of a run share.
struct Work {
    all: u64,
    settled: Arc<AtomicU64>,
    latencies: Gathered,
    /// That all are settled, for those who wait.
    ended: watch::Sender<bool>,
}

/// Works off what it gets, until all consumers together have had everything. Answers how much that was.
async fn consume(consumer: Consumer, work: Arc<Work>) -> anyhow::Result<u64> {
    let Consumer { say, mut stream } = consumer;
    let (mut own, mut last, mut ended) = (0, Instant::now(), work.ended.subscribe());
    loop {
        let handed = tokio::select! {
            handed = stream.message() => handed?,
            _ = ended.wait_for(|ended| *ended) => break,
        };
        let handed = handed.context("the broker ended a stream before all was settled")?;
        ensure!(!handed.refused, "the broker refused a settlement, or is stopping: the run is of no worth");
        let now = Instant::now();
        work.latencies.lock().record(now - last);
        last = now;
        own += handed.messages;
        if handed.messages > 0 {
            say.send(handed.settlements).await?;
        }
        if work.settled.fetch_add(handed.messages, Relaxed) + handed.messages >= work.all {
            work.ended.send_replace(true);
        }
    }
    // Whoever closes his half detaches, and hears the end when all that he said is settled.
    drop(say);
    while let Some(handed) = stream.message().await? {
        ensure!(handed.messages == 0 && !handed.refused, "more was delivered than was stored, or a settlement refused");
    }
    Ok(own)
}

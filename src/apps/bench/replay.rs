//! `tilde bench replay`: how many messages a second the broker reads back.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use anyhow::ensure;
use serde::Serialize;

use super::{
    latencies::Gathered,
    options::{Payload, Target},
    progress::Progress,
    raw::Deliveries,
    report::Report,
    store, stream,
    usage::Usage,
};
use crate::pb::v1::{SubscribeRequest, start_position::Preset};

/// Store messages, then read everything from the beginning to the end
///
/// Prints the messages a second from opening the stream to its end, and as latency the time from one response to the
/// next. With --no-store it reads what is there already.
#[derive(clap::Args, Clone, Debug, Serialize)]
pub struct Args {
    /// Messages to store first
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    #[serde(skip)]
    messages: u64,

    /// Store nothing
    #[arg(long, conflicts_with = "messages")]
    #[serde(skip)]
    no_store: bool,

    /// Which topics are read; quote the `~` where the shell would replace it
    #[arg(long, value_name = "PATTERN", default_value = "~")]
    pattern: String,

    /// Where messages are stored
    #[arg(long, value_name = "TOPIC", default_value = "bench/replay")]
    #[serde(skip)]
    topic: String,

    #[command(flatten)]
    #[serde(skip)]
    payload: Payload,
}

/// What a run tells beside what all tell.
#[derive(Serialize)]
struct Told {
    pattern: String,
    stored: u64,
    bytes: u64,
    responses: u64,
}

/// Runs it.
pub async fn run(args: Args, target: Target) -> anyhow::Result<()> {
    let stored = if args.no_store { 0 } else { args.messages };
    if stored > 0 {
        store::fill(&args.topic, args.messages, &args.payload, &target).await?;
    }
    let from = stream::request(&target.tenant.namespace, vec![args.pattern.clone()], Preset::Earliest);
    let request = SubscribeRequest { stop_at_end: true, ..from };
    let channel = target.connect().await?;
    let before = Usage::ask(&target).await?;
    let (latencies, count) = (Gathered::default(), Arc::new(AtomicU64::new(0)));
    let progress = Progress::show(count.clone(), None);
    let start = Instant::now();
    let mut stream = stream::open(channel, &request, Deliveries::default()).await?;
    let (mut bytes, mut responses, mut last) = (0, 0, Instant::now());
    while let Some(delivered) = stream::next(&mut stream).await? {
        count.fetch_add(delivered.messages, Relaxed);
        bytes += delivered.bytes;
        responses += 1;
        let now = Instant::now();
        latencies.lock().record(now - last);
        last = now;
    }
    let took = start.elapsed();
    drop(progress);
    let messages = count.load(Relaxed);
    ensure!(messages > 0, "nothing is there to be read: leave out --no-store, or name another --pattern");
    ensure!(args.pattern != "~" || messages >= stored, "{stored} messages were stored, and {messages} came");
    let used = Usage::ask(&target).await? - before;
    let told = Told { pattern: args.pattern, stored, bytes, responses };
    Report::new("replay", told, messages, took, &latencies.lock(), used).print()
}

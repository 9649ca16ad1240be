//! `tilde bench call-rate`: how many unary `Publish` calls a second the broker answers.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use anyhow::{Context, ensure};
use bytes::Bytes;
use serde::Serialize;
use tokio::{task::JoinSet, time};
use tonic::{Request, Status, client::Grpc};

use super::{
    frames::{self, Frames},
    latencies::Gathered,
    options::{Amount, End, Payload, Target},
    progress::Progress,
    raw::{Raw, Receive, path},
    report::Report,
    usage::Usage,
    wire::{Value, take_field},
};
use crate::client::Channel;

/// Publish with unary calls, as many at a time as are in flight
///
/// Prints the calls answered a second, and how long each took. With --connections 1 --in-flight 1 they go one after the
/// other, and the latency is what one lone publish takes.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    #[command(flatten)]
    parameters: Parameters,

    #[command(flatten)]
    amount: Amount,
}

#[derive(clap::Args, Clone, Debug, Serialize)]
struct Parameters {
    /// Connections
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=4_096))]
    connections: u64,

    /// Calls in flight on each of them
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=4_096))]
    in_flight: u64,

    /// The topic
    #[arg(long, value_name = "TOPIC", default_value = "bench/call-rate")]
    topic: String,

    #[command(flatten)]
    #[serde(flatten)]
    payload: Payload,
}

/// What all calls share.
struct Shared {
    frames: Frames,
    namespace: Bytes,
    durability: u64,
    next: AtomicU64,
    most: u64,
    stopped: AtomicBool,
    answered: Arc<AtomicU64>,
    latencies: Gathered,
}

/// Runs it.
pub async fn run(args: Args, target: Target) -> anyhow::Result<()> {
    let parameters = args.parameters;
    let end = args.amount.end();
    let shared = Arc::new(Shared {
        frames: Frames::new(std::slice::from_ref(&parameters.topic), &parameters.payload),
        namespace: frames::namespace(&target.tenant.namespace),
        durability: parameters.payload.durability.wire() as u64,
        next: AtomicU64::new(0),
        most: end.count().unwrap_or(u64::MAX),
        stopped: AtomicBool::new(false),
        answered: Arc::default(),
        latencies: Gathered::default(),
    });
    let channels = target.connect_many(parameters.connections as usize).await?;
    let before = Usage::ask(&target).await?;
    let progress = Progress::show(shared.answered.clone(), end.count());
    let start = Instant::now();
    let mut calling = JoinSet::new();
    for channel in channels.iter().flat_map(|channel| std::iter::repeat_n(channel, parameters.in_flight as usize)) {
        calling.spawn(one_after_the_other(channel.clone(), shared.clone()));
    }
    if let End::Time(length) = end {
        let shared = shared.clone();
        tokio::spawn(async move {
            time::sleep(length).await;
            shared.stopped.store(true, Relaxed);
        });
    }
    while let Some(called) = calling.join_next().await {
        called.context("a task of the run failed")??;
    }
    let took = start.elapsed();
    drop(progress);
    let used = Usage::ask(&target).await? - before;
    let messages = shared.answered.load(Relaxed);
    Report::new("call-rate", parameters, messages, took, &shared.latencies.lock(), used).print()
}

async fn one_after_the_other(channel: Channel, shared: Arc<Shared>) -> anyhow::Result<()> {
    let mut client = Grpc::new(channel);
    let mut request = Vec::new();
    while !shared.stopped.load(Relaxed) {
        let number = shared.next.fetch_add(1, Relaxed);
        if number >= shared.most {
            break;
        }
        let start = Instant::now();
        request.clear();
        shared.frames.unary(number, &shared.namespace, &mut request);
        client.ready().await?;
        let request = Request::new(Bytes::copy_from_slice(&request));
        let worth = client.unary(request, path::publish(), Raw::<Worth>::new()).await?.into_inner();
        ensure!(worth >= shared.durability, "an answer is worth less than was asked for");
        shared.latencies.lock().since(start);
        shared.answered.fetch_add(1, Relaxed);
    }
    Ok(())
}

/// Reads of a `PublishResponse` what it is worth.
#[derive(Clone, Default)]
struct Worth;

impl Receive for Worth {
    type Item = u64;

    fn receive(&mut self, mut bytes: &[u8]) -> Result<u64, Status> {
        let mut worth = 0;
        while let Some(field) = take_field(&mut bytes)? {
            if let (4, Value::Number(durability)) = field {
                worth = durability;
            }
        }
        Ok(worth)
    }
}

//! Figure "publish": unary publishes in a closed loop, so many connections with so many calls in flight each.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Result;
use serde_json::{Value, json};
use tilde::pb::v1::{self as pb, broker_client::BrokerClient};
use tokio::task::JoinSet;
use tonic::transport::Channel;

use super::{
    batch,
    latencies::Latencies,
    target::{Target, Window},
};

/// What to do.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    target: Target,
    /// Connections.
    #[arg(long, default_value_t = 8)]
    connections: usize,
    /// Calls in flight on each.
    #[arg(long, default_value_t = 64)]
    in_flight: usize,
    /// Bytes of payload.
    #[arg(long, default_value_t = 128)]
    payload: usize,
    /// How long to count, after a second of warming up.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
}

/// Publishes, and says how fast.
pub async fn run(args: Args) -> Result<Value> {
    let channels = args.target.connect_many(args.connections, Window::LARGE).await?;
    let before = args.target.usage().await?;
    let from = Instant::now() + Duration::from_secs(1);
    let until = from + Duration::from_secs_f64(args.seconds);
    let latencies = Arc::new(Mutex::new(Latencies::new()));
    let request = batch::message("bench/publish", args.payload, args.target.durability);
    let mut tasks = JoinSet::new();
    for channel in channels.iter().flat_map(|channel| std::iter::repeat_n(channel, args.in_flight)) {
        tasks.spawn(one_after_the_other(channel.clone(), request.clone(), from, until, latencies.clone()));
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    let after = args.target.usage().await?;
    let latencies = latencies.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(json!({
        "figure": "publish",
        "per_second": (latencies.count() as f64 / args.seconds) as u64,
        "p50_us": latencies.micros(0.5),
        "p99_us": latencies.micros(0.99),
        "p999_us": latencies.micros(0.999),
        "messages": latencies.count(),
        "connections": args.connections,
        "in_flight": args.in_flight,
        "payload": args.payload,
        "seconds": args.seconds,
        "broker_cpu_s": (after.broker_cpu - before.broker_cpu).as_secs_f64(),
        "client_cpu_s": (after.client_cpu - before.client_cpu).as_secs_f64(),
    }))
}

async fn one_after_the_other(
    channel: Channel,
    request: pb::PublishRequest,
    from: Instant,
    until: Instant,
    latencies: Arc<Mutex<Latencies>>,
) -> Result<()> {
    let mut client = BrokerClient::new(channel);
    loop {
        let start = Instant::now();
        if start >= until {
            return Ok(());
        }
        publish(&mut client, request.clone()).await?;
        let end = Instant::now();
        if end > from && end <= until {
            latencies.lock().unwrap_or_else(PoisonError::into_inner).since(start);
        }
    }
}

/// Publishes one message.
pub async fn publish(client: &mut BrokerClient<Channel>, request: pb::PublishRequest) -> Result<u64> {
    let wanted = request.durability();
    let answer = client.publish(request).await?.into_inner();
    anyhow::ensure!(answer.durability() >= wanted, "the answer is worth less than was asked for");
    Ok(answer.sequence)
}

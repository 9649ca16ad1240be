//! Figure "latency": unary publishes, one at a time on one connection.

use std::time::Instant;

use anyhow::Result;
use serde_json::{Value, json};
use tilde::pb::v1::broker_client::BrokerClient;

use super::{
    batch,
    latencies::Latencies,
    publish::publish,
    target::{Target, Window},
};

/// What to do.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    target: Target,
    /// Bytes of payload.
    #[arg(long, default_value_t = 128)]
    payload: usize,
    /// Publishes that count, after a tenth as many to warm up.
    #[arg(long, default_value_t = 5_000)]
    count: u64,
}

/// Publishes, and says how long each took.
pub async fn run(args: Args) -> Result<Value> {
    let mut client = BrokerClient::new(args.target.connect(Window::LARGE).await?);
    let request = batch::message("bench/latency", args.payload, args.target.durability);
    for _ in 0..args.count / 10 {
        publish(&mut client, request.clone()).await?;
    }
    let mut latencies = Latencies::new();
    for _ in 0..args.count {
        let start = Instant::now();
        publish(&mut client, request.clone()).await?;
        latencies.since(start);
    }
    Ok(json!({
        "figure": "latency",
        "p50_us": latencies.micros(0.5),
        "p99_us": latencies.micros(0.99),
        "p999_us": latencies.micros(0.999),
        "count": args.count,
        "payload": args.payload,
    }))
}

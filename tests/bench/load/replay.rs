//! Figure "replay": what is stored, through one stream from the beginning to the end.

use std::time::Instant;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tilde::pb::v1 as pb;

use super::{
    batch::{self, Batches},
    store, stream,
    target::{Target, Window},
};

/// What to do.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    target: Target,
    /// Messages that are stored at least; what is missing is published first.
    #[arg(long, default_value_t = 1_000_000)]
    messages: u64,
    /// Bytes of payload of what is published.
    #[arg(long, default_value_t = 128)]
    payload: usize,
}

/// Reads everything once, and says how fast.
pub async fn run(args: Args) -> Result<Value> {
    let channel = args.target.connect(Window::LARGE).await?;
    let mut stored = store::stored(&args.target).await?;
    if stored < args.messages {
        let batches = Batches::new(args.payload, 1, args.target.durability);
        stored += batch::publish_all(&channel, &batches, args.messages - stored, 8).await?;
    }
    let before = args.target.usage().await?;
    let request = pb::SubscribeRequest { stop_at_end: true, ..stream::request("~", stream::EARLIEST) };
    let start = Instant::now();
    let mut stream = stream::open(channel, &request).await?;
    let (mut messages, mut bytes, mut responses) = (0, 0, 0u64);
    while let Some(delivered) = stream.message().await? {
        ensure!(!delivered.gap, "the stream has a gap");
        messages += delivered.messages;
        bytes += delivered.bytes;
        responses += 1;
    }
    let elapsed = start.elapsed().as_secs_f64();
    ensure!(messages == stored, "{stored} messages are stored, {messages} came");
    let after = args.target.usage().await?;
    Ok(json!({
        "figure": "replay",
        "per_second": (messages as f64 / elapsed) as u64,
        "messages": messages,
        "bytes": bytes,
        "responses": responses,
        "elapsed_s": elapsed,
        "broker_cpu_s": (after.broker_cpu - before.broker_cpu).as_secs_f64(),
        "client_cpu_s": (after.client_cpu - before.client_cpu).as_secs_f64(),
    }))
}

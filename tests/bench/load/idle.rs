//! Figure "idle": what a stream costs that waits for messages which never come.

use anyhow::Result;
use serde_json::{Value, json};

use super::{
    stream,
    target::{Target, Window, settle},
};

/// What to do.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    target: Target,
    /// Streams.
    #[arg(long, default_value_t = 10_000)]
    streams: usize,
    /// Connections that they share.
    #[arg(long, default_value_t = 100)]
    connections: usize,
}

/// Opens the streams, and says what the broker's memory grew by.
pub async fn run(args: Args) -> Result<Value> {
    // One stream comes and goes first: what the broker sets up once belongs to no stream.
    let first = args.target.connect(Window::ORDINARY).await?;
    drop(stream::open(first, &stream::request("bench/never", stream::NEW)).await?);
    let before = args.target.usage().await?.resident_bytes;
    let channels = args.target.connect_many(args.connections, Window::ORDINARY).await?;
    let streams =
        stream::open_many(&channels, args.streams, |n| stream::request(&format!("bench/never/{n}/~"), stream::NEW));
    let streams = streams.await?;
    settle().await;
    let after = args.target.usage().await?.resident_bytes;
    Ok(json!({
        "figure": "idle",
        "bytes_per_stream": after.saturating_sub(before) / args.streams as u64,
        "before_bytes": before,
        "after_bytes": after,
        "streams": streams.len(),
        "connections": args.connections,
    }))
}

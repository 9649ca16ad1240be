//! Fills the broker with `BatchPublish`, for the figures that need messages to be there.

use std::time::Instant;

use anyhow::Result;
use serde_json::{Value, json};
use tilde::pb::v1::{self as pb, topics_client::TopicsClient};

use super::{
    batch::{self, Batches},
    target::{Target, Window},
};

/// What to do.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    target: Target,
    /// Messages to add, rounded up to thousands.
    #[arg(long, default_value_t = 1_000_000)]
    messages: u64,
    /// Topics that they go to in turn.
    #[arg(long, default_value_t = 1)]
    topics: usize,
    /// Bytes of payload.
    #[arg(long, default_value_t = 128)]
    payload: usize,
    /// Batches of 1,000 in flight.
    #[arg(long, default_value_t = 8)]
    in_flight: usize,
}

/// Publishes, and says how fast.
pub async fn run(args: Args) -> Result<Value> {
    let channel = args.target.connect(Window::LARGE).await?;
    let batches = Batches::new(args.payload, args.topics.max(1), args.target.durability);
    let start = Instant::now();
    let messages = batch::publish_all(&channel, &batches, args.messages, args.in_flight).await?;
    let elapsed = start.elapsed().as_secs_f64();
    let usage = args.target.usage().await?;
    Ok(json!({
        "figure": "store",
        "per_second": (messages as f64 / elapsed) as u64,
        "messages": messages,
        "topics": args.topics,
        "payload": args.payload,
        "elapsed_s": elapsed,
        "resident_bytes": usage.resident_bytes,
    }))
}

/// Messages that the broker keeps in `default`.
pub async fn stored(target: &Target) -> Result<u64> {
    let mut topics = TopicsClient::new(target.connect(Window::LARGE).await?);
    let mut request = pb::ListTopicsRequest { pattern: "~".to_owned(), ..Default::default() };
    let mut messages = 0;
    loop {
        let page = topics.list_topics(request.clone()).await?.into_inner();
        messages += page.topics.iter().map(|topic| topic.messages).sum::<u64>();
        if page.next_page_token.is_empty() {
            return Ok(messages);
        }
        request.page_token = page.next_page_token;
    }
}

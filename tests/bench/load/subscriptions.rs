//! Figure "subscriptions": what durable subscriptions take of memory: many that are idle, one with much that was not
//! settled, and messages that are scheduled.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use anyhow::Result;
use serde_json::{Value, json};
use tilde::pb::v1::{self as pb, broker_client::BrokerClient, subscriptions_client::SubscriptionsClient};
use tokio::task::JoinSet;
use tonic::transport::Channel;

use super::{
    batch,
    target::{Durability, Target, Window, settle},
};

/// What to do.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    target: Target,
    /// Subscriptions, each with a pattern of its own: `bench/000000` and so on.
    #[arg(long, default_value_t = 0)]
    count: u64,
    /// Messages that are scheduled for tomorrow.
    #[arg(long, default_value_t = 0)]
    scheduled: u64,
    /// Leave this many messages leased to somebody who does not settle them, of a subscription of all topics from the
    /// beginning.
    #[arg(long, default_value_t = 0)]
    held: u32,
    /// Made at a time.
    #[arg(long, default_value_t = 64)]
    in_flight: usize,
}

const BATCH: u64 = 500;

/// Makes them, and says by what the broker's memory grew.
pub async fn run(args: Args) -> Result<Value> {
    let channel = args.target.connect(Window::LARGE).await?;
    let before = args.target.usage().await?.resident_bytes;
    let args = Arc::new(args);
    let (subscriptions, messages) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut tasks = JoinSet::new();
    for _ in 0..args.in_flight {
        tasks.spawn(create(channel.clone(), args.clone(), subscriptions.clone()));
        tasks.spawn(schedule(channel.clone(), args.clone(), messages.clone()));
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    let held = hold(channel, &args).await?;
    settle().await;
    let after = args.target.usage().await?.resident_bytes;
    Ok(json!({
        "figure": "subscriptions",
        "more_bytes": after.saturating_sub(before),
        "before_bytes": before,
        "resident_bytes": after,
        "held": held,
    }))
}

async fn create(channel: Channel, args: Arc<Args>, next: Arc<AtomicU64>) -> Result<()> {
    let mut subscriptions = SubscriptionsClient::new(channel);
    loop {
        let n = next.fetch_add(1, Ordering::Relaxed);
        if n >= args.count {
            return Ok(());
        }
        let subscription = pb::Subscription {
            name: format!("bench-{n}"),
            topics: vec![format!("bench/{n:06}")],
            ..Default::default()
        };
        let request = pb::CreateSubscriptionRequest { subscription: Some(subscription) };
        subscriptions.create_subscription(request).await?;
    }
}

async fn schedule(channel: Channel, args: Arc<Args>, next: Arc<AtomicU64>) -> Result<()> {
    let mut broker = BrokerClient::new(channel);
    let tomorrow = SystemTime::now() + Duration::from_secs(24 * 3600);
    loop {
        let n = next.fetch_add(BATCH, Ordering::Relaxed);
        if n >= args.scheduled {
            return Ok(());
        }
        let message = |n: u64| pb::PublishRequest {
            deliver_time: Some((tomorrow + Duration::from_millis(n)).into()),
            ..batch::message("bench/scheduled", 128, Durability::Written)
        };
        let requests = (n..args.scheduled.min(n + BATCH)).map(message).collect();
        broker.batch_publish(pb::BatchPublishRequest { requests, atomic: false }).await?;
    }
}

async fn hold(channel: Channel, args: &Args) -> Result<usize> {
    if args.held == 0 {
        return Ok(0);
    }
    let preset = pb::start_position::Preset::Earliest.into();
    let start = pb::StartPosition { position: Some(pb::start_position::Position::Preset(preset)) };
    let subscription = pb::Subscription {
        name: "holding".into(),
        topics: vec!["~".into()],
        start: Some(start),
        ack_deadline: Some(prost_types::Duration { seconds: 3_600, nanos: 0 }),
        ..Default::default()
    };
    let request = pb::CreateSubscriptionRequest { subscription: Some(subscription) };
    SubscriptionsClient::new(channel.clone()).create_subscription(request).await?;
    let mut broker = BrokerClient::new(channel).max_decoding_message_size(16 << 20);
    let mut held = 0;
    while held < args.held as usize {
        let pull = pb::PullRequest { subscription: "holding".into(), max_messages: 1_000, ..Default::default() };
        let pulled = broker.pull(pull).await?.into_inner().deliveries.len();
        if pulled == 0 {
            break;
        }
        held += pulled;
    }
    Ok(held)
}

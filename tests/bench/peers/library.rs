//! NATS with its stream store, published to through its own client for Rust, as a program that has no broker in front
//! would do it. Never subscribes.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use anyhow::Result;
use async_nats::{
    Subject,
    jetstream::{ContextBuilder, context::PublishAckFuture},
};
use bytes::Bytes;
use tilde::apps::bench::{latencies::Gathered, timed::Timed};

use super::{
    nats::Nats,
    options::{self, line},
    publish::Args,
    system::System,
};

/// A server that syncs each message by itself takes seconds for all that are outstanding.
const PATIENCE: Duration = Duration::from_secs(60);

/// Publishes over one connection, and says how fast.
pub async fn publish(args: &Args, all: &options::Args) -> Result<String> {
    let nats = Nats::jetstream(all);
    nats.prepare()?;
    let topics: Vec<_> = args.topics(&nats).iter().map(|topic| Subject::from(topic.as_str())).collect();
    let client = async_nats::connect(&all.address).await?;
    let context = ContextBuilder::new().max_ack_inflight(args.in_flight as usize).timeout(PATIENCE).build(client);
    let (latencies, start) = (Gathered::default(), Instant::now());
    let mut payload = vec![b'x'; all.size()];
    let mut unanswered = Unanswered::new(args.in_flight, latencies.clone());
    let mut sent = 0;
    while start.elapsed() < all.length {
        unanswered.fall_below(args.in_flight).await?;
        payload[..8].copy_from_slice(&u64::to_le_bytes(sent));
        let topic = &topics[(sent % topics.len() as u64) as usize];
        unanswered.push(context.publish(topic.clone(), Bytes::copy_from_slice(&payload)).await?);
        sent += 1;
    }
    unanswered.fall_below(1).await?;
    line("publish", all, args, sent, start.elapsed(), &latencies)
}

/// Publishes that are not answered, in their order.
struct Unanswered {
    waiting: VecDeque<PublishAckFuture>,
    answered: u64,
    timed: Timed,
    latencies: Gathered,
}

impl Unanswered {
    fn new(in_flight: u64, latencies: Gathered) -> Unanswered {
        Unanswered { waiting: VecDeque::new(), answered: 0, timed: Timed::new(in_flight), latencies }
    }

    fn push(&mut self, acknowledgement: PublishAckFuture) {
        self.timed.sent(self.answered + self.waiting.len() as u64, 1);
        self.waiting.push_back(acknowledgement);
    }

    /// Waits until there are fewer.
    async fn fall_below(&mut self, count: u64) -> Result<()> {
        while self.waiting.len() as u64 >= count
            && let Some(first) = self.waiting.pop_front()
        {
            first.await?;
            self.timed.answered(self.answered, 1, Instant::now(), &mut self.latencies.lock());
            self.answered += 1;
        }
        Ok(())
    }
}

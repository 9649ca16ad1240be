//! Publishes fast and cheaply: `BatchPublish` requests that are encoded once and sent again and again. Never makes two
//! messages that differ.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use prost::Message;
use tilde::apps::bench::wire::take_field;
use tilde::pb::v1 as pb;
use tokio::task::JoinSet;
use tonic::{Request, Status, client::Grpc, transport::Channel};

use super::{
    raw::{Raw, Receive, path},
    target::Durability,
};

/// Messages in one batch: what the contract allows.
pub const MESSAGES: u64 = 1_000;

/// Ready requests of 1,000 messages each; together they go through all topics.
#[derive(Clone)]
pub struct Batches(Arc<[Bytes]>);

impl Batches {
    /// Messages of `payload` bytes, on `topics` topics in turn.
    pub fn new(payload: usize, topics: usize, durability: Durability) -> Self {
        let topic = |n: usize| if topics == 1 { "bench/fill".to_owned() } else { format!("bench/fill/{n:06}") };
        let request = |n| message(&topic(n), payload, durability);
        let batch = |first: usize| {
            let requests = (0..MESSAGES as usize).map(|n| request((first + n) % topics)).collect();
            Bytes::from(pb::BatchPublishRequest { requests, atomic: false }.encode_to_vec())
        };
        Batches((0..topics.div_ceil(MESSAGES as usize)).map(|n| batch(n * MESSAGES as usize)).collect())
    }

    /// The batch to send as the `turn`th.
    pub fn get(&self, turn: u64) -> Bytes {
        self.0[turn as usize % self.0.len()].clone()
    }
}

/// A request for one message of `payload` bytes.
pub fn message(topic: &str, payload: usize, durability: Durability) -> pb::PublishRequest {
    pb::PublishRequest {
        topic: topic.to_owned(),
        payload: Some(pb::publish_request::Payload::Data(vec![b'x'; payload].into())),
        durability: durability.wire().into(),
        ..Default::default()
    }
}

/// Publishes one batch. All of it is taken, or it is an error.
pub async fn publish(channel: &Channel, batch: Bytes) -> Result<()> {
    let mut client = Grpc::new(channel.clone()).max_decoding_message_size(16 << 20);
    client.ready().await.context("the connection is gone")?;
    let answer = client.unary(Request::new(batch), path::batch_publish(), Raw::<Answers>::new()).await?;
    ensure!(answer.into_inner() == MESSAGES, "the broker answered fewer results than there were messages");
    Ok(())
}

/// Publishes at least `messages`, with `in_flight` batches at a time.
pub async fn publish_all(channel: &Channel, batches: &Batches, messages: u64, in_flight: usize) -> Result<u64> {
    let turns = messages.div_ceil(MESSAGES);
    let next = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..in_flight {
        let (channel, batches, next) = (channel.clone(), batches.clone(), next.clone());
        tasks.spawn(async move {
            loop {
                let turn = next.fetch_add(1, Ordering::Relaxed);
                if turn >= turns {
                    return anyhow::Ok(());
                }
                publish(&channel, batches.get(turn)).await?;
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(turns * MESSAGES)
}

/// Counts the results of a `BatchPublishResponse`; one refusal fails it.
#[derive(Clone, Default)]
struct Answers;

impl Receive for Answers {
    type Item = u64;

    fn receive(&mut self, mut bytes: &[u8]) -> Result<u64, Status> {
        let mut taken = 0;
        while let Some((_, result)) = take_field(&mut bytes)? {
            match take_field(&mut result.bytes())? {
                Some((1, _)) => taken += 1,
                _ => return Err(Status::aborted("a message of the batch was refused")),
            }
        }
        Ok(taken)
    }
}

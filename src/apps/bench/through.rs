//! Publishes through the Rust client, as a program does that looks at every answer: each message is made, encoded and
//! waited for by itself. What it costs beyond a bare stream is the client's.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{Relaxed, SeqCst},
        },
    },
    time::{Duration, Instant},
};

use anyhow::{bail, ensure};
use bytes::{BufMut as _, BytesMut};

use super::{
    frames::NUMBER,
    latencies::Gathered,
    options::{End, Payload},
};
use crate::client::{Pending, PublishRequest, Publisher};

/// Messages of which the latency of one is recorded.
const SAMPLE: u64 = 16;
/// Payloads that are made in one piece of memory.
const PIECE: usize = 64 << 10;

/// One publisher and what it publishes.
#[derive(Debug)]
pub struct Through {
    publisher: Publisher,
    payload: Payload,
    topics: Vec<String>,
    in_flight: usize,
    memory: BytesMut,
    /// What is under way, and when it went if that is recorded. Oldest first.
    pending: VecDeque<(Pending, Option<Instant>)>,
    last_sequence: u64,
}

impl Through {
    /// Keeps so many messages in flight.
    pub fn new(publisher: Publisher, payload: Payload, topics: Vec<String>, in_flight: u64) -> Through {
        let pending = VecDeque::new();
        let in_flight = in_flight as usize;
        Through { publisher, payload, topics, in_flight, memory: BytesMut::new(), pending, last_sequence: 0 }
    }

    /// Publishes until the end, and tells when the last answer came.
    pub async fn run(
        mut self,
        end: End,
        stopped: Arc<AtomicBool>,
        answered: Arc<AtomicU64>,
        latencies: Gathered,
    ) -> anyhow::Result<Instant> {
        let count = end.count().unwrap_or(u64::MAX);
        for number in 0..count {
            if stopped.load(Relaxed) {
                break;
            }
            if self.pending.len() == self.in_flight {
                self.next(&answered, &latencies).await?;
            }
            let request = self.request(number);
            let sent = number.is_multiple_of(SAMPLE).then(Instant::now);
            self.pending.push_back((self.publisher.send(request).await?, sent));
        }
        while !self.pending.is_empty() {
            self.next(&answered, &latencies).await?;
        }
        Ok(Instant::now())
    }

    fn request(&mut self, number: u64) -> PublishRequest {
        let size = self.payload.size;
        if self.memory.capacity() < size {
            self.memory.reserve(size.max(PIECE));
        }
        self.memory.put_u64_le(number);
        self.memory.put_bytes(b'x', size - NUMBER);
        let topic = &self.topics[(number % self.topics.len() as u64) as usize];
        let request = PublishRequest::data(topic, self.memory.split().freeze());
        PublishRequest { durability: self.payload.durability.wire().into(), ..request }
    }

    async fn next(&mut self, answered: &AtomicU64, latencies: &Gathered) -> anyhow::Result<()> {
        let Some((pending, sent)) = self.pending.pop_front() else { return Ok(()) };
        let published = pending.await?;
        if let Some(sent) = sent {
            latencies.lock().since(sent);
        }
        ensure!(published.durability >= self.payload.durability.wire(), "an answer is worth less than was asked for");
        match published.sequence {
            Some(sequence) if sequence > self.last_sequence => self.last_sequence = sequence,
            sequence => bail!("sequence {sequence:?} came after {}", self.last_sequence),
        }
        answered.fetch_add(1, Relaxed);
        Ok(())
    }
}

/// Says `stopped` when the time is over. Nothing to wait for if messages are counted.
pub fn stop_in_time(end: End, stopped: &Arc<AtomicBool>) {
    if let End::Time(length) = end {
        tokio::spawn(stop_after(length, stopped.clone()));
    }
}

async fn stop_after(length: Duration, stopped: Arc<AtomicBool>) {
    tokio::time::sleep(length).await;
    stopped.store(true, SeqCst);
}

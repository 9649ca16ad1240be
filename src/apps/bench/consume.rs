//! `tilde bench consume`: how many messages a second a subscription hands out and takes back as settled.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use anyhow::{Context as _, ensure};
use bytes::{BufMut, Bytes, BytesMut};
use prost::Message as _;
use serde::Serialize;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status, client::Grpc};

use super::{
    latencies::Gathered,
    options::{Payload, Target},
    progress::Progress,
    raw::{Raw, Receive, path},
    report::Report,
    store,
    usage::Usage,
    wire::take_field,
};
use crate::{
    client::{ANSWER_BYTES, Channel},
    clock::{Clock, SystemClock},
    pb::v1::{
        Attach, ConsumeRequest, CreateSubscriptionRequest, DeleteSubscriptionRequest, FlowControl, StartPosition,
        Subscription, Verdict, start_position, subscriptions_client::SubscriptionsClient,
    },
};

/// Store messages, then work them off through a subscription, each settled by itself
///
/// Prints the messages a second from attaching the consumers to the last settlement, and as latency the time from one
/// response to the next. The subscription is deleted afterwards.
#[derive(clap::Args, Clone, Debug, Serialize)]
pub struct Args {
    /// Messages to store first
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    #[serde(skip)]
    messages: u64,

    /// Consumers that share the work, each on a connection of its own
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=4_096))]
    consumers: u64,

    /// Messages that a consumer may have at the same time
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    window: u32,

    /// Where messages are stored
    #[arg(long, value_name = "TOPIC", default_value = "bench/consume")]
    #[serde(skip)]
    topic: String,

    #[command(flatten)]
    #[serde(flatten)]
    payload: Payload,
}

/// What a run tells beside what all tell.
#[derive(Serialize)]
struct Told {
    #[serde(flatten)]
    args: Args,
    /// Of the consumers, the one that had least and the one that had most.
    least: u64,
    most: u64,
}

/// Runs it.
pub async fn run(args: Args, target: Target) -> anyhow::Result<()> {
    let random = SystemClock.random();
    let topic = format!("{}/{random:016x}", args.topic);
    store::fill(&topic, args.messages, &args.payload, &target).await?;
    let mut subscriptions = SubscriptionsClient::new(target.connect().await?);
    let (name, namespace) = (format!("bench-{random:016x}"), target.tenant.namespace.clone());
    let earliest = start_position::Position::Preset(start_position::Preset::Earliest.into());
    let subscription = Subscription {
        name: name.clone(),
        namespace: namespace.clone(),
        topics: vec![topic],
        start: Some(StartPosition { position: Some(earliest) }),
        ..Subscription::default()
    };
    subscriptions.create_subscription(CreateSubscriptionRequest { subscription: Some(subscription) }).await?;

    let channels = target.connect_many(args.consumers as usize).await?;
    let before = Usage::ask(&target).await?;
    let work = Arc::new(Work {
        all: args.messages,
        settled: Arc::default(),
        latencies: Gathered::default(),
        ended: watch::Sender::new(false),
    });
    let progress = Progress::show(work.settled.clone(), Some(args.messages));
    let start = Instant::now();
    let mut working = JoinSet::new();
    for channel in channels {
        working.spawn(consume(channel, attach(&name, &namespace, args.window), work.clone()));
    }
    let mut shares = Vec::new();
    while let Some(worked) = working.join_next().await {
        shares.push(worked??);
    }
    let took = start.elapsed();
    drop(progress);
    let used = Usage::ask(&target).await? - before;
    subscriptions.delete_subscription(DeleteSubscriptionRequest { name, namespace }).await?;
    let messages = shares.iter().sum();
    ensure!(messages == args.messages, "{} messages were stored, and {messages} came", args.messages);
    let told = Told {
        args,
        least: shares.iter().min().copied().unwrap_or_default(),
        most: shares.iter().max().copied().unwrap_or_default(),
    };
    Report::new("consume", told, messages, took, &work.latencies.lock(), used).print()
}

fn attach(subscription: &str, namespace: &str, window: u32) -> Bytes {
    let flow = FlowControl { max_outstanding_messages: Some(window), max_outstanding_bytes: Some(256 << 20) };
    let attach = Attach {
        subscription: subscription.to_owned(),
        namespace: namespace.to_owned(),
        flow_control: Some(flow),
        ..Attach::default()
    };
    ConsumeRequest { attach: Some(attach), ..ConsumeRequest::default() }.encode_to_vec().into()
}

/// What the consumers of a run share.
struct Work {
    all: u64,
    settled: Arc<AtomicU64>,
    latencies: Gathered,
    /// That all are settled, for those who wait.
    ended: watch::Sender<bool>,
}

/// Works off what it gets, until all consumers together have had everything. Answers how much that was.
async fn consume(channel: Channel, attach: Bytes, work: Arc<Work>) -> anyhow::Result<u64> {
    let (say, said) = mpsc::channel(64);
    say.send(attach).await?;
    let mut client = Grpc::new(channel).max_decoding_message_size(ANSWER_BYTES);
    client.ready().await?;
    let codec = Raw::with(Settling);
    let mut stream =
        client.streaming(Request::new(ReceiverStream::new(said)), path::consume(), codec).await?.into_inner();
    let (mut own, mut last, mut ended) = (0, Instant::now(), work.ended.subscribe());
    loop {
        let handed = tokio::select! {
            handed = stream.message() => handed?,
            _ = ended.wait_for(|ended| *ended) => break,
        };
        let handed = handed.context("the broker ended a stream before all was settled")?;
        ensure!(!handed.refused, "the broker refused a settlement, or is stopping: the run is of no worth");
        let now = Instant::now();
        work.latencies.lock().record(now - last);
        last = now;
        own += handed.messages;
        if handed.messages > 0 {
            say.send(handed.settlements).await?;
        }
        if work.settled.fetch_add(handed.messages, Relaxed) + handed.messages >= work.all {
            work.ended.send_replace(true);
        }
    }
    // Whoever closes his half detaches, and hears the end when all that he said is settled.
    drop(say);
    while let Some(handed) = stream.message().await? {
        ensure!(handed.messages == 0 && !handed.refused, "more was delivered than was stored, or a settlement refused");
    }
    Ok(own)
}

/// Makes the settlements of the deliveries of a response, one for each.
#[derive(Clone, Debug, Default)]
struct Settling;

/// What one response held.
#[derive(Debug)]
struct Handed {
    messages: u64,
    /// An encoded request.
    settlements: Bytes,
    refused: bool,
}

impl Receive for Settling {
    type Item = Handed;

    fn receive(&mut self, mut bytes: &[u8]) -> Result<Handed, Status> {
        const DELIVERIES: u64 = 1;
        const CONFIRMATIONS: u64 = 2;
        const CLOSING: u64 = 5;
        let (mut settlements, mut messages, mut refused) = (BytesMut::new(), 0, false);
        while let Some((field, value)) = take_field(&mut bytes)? {
            match field {
                DELIVERIES => {
                    put_settlement(&mut settlements, ack_id(value.bytes())?);
                    messages += 1;
                }
                CONFIRMATIONS | CLOSING => refused = true,
                _ => {}
            }
        }
        Ok(Handed { messages, settlements: settlements.freeze(), refused })
    }
}

fn ack_id(mut delivery: &[u8]) -> Result<&[u8], Status> {
    const ACK_ID: u64 = 2;
    while let Some((field, value)) = take_field(&mut delivery)? {
        if field == ACK_ID {
            return Ok(value.bytes());
        }
    }
    Err(Status::data_loss("a delivery has no ack_id"))
}

/// `ConsumeRequest.settlements` with one ack_id and the verdict ACK.
fn put_settlement(out: &mut BytesMut, ack_id: &[u8]) {
    let length = ack_id.len() as u8;
    out.put_slice(&[2 << 3 | 2, length + 4, 1 << 3 | 2, length]);
    out.put_slice(ack_id);
    out.put_slice(&[2 << 3, Verdict::Ack as u8]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb::v1::{ConsumeResponse, Delivery, Settlement};

    #[test]
    fn each_delivery_is_settled_by_itself() {
        let delivery = |ack_id: &str| Delivery { ack_id: ack_id.into(), attempt: 1, ..Delivery::default() };
        let response = ConsumeResponse { deliveries: vec![delivery("a"), delivery("bcd")], ..Default::default() };
        let handed = Settling.receive(&response.encode_to_vec()).unwrap();
        let settlement = |ack_id: &str| Settlement {
            ack_ids: vec![ack_id.into()],
            verdict: Verdict::Ack.into(),
            ..Settlement::default()
        };
        let request = ConsumeRequest::decode(handed.settlements).unwrap();
        assert_eq!((handed.messages, request.settlements), (2, vec![settlement("a"), settlement("bcd")]));
    }
}

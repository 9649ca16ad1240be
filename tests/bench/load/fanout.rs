//! Figure "fanout": one publisher, many streams with `~`. Deliveries are counted where they arrive, until every stream
//! has everything.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tonic::{Streaming, transport::Channel};

use super::{
    batch::{self, Batches},
    raw::Delivered,
    stream,
    target::{Target, Window},
};

/// What to do.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    target: Target,
    /// Streams.
    #[arg(long, default_value_t = 100)]
    streams: usize,
    /// Connections that the streams share. The publisher has its own.
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// Bytes of payload.
    #[arg(long, default_value_t = 128)]
    payload: usize,
    /// How long to publish; what is under way by then is waited for and counted.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Batches of 1,000 in flight.
    #[arg(long, default_value_t = 4)]
    in_flight: usize,
    /// How many messages the publisher may be ahead of the streams' mean; 0 is no bound: streams then fall behind the
    /// broker's memory and read from the disk.
    #[arg(long, default_value_t = 50_000)]
    lead: u64,
}

/// Published and delivered so far.
struct Progress {
    published: AtomicU64,
    delivered: AtomicU64,
    each: Vec<AtomicU64>,
}

impl Progress {
    fn new(streams: usize) -> Self {
        let each = (0..streams).map(|_| AtomicU64::new(0)).collect();
        Progress { published: AtomicU64::new(0), delivered: AtomicU64::new(0), each }
    }

    fn streams(&self) -> u64 {
        self.each.len() as u64
    }

    fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
    }

    /// What all streams together have not received yet.
    fn missing(&self) -> u64 {
        (self.published.load(Ordering::Relaxed) * self.streams()).saturating_sub(self.delivered())
    }
}

/// Publishes, receives, and says how fast.
pub async fn run(args: Args) -> Result<Value> {
    let publisher = args.target.connect(Window::LARGE).await?;
    let channels = args.target.connect_many(args.connections, Window::LARGE).await?;
    let request = stream::request("~", stream::NEW);
    let streams = stream::open_many(&channels, args.streams, |_| request.clone()).await?;
    let progress = Arc::new(Progress::new(args.streams));
    let mut receiving = JoinSet::new();
    for (n, stream) in streams.into_iter().enumerate() {
        receiving.spawn(receive(stream, n, progress.clone()));
    }
    let before = args.target.usage().await?;
    let start = Instant::now();
    let publishing = publish(publisher, &args, start, progress.clone());
    let end = tokio::select! {
        end = async { publishing.await?; drain(&progress).await } => end?,
        ended = receiving.join_next() => bail!("a stream ended: {ended:?}"),
    };
    let elapsed = (end - start).as_secs_f64();
    let after = args.target.usage().await?;
    let published = progress.published.load(Ordering::Relaxed);
    for each in &progress.each {
        ensure!(each.load(Ordering::Relaxed) == published, "a stream received more or less than was published");
    }
    Ok(json!({
        "figure": "fanout",
        "deliveries_per_second": (progress.delivered() as f64 / elapsed) as u64,
        "published_per_second": (published as f64 / elapsed) as u64,
        "deliveries": progress.delivered(),
        "published": published,
        "elapsed_s": elapsed,
        "streams": args.streams,
        "connections": args.connections,
        "payload": args.payload,
        "lead": args.lead,
        "broker_cpu_s": (after.broker_cpu - before.broker_cpu).as_secs_f64(),
        "client_cpu_s": (after.client_cpu - before.client_cpu).as_secs_f64(),
    }))
}

async fn receive(mut stream: Streaming<Delivered>, n: usize, progress: Arc<Progress>) -> Result<()> {
    loop {
        let delivered = stream.message().await?.context("the broker ended it")?;
        ensure!(!delivered.gap, "the stream has a gap");
        progress.each[n].fetch_add(delivered.messages, Ordering::Relaxed);
        progress.delivered.fetch_add(delivered.messages, Ordering::Relaxed);
    }
}

async fn publish(channel: Channel, args: &Args, start: Instant, progress: Arc<Progress>) -> Result<()> {
    let until = start + Duration::from_secs_f64(args.seconds);
    let batches = Batches::new(args.payload, 1, args.target.durability);
    let ahead = if args.lead == 0 { u64::MAX } else { args.lead * progress.streams() };
    let mut publishing = JoinSet::new();
    for _ in 0..args.in_flight {
        let (channel, batch, progress) = (channel.clone(), batches.get(0), progress.clone());
        publishing.spawn(async move {
            while Instant::now() < until {
                if progress.missing() > ahead {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    continue;
                }
                batch::publish(&channel, batch.clone()).await?;
                progress.published.fetch_add(batch::MESSAGES, Ordering::Relaxed);
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = publishing.join_next().await {
        done??;
    }
    Ok(())
}

/// Waits until everything has arrived and answers when that was; an error if nothing arrives for half a minute.
async fn drain(progress: &Progress) -> Result<Instant> {
    let mut moved = (progress.delivered(), Instant::now());
    while progress.missing() > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
        if progress.delivered() != moved.0 {
            moved = (progress.delivered(), Instant::now());
        }
        ensure!(moved.1.elapsed() < Duration::from_secs(30), "{} deliveries never came", progress.missing());
    }
    Ok(Instant::now())
}

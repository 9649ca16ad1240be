//! The command line, and the line that is printed in the end.

use std::time::Duration;

use anyhow::Result;
use serde::Serialize;
use tilde::{
    apps::bench::{
        latencies::{Gathered, Told},
        report::rate,
        usage::own_cpu,
    },
    units::{Size, above_zero},
};

/// What to do with which system.
#[derive(clap::Parser)]
#[command(about = "Gives NATS and Redis the work of `tilde bench` and prints one JSON line")]
pub struct Args {
    /// The system.
    pub system: Kind,
    /// Its address.
    #[arg(long, global = true, default_value = "127.0.0.1:4222")]
    pub address: String,
    /// Bytes of payload.
    #[arg(long, global = true, default_value = "128")]
    size: Size,
    /// How long to publish.
    #[arg(long = "for", global = true, default_value = "5s", value_parser = above_zero)]
    pub length: Duration,
    /// `cargo bench` passes it; it means nothing here.
    #[arg(long, global = true, hide = true)]
    bench: bool,
    #[command(subcommand)]
    pub work: Work,
}

impl Args {
    /// Bytes of payload; the message's number takes eight.
    pub fn size(&self) -> usize {
        self.size.bytes().max(8)
    }
}

/// A system, in one of its ways.
#[derive(clap::ValueEnum, Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// NATS that stores nothing. A PONG answers for what came before its PING.
    NatsCore,
    /// A stream on disk, with asynchronous publishes; push consumers without acks read it.
    Jetstream,
    /// The same stream, published to through NATS' own client for Rust; it does `publish` alone.
    AsyncNats,
    /// PUBLISH, SUBSCRIBE and PSUBSCRIBE, pipelined.
    RedisPubsub,
    /// XADD, pipelined; XREAD BLOCK reads it.
    RedisStreams,
}

/// What to do.
#[derive(clap::Subcommand)]
pub enum Work {
    /// Publish as fast as it is answered.
    Publish(super::publish::Args),
    /// Publish over one connection, receive over many.
    Fanout(super::fanout::Args),
    /// Publish at a fixed rate, and time the arrivals.
    Latency(super::latency::Args),
    /// Store, and read it all.
    Replay(super::replay::Args),
}

/// What a run tells: the fields of `tilde bench`, as far as a client knows them.
#[derive(Serialize)]
struct Line<'a, P> {
    bench: &'static str,
    system: Kind,
    #[serde(flatten)]
    parameters: &'a P,
    size: usize,
    messages: u64,
    seconds: f64,
    rate: u64,
    #[serde(flatten)]
    latency: Told,
    client_cpu_s: f64,
}

/// So many messages in such a time.
pub fn line(
    bench: &'static str,
    args: &Args,
    parameters: &impl Serialize,
    messages: u64,
    took: Duration,
    latencies: &Gathered,
) -> Result<String> {
    Ok(serde_json::to_string(&Line {
        bench,
        system: args.system,
        parameters,
        size: args.size(),
        messages,
        seconds: took.as_secs_f64(),
        rate: rate(messages, took),
        latency: latencies.lock().told(),
        client_cpu_s: own_cpu().as_secs_f64(),
    })?)
}

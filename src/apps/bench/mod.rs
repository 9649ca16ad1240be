//! `tilde bench`: does this broker do on this machine what they say? Puts load on a broker as any client can, and prints
//! one JSON line a run. Never judges a figure: it fails only where the broker answers wrongly or loses something.
//!
//! The subcommands first, then what they share. `tests/bench` uses parts of it as well.

pub mod call_rate;
pub mod consume;
pub mod fanout;
pub mod latency;
pub mod publish;
pub mod replay;

pub mod options;
pub mod report;
pub mod usage;

pub mod feed;
pub mod frames;
pub mod latencies;
pub mod schedule;
pub mod store;
pub mod through;
pub mod timed;
pub mod window;
pub mod working;

pub mod raw;
pub mod stream;
pub mod wire;

use anyhow::Context;
use tokio::runtime::{self, Runtime};
use tonic::Status;

use super::progress;
use crate::client::Fault;
use options::Target;

/// Measure what a broker does on this machine
///
/// Each run prints one JSON line: its parameters, what was counted (`messages`, `seconds`, `rate` a second), times in
/// microseconds (`p50_us`, `p99_us`, `p999_us`, `max_us`), and what it cost: processor time of the broker
/// (`broker_cpu_s`) and of this client (`client_cpu_s`), and the broker's memory at the end (`broker_resident_bytes`).
///
/// The messages stay in the broker: `tilde topics purge 'bench/~'` removes them. A namespace made for it and deleted
/// afterwards leaves nothing.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    bench: Bench,

    #[command(flatten)]
    target: Target,
}

#[derive(clap::Subcommand, Debug)]
enum Bench {
    Publish(publish::Args),
    CallRate(call_rate::Args),
    Consume(consume::Args),
    Fanout(fanout::Args),
    Latency(latency::Args),
    Replay(replay::Args),
}

const EXAMPLES: &str = "\
Examples:
  tilde bench publish                                 one stream, 1,024 in flight
  tilde bench publish --streams 8 --size 1KiB --for 10s
  tilde bench publish --client                        the same through the Rust client
  tilde bench call-rate --connections 1 --in-flight 1
  tilde bench consume --consumers 10                  1 M stored messages, each settled by itself
  tilde bench fanout --subscribers 1000 --connections 8
  tilde bench latency --rate 5000 --subscribers 10
  tilde bench latency --rate 5000 --consumers 1       the same through a durable subscription
  tilde bench replay --messages 1000000";

/// Runs it.
pub fn run(args: Args) -> anyhow::Result<()> {
    let remote = args.target.remote.clone();
    let runtime = runtime(args.target.threads).context("no thread can be started")?;
    let result = runtime.block_on(async {
        // A task of its own is on a worker, if there are any, and off the main thread's stack.
        tokio::spawn(measure(args.bench, args.target)).await?
    });
    runtime.shutdown_background();
    result.map_err(|error| match error.downcast::<Fault>() {
        Ok(fault) => remote.failure(fault).into(),
        Err(error) => match error.downcast::<Status>() {
            Ok(status) => remote.failure(status).into(),
            Err(error) => error,
        },
    })
}

async fn measure(bench: Bench, target: Target) -> anyhow::Result<()> {
    match bench {
        Bench::Publish(args) => publish::run(args, target).await,
        Bench::CallRate(args) => call_rate::run(args, target).await,
        Bench::Consume(args) => consume::run(args, target).await,
        Bench::Fanout(args) => fanout::run(args, target).await,
        Bench::Latency(args) => latency::run(args, target).await,
        Bench::Replay(args) => replay::run(args, target).await,
    }
}

/// One thread does all the work, unless there are more to share it.
fn runtime(threads: u16) -> std::io::Result<Runtime> {
    match threads {
        1 => runtime::Builder::new_current_thread().enable_all().build(),
        _ => runtime::Builder::new_multi_thread().worker_threads(threads.into()).enable_all().build(),
    }
}

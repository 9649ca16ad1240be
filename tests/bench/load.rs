//! Puts load on a running broker and prints what came of it: one JSON line a run. `tests/bench/run` starts the brokers
//! and makes the tables. Never judges a figure: it fails only where the broker answered wrongly or lost something.

use anyhow::Result;
use clap::{Parser, Subcommand};
use serde_json::Value;

/// The figures in the order of `README.md`, after what they share.
mod load {
    // What `tilde bench` is made of as well.
    pub use tilde::apps::bench::{latencies, raw};

    pub mod batch;
    pub mod stream;
    pub mod target;

    pub mod fanout;
    pub mod latency;
    pub mod publish;
    pub mod replay;
    pub mod store;

    pub mod http;
    pub mod idle;
    pub mod namespaces;
    pub mod open;
    pub mod stuck;
    pub mod subscriptions;
    pub mod webhook;

    pub mod bare;
    pub mod fdatasync;
    pub mod filters;
    pub mod floor;

    pub mod abuse;
}

use load::*;

/// The broker's own, so that the client's half of the work costs no more than it must.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[derive(Parser)]
#[command(about = "Puts load on a running broker and prints one JSON line")]
struct Args {
    /// Threads of the client; the broker shares the machine, so fewer is often faster.
    #[arg(long, global = true, default_value_t = 1)]
    threads: usize,
    /// `cargo bench` passes it; it means nothing here.
    #[arg(long, global = true, hide = true)]
    bench: bool,
    #[command(subcommand)]
    figure: Figure,
}

#[derive(Subcommand)]
enum Figure {
    /// Unary publishes, many at a time.
    Publish(publish::Args),
    /// Unary publishes, one at a time.
    Latency(latency::Args),
    /// One publisher, many streams.
    Fanout(fanout::Args),
    /// What is stored, through one stream.
    Replay(replay::Args),
    /// Fills the broker.
    Store(store::Args),
    /// Publishes over plain HTTP, or the memory of event streams that receive nothing.
    Http(http::Args),
    /// Memory of streams that receive nothing.
    Idle(idle::Args),
    /// Memory of streams whose client does not read.
    Stuck(stuck::Args),
    /// Memory and disk of many namespaces.
    Namespaces(namespaces::Args),
    /// Memory of durable subscriptions.
    Subscriptions(subscriptions::Args),
    /// One subscription that pushes, to a target that answers at once.
    Webhook(webhook::Args),
    /// Time to start on a directory that holds messages.
    Open(open::Args),
    /// What the disk takes for one overwrite and `fdatasync`.
    Fdatasync(fdatasync::Args),
    /// What a unary call takes with no broker behind it.
    Floor(floor::Args),
    /// Serves what is left of a broker when only the libraries and the disk are.
    Bare(bare::Args),
    /// What matching messages against many filters takes, with no broker around it.
    Filters(filters::Args),
    /// Bad input, while an ordinary pair goes on.
    Abuse(abuse::Args),
}

fn main() -> Result<()> {
    let args = Args::parse();
    let runtime = match args.threads {
        0 | 1 => tokio::runtime::Builder::new_current_thread().enable_all().build()?,
        threads => tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?,
    };
    // The future of `fanout` alone is some KiB; a task of its own keeps it off the main thread's stack and on a worker.
    let line = runtime.block_on(async { tokio::spawn(run(args.figure)).await? })?;
    println!("{line}");
    runtime.shutdown_background();
    Ok(())
}

async fn run(figure: Figure) -> Result<Value> {
    match figure {
        Figure::Publish(args) => publish::run(args).await,
        Figure::Latency(args) => latency::run(args).await,
        Figure::Fanout(args) => fanout::run(args).await,
        Figure::Replay(args) => replay::run(args).await,
        Figure::Store(args) => store::run(args).await,
        Figure::Http(args) => http::run(args).await,
        Figure::Idle(args) => idle::run(args).await,
        Figure::Stuck(args) => stuck::run(args).await,
        Figure::Namespaces(args) => namespaces::run(args).await,
        Figure::Subscriptions(args) => subscriptions::run(args).await,
        Figure::Webhook(args) => webhook::run(args).await,
        Figure::Open(args) => open::run(args).await,
        Figure::Fdatasync(args) => fdatasync::run(args).await,
        Figure::Floor(args) => floor::run(args).await,
        Figure::Bare(args) => bare::run(args).await,
        Figure::Filters(args) => filters::run(args).await,
        Figure::Abuse(args) => abuse::run(args).await,
    }
}

//! Gives NATS and Redis the work that `tilde bench` gives Tilde, and prints one JSON line a run, with the same fields.
//! `tests/bench/compare` starts the servers and makes the table. Never judges a figure: it fails only where a server
//! answers wrongly or something is lost.
//!
//! It speaks both protocols itself, since the client shares the machine with the server: commands are written into a
//! buffer and answers are counted where they lie, which costs less than any client library does, and leaves the more to
//! the server. The one exception is `async-nats`, which is what others publish with.

use anyhow::{Result, bail};
use clap::Parser;

/// What the kinds of work share, the two protocols, and the work.
mod peers {
    pub mod link;
    pub mod options;
    pub mod system;

    pub mod nats;
    pub mod redis;

    pub mod fanout;
    pub mod latency;
    pub mod library;
    pub mod publish;
    pub mod replay;
}

use peers::{
    fanout, latency, library,
    nats::Nats,
    options::{Args, Kind, Work},
    publish,
    redis::Redis,
    replay,
    system::System,
};

/// The same as the one of `tilde bench`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> Result<()> {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    let line = local.block_on(&runtime, async {
        match args.system {
            Kind::NatsCore => work(Nats::core(&args), &args).await,
            Kind::Jetstream => work(Nats::jetstream(&args), &args).await,
            Kind::AsyncNats => match &args.work {
                Work::Publish(publish) => library::publish(publish, &args).await,
                _ => bail!("async-nats does `publish` alone: `jetstream` does the rest"),
            },
            Kind::RedisPubsub => work(Redis::pubsub(&args), &args).await,
            Kind::RedisStreams => work(Redis::streams(&args), &args).await,
        }
    })?;
    println!("{line}");
    Ok(())
}

async fn work(system: impl System, args: &Args) -> Result<String> {
    match &args.work {
        Work::Publish(publish) => publish::run(&system, publish, args).await,
        Work::Fanout(fanout) => fanout::run(&system, fanout, args).await,
        Work::Latency(latency) => latency::run(&system, latency, args).await,
        Work::Replay(replay) => replay::run(&system, replay, args).await,
    }
}

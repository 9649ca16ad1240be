//! `tilde gateway bench`: puts load on a gateway, answers it from behind, and checks every answer. Prints one JSON line.
//! Never judges a figure: it fails only where an answer is wrong or missing.

mod back_end;
mod callers;
mod reply;
mod shape;
mod usage;

use std::{
    convert::Infallible,
    path::PathBuf,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use serde::Serialize;
use tokio::{
    runtime,
    time::{sleep, sleep_until},
};

use self::{
    back_end::Count,
    callers::{Callers, Seen},
    shape::{STEP, Shape},
    usage::{Usage, Used},
};
use super::settings::Kind;
use crate::{
    apps::{
        bench::{latencies::Told, report::rate},
        failure::Failure,
        output,
        remote::{Remote, Tenant},
    },
    clock::{Clock as _, SystemClock},
    process,
    units::Span,
};

/// Measure a gateway: callers in front of it, and a back end behind it
///
/// Prints one JSON line: the load, the answers a second, times in microseconds, how many requests the back end saw, and, with
/// --metrics, the threads and the memory of the gateway. Every answer is compared byte for byte.
#[derive(clap::Args, Debug, Serialize)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The gateway: HOST:PORT, as it says itself when it starts
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8090", value_parser = host_and_port)]
    #[serde(skip)]
    gateway: String,

    /// Where the gateway serves its counters: HOST:PORT, as in 127.0.0.1:8091
    #[arg(long, value_name = "ADDR", value_parser = host_and_port)]
    #[serde(skip)]
    metrics: Option<String>,

    /// How load changes over time
    #[arg(long, value_enum, default_value = "once")]
    shape: Shape,

    /// Requests in all
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    requests: u64,

    /// Equal requests that follow each other
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    batch: u64,

    /// Requests a second on average, but for --shape once
    #[arg(long, value_name = "N", default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(1..))]
    rate: u64,

    /// Connections to the gateway
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    connections: u32,

    /// One request at a time on each connection, over HTTP/1.1; without it many, over HTTP/2
    #[arg(long)]
    http1: bool,

    /// How long the back end takes for an answer
    #[arg(long, value_name = "DURATION", default_value = "0s")]
    #[serde(skip)]
    delay: Span,

    /// How long to wait after the last answer before the gateway's memory is looked at
    #[arg(long, value_name = "DURATION", default_value = "0s")]
    #[serde(skip)]
    settle: Span,

    /// By what the gateway reaches the back end
    #[arg(long, value_enum, default_value = "files")]
    #[serde(skip)]
    transport: Kind,

    /// The gateway's directory, of --transport files
    #[arg(long, value_name = "DIR", default_value = "./gateway")]
    #[serde(skip)]
    directory: PathBuf,
}

const EXAMPLES: &str = "\
Examples, beside `tilde gateway --directory box --metrics 127.0.0.1:8091`:
  tilde gateway bench --directory box --batch 1                  as fast as it goes, no two of them equal
  tilde gateway bench --directory box --shape rising --rate 2000
  tilde gateway bench --directory box --requests 20000 --batch 200 --delay 10s --metrics 127.0.0.1:8091
                                                                 all of them held at the same time";

/// What a run says in the end.
#[derive(Serialize)]
struct Report<'a> {
    bench: &'static str,
    transport: &'static str,
    #[serde(flatten)]
    load: &'a Args,
    answers: u64,
    wrong: u64,
    /// What the back end answered.
    back_end_requests: u64,
    seconds: f64,
    answers_per_second: u64,
    #[serde(flatten)]
    latency: Told,
    #[serde(flatten)]
    used: Option<Used>,
}

/// Runs it.
pub fn run(args: Args, remote: Remote, tenant: Tenant) -> anyhow::Result<()> {
    process::raise_open_files();
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(measure(args, remote, tenant));
    runtime.shutdown_background();
    result
}

async fn measure(args: Args, remote: Remote, tenant: Tenant) -> anyhow::Result<()> {
    let count = Count::default();
    match args.transport {
        Kind::Files => back_end::in_directory(args.directory.clone(), args.delay.0, count.clone())?,
        Kind::Broker => {
            let responder = back_end::responder(&remote, &tenant).await?;
            tokio::spawn(back_end::at_broker(responder, args.delay.0, count.clone()));
        }
    }
    let usage = args.metrics.as_ref().map(|address| Usage::new(format!("http://{address}/metrics"))).transpose()?;
    let watching = match &usage {
        Some(usage) => {
            usage.look().await?;
            Some(tokio::spawn(usage.clone().watch()))
        }
        None => None,
    };
    let seen = Seen::default();
    let callers = Callers::connect(&args.gateway, args.connections as usize, args.http1, &seen).await?;
    let took = load(&args, callers).await;
    if let Some(watching) = watching {
        watching.abort();
    }
    sleep(args.settle.0).await;
    let used = match usage {
        Some(usage) => Some(usage.look().await?),
        None => None,
    };
    let (answers, wrong) = (seen.answers.load(Relaxed), seen.wrong.load(Relaxed));
    output::json(&Report {
        bench: "gateway",
        transport: if args.transport == Kind::Files { "files" } else { "broker" },
        load: &args,
        answers,
        wrong,
        back_end_requests: count.load(Relaxed),
        seconds: took.as_secs_f64(),
        answers_per_second: rate(answers, took),
        latency: seen.latencies.lock().told(),
        used,
    })?;
    let first = seen.first_wrong.lock().expect("nobody panics while holding it").take();
    match first {
        Some(first) => Err(Failure::new(format!("{wrong} answers are wrong or missing; the first: {first}")).into()),
        None => Ok(()),
    }
}

/// The rest of a URL does no harm: people copy what the gateway says.
fn host_and_port(text: &str) -> Result<String, Infallible> {
    let text = text.strip_prefix("http://").unwrap_or(text);
    Ok(text.split_once('/').map_or(text, |(place, _)| place).to_owned())
}

/// Asks everything, each when it is due, and waits for all answers.
async fn load(args: &Args, mut callers: Callers) -> Duration {
    // No other run has asked for the same.
    let run = SystemClock.random();
    let begun = Instant::now();
    let mut number = 0;
    for (step, count) in (0u32..).zip(args.shape.steps(args.requests, args.rate)) {
        let due = begun + STEP * step;
        sleep_until(due.into()).await;
        for _ in 0..count {
            let path: Arc<str> = format!("/bench/{run:016x}/{}", number / args.batch).into();
            callers.ask(number, path, due).await;
            number += 1;
        }
    }
    callers.finish().await;
    begun.elapsed()
}

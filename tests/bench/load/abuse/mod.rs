//! Figure "abuse": bad input in every form that we could think of, one attack after the other, while an ordinary pair
//! of publisher and subscriber goes on. Says what the broker answered, what its memory did, and what the pair felt.
//! Bounded in count and time, and for a broker on this machine only.

mod attack;
mod connections;
mod frames;
mod grpc;
mod http2;
mod lines;
mod pair;
mod tally;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use attack::Attack;
use clap::ValueEnum;
use pair::Pair;
use serde_json::{Map, Value, json};
use tokio::time::timeout;

use super::target::{Target, settle};

/// What to do.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    target: Target,
    /// Only these attacks; all if none is named.
    #[arg(long)]
    only: Vec<Attack>,
    /// Chance follows from it, so that a run can be repeated.
    #[arg(long, default_value_t = 7126)]
    seed: u64,
}

/// An attack is over by then, or has failed.
const LONGEST: Duration = Duration::from_secs(120);

/// Attacks, and says what came of it.
pub async fn run(args: Args) -> Result<Value> {
    let address = args.target.broker.strip_prefix("http://").context("--broker wants http://HOST:PORT")?;
    let address: std::net::SocketAddr = address.parse().context("--broker wants an address and a port")?;
    if !address.ip().is_loopback() {
        bail!("this is for a broker on this machine only");
    }
    let pair = Pair::start(&args.target);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let alone = pair.take();
    let before = args.target.usage().await?.resident_bytes;
    let attacks = if args.only.is_empty() { Attack::value_variants() } else { &args.only[..] };
    let mut told = Map::new();
    for attack in attacks {
        let start = Instant::now();
        let tally = timeout(LONGEST, attack.run(&args.target, address, args.seed)).await;
        let tally = match tally {
            Ok(tally) => tally.with_context(|| format!("{attack:?}"))?.json(),
            Err(_) => json!("not over in time"),
        };
        let elapsed = start.elapsed().as_secs_f64();
        let usage = timeout(Duration::from_secs(10), args.target.usage()).await;
        let usage =
            usage.context("no answer").flatten().with_context(|| format!("after {attack:?} the broker is gone"))?;
        told.insert(
            format!("{attack:?}"),
            json!({
                "answers": tally,
                "elapsed_s": elapsed,
                "resident_bytes": usage.resident_bytes,
                "peak_bytes": args.target.peak_bytes()?,
                "pair": pair.take().json(),
            }),
        );
    }
    settle().await;
    let after = args.target.usage().await?.resident_bytes;
    let failures = pair.stop()?;
    Ok(json!({
        "figure": "abuse",
        "pair_failures": failures,
        "before_bytes": before,
        "after_bytes": after,
        "peak_bytes": args.target.peak_bytes()?,
        "pair_alone": alone.json(),
        "attacks": told,
    }))
}

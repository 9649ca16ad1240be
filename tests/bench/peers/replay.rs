//! Stores messages, then reads all of them.

use std::{rc::Rc, time::Instant};

use anyhow::{Result, ensure};
use serde::Serialize;
use tilde::apps::bench::{latencies::Gathered, timed::Timed};

use super::{
    link::{Messages, Pace, Until},
    options::{self, line},
    system::{From, System},
};

/// What to do.
#[derive(clap::Args, Serialize)]
pub struct Args {
    /// Messages to store.
    #[arg(long, default_value_t = 1_000_000)]
    stored: u64,
}

/// Stores, reads, and says how fast it was read.
pub async fn run(system: &impl System, args: &Args, all: &options::Args) -> Result<String> {
    ensure!(system.keeps(), "this system keeps nothing that could be read again");
    system.prepare()?;
    let topics: Rc<[String]> = [system.topic(0)].into();
    let (link, publisher) = system.publisher()?;
    let pace = Pace::Closed { in_flight: 10_000, until: Until::Count(args.stored), lead: None };
    let messages = Messages { topics: topics.clone(), size: all.size() };
    link.publish(publisher, messages, pace, Timed::new(1), Gathered::default()).await?;
    let start = Instant::now();
    let (link, subscriber) = system.subscriber(&[topics.to_vec()], From::Beginning)?;
    link.receive(subscriber, args.stored, |_| {}, |_, _| {}).await?;
    line("replay", all, args, args.stored, start.elapsed(), &Gathered::default())
}

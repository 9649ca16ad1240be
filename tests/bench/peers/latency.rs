//! Publishes at a fixed rate, and times the arrivals from when each message was due.

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::Result;
use serde::Serialize;
use tilde::apps::bench::{
    latencies::Gathered,
    schedule::{Alarm, Schedule},
    timed::Timed,
};
use tokio::task::JoinSet;

use super::{
    link::{Messages, Pace},
    options::{self, line},
    system::{From, System},
};

/// What to do.
#[derive(clap::Args, Serialize)]
pub struct Args {
    /// Messages a second.
    #[arg(long, default_value_t = 5_000)]
    #[serde(rename = "offered_rate")]
    rate: u64,
    /// Subscribers, each on a connection of its own.
    #[arg(long, default_value_t = 10)]
    subscribers: u64,
}

/// What is due in it is not counted.
const WARM_UP: Duration = Duration::from_secs(1);

/// Publishes, and says how late messages arrived.
pub async fn run(system: &impl System, args: &Args, all: &options::Args) -> Result<String> {
    system.prepare()?;
    let topics: Rc<[String]> = [system.topic(0)].into();
    let links = (0..args.subscribers).map(|_| system.subscriber(&[topics.to_vec()], From::Now));
    let links = links.collect::<Result<Vec<_>>>()?;
    let messages = |length: Duration| (length.as_secs_f64() * args.rate as f64) as u64;
    let (warm_up, counted) = (messages(WARM_UP), messages(all.length));
    let schedule = Schedule::new(Instant::now() + Duration::from_millis(50), args.rate, warm_up + counted);
    let latencies = Gathered::default();
    let mut receiving = JoinSet::new();
    for (link, subscriber) in links {
        let latencies = latencies.clone();
        let each = move |payload: &[u8], now| {
            let number = u64::from_le_bytes(*payload.first_chunk().expect("a payload has eight bytes at least"));
            if number >= warm_up {
                latencies.lock().record(schedule.late(number, now));
            }
        };
        receiving.spawn_local(link.receive(subscriber, schedule.count(), |_| {}, each));
    }
    let (link, publisher) = system.publisher()?;
    let pace = Pace::Open(schedule, Alarm::new()?);
    let messages = Messages { topics, size: all.size() };
    link.publish(publisher, messages, pace, Timed::new(1), Gathered::default()).await?;
    while let Some(received) = receiving.join_next().await {
        received??;
    }
    line("latency", all, args, counted, all.length, &latencies)
}

//! Publishes as fast as it is answered.

use std::{rc::Rc, time::Instant};

use anyhow::Result;
use serde::Serialize;
use tilde::apps::bench::{latencies::Gathered, timed::Timed};
use tokio::task::JoinSet;

use super::{
    link::{Messages, Pace, Until},
    options::{self, line},
    system::System,
};

/// What to do.
#[derive(clap::Args, Serialize)]
pub struct Args {
    /// Connections that publish.
    #[arg(long, default_value_t = 1)]
    streams: u64,
    /// Messages unanswered on each.
    #[arg(long, default_value_t = 1_024)]
    pub in_flight: u64,
    /// Topics that take turns.
    #[arg(long, default_value_t = 1)]
    topics: u64,
}

impl Args {
    /// The topics.
    pub fn topics(&self, system: &impl System) -> Rc<[String]> {
        (0..self.topics).map(|topic| system.topic(topic)).collect()
    }
}

/// Publishes, and says how fast.
pub async fn run(system: &impl System, args: &Args, all: &options::Args) -> Result<String> {
    system.prepare()?;
    let topics = args.topics(system);
    let (latencies, start) = (Gathered::default(), Instant::now());
    let mut publishing = JoinSet::new();
    for _ in 0..args.streams {
        let (link, publisher) = system.publisher()?;
        let in_flight = system.in_flight(args.in_flight);
        let pace = Pace::Closed { in_flight, until: Until::Time(start + all.length), lead: None };
        let messages = Messages { topics: topics.clone(), size: all.size() };
        publishing.spawn_local(link.publish(publisher, messages, pace, Timed::new(in_flight), latencies.clone()));
    }
    let (mut messages, mut end) = (0, start);
    while let Some(published) = publishing.join_next().await {
        let (sent, last) = published??;
        (messages, end) = (messages + sent, end.max(last));
    }
    line("publish", all, args, messages, end - start, &latencies)
}

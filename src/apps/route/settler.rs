//! Settles events that are durable where they were sent to, several at a time: each by itself, whatever became of those
//! before it in the log.

use std::{mem, time::Duration};

use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::JoinHandle,
    time::Instant,
};

use super::{lane::Held, measures::Measures};
use crate::{
    apps::{journal::Journal, output},
    client::{Fault, Settling},
};

/// Gathers what is to be settled.
#[derive(Debug)]
pub struct Settler {
    batch: usize,
    interval: Duration,
    ready: Vec<Held>,
    /// When the first of them became ready.
    since: Option<Instant>,
    said: UnboundedSender<Vec<Said>>,
    listener: JoinHandle<()>,
}

/// What the broker was told and has not confirmed.
#[derive(Debug)]
struct Said {
    sequence: u64,
    key: String,
    settling: Settling,
}

impl Settler {
    /// Settles every `batch` events, or after `interval` if there are fewer.
    pub fn start(batch: usize, interval: Duration, measures: Measures, journal: Journal) -> Self {
        let (said, heard) = unbounded_channel();
        let listener = tokio::spawn(listen(heard, measures, journal));
        Settler { batch, interval, ready: Vec::new(), since: None, said, listener }
    }

    /// An event is durable.
    pub fn push(&mut self, held: Held) {
        self.since.get_or_insert_with(Instant::now);
        self.ready.push(held);
        if self.ready.len() >= self.batch {
            self.settle();
        }
    }

    /// When what is ready is to be settled, however little it is.
    pub fn due(&self) -> Option<Instant> {
        Some(self.since? + self.interval)
    }

    /// Settles all that is ready.
    pub fn settle(&mut self) {
        self.since = None;
        let said = mem::take(&mut self.ready).into_iter().map(|held| {
            let (sequence, key) = (held.delivery.message.sequence, held.key);
            Said { sequence, key, settling: held.delivery.ack() }
        });
        let said: Vec<_> = said.collect();
        if !said.is_empty() {
            // The listener hears all of it before it ends.
            let _ = self.said.send(said);
        }
    }

    /// Settles all, and waits until the broker has confirmed that.
    pub async fn close(mut self) {
        self.settle();
        drop(self.said);
        let _ = self.listener.await;
    }
}

async fn listen(mut heard: UnboundedReceiver<Vec<Said>>, measures: Measures, journal: Journal) {
    while let Some(batch) = heard.recv().await {
        let (mut failed, mut first) = (0, None);
        for Said { sequence, key, settling } in batch {
            match settling.await {
                Ok(()) => measures.committed(&key, sequence),
                // By whomever, and in whatever way: it does not come again.
                Err(fault) if is_settled(&fault) => measures.committed(&key, sequence),
                Err(fault) => {
                    measures.uncommitted();
                    failed += 1;
                    first.get_or_insert((sequence, fault));
                }
            }
        }
        if let Some((sequence, fault)) = first {
            let events = output::count(failed, "event");
            journal.warn(&format!("{events} from {sequence} on were sent on and come again: {fault}"));
        }
    }
}

fn is_settled(fault: &Fault) -> bool {
    fault.reason.as_deref() == Some("ALREADY_SETTLED")
}

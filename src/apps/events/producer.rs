//! Events on their way: many are sent before the first of them is answered. Ends with the first that is not published.

use std::{
    collections::VecDeque,
    fmt,
    num::NonZeroU64,
    time::{Duration, Instant},
};

use futures_util::FutureExt as _;
use tokio::time;

use super::event::Maker;
use crate::{
    apps::{interrupt::Interrupt, output},
    client::{Fate, Fault, Pending, Published, Publisher},
    clock::SystemClock,
};

/// How often it is said how far it is.
const PROGRESS: Duration = Duration::from_secs(1);
/// Events whose answers nobody has looked at, whatever is asked for.
const UNSEEN: usize = 16_384;

/// Publishes events.
pub struct Producer {
    maker: Maker,
    publisher: Publisher,
    pace: Pace,
    pending: VecDeque<Pending>,
    tally: Tally,
    said: Instant,
}

/// How many, and how fast.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Events.
    pub count: u64,
    /// Between two of them.
    pub pause: Duration,
    /// After so many answers are looked at.
    pub look_every: NonZeroU64,
}

/// What became of events.
#[derive(Debug, Default)]
pub struct Tally {
    /// All that were given to the broker, or would have been.
    pub sent: u64,
    /// Answered so.
    pub published: u64,
    refused: u64,
    unsure: u64,
    /// Why one was not published: the first of which that is known.
    pub fault: Option<Fault>,
}

impl Producer {
    /// Nothing is sent yet.
    pub fn new(maker: Maker, publisher: Publisher, pace: Pace) -> Self {
        let (pending, tally) = (VecDeque::new(), Tally::default());
        Producer { maker, publisher, pace, pending, tally, said: Instant::now() }
    }

    /// Sends, until all are sent, one is not published, or the person has had enough; and waits for the answers. Tells
    /// what became of all, and whether it was stopped.
    pub async fn run(mut self, mut interrupt: Interrupt) -> (Tally, bool) {
        let stopped = tokio::select! {
            biased;
            () = interrupt.wait() => true,
            () = self.send_all() => false,
        };
        if stopped {
            tracing::info!(sent = self.tally.sent, unanswered = self.pending.len(), "stopped: no more is sent");
        }
        while !self.pending.is_empty() {
            self.first().await;
        }
        (self.tally, stopped)
    }

    /// Dropped before it ends it sends nothing more.
    async fn send_all(&mut self) {
        while self.tally.sent < self.pace.count && self.tally.fault.is_none() {
            if self.tally.sent > 0 && !self.pace.pause.is_zero() {
                self.pause().await;
            }
            let event = self.maker.event(self.tally.sent, &SystemClock);
            let sent = self.publisher.send(event).await;
            self.tally.sent += 1;
            match sent {
                Ok(pending) => self.pending.push_back(pending),
                Err(fault) => self.tally.take(Err(fault)),
            }
            if self.tally.sent.is_multiple_of(self.pace.look_every.get()) || self.pending.len() >= UNSEEN {
                self.look().await;
            }
        }
    }

    /// Waits until the next event's time, and takes the answers that come meanwhile.
    async fn pause(&mut self) {
        let next = time::sleep(self.pace.pause);
        tokio::pin!(next);
        while self.tally.fault.is_none() {
            tokio::select! {
                () = &mut next => return,
                () = self.first(), if !self.pending.is_empty() => {}
            }
        }
    }

    /// Takes the answers that are there.
    async fn look(&mut self) {
        while self.first().now_or_never().is_some() {}
        // The publisher holds back who is too far ahead, and answers in order: so this one is near.
        while self.pending.len() >= UNSEEN {
            self.first().await;
        }
        if self.said.elapsed() >= PROGRESS {
            self.said = Instant::now();
            tracing::debug!(sent = self.tally.sent, published = self.tally.published, "publishing");
        }
    }

    /// Takes the oldest answer; never ends if there is none to come. Dropped before it ends it changes nothing.
    async fn first(&mut self) {
        let Some(oldest) = self.pending.front_mut() else { return std::future::pending().await };
        let answer = oldest.await;
        self.pending.pop_front();
        self.tally.take(answer);
    }
}

impl Tally {
    fn take(&mut self, answer: Result<Published, Fault>) {
        match answer {
            Ok(_) => self.published += 1,
            Err(fault) => {
                match fault.fate {
                    Fate::Unknown => self.unsure += 1,
                    Fate::Refused | Fate::Unsent => self.refused += 1,
                }
                self.fault.get_or_insert(fault);
            }
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} published", output::count(self.published, "event"))?;
        if self.refused > 0 {
            write!(f, ", {} not", self.refused)?;
        }
        if self.unsure > 0 {
            write!(f, ", and of {} nobody knows", self.unsure)?;
        }
        Ok(())
    }
}

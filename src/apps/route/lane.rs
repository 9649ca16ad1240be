//! The way to one destination. Events leave in the order in which they came, burst after burst: what comes while one is on
//! its way to the broker's disk goes with the next. Each has a connection of its own, so that a destination that takes
//! nothing holds up no other: its events go back to the broker, and come again in their order.

use std::{
    mem,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::JoinHandle,
    time::Instant,
};

use super::event::Output;
use crate::{
    client::{Backoff, Client, Delivery, Fate, Fault, PublishRequest, Published, Publisher},
    clock::SystemClock,
};

/// Events of a burst, at most.
const BURST: usize = 2_048;
/// How soon a destination that refused is tried again, first and at most.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// A burst that takes so long is stuck.
const STUCK: Duration = Duration::from_millis(500);
/// Reasons that lie in the event alone: another try would end as this one.
const ITS_OWN: [&str; 2] = ["MESSAGE_TOO_LARGE", "MESSAGE_INVALID"];

/// An event on its way. Of its message the sequence is left.
#[derive(Debug)]
pub struct Held {
    /// Settles it.
    pub delivery: Delivery,
    /// By which it is ordered.
    pub key: String,
    /// When it happened, in milliseconds.
    pub time: i64,
}

/// What became of it.
#[derive(Debug)]
pub enum Outcome {
    /// It is durable at its destination.
    Sent(Held),
    /// It can never be.
    Rejected(Held, String),
    /// It may be later.
    Back(Held, Duration),
}

/// What became of the events of a burst.
#[derive(Debug)]
pub struct Report {
    /// Of which destination.
    pub destination: Arc<str>,
    /// In their order.
    pub outcomes: Vec<Outcome>,
    /// Which return this is, if events went back.
    pub returned: Option<u64>,
    /// Why it takes nothing just now, if so; None where that is as it was.
    pub change: Option<Result<(), String>>,
}

/// The way to a destination. Dropping it lets it finish.
#[derive(Debug)]
pub struct Lane {
    /// What events are written with.
    pub output: Output,
    /// The subject that it is from.
    pub subject: String,
    name: Arc<str>,
    queue: UnboundedSender<Job>,
    returns: Arc<Returns>,
    progress: Arc<Progress>,
    work: JoinHandle<()>,
}

/// A lane that takes nothing more, until all that it has is reported.
#[derive(Debug)]
pub struct Leaving {
    returns: Arc<Returns>,
    work: JoinHandle<()>,
}

/// How a lane gets on.
#[derive(Debug)]
struct Progress {
    opened: Instant,
    /// Events that are on their way.
    waiting: AtomicUsize,
    /// When it began to wait for answers, in milliseconds since it was opened; zero if it does not.
    burst: AtomicU64,
}

/// How often events of a destination went back: as its lanes count it, and as the router knows it. What the router has sent
/// without knowing of the last time goes back too, or it could overtake what went back before it.
#[derive(Debug, Default)]
struct Returns {
    counted: AtomicU64,
    known: AtomicU64,
}

/// An event to be sent.
#[derive(Debug)]
struct Job {
    held: Held,
    request: PublishRequest,
    /// The returns that the router knew of.
    known: u64,
}

impl Lane {
    /// Opens one. What an earlier one to the same destination still has goes first.
    pub fn open(
        client: &Client,
        name: Arc<str>,
        (output, subject): (Output, String),
        earlier: Option<Leaving>,
        reports: UnboundedSender<Report>,
    ) -> Lane {
        let (queue, queued) = unbounded_channel();
        let (waiting, burst) = Default::default();
        let progress = Arc::new(Progress { opened: Instant::now(), waiting, burst });
        let returns = earlier.as_ref().map_or_else(Arc::default, |earlier| earlier.returns.clone());
        let worker = Worker {
            returns: returns.clone(),
            name: name.clone(),
            client: client.clone(),
            publisher: client.publisher(),
            progress: progress.clone(),
            backoff: Backoff::new(FIRST_WAIT, LONGEST_WAIT),
            closed: None,
            reports,
        };
        let work = tokio::spawn(async move {
            if let Some(earlier) = earlier {
                worker.progress.begin();
                // It ends when all that it had is reported.
                let _ = earlier.work.await;
                worker.progress.end();
            }
            worker.run(queued).await;
        });
        Lane { output, subject, name, queue, returns, progress, work }
    }

    /// Canonical.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Events that are on their way.
    pub fn waiting(&self) -> usize {
        self.progress.waiting.load(Relaxed)
    }

    /// Whether what it sent last is not answered for long.
    pub fn is_stuck(&self) -> bool {
        match self.progress.burst.load(Relaxed) {
            0 => false,
            began => self.progress.now().saturating_sub(began) > STUCK.as_millis() as u64,
        }
    }

    /// Sends an event after all that was sent before.
    pub fn send(&self, held: Held, request: PublishRequest) {
        self.progress.waiting.fetch_add(1, Relaxed);
        let known = self.returns.known.load(Relaxed);
        // The worker ends after its queue.
        let _ = self.queue.send(Job { held, request, known });
    }

    /// The router knows what went back.
    pub fn know(&self, returned: u64) {
        self.returns.known.store(returned, Relaxed);
    }

    /// Takes nothing more.
    pub fn leave(self) -> Leaving {
        Leaving { returns: self.returns, work: self.work }
    }
}

impl Leaving {
    /// Whether all that it had is reported.
    pub fn has_left(&self) -> bool {
        self.work.is_finished()
    }
}

impl Progress {
    fn begin(&self) {
        self.burst.store(self.now(), Relaxed);
    }

    fn end(&self) {
        self.burst.store(0, Relaxed);
    }

    /// Never zero.
    fn now(&self) -> u64 {
        1 + self.opened.elapsed().as_millis() as u64
    }
}

/// Sends what is queued.
struct Worker {
    returns: Arc<Returns>,
    name: Arc<str>,
    client: Client,
    publisher: Publisher,
    progress: Arc<Progress>,
    backoff: Backoff,
    /// The destination refused, and is not tried before.
    closed: Option<Instant>,
    reports: UnboundedSender<Report>,
}

impl Worker {
    async fn run(mut self, mut queue: UnboundedReceiver<Job>) {
        let mut burst = Vec::with_capacity(BURST);
        while queue.recv_many(&mut burst, BURST).await > 0 {
            let count = burst.len();
            self.progress.begin();
            let report = self.burst(burst.drain(..)).await;
            self.progress.end();
            self.progress.waiting.fetch_sub(count, Relaxed);
            if self.reports.send(report).is_err() {
                return;
            }
        }
        self.publisher.close().await;
    }

    async fn burst(&mut self, jobs: impl Iterator<Item = Job>) -> Report {
        let mut outcomes = Vec::new();
        let mut change = None;
        // Nothing goes back while these are looked at.
        let counted = self.returns.counted.load(Relaxed);
        let mut events = jobs.peekable();
        while let Some(Job { held, .. }) = events.next_if(|job| job.known < counted) {
            outcomes.push(Outcome::Back(held, self.wait()));
        }
        if self.closed.is_some() {
            // One alone tells whether it takes events again; so none can overtake one that was refused.
            let is_time = self.closed.is_some_and(|until| until <= Instant::now());
            if let Some(Job { held, request, .. }) = events.next_if(|_| is_time) {
                // The one before may have ended with what it was refused.
                self.publisher = self.client.publisher();
                let outcome = self.outcome(held, self.publisher.publish(request).await, &mut change);
                outcomes.push(outcome);
            }
        }
        let mut sent = Vec::new();
        for Job { held, request, .. } in events {
            match self.closed {
                Some(_) => outcomes.push(Outcome::Back(held, self.wait())),
                None => match self.publisher.send(request).await {
                    Ok(pending) => sent.push((held, pending)),
                    Err(fault) => outcomes.push(self.outcome(held, Err(fault), &mut change)),
                },
            }
        }
        for (held, pending) in sent {
            let published = pending.await;
            outcomes.push(self.outcome(held, published, &mut change));
        }
        let goes_back = outcomes.iter().any(|outcome| matches!(outcome, Outcome::Back(..)));
        let returned = goes_back.then(|| self.returns.counted.fetch_add(1, Relaxed) + 1);
        Report { destination: self.name.clone(), outcomes, returned, change }
    }

    /// How long what goes back stays away.
    fn wait(&self) -> Duration {
        self.closed.map_or(FIRST_WAIT, |until| until - Instant::now())
    }

    fn outcome(
        &mut self,
        held: Held,
        published: Result<Published, Fault>,
        change: &mut Option<Result<(), String>>,
    ) -> Outcome {
        match published {
            Ok(_) => {
                self.backoff.reset();
                if self.closed.take().is_some() {
                    *change = Some(Ok(()));
                }
                Outcome::Sent(held)
            }
            Err(fault) if is_its_own(&fault) => Outcome::Rejected(held, fault.to_string()),
            Err(fault) => {
                let now = Instant::now();
                if self.closed.is_none_or(|until| until <= now) {
                    let wait = self.backoff.next(&SystemClock, fault.retry_delay);
                    if self.closed.is_none() {
                        *change = Some(Err(fault.to_string()));
                    }
                    self.closed = Some(now + wait);
                }
                Outcome::Back(held, self.wait())
            }
        }
    }
}

fn is_its_own(fault: &Fault) -> bool {
    fault.fate == Fate::Refused && fault.reason.as_deref().is_some_and(|reason| ITS_OWN.contains(&reason))
}

impl Held {
    /// What is needed of a delivery while it is on its way.
    pub fn new(mut delivery: Delivery, key: &str, time: i64) -> Self {
        let sequence = mem::take(&mut delivery.message).sequence;
        delivery.message.sequence = sequence;
        Held { delivery, key: key.to_owned(), time }
    }
}

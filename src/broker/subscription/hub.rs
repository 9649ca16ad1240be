//! One subscription as it is served. There is no task between the log and a consumer: whoever is polled takes what there is.
//! A task tends it (`upkeep`) as long as anything has to be done at a time; a subscription that nobody works off is asleep.
//! Decides nothing that the ledger decides.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use tokio::{sync::Notify, time::Instant};

use super::{
    super::{Shared, served::Place},
    inner::{Edge, Inner},
    ledger::{Ledger, Moment, Rules},
    locked::Lock,
    push::Attempts,
    rate::Rate,
};
use crate::{
    engine::{State, Value},
    model::{Error, Reason, Result, Sequence, Subscription, SubscriptionState, SubscriptionStats, Timestamp},
};

/// A subscription.
pub struct Hub {
    pub(super) shared: Arc<Shared>,
    pub(super) place: Arc<Place>,
    /// Where its ledger is kept.
    pub(super) key: String,
    /// Tells its ack ids from those of others.
    pub(super) tag: u32,
    pub(super) lock: Lock,
    /// Who keeps the ledger just now.
    pub(super) saving: tokio::sync::Mutex<()>,
    /// Tells the task that tends it that there is something to do.
    pub(super) stirred: Notify,
    /// Tells whoever waits for it, in turn, that the ledger is kept for good as it was; or will not be any more.
    pub(super) saved: Notify,
    /// What became of its last pushes.
    pub(super) attempts: Mutex<Attempts>,
    /// No other broker can change what is kept of it.
    adopted: AtomicBool,
}

/// Whether it hands anything out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pause {
    /// It does.
    #[default]
    No,
    /// Not before this time.
    Until(Timestamp),
    /// Not before it is resumed.
    Forever,
}

impl Hub {
    /// Opens a subscription: its ledger as it was kept, or a new one that begins at `first`.
    pub fn open(
        shared: Arc<Shared>,
        place: Arc<Place>,
        id: u64,
        first: Sequence,
        specification: Arc<Subscription>,
        pause: Pause,
        ledger: Option<Value>,
    ) -> Result<Arc<Hub>> {
        let (now, wall, lease) = (Instant::now(), shared.clock.now(), shared.clock.random() as u32);
        let rules = rules(&specification);
        let version = ledger.as_ref().map_or(0, |value| value.version);
        let mut ledger = match ledger {
            None => Ledger::new(rules, first, lease),
            Some(kept) => {
                Ledger::restore(rules, &kept.bytes, lease, wall, now).ok_or_else(|| unreadable(&specification))?
            }
        };
        let end = place.log.bounds().end;
        if ledger.read() > end.next() && ledger.read() > first {
            // A crash has cut off what it had seen: what comes instead has other numbers.
            ledger.set_back(end.next());
        }
        let key = super::ledger_key(&specification.namespace, &specification.name);
        let inner = Inner::new(specification, ledger, version, pause, wall, now);
        let (lock, saving, stirred, saved) = (Lock::new(inner), Default::default(), Notify::new(), Notify::new());
        let (tag, adopted) = (id as u32, AtomicBool::new(false));
        let attempts = Mutex::new(Attempts::new(shared.clock.random() as u32));
        let hub = Arc::new(Hub { shared, place, key, tag, lock, saving, stirred, saved, attempts, adopted });
        let mut inner = hub.lock();
        inner.begin_backlog();
        // What a crash interrupted goes on.
        if inner.ledger.has_deaths() || inner.next().is_some() {
            hub.stir(&mut inner, now);
        }
        drop(inner);
        Ok(hub)
    }

    /// What it is.
    pub fn specification(&self) -> Arc<Subscription> {
        self.lock().specification.clone()
    }

    /// Goes by another specification from now on.
    pub fn configure(self: &Arc<Self>, specification: Arc<Subscription>) {
        let mut inner = self.lock();
        inner.ledger.configure(rules(&specification));
        inner.rate = Rate::new(specification.max_rate, Instant::now());
        let reads_on = specification.patterns == inner.specification.patterns
            && specification.filter == inner.specification.filter;
        inner.specification = specification;
        inner.used = Instant::now();
        inner.begin_backlog();
        self.stir_at_next(&mut inner, Instant::now());
        if !reads_on {
            inner.patterns = Arc::new(inner.specification.pattern_set());
            inner.forget_found();
            if inner.edge.take().is_some() {
                self.register(&mut inner);
            }
            self.answer(&mut inner);
        }
        inner.wake_all();
    }

    /// Stops handing out, or goes on.
    pub fn pause(self: &Arc<Self>, pause: Pause) {
        let now = Instant::now();
        let mut inner = self.lock();
        inner.used = now;
        inner.pause = pause;
        if pause == Pause::No {
            inner.ledger.resume();
            inner.closed_until = None;
        }
        inner.resumes = resumes(pause, self.shared.clock.now(), now);
        self.stir(&mut inner, now);
        inner.wake_all();
        inner.onlookers.tell();
    }

    /// Whether it hands anything out, and until when not.
    pub fn pause_state(&self) -> (SubscriptionState, Option<Timestamp>) {
        let inner = self.lock();
        match inner.pause {
            Pause::Until(until) if self.shared.clock.now() < until => (SubscriptionState::Paused, Some(until)),
            Pause::Forever => (SubscriptionState::Paused, None),
            Pause::No | Pause::Until(_) => match inner.ledger.next_try() {
                Some(_) => (SubscriptionState::Tripped, None),
                None => (SubscriptionState::Active, None),
            },
        }
    }

    /// The engine's small values.
    pub(super) fn state(&self) -> &dyn State {
        self.shared.engine.state()
    }

    /// Ends its consumers for good. Its ledger is not written any more once this has ended.
    pub async fn delete(&self) {
        {
            let mut inner = self.lock();
            let message = format!("subscription {} was deleted", inner.specification.name);
            inner.generation += 1;
            self.end(&mut inner, Error::new(Reason::SubscriptionNotFound, message));
        }
        self.stirred.notify_one();
        drop(self.saving.lock().await);
    }

    /// Serves nobody any more, as another broker does. What is kept stays as it is.
    pub fn hand_over(&self) {
        let mut inner = self.lock();
        inner.generation += 1;
        self.end(&mut inner, self.shared.does_not_work());
        drop(inner);
        self.stirred.notify_one();
    }

    /// Keeps it once as it was found, so that no broker that had it before can change it any more. Answers whether it still
    /// was as it was found.
    pub async fn adopt(&self) -> Result<bool> {
        if self.adopted.load(Ordering::Acquire) {
            return Ok(self.lock().ended.is_none());
        }
        let saved = self.save().await;
        if self.lock().ended.is_some() {
            return Ok(false);
        }
        saved?;
        self.adopted.store(true, Ordering::Release);
        Ok(true)
    }

    /// Goes to another position; with `dry_run` it stays. Answers what waits then (see `waiting`). Kept for good once
    /// answered.
    pub async fn seek(self: &Arc<Self>, position: Sequence, dry_run: bool) -> Result<u64> {
        let backlog = self.waiting(position, 0).await?.messages;
        if !dry_run {
            let change = {
                let mut inner = self.lock();
                inner.seek(position);
                self.changed(&mut inner)
            };
            self.kept(change).await?;
        }
        Ok(backlog)
    }

    /// Settles everything that is there. Answers how much that was (see `waiting`). Kept for good once answered.
    pub async fn purge(self: &Arc<Self>) -> Result<u64> {
        self.place.log.hear_all().await?;
        let stats = self.stats().await?;
        self.seek(self.place.log.tail().committed().next(), false).await?;
        Ok(stats.backlog_messages)
    }

    /// What there is to count.
    pub async fn stats(&self) -> Result<SubscriptionStats> {
        let (read, oldest, open, counts, outstanding, consumers) = {
            let inner = self.lock();
            let (ledger, consumers) = (&inner.ledger, inner.consumers.len() as u32);
            (ledger.read(), ledger.oldest(), ledger.open(), ledger.counts(), ledger.outstanding(), consumers)
        };
        let waiting = self.waiting(read, open as u64).await?;
        Ok(SubscriptionStats {
            backlog_messages: waiting.messages,
            backlog_bytes: waiting.bytes,
            oldest_unacked_age: self.age(oldest.unwrap_or(read)).await?,
            outstanding_messages: outstanding,
            consumers,
            acked: counts.acked,
            redelivered: counts.redelivered,
            dead_lettered: counts.dead_lettered,
            expired: counts.expired,
            removed_by_retention: counts.removed,
            dropped: counts.dropped,
        })
    }

    /// Begins to hear of what comes.
    pub(super) fn register(self: &Arc<Self>, inner: &mut Inner) {
        let seat = self.place.router.register(inner.patterns.clone());
        let filter = inner.specification.filter().map(|filter| self.place.filters.register(filter));
        inner.edge = Some(Edge { seat, filter });
    }

    /// Says on which topics its consumers answer calls, if any of them does.
    pub(super) fn answer(&self, inner: &mut Inner) {
        let answers = inner.consumers.values().any(|consumer| consumer.is_responder && !consumer.is_detached);
        inner.answers = answers.then(|| self.shared.responders.register(&self.place.name, inner.patterns.clone()));
    }

    /// The ledger has changed, and must be kept. Answers the change's number.
    pub(super) fn changed(self: &Arc<Self>, inner: &mut Inner) -> u64 {
        inner.changes += 1;
        inner.onlookers.tell();
        self.stir(inner, Instant::now() + super::upkeep::GATHERED);
        inner.changes
    }

    /// Waits until a change is kept for good.
    pub(super) async fn kept(&self, change: u64) -> Result<()> {
        loop {
            let told = self.saved.notified();
            {
                let inner = self.lock();
                if inner.kept >= change {
                    return Ok(());
                }
                if let Some(error) = &inner.ended {
                    return Err(error.clone());
                }
            }
            told.await;
        }
    }

    /// Nobody can work on it any more: all who wait are told why.
    pub(super) fn end(&self, inner: &mut Inner, error: Error) {
        inner.ended = Some(error);
        inner.wake_all();
        inner.onlookers.tell();
        self.saved.notify_waiters();
    }

    /// The time, and chance.
    pub(super) fn with_moment<T>(&self, now: Instant, run: impl FnOnce(&Moment<'_>) -> T) -> T {
        let clock = &self.shared.clock;
        run(&Moment { now, jitter: &|duration| clock.jitter(duration) })
    }
}

/// When a pause is over by itself.
pub(super) fn resumes(pause: Pause, wall: Timestamp, now: Instant) -> Option<Instant> {
    match pause {
        Pause::Until(until) if wall < until => Some(now + until.since(wall)),
        Pause::No | Pause::Until(_) | Pause::Forever => None,
    }
}

fn rules(specification: &Subscription) -> Rules {
    Rules {
        order: specification.order,
        ack_deadline: specification.ack_deadline,
        retry: specification.retry,
        max_outstanding: specification.max_outstanding,
        per_key: specification.max_outstanding_per_key,
    }
}

fn unreadable(specification: &Subscription) -> Error {
    let name = &specification.name;
    tracing::error!(namespace = %specification.namespace, subscription = %name, "its ledger in the state cannot be read");
    Error::new(Reason::StorageCorrupt, format!("what subscription {name} has settled cannot be read"))
}

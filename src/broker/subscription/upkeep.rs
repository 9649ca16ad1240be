//! What a subscription needs at a time: leases and back-offs that end, what is given up, and keeping its ledger. One task
//! a subscription, as long as there is anything to do. Never hands anything out.

use std::{sync::Arc, task::Waker, time::Duration};

use tokio::time::{Instant, sleep_until};

use super::{
    hub::{Hub, resumes},
    inner::{Inner, name_of},
};
use crate::model::{Error, Reason, Result};

/// What changes within this time is kept together. With the time that the state takes to be durable it is what a crash
/// can take back of settlements.
pub(super) const GATHERED: Duration = Duration::from_millis(20);
/// What could not be kept, or put to the dead letters, is tried again after this.
const AGAIN: Duration = Duration::from_secs(1);

impl Hub {
    /// Something is to be done then.
    pub(super) fn stir(self: &Arc<Self>, inner: &mut Inner, at: Instant) {
        if !inner.is_tended {
            inner.is_tended = true;
            let hub = self.clone();
            self.place.runtime.spawn(async move { hub.tend().await });
        } else if inner.sleeps_until.is_some_and(|until| at < until) {
            // Told once: it looks for itself how long it may sleep.
            inner.sleeps_until = None;
            self.stirred.notify_one();
        }
    }

    /// What the ledger or the rate waits for is to be done in time.
    pub(super) fn stir_at_next(self: &Arc<Self>, inner: &mut Inner, now: Instant) {
        if let Some(next) = inner.next() {
            self.stir(inner, next.max(now));
        }
    }

    async fn tend(self: Arc<Self>) {
        let mut saved_at = None;
        let mut not_before = None;
        loop {
            self.tick();
            let is_well = self.bound_backlog().await && self.bury_all().await && self.save_if(&mut saved_at).await;
            not_before = (!is_well).then(|| Instant::now() + AGAIN).or(not_before.filter(|_| !is_well));
            let Some(until) = self.sleeps(saved_at, not_before) else { return };
            tokio::select! {
                () = sleep_until(until) => {}
                () = self.stirred.notified() => {}
            }
        }
    }

    /// Ends what is over, and wakes whom that concerns.
    fn tick(self: &Arc<Self>) {
        let now = Instant::now();
        let mut inner = self.lock();
        inner.sleeps_until = None;
        let Inner { ledger, consumers, .. } = &mut *inner;
        let name = |consumer| name_of(consumers, consumer);
        let ended = self.with_moment(now, |moment| ledger.tick(name, moment));
        let any_ended = !ended.is_empty();
        for ended in ended {
            inner.ended(ended.consumer, ended.bytes);
        }
        inner.end_revoked();
        if any_ended {
            inner.changes += 1;
            inner.onlookers.tell();
        }
        if inner.resumes.is_some_and(|at| at <= now) {
            // The wall clock may have been set back since.
            inner.resumes = resumes(inner.pause, self.shared.clock.now(), now);
            inner.wake_all();
        }
        let opens = inner.closed_until.is_some_and(|until| until <= now);
        if opens {
            inner.closed_until = None;
        }
        // Whoever is in line looks whether there is anything to hand out by now.
        if opens || inner.ledger.has_wanted() {
            inner.wake_next();
        }
    }

    /// Keeps the ledger if it has changed, and it is time. Answers whether all is well.
    async fn save_if(&self, saved_at: &mut Option<Instant>) -> bool {
        let is_early = saved_at.is_some_and(|at| Instant::now() < at + GATHERED);
        if is_early || !self.lock().must_be_kept() {
            return true;
        }
        *saved_at = Some(Instant::now());
        match self.save().await {
            Ok(()) => true,
            Err(error) => {
                tracing::error!(key = self.key, %error, "what a subscription has settled cannot be kept");
                false
            }
        }
    }

    /// Keeps all that has changed.
    pub(super) async fn save_all(&self) {
        self.save_if(&mut None).await;
    }

    /// Keeps the ledger as it is now.
    pub(super) async fn save(&self) -> Result<()> {
        let _one = self.saving.lock().await;
        let (bytes, version, change) = {
            let inner = self.lock();
            if inner.ended.is_some() {
                return Ok(());
            }
            (inner.ledger.encode(self.shared.clock.now(), Instant::now()), inner.version, inner.changes)
        };
        let put = self.state().put(&self.key, bytes, version).await?;
        let Some(version) = put else {
            if self.shared.office.is_some() {
                // What is kept is another broker's, or one's own whose answer was lost: it is opened anew from there.
                self.hand_over();
                return Err(self.shared.does_not_work());
            }
            return Err(Error::new(Reason::Internal, "somebody else keeps the same subscription"));
        };
        let mut inner = self.lock();
        inner.version = version;
        inner.kept = change;
        inner.savers.drain(..).for_each(Waker::wake);
        drop(inner);
        self.saved.notify_waiters();
        Ok(())
    }

    /// Until when there is nothing to do; None if there is nothing at all: then nobody tends it any more.
    fn sleeps(&self, saved_at: Option<Instant>, not_before: Option<Instant>) -> Option<Instant> {
        let now = Instant::now();
        let mut inner = self.lock();
        let save = inner.must_be_kept().then(|| saved_at.map_or(now, |at| at + GATHERED));
        let bury = inner.ledger.has_deaths().then_some(now);
        let next = [save, bury].into_iter().flatten().map(|at| at.max(not_before.unwrap_or(at)));
        let until = next.chain(inner.next()).min().filter(|_| inner.ended.is_none());
        inner.sleeps_until = until;
        inner.is_tended = until.is_some();
        until
    }
}

impl Inner {
    /// When something is over.
    pub fn next(&mut self) -> Option<Instant> {
        [self.ledger.due(), self.closed_until, self.resumes, self.looks_at].into_iter().flatten().min()
    }

    fn must_be_kept(&self) -> bool {
        self.kept < self.changes && self.ended.is_none()
    }
}

//! One subscription as it is served: its specification in force, whether it is paused, and its numbers. Delivers nothing
//! so far.

use std::sync::{Arc, Mutex, MutexGuard};

use super::super::{Shared, served::Place};
use crate::{
    engine,
    model::{Result, Sequence, Subscription, SubscriptionState, SubscriptionStats, Timestamp},
};

/// Whether a subscription is held, and for how long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pause {
    /// It is not.
    #[default]
    No,
    /// It goes on by itself then.
    Until(Timestamp),
    /// Until it is resumed.
    Forever,
}

/// One subscription.
pub struct Hub {
    shared: Arc<Shared>,
    now: Mutex<Now>,
}

/// What is in force.
struct Now {
    specification: Arc<Subscription>,
    pause: Pause,
}

impl Hub {
    /// Serves a subscription from `first` on, or from where its ledger says, if that has the same `id`.
    pub fn open(
        shared: Arc<Shared>,
        _place: Arc<Place>,
        _id: u64,
        _first: Sequence,
        specification: Arc<Subscription>,
        pause: Pause,
        _ledger: Option<engine::Value>,
    ) -> Result<Arc<Hub>> {
        Ok(Arc::new(Hub { shared, now: Mutex::new(Now { specification, pause }) }))
    }

    /// What it is to do.
    pub fn specification(&self) -> Arc<Subscription> {
        self.now().specification.clone()
    }

    /// Does something else from now on.
    pub fn configure(&self, specification: Arc<Subscription>) {
        self.now().specification = specification;
    }

    /// Holds it, or lets it go on.
    pub fn pause(&self, pause: Pause) {
        self.now().pause = pause;
    }

    /// What it does at the moment, and until when if it is held for a time.
    pub fn pause_state(&self) -> (SubscriptionState, Option<Timestamp>) {
        match self.now().pause {
            Pause::Until(until) if until > self.shared.clock.now() => (SubscriptionState::Paused, Some(until)),
            Pause::Forever => (SubscriptionState::Paused, None),
            Pause::No | Pause::Until(_) => (SubscriptionState::Active, None),
        }
    }

    /// Where it stands.
    pub fn stats(&self) -> SubscriptionStats {
        SubscriptionStats::default()
    }

    /// Begins anew at a position, or only counts. Answers the backlog from there on.
    pub async fn seek(&self, _position: Sequence, _dry_run: bool) -> Result<u64> {
        Ok(0)
    }

    /// Settles all that waits. Answers how many.
    pub async fn purge(&self) -> Result<u64> {
        Ok(0)
    }

    /// Ends its consumers: it is gone.
    pub fn delete(&self) {}

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().expect("nobody panics while holding what is in force")
    }
}

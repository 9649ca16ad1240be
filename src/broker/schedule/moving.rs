//! What is scheduled when a namespace moves: which messages still wait, by the marks that lie in its log; and that nothing
//! is published in a namespace as long as another one moves in. Never publishes anything.

use std::sync::{Arc, atomic::Ordering};

use super::{MARKS, PREFIX, StoredMark, agenda::Mark, due, scheduled_topic};
use crate::{
    broker::served::Place,
    model::{Error, Pattern, PatternSet, Reason, Record, Result},
};

/// What of a log that is read up to a position was published by then. It does not ask whoever publishes: he may be further.
pub struct Waiting(Mark);

/// As long as it is held, nothing is published.
pub struct Hold(Arc<Place>);

impl Default for Waiting {
    fn default() -> Self {
        Waiting(Mark::NONE)
    }
}

impl Waiting {
    /// All that can wait.
    pub fn patterns() -> Arc<PatternSet> {
        Arc::new(PatternSet::new(vec![Pattern::Prefix(PREFIX.into())]))
    }

    /// Takes note of a record, in the order of the log. Answers whether it is a message like any other.
    pub fn note(&mut self, record: &Record<'_>) -> Result<bool> {
        if record.topic() == MARKS {
            let stored = serde_json::from_slice::<StoredMark>(record.payload()).map_err(|error| {
                let message = format!("message {} is no mark of {MARKS}: {error}", record.sequence());
                Error::new(Reason::StorageCorrupt, message)
            })?;
            self.0 = stored.into();
            return Ok(false);
        }
        Ok(scheduled_topic(record).is_none())
    }

    /// Whether a record is one of a message that waits, by all that was noted.
    pub fn waits(&self, record: &Record<'_>) -> bool {
        scheduled_topic(record).is_some() && due(record).is_some_and(|due| self.0.leaves(due))
    }
}

impl Hold {
    /// Holds; None if somebody else does.
    pub fn take(place: &Arc<Place>) -> Option<Self> {
        let is_free = !place.schedule.is_held.swap(true, Ordering::SeqCst);
        is_free.then(|| Hold(place.clone()))
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.schedule.is_held.store(false, Ordering::SeqCst);
    }
}

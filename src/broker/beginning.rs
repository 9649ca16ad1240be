//! Where a stream begins that names a time, or counts from the end: the log is searched for it. Never delivers
//! anything.

use std::sync::Arc;

use super::{
    Shared,
    position::{self, Start},
    served::Place,
    snapshot::Snapshot,
};
use crate::{
    engine::{Bounds, Filter, LookBack, Wanted},
    model::{Error, PatternSet, Position, Reason, Result, Sequence, limits},
};

/// Steps of searches that are taken at the same time, over all namespaces. Searches take turns, so that a long one keeps
/// nobody waiting.
pub const STEPS: usize = 4;
/// Searches for the newest of each topic that may be under way at the same time: each remembers some MiB of topics.
/// Others wait.
pub const TOPIC_SEARCHES: usize = 16;

/// What a stream wants of its beginning.
pub struct Request<'a> {
    /// As it was asked for.
    pub position: Position,
    /// A gap is refused.
    pub strict: bool,
    /// The topics that count.
    pub patterns: &'a Arc<PatternSet>,
    /// Which of their messages count.
    pub filter: Option<Arc<dyn Filter>>,
}

/// Where a stream begins.
pub struct Beginning {
    /// Its first position.
    pub start: Start,
    /// What it gets up to the end that it was found at, if that is not everything.
    pub snapshot: Option<Box<Snapshot>>,
}

impl Request<'_> {
    /// Finds the beginning in a log with these bounds.
    pub async fn resolve(self, place: &Place, bounds: &Bounds, broker: &Shared) -> Result<Beginning> {
        let mut start = position::resolve(self.position, bounds, self.strict)?;
        let mut snapshot = None;
        match self.position {
            Position::New | Position::Earliest | Position::After(_) | Position::At(_) => {}
            Position::Time(time) => start.next = place.log.at_time(time).await?,
            Position::Last(count) => {
                let found = self.look_back(Wanted::Last(count as usize), place, bounds, broker).await?.found;
                start.next = found.first().copied().unwrap_or(start.next);
            }
            Position::LastPerTopic => {
                snapshot = self.snapshot(place, bounds, broker).await?;
                start.next = snapshot.as_mut().map_or(start.next, |snapshot| snapshot.advance(Sequence::ZERO).0);
            }
        }
        Ok(Beginning { start, snapshot })
    }

    /// The newest message of each topic; None if there is none.
    async fn snapshot(&self, place: &Place, bounds: &Bounds, broker: &Shared) -> Result<Option<Box<Snapshot>>> {
        let wanted = Wanted::OfEachTopic(limits::LAST_TOPICS);
        let found = self.look_back(wanted, place, bounds, broker).await?.found;
        if found.len() > limits::LAST_TOPICS {
            let message = format!(
                "more than {} topics match: a stream begins with the last message of so many at most; name fewer topics, \
                 or begin elsewhere",
                limits::LAST_TOPICS
            );
            return Err(Error::new(Reason::RequestInvalid, message).field("topics").with("limit", limits::LAST_TOPICS));
        }
        if found.is_empty() {
            return Ok(None);
        }
        let bytes = u32::try_from(size_of_val(&found[..])).expect("a list that long was refused");
        let room = broker.snapshots.clone().try_acquire_many_owned(bytes).map_err(|_| {
            let message = "too many streams are still reading the last message of each of their topics: try again when \
                           they have, or name fewer topics";
            Error::new(Reason::QuotaExceeded, message)
        })?;
        Ok(Some(Box::new(Snapshot::new(found, bounds.end, room))))
    }

    /// Searches from the end of `bounds` back, step by step: whoever leaves ends it.
    async fn look_back(&self, wanted: Wanted, place: &Place, bounds: &Bounds, broker: &Shared) -> Result<LookBack> {
        let _memory = match wanted {
            Wanted::Last(_) => None,
            Wanted::OfEachTopic(_) => Some(broker.topic_searches.acquire().await.expect("nobody closes it")),
        };
        let now = broker.clock.now();
        let mut search = LookBack::new(self.patterns.clone(), wanted, bounds.end, now);
        search.filter = self.filter.clone();
        while !search.done {
            let _turn = broker.steps.acquire().await.expect("nobody closes it");
            search = place.log.look_back(search).await?;
        }
        Ok(search)
    }
}

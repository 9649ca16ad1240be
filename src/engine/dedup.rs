//! Remembers message ids for a while, so that publishing again is safe. Bounded: when it is full it refuses rather
//! than forgets. Pure.

use std::{
    collections::{HashMap, VecDeque, hash_map::RandomState},
    hash::{BuildHasher, Hasher},
    time::Duration,
};

use crate::model::{Error, Reason, Record, Result, Sequence, Timestamp};

/// Ids that are remembered at a time, by one log.
pub const MOST: usize = 1_000_000;

/// The ids of one log. They are kept as fingerprints of 128 bits, keyed anew in every process.
pub struct Dedup {
    most: usize,
    seen: HashMap<u128, Seen>,
    // In the order of their publish times.
    order: VecDeque<(Timestamp, u128)>,
}

/// What was published with an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its place.
    pub sequence: Sequence,
    /// The payload's fingerprint.
    pub payload: u64,
    /// When.
    pub publish_time: Timestamp,
}

impl Dedup {
    /// Remembers at most `most` ids.
    pub fn new(most: usize) -> Self {
        Dedup { most, seen: HashMap::new(), order: VecDeque::new() }
    }

    /// What was published with an id.
    pub fn lookup(&self, id: u128) -> Option<Seen> {
        self.seen.get(&id).copied()
    }

    /// Refuses if `more` ids would be too many.
    pub fn room_for(&self, more: usize) -> Result<()> {
        if self.seen.len() + more <= self.most {
            return Ok(());
        }
        let message = format!(
            "{} message ids are remembered in this namespace, and no more can be: wait, shorten its \
             deduplication_window, or publish without message_id",
            self.seen.len()
        );
        Err(Error::new(Reason::QuotaExceeded, message).field("message_id").retry_after(Duration::from_secs(5)))
    }

    /// Remembers an id.
    pub fn insert(&mut self, id: u128, seen: Seen) {
        self.order.push_back((seen.publish_time, id));
        self.seen.insert(id, seen);
    }

    /// Forgets what is older than `window`.
    pub fn expire(&mut self, now: Timestamp, window: Duration) {
        let oldest = now.minus(window);
        while let Some(&(time, id)) = self.order.front() {
            if time >= oldest {
                break;
            }
            self.order.pop_front();
            self.seen.remove(&id);
        }
        if self.seen.is_empty() && self.seen.capacity() > 1024 {
            // A burst is over: its memory goes back.
            (self.seen, self.order) = Default::default();
        }
    }
}

/// Makes fingerprints. Cheap to clone; all clones make the same.
#[derive(Clone, Debug, Default)]
pub struct IdHasher {
    high: RandomState,
    low: RandomState,
}

impl IdHasher {
    /// Of a topic and an id.
    pub fn id(&self, topic: &str, id: &[u8]) -> u128 {
        let half = |state: &RandomState| {
            let mut hasher = state.build_hasher();
            hasher.write_usize(topic.len());
            hasher.write(topic.as_bytes());
            hasher.write(id);
            hasher.finish()
        };
        u128::from(half(&self.high)) << 64 | u128::from(half(&self.low))
    }

    /// Of a payload.
    pub fn payload(&self, payload: &[u8]) -> u64 {
        let mut hasher = self.high.build_hasher();
        hasher.write(payload);
        hasher.finish()
    }

    /// Both, of a stored record that has an id.
    pub fn seen(&self, record: &Record<'_>) -> (u128, Seen) {
        let seen = Seen {
            sequence: record.sequence(),
            payload: self.payload(record.payload()),
            publish_time: record.publish_time(),
        };
        (self.id(record.topic(), record.message_id()), seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_for_the_window_and_refuses_when_full() {
        let hasher = IdHasher::default();
        let (a, b) = (hasher.id("t", b"a"), hasher.id("ta", b""));
        assert_ne!(a, b);
        assert_eq!(a, hasher.clone().id("t", b"a"));
        let seen = |n| Seen { sequence: Sequence(n), payload: 0, publish_time: Timestamp::from_nanos(n as i64) };
        let mut dedup = Dedup::new(2);
        dedup.insert(a, seen(1));
        dedup.insert(b, seen(5));
        assert_eq!(dedup.room_for(1).unwrap_err().reason(), Reason::QuotaExceeded);
        dedup.expire(Timestamp::from_nanos(11), Duration::from_nanos(10));
        assert_eq!(dedup.lookup(a), Some(seen(1)));
        dedup.expire(Timestamp::from_nanos(12), Duration::from_nanos(10));
        assert_eq!((dedup.lookup(a), dedup.lookup(b)), (None, Some(seen(5))));
        assert!(dedup.room_for(1).is_ok());
    }
}

//! What a broker knows of a stream: what it must know to put something behind its last entry. Learned from the entries
//! in their order, by every broker alike, so that whoever writes decides as the others would. Pure.

use std::{collections::HashMap, sync::Arc};

use super::{
    Entry,
    entry::{MOST, Totals},
};
use crate::{
    engine::{
        LogSettings, Session,
        dedup::{self, Dedup, IdHasher},
        producers::{Most, Producers},
    },
    model::{Result, Sequence, Timestamp},
};

/// Topics whose newest entry is remembered. NATS is asked again of those that were forgotten.
const TOPICS: usize = 100_000;

/// What is known after the entry at `position`.
pub struct Known {
    /// The last position that was looked at.
    pub position: u64,
    /// The sequence of the next record.
    pub next: Sequence,
    /// When the last record was taken.
    pub time: Timestamp,
    /// Message ids of the last while.
    pub dedup: Dedup,
    /// Producers' numbers of the last while.
    pub producers: Producers,
    /// What is wished of the log.
    pub settings: LogSettings,
    /// Draws fingerprints of ids.
    pub hasher: IdHasher,
    topics: HashMap<String, Newest>,
    // Every topic that has anything is in `topics`.
    is_complete: bool,
}

/// The newest entry of a topic.
#[derive(Clone, Copy, Debug, Default)]
pub struct Newest {
    /// Its last record.
    pub last: Sequence,
    /// What the topic has had, with it.
    pub totals: Totals,
}

impl Known {
    /// Everything up to a position was looked at.
    pub fn passed(&mut self, position: u64) {
        self.position = self.position.max(position);
    }

    /// Of a stream of which only the last position is known.
    pub fn new(position: u64, settings: LogSettings) -> Self {
        Known {
            position,
            // No entry holds more records than that, so none of those that are gone had this sequence.
            next: Sequence(position.saturating_mul(MOST)).next(),
            time: Timestamp::EPOCH,
            dedup: Dedup::new(dedup::MOST),
            producers: Producers::new(Most::default()),
            settings,
            hasher: IdHasher::default(),
            topics: HashMap::new(),
            is_complete: position == 0,
        }
    }

    /// Learns of the next entry. Numbers of another writer end the session that their producer has here.
    pub fn learn(&mut self, entry: &Entry, writer: u64) {
        self.learn_place(entry);
        let time = self.time;
        for (producer, run) in &entry.numbers {
            if entry.author.writer != writer {
                self.producers.replace(producer);
            }
            self.producers.restore(producer, *run, time);
        }
    }

    /// As [`Known::learn`], of an entry whose numbers are known already.
    pub fn learn_place(&mut self, entry: &Entry) {
        let head = entry.head();
        self.position = entry.position;
        self.next = entry.last().next();
        self.time = self.time.max(head.publish_time());
        self.remember(head.topic(), Newest { last: entry.last(), totals: entry.totals });
        if entry.identified {
            for record in entry.iter().filter(|record| !record.message_id().is_empty()) {
                let (id, seen) = self.hasher.seen(&record);
                self.dedup.insert(id, seen);
            }
        }
    }

    /// Whether nothing has to be asked of a topic.
    pub fn knows(&self, topic: &str) -> bool {
        self.is_complete || self.topics.contains_key(topic)
    }

    /// Remembers what was found of a topic.
    pub fn remember(&mut self, topic: &str, newest: Newest) {
        if let Some(known) = self.topics.get_mut(topic) {
            *known = newest;
            return;
        }
        if self.topics.len() >= TOPICS {
            self.topics.clear();
            self.is_complete = false;
        }
        self.topics.insert(topic.to_owned(), newest);
    }

    /// The newest entry of a topic, as far as [`Known::knows`] it.
    pub fn newest(&self, topic: &str) -> Newest {
        self.topics.get(topic).copied().unwrap_or_default()
    }

    /// Forgets what is too old at `now`.
    pub fn expire(&mut self, now: Timestamp) {
        self.time = self.time.max(now);
        self.dedup.expire(self.time, self.settings.deduplication_window);
        self.producers.expire(self.time, self.settings.deduplication_window);
    }

    /// Begins a producer's session.
    pub fn attach(&mut self, session: Arc<Session>, now: Timestamp) -> Result<u64> {
        self.producers.attach(session, now)
    }
}

//! A block that is being put together: records with their places, and who waits for them. Never touches a file.

use std::collections::HashMap;

use tokio::sync::oneshot;

use super::{
    frame::{self, Frame},
    segments::Segments,
};
use crate::{
    engine::{
        Appended, Batch, Outcome,
        dedup::{Dedup, Seen},
        purge::PurgeMarks,
        refusal,
    },
    model::{Durability, Error, Records, Result, Sequence, Stamp, Timestamp},
};

/// What waits to be written: records, the fingerprints of those with an id, and who waits for the answer.
pub struct Submission {
    /// The records.
    pub batch: Batch,
    /// For each record with an id, in order: fingerprints of topic and id, and of the payload.
    pub ids: Vec<(u128, u64)>,
    /// Who waits.
    pub answer: oneshot::Sender<Result<Vec<Outcome>>>,
}

/// What a draft asks to decide about a record.
pub struct Known<'a> {
    /// What was published before, by id.
    pub dedup: &'a Dedup,
    /// What was written before, by topic.
    pub segments: &'a Segments,
    /// What of it is hidden.
    pub marks: &'a PurgeMarks,
}

/// The block.
pub struct Draft {
    // Room for the header, then records.
    bytes: Vec<u8>,
    first: Sequence,
    count: u32,
    time: Timestamp,
    stamp: Stamp,
    sync: bool,
    has_expiring: bool,
    fresh: HashMap<u128, Seen>,
    // The last sequence of each topic in this block; made when it is first asked for.
    topics: Option<HashMap<String, Sequence>>,
    waiting: Vec<Waiting>,
}

/// Somebody who waits for a block.
struct Waiting {
    answer: oneshot::Sender<Result<Vec<Outcome>>>,
    result: Result<Vec<Outcome>>,
    durability: Durability,
    // Holds the reservation until the answer is sent.
    _batch: Batch,
}

impl Draft {
    /// An empty one with room for so many bytes of records; its first record gets the sequence `first`.
    pub fn new(room: usize, first: Sequence, time: Timestamp) -> Self {
        let mut bytes = Vec::with_capacity(frame::HEADER + room);
        bytes.resize(frame::HEADER, 0);
        Draft {
            bytes,
            first,
            count: 0,
            time,
            stamp: Stamp::new(time),
            sync: false,
            has_expiring: false,
            fresh: HashMap::new(),
            topics: None,
            waiting: Vec::new(),
        }
    }

    /// Whether it holds no records.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of the block.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Whether anyone waits for a sync.
    pub fn wants_sync(&self) -> bool {
        self.sync
    }

    /// What was published with an id.
    pub fn fresh(&self) -> impl Iterator<Item = (u128, Seen)> {
        self.fresh.iter().map(|(&id, &seen)| (id, seen))
    }

    /// Decides what becomes of each record of a submission, and adds those that are taken.
    pub fn place(&mut self, submission: Submission, known: &Known<'_>) {
        let Submission { mut batch, ids, answer } = submission;
        let before = (self.bytes.len(), self.count);
        let begin = self.first.plus(self.count.into());
        let mut outcomes = Vec::with_capacity(batch.entries.len());
        let mut ids = ids.into_iter();
        let mut placed = Vec::new();
        for at in 0..batch.entries.len() {
            let id = if batch.entries[at].has_id { ids.next() } else { None };
            let outcome = self.decide(&batch, at, id, begin, known);
            if matches!(outcome, Ok(Appended { duplicate: false, .. })) {
                self.push(&batch, at, id);
                placed.extend(id);
            }
            let refused = outcome.is_err();
            outcomes.push(outcome);
            if refused && batch.atomic {
                break;
            }
        }
        let result = match outcomes.pop() {
            Some(Err(error)) if batch.atomic => {
                self.bytes.truncate(before.0);
                self.count = before.1;
                self.fresh.retain(|id, _| !placed.iter().any(|(placed, _)| placed == id));
                self.topics = None;
                Err(error.within(format_args!("requests[{}]", outcomes.len())))
            }
            last => {
                outcomes.extend(last);
                Ok(outcomes)
            }
        };
        self.sync |= batch.durability >= Durability::Synced;
        self.has_expiring |= batch.expiring && result.is_ok();
        // They are copied by now; only the reservation is still needed.
        batch.records = Vec::new();
        self.waiting.push(Waiting { answer, result, durability: batch.durability, _batch: batch });
    }

    /// `begin` is the place of the batch's first record.
    fn decide(
        &mut self,
        batch: &Batch,
        at: usize,
        id: Option<(u128, u64)>,
        begin: Sequence,
        known: &Known<'_>,
    ) -> Outcome {
        if let Some((id, payload)) = id {
            if let Some(seen) = self.fresh.get(&id).copied().or_else(|| known.dedup.lookup(id)) {
                return repeated(batch, at, payload, seen, begin);
            }
            known.dedup.room_for(self.fresh.len() + 1)?;
        }
        if let Some(expected) = batch.entries[at].expected {
            self.check_expected(batch, at, expected, begin, known)?;
        }
        Ok(Appended {
            sequence: self.first.plus(self.count.into()),
            publish_time: self.time,
            duplicate: false,
            durability: Durability::Written,
        })
    }

    fn push(&mut self, batch: &Batch, at: usize, id: Option<(u128, u64)>) {
        let sequence = self.first.plus(self.count.into());
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&batch.records[batch.range(at)]);
        self.stamp.put(&mut self.bytes[start..], sequence);
        self.count += 1;
        if let Some((id, payload)) = id {
            self.fresh.insert(id, Seen { sequence, payload, publish_time: self.time });
        }
        if let Some(topics) = &mut self.topics {
            topics.insert(batch.record(at).topic().to_owned(), sequence);
        }
    }

    fn check_expected(
        &mut self,
        batch: &Batch,
        at: usize,
        expected: Sequence,
        begin: Sequence,
        known: &Known<'_>,
    ) -> Result<()> {
        let record = batch.record(at);
        let topic = record.topic();
        let topics = self.topics.get_or_insert_with(|| {
            let placed = Records::new(&self.bytes[frame::HEADER..]).flatten();
            placed.map(|record| (record.topic().to_owned(), record.sequence())).collect()
        });
        let actual = match topics.get(topic) {
            Some(&sequence) => sequence,
            None => match known.segments.last_of(topic)? {
                hidden if known.marks.hidden_through(topic) >= hidden => Sequence::ZERO,
                last => last,
            },
        };
        if actual == expected {
            return Ok(());
        }
        Err(match batch.atomic && actual >= begin {
            true => refusal::conflict_within(topic, expected),
            false => refusal::conflict(topic, expected, actual),
        })
    }

    /// The finished block's bytes: header, then records. `synced` is what was on stable storage before it.
    pub fn seal(&mut self, seed: frame::Seed, synced: Sequence) -> (Frame, Vec<u8>) {
        let frame = Frame {
            bytes: self.bytes.len() - frame::HEADER,
            count: self.count,
            first: self.first,
            synced_through: synced,
            time: self.time,
            has_ids: !self.fresh.is_empty(),
            has_expiring: self.has_expiring,
            closing: false,
        };
        let mut bytes = std::mem::take(&mut self.bytes);
        frame.seal(seed, &mut bytes);
        (frame, bytes)
    }

    /// Answers those who asked for less than `below`, with what it is worth by now.
    pub fn answer_below(&mut self, below: Durability, worth: Durability) {
        let (now, later) = std::mem::take(&mut self.waiting).into_iter().partition(|w| w.durability < below);
        self.waiting = later;
        now.into_iter().for_each(|waiting: Waiting| waiting.send(worth));
    }

    /// Answers all who still wait, with what it is worth.
    pub fn answer(self, worth: Durability) {
        self.waiting.into_iter().for_each(|waiting| waiting.send(worth));
    }

    /// Refuses all who still wait.
    pub fn refuse(self, error: &Error) {
        for waiting in self.waiting {
            let _ = waiting.answer.send(Err(error.clone()));
        }
    }
}

impl Waiting {
    /// Whoever waited may have gone: the records are there all the same.
    fn send(mut self, worth: Durability) {
        if let Ok(outcomes) = &mut self.result {
            outcomes.iter_mut().flatten().for_each(|appended| appended.durability = worth);
        }
        let _ = self.answer.send(self.result);
    }
}

/// The outcome for an id that was used before.
fn repeated(batch: &Batch, at: usize, payload: u64, seen: Seen, begin: Sequence) -> Outcome {
    if seen.payload == payload {
        return Ok(Appended {
            sequence: seen.sequence,
            publish_time: seen.publish_time,
            duplicate: true,
            durability: Durability::Written,
        });
    }
    let record = batch.record(at);
    Err(match batch.atomic && seen.sequence >= begin {
        true => refusal::reused_within(record.topic(), record.message_id()),
        false => refusal::reused(record.topic(), record.message_id(), seen.sequence),
    })
}

//! A block that is being put together: records with their places, and who waits for them. Never touches a file.

use std::{collections::HashMap, sync::Arc};

use tokio::sync::oneshot;

use super::{
    frame::{self, Frame},
    segments::Segments,
};
use crate::{
    engine::{
        Appended, Batch, Outcome, OutcomeRun, Outcomes, Session,
        dedup::{Dedup, Seen},
        producers::{Additions, Placing, Producers, Run},
        purge::PurgeMarks,
        refusal, runs,
    },
    model::{Durability, Error, Records, Result, Sequence, Stamp, Timestamp},
};

/// What waits for the writer.
pub enum Submission {
    /// Records to be written.
    Append(Append),
    /// A producer's session to begin.
    Attach(Attach),
}

/// A producer's session, and who waits for its next number.
pub struct Attach {
    /// The session.
    pub session: Arc<Session>,
    /// Who waits.
    pub answer: oneshot::Sender<Result<u64>>,
}

/// Records, the fingerprints of those with an id, and who waits for the answer.
pub struct Append {
    /// The records.
    pub batch: Batch,
    /// For each record with an id, in order: fingerprints of topic and id, and of the payload.
    pub ids: Vec<(u128, u64)>,
    /// Who waits.
    pub answer: oneshot::Sender<Result<Outcomes>>,
}

impl Submission {
    /// Bytes of its records.
    pub fn bytes(&self) -> usize {
        match self {
            Submission::Append(append) => append.batch.bytes(),
            Submission::Attach(_) => 0,
        }
    }

    /// Tells whoever waits. He may have gone.
    pub fn refuse(self, error: &Error) {
        match self {
            Submission::Append(append) => drop(append.answer.send(Err(error.clone()))),
            Submission::Attach(attach) => drop(attach.answer.send(Err(error.clone()))),
        }
    }
}

/// What a draft asks to decide about a record.
pub struct Known<'a> {
    /// What was published before, by id.
    pub dedup: &'a Dedup,
    /// What was published before, by the producers' numbers.
    pub producers: &'a Producers,
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
    additions: Additions,
    // Where in `bytes` the records end; set when runs follow.
    records_end: Option<usize>,
    // The last sequence of each topic in this block; made when it is first asked for.
    topics: Option<HashMap<String, Sequence>>,
    waiting: Vec<Waiting>,
}

/// Somebody who waits for a block.
struct Waiting {
    answer: oneshot::Sender<Result<Outcomes>>,
    result: Result<Outcomes>,
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
            additions: Additions::default(),
            records_end: None,
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

    /// What was published under numbers.
    pub fn additions(&self) -> &Additions {
        &self.additions
    }

    /// Puts the runs of numbers behind the records: no more records are placed.
    pub fn add_runs(&mut self) {
        self.records_end = Some(self.bytes.len());
        runs::encode(self.additions.runs(), self.first, &mut self.bytes);
    }

    fn records_end(&self) -> usize {
        self.records_end.unwrap_or(self.bytes.len())
    }

    /// Decides what becomes of each record of a submission, and adds those that are taken.
    pub fn place(&mut self, append: Append, known: &Known<'_>) {
        let Append { mut batch, ids, answer } = append;
        let result = match batch.atomic {
            true => self.place_all_or_none(&batch, ids, known),
            false => self.place_each(&batch, ids, known),
        };
        self.sync |= batch.durability >= Durability::Synced;
        self.has_expiring |= batch.expiring && result.is_ok();
        // They are copied by now; only the reservation is still needed.
        batch.records = Vec::new();
        self.waiting.push(Waiting { answer, result, durability: batch.durability, _batch: batch });
    }

    fn place_each(&mut self, batch: &Batch, ids: Vec<(u128, u64)>, known: &Known<'_>) -> Result<Outcomes> {
        let Some(numbered) = &batch.numbered else {
            return Ok(match batch.picky {
                true => self.place_one_by_one(batch, ids, known).0,
                false => self.place_run(batch),
            });
        };
        let placing = self.additions.begin(numbered, known.producers)?;
        let numbers = numbered.numbers.clone();
        let whole = numbers.end - numbers.start == batch.len() as u64;
        let outcomes = match batch.picky || !whole || self.additions.is_used(placing, numbers.start) {
            true => return Ok(self.place_numbered(batch, placing, numbers.end, known)),
            false => self.place_run(batch),
        };
        if let [OutcomeRun { outcome: Ok(first), .. }] = outcomes.runs() {
            let run = Run { number: numbers.start, sequence: first.sequence, count: batch.len() as u64 };
            self.additions.add(placing, run);
        }
        Ok(outcomes)
    }

    /// Takes all records as they are.
    fn place_run(&mut self, batch: &Batch) -> Outcomes {
        let first = self.next();
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&batch.records);
        let mut begin = start;
        for entry in &batch.entries {
            let sequence = self.next();
            self.stamp.put(&mut self.bytes[begin..start + entry.end], sequence);
            self.count += 1;
            begin = start + entry.end;
        }
        if self.topics.is_some() {
            for at in 0..batch.len() {
                self.note_topic(batch, at, first.plus(at as u64));
            }
        }
        Outcomes::all(batch.len(), Ok(self.appended(first)))
    }

    fn place_all_or_none(&mut self, batch: &Batch, ids: Vec<(u128, u64)>, known: &Known<'_>) -> Result<Outcomes> {
        let before = (self.bytes.len(), self.count);
        let (outcomes, placed) = self.place_one_by_one(batch, ids, known);
        let Some(OutcomeRun { outcome: Err(error), .. }) = outcomes.runs().last() else { return Ok(outcomes) };
        self.bytes.truncate(before.0);
        self.count = before.1;
        self.fresh.retain(|id, _| !placed.contains(id));
        self.topics = None;
        Err(error.clone().within(format_args!("requests[{}]", outcomes.len() - 1)))
    }

    /// Also answers the ids of those that were taken. An atomic batch ends with its first refusal.
    fn place_one_by_one(&mut self, batch: &Batch, ids: Vec<(u128, u64)>, known: &Known<'_>) -> (Outcomes, Vec<u128>) {
        let begin = self.next();
        let mut outcomes = Outcomes::default();
        let mut ids = ids.into_iter();
        let mut placed = Vec::new();
        for at in 0..batch.len() {
            let id = if batch.entries[at].has_id { ids.next() } else { None };
            let outcome = self.decide(batch, at, id, begin, known);
            if matches!(outcome, Ok(Appended { duplicate: false, .. })) {
                self.push(batch, at, id);
                placed.extend(id.map(|(id, _)| id));
            }
            let refused = outcome.is_err();
            outcomes.push(outcome);
            if refused && batch.atomic {
                break;
            }
        }
        (outcomes, placed)
    }

    /// Takes the records whose numbers were not used before, in their order. After one that is refused and may be sent
    /// again, none is taken.
    fn place_numbered(&mut self, batch: &Batch, placing: Placing, end: u64, known: &Known<'_>) -> Outcomes {
        let begin = self.next();
        let mut outcomes = Outcomes::default();
        let mut missing = None;
        for (at, entry) in batch.entries.iter().enumerate() {
            let number = entry.number;
            if let Some(missing) = missing {
                outcomes.push(Err(refusal::preceding(number, missing)));
                continue;
            }
            if self.additions.is_used(placing, number) {
                let appended = self.appended(Sequence::ZERO);
                outcomes.push(self.additions.repeated(placing, number, known.producers, appended));
                continue;
            }
            let outcome = self.decide(batch, at, None, begin, known);
            match &outcome {
                Ok(appended) => {
                    self.additions.add(placing, Run { number, sequence: appended.sequence, count: 1 });
                    self.push(batch, at, None);
                }
                Err(error) if error.retry_delay().is_some() => missing = Some(number),
                Err(_) => {}
            }
            outcomes.push(outcome);
        }
        self.additions.use_up(placing, missing.unwrap_or(end));
        outcomes
    }

    /// The place of the next record.
    fn next(&self) -> Sequence {
        self.first.plus(self.count.into())
    }

    /// What is answered for a record that is taken.
    fn appended(&self, sequence: Sequence) -> Appended {
        Appended { sequence, publish_time: self.time, duplicate: false, durability: Durability::Written }
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
        Ok(self.appended(self.next()))
    }

    fn push(&mut self, batch: &Batch, at: usize, id: Option<(u128, u64)>) {
        let sequence = self.next();
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&batch.records[batch.range(at)]);
        self.stamp.put(&mut self.bytes[start..], sequence);
        self.count += 1;
        if let Some((id, payload)) = id {
            self.fresh.insert(id, Seen { sequence, payload, publish_time: self.time });
        }
        self.note_topic(batch, at, sequence);
    }

    fn note_topic(&mut self, batch: &Batch, at: usize, sequence: Sequence) {
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
        let end = self.records_end();
        let topics = self.topics.get_or_insert_with(|| {
            let placed = Records::new(&self.bytes[frame::HEADER..end]).flatten();
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
            bytes: self.records_end() - frame::HEADER,
            runs: self.bytes.len() - self.records_end(),
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
            outcomes.worth(worth);
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

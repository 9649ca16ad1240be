//! Decides what becomes of records that are to be taken together: which get a place, which are duplicates, and which are
//! refused. Pure, and leaves no trace: what was decided counts once the records are kept, and the log learns of it.
//!
//! (The embedded engine decides the same while it writes its blocks: `log/draft.rs`.)

use std::collections::HashMap;

use super::{
    Appended, Batch, Outcome, Outcomes,
    dedup::{Dedup, IdHasher, Seen},
    producers::{Additions, Placing as Numbering, Producers, Run},
    purge::PurgeMarks,
    refusal,
};
use crate::model::{Durability, Result, Sequence, Timestamp};

/// What must be known of a log to give records their places in it.
pub struct Known<'a> {
    /// The place of the next record.
    pub next: Sequence,
    /// When it is taken.
    pub time: Timestamp,
    /// What answers are worth at most.
    pub strongest: Durability,
    /// What was published before, by id.
    pub dedup: &'a Dedup,
    /// What was published before, by the producers' numbers.
    pub producers: &'a Producers,
    /// The newest message of a topic, hidden or not; zero if there is none.
    pub newest: &'a dyn Fn(&str) -> Sequence,
    /// What is hidden.
    pub marks: &'a PurgeMarks,
}

/// What became of a batch.
pub struct Placed {
    /// Which of its records are taken, in order.
    pub taken: Vec<usize>,
    /// What is answered, once they are kept.
    pub result: Result<Outcomes>,
}

/// Batches that get their places one after the other, each as if those before it were there already.
pub struct Placing<'a> {
    known: Known<'a>,
    // Records that were taken.
    count: u64,
    fresh: HashMap<u128, Seen>,
    // The newest message of the topics to which something was taken; not kept if nobody expects anything.
    newest: Option<HashMap<String, Sequence>>,
    additions: Additions,
}

impl<'a> Placing<'a> {
    /// Nothing was taken. `expects` says that some batch may expect the sequence of a topic.
    pub fn new(known: Known<'a>, expects: bool) -> Self {
        let newest = expects.then(HashMap::new);
        Placing { known, count: 0, fresh: HashMap::new(), newest, additions: Additions::default() }
    }

    /// What was taken with an id, and under numbers.
    pub fn finish(self) -> (HashMap<u128, Seen>, Additions) {
        (self.fresh, self.additions)
    }

    /// Decides about a batch. `ids` has one a record: fingerprints of those that have an id.
    pub fn place(&mut self, batch: &Batch, ids: &[Option<(u128, Seen)>]) -> Placed {
        let numbering = match &batch.numbered {
            None => None,
            Some(numbered) => match self.additions.begin(numbered, self.known.producers) {
                Ok(numbering) => Some((numbering, numbered.numbers.end)),
                Err(error) => return Placed { taken: Vec::new(), result: Err(error) },
            },
        };
        let begin = self.next();
        let before = (self.count, if batch.atomic { self.newest.clone() } else { None });
        let (mut taken, mut outcomes) = (Vec::new(), Outcomes::default());
        for at in 0..batch.len() {
            let outcome = match numbering {
                Some((numbering, _)) => self.take_numbered(batch, at, numbering, begin, &mut taken),
                None => self.take(batch, at, ids[at], begin, &mut taken),
            };
            match outcome {
                Err(error) if batch.atomic => {
                    for (id, _) in taken.iter().filter_map(|&at| ids[at]) {
                        self.fresh.remove(&id);
                    }
                    (self.count, self.newest) = before;
                    let result = Err(error.within(format_args!("requests[{at}]")));
                    return Placed { taken: Vec::new(), result };
                }
                outcome => outcomes.push(outcome),
            }
        }
        if let Some((numbering, end)) = numbering {
            self.additions.use_up(numbering, end);
        }
        Placed { taken, result: Ok(outcomes) }
    }

    /// The place of the next record.
    fn next(&self) -> Sequence {
        self.known.next.plus(self.count)
    }

    /// Takes a record, unless its number was used before. (Nothing is refused here that could be taken later: numbers
    /// stand in the place of ids.)
    fn take_numbered(
        &mut self,
        batch: &Batch,
        at: usize,
        numbering: Numbering,
        begin: Sequence,
        taken: &mut Vec<usize>,
    ) -> Outcome {
        let number = batch.entries[at].number;
        if self.additions.is_used(numbering, number) {
            let appended = self.appended(batch, Sequence::ZERO);
            return self.additions.repeated(numbering, number, self.known.producers, appended);
        }
        let outcome = self.take(batch, at, None, begin, taken);
        if let Ok(appended) = &outcome {
            self.additions.add(numbering, Run { number, sequence: appended.sequence, count: 1 });
        }
        outcome
    }

    fn take(
        &mut self,
        batch: &Batch,
        at: usize,
        id: Option<(u128, Seen)>,
        begin: Sequence,
        taken: &mut Vec<usize>,
    ) -> Outcome {
        let appended = self.appended(batch, self.next());
        if let Some((id, Seen { payload, .. })) = id {
            if let Some(seen) = self.fresh.get(&id).copied().or_else(|| self.known.dedup.lookup(id)) {
                return repeated(batch, at, payload, seen, begin, appended);
            }
            self.known.dedup.room_for(self.fresh.len() + 1)?;
        }
        if let Some(expected) = batch.entries[at].expected {
            self.check_expected(batch, at, expected, begin)?;
        }
        if let Some((id, Seen { payload, .. })) = id {
            let seen = Seen { sequence: appended.sequence, payload, publish_time: appended.publish_time };
            self.fresh.insert(id, seen);
        }
        if let Some(newest) = &mut self.newest {
            newest.insert(batch.record(at).topic().to_owned(), appended.sequence);
        }
        self.count += 1;
        taken.push(at);
        Ok(appended)
    }

    fn appended(&self, batch: &Batch, sequence: Sequence) -> Appended {
        let durability = batch.durability.min(self.known.strongest);
        Appended { sequence, publish_time: self.known.time, duplicate: false, durability }
    }

    fn check_expected(&self, batch: &Batch, at: usize, expected: Sequence, begin: Sequence) -> Result<()> {
        let record = batch.record(at);
        let topic = record.topic();
        let actual = match self.newest.as_ref().and_then(|newest| newest.get(topic)) {
            Some(&sequence) => sequence,
            None => {
                let stored = (self.known.newest)(topic);
                if stored <= self.known.marks.hidden_through(topic) { Sequence::ZERO } else { stored }
            }
        };
        match actual {
            actual if actual == expected => Ok(()),
            actual if batch.atomic && actual >= begin => Err(refusal::conflict_within(topic, expected)),
            actual => Err(refusal::conflict(topic, expected, actual)),
        }
    }
}

/// What is answered for an id that was used before.
fn repeated(batch: &Batch, at: usize, payload: u64, seen: Seen, begin: Sequence, appended: Appended) -> Outcome {
    if seen.payload == payload {
        let (sequence, publish_time) = (seen.sequence, seen.publish_time);
        return Ok(Appended { sequence, publish_time, duplicate: true, ..appended });
    }
    let record = batch.record(at);
    Err(match batch.atomic && seen.sequence >= begin {
        true => refusal::reused_within(record.topic(), record.message_id()),
        false => refusal::reused(record.topic(), record.message_id(), seen.sequence),
    })
}

/// The fingerprints of a batch, for [`Placing::place`].
pub fn fingerprints(batch: &Batch, hasher: &IdHasher) -> Vec<Option<(u128, Seen)>> {
    if !batch.picky {
        return vec![None; batch.len()];
    }
    (0..batch.len()).map(|at| batch.entries[at].has_id.then(|| hasher.seen(&batch.record(at)))).collect()
}

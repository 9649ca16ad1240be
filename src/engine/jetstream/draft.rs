//! What is to be put behind the last entry: records with their places, cut into entries, and who waits for them. Pure.

use bytes::Bytes;
use tokio::sync::oneshot;

use super::{
    Entry,
    entry::{Author, MOST, Totals},
    known::{Known, Newest},
};
use crate::{
    engine::{
        Batch, Outcomes,
        dedup::Seen,
        placing::{self, Placed, Placing},
        producers::{Additions, Run},
        purge::PurgeMarks,
    },
    model::{Durability, Error, Result, Sequence, Stamp, Timestamp},
};

/// Records that wait, and who waits for their answer.
pub struct Append {
    /// The records.
    pub batch: Batch,
    /// For each record, fingerprints of its id if it has one.
    pub ids: Vec<Option<(u128, Seen)>>,
    /// What became of those before them, of which the batch was relieved.
    pub done: Outcomes,
    /// Who waits.
    pub answer: oneshot::Sender<Result<Outcomes>>,
}

impl Append {
    /// Tells whoever waits. He may have gone.
    pub fn tell(self, result: Result<Outcomes>) {
        let Append { done, answer, .. } = self;
        let result = result.map(|rest| match done.is_empty() {
            true => rest,
            false => done.iter().chain(rest.iter()).collect(),
        });
        drop(answer.send(result));
    }

    /// Keeps what became of the first `count` records, and leaves the others to be placed anew.
    fn relieve(mut self, count: usize, outcomes: &Outcomes) -> Self {
        outcomes.iter().take(count).for_each(|outcome| self.done.push(outcome));
        self.batch = self.batch.split_off(count);
        self.ids.drain(..count);
        self
    }
}

/// A draft of entries.
pub struct Draft {
    /// The entries, without positions.
    pub entries: Vec<Entry>,
    /// What all of them hold together; none if there are none.
    pub records: Bytes,
    /// Where they are put they must be put together.
    pub atomic: bool,
    /// The numbers that are used up by them.
    pub additions: Additions,
    waiting: Vec<(Append, Placed)>,
}

/// What is the same for all drafts of a writer.
#[derive(Clone, Copy)]
pub struct Frame {
    /// Drawn at random by the writer.
    pub writer: u64,
    /// Counts its blocks.
    pub block: u64,
    /// What answers are worth at most.
    pub strongest: Durability,
    /// The bytes of an entry's records, unless one alone has more.
    pub entry_bytes: usize,
}

impl Draft {
    /// Gives batches their places behind what is known. What lies before `first` is not kept any more.
    pub fn new(mut appends: Vec<Append>, known: &Known, first: Sequence, marks: &PurgeMarks, frame: Frame) -> Self {
        // Whatever was asked for, it is kept as everything is.
        appends.iter_mut().for_each(|append| append.batch.durability = frame.strongest);
        let time = known.time;
        let place = placing::Known {
            next: known.next,
            time,
            strongest: frame.strongest,
            dedup: &known.dedup,
            producers: &known.producers,
            // What is not kept any more counts for nobody, whoever remembers it.
            newest: &|topic| Some(known.newest(topic).last).filter(|last| *last >= first).unwrap_or_default(),
            marks,
        };
        let mut placing = Placing::new(place, appends.iter().any(|append| append.batch.picky));
        let place = |append: Append| {
            let placed = placing.place(&append.batch, &append.ids);
            (append, placed)
        };
        let waiting: Vec<_> = appends.into_iter().map(place).collect();
        let (_, additions) = placing.finish();
        let mut draft = Draft { entries: Vec::new(), records: Bytes::new(), atomic: false, additions, waiting };
        draft.cut(known, time, frame);
        draft
    }

    /// Makes entries: a new one begins where the topic changes.
    fn cut(&mut self, known: &Known, time: Timestamp, frame: Frame) {
        let taken =
            || self.waiting.iter().flat_map(|(append, placed)| placed.taken.iter().map(|&at| (&append.batch, at)));
        let bytes = taken().map(|(batch, at)| batch.range(at).len()).sum();
        let (mut records, mut stamp) = (Vec::with_capacity(bytes), Stamp::new(time));
        let mut entries: Vec<Entry> = Vec::new();
        let mut totals: std::collections::HashMap<&str, Totals> = Default::default();
        let (mut starts, mut topic, mut sequence) = (Vec::new(), "", known.next);
        for (batch, at) in taken() {
            let record = batch.record(at);
            let (start, length) = (records.len(), batch.range(at).len());
            records.extend_from_slice(&batch.records[batch.range(at)]);
            stamp.put(&mut records[start..], sequence);
            let fits = entries.last().is_some_and(|entry: &Entry| {
                let taken = start - starts.last().expect("each entry has a start");
                topic == record.topic() && entry.count < MOST && taken + length <= frame.entry_bytes
            });
            if !fits {
                topic = record.topic();
                starts.push(start);
                entries.push(Entry {
                    position: 0,
                    author: Author { writer: frame.writer, block: frame.block, part: entries.len() as u32 },
                    records: Bytes::new(),
                    first: sequence,
                    count: 0,
                    totals: Totals::default(),
                    expires: false,
                    identified: false,
                    numbers: Vec::new(),
                });
            }
            let entry = entries.last_mut().expect("there is one by now");
            let total = totals.entry(topic).or_insert_with(|| {
                let Newest { totals, .. } = known.newest(topic);
                totals
            });
            total.messages += 1;
            total.bytes += length as u64;
            entry.count += 1;
            entry.totals = *total;
            entry.expires |= batch.expiring && record.expire_time().is_some();
            entry.identified |= batch.numbered.is_none() && batch.entries[at].has_id;
            sequence = sequence.next();
        }
        let spans = |(append, placed): &(Append, Placed)| append.batch.atomic && placed.taken.len() > 1;
        let atomic = entries.len() > 1 && self.waiting.iter().any(spans);
        let records = Bytes::from(records);
        starts.push(records.len());
        for (entry, ends) in entries.iter_mut().zip(starts.windows(2)) {
            entry.records = records.slice(ends[0]..ends[1]);
        }
        for (producer, run) in self.additions.runs() {
            for entry in entries
                .iter_mut()
                .filter(|entry| entry.first < run.sequence.plus(run.count) && entry.last() >= run.sequence)
            {
                let first = entry.first.max(run.sequence);
                let count = entry.last().next().0.min(run.sequence.0 + run.count) - first.0;
                let number = run.number + (first.0 - run.sequence.0);
                entry.numbers.push((producer.clone(), Run { number, sequence: first, count }));
            }
        }
        (self.entries, self.records, self.atomic) = (entries, records, atomic);
    }

    /// All entries are there: tells everybody.
    pub fn settle(self) {
        self.waiting.into_iter().for_each(|(append, placed)| append.tell(placed.result));
    }

    /// Only the records before `next` are there: tells those whose records are, and answers the others, in order, to be
    /// placed anew.
    pub fn settle_before(self, begin: Sequence, next: Sequence) -> Vec<Append> {
        let kept = (next.0 - begin.0) as usize;
        let (mut before, mut again) = (0, Vec::new());
        for (append, placed) in self.waiting {
            let own = kept.saturating_sub(before).min(placed.taken.len());
            let is_done = before <= kept && own == placed.taken.len();
            before += placed.taken.len();
            match placed.result {
                result if is_done => append.tell(result),
                Ok(outcomes) if own > 0 => again.push(append.relieve(placed.taken[own - 1] + 1, &outcomes)),
                _ => again.push(append),
            }
        }
        again
    }

    /// Nobody knows what is there.
    pub fn fail(self, error: &Error) {
        self.waiting.into_iter().for_each(|(append, _)| append.tell(Err(error.clone())));
    }
}

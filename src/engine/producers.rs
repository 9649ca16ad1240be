//! Remembers which numbers each producer has used, so that sending messages again publishes nothing twice. What is kept
//! is runs of numbers that lie one after the other in the log, so a stream at full speed costs nothing a message. Pure.
//!
//! A log keeps one [`Producers`]. What a block that is being put together adds is kept apart, in [`Additions`], until
//! the block is stored: a refused one leaves no trace.

use std::{
    collections::{HashMap, VecDeque},
    ops::Range,
    sync::Arc,
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use super::{Appended, Outcome, refusal};
use crate::model::{Error, ProducerName, Reason, Result, Sequence, Timestamp};

/// One stream of a producer. As long as somebody holds it, its producer is not forgotten.
#[derive(Debug)]
pub struct Session {
    /// Whose it is.
    pub producer: ProducerName,
    /// Cancelled when another session of the same producer begins: from then on nothing more is taken of this one.
    pub replaced: CancellationToken,
}

/// The numbers that a producer gave the records of a batch.
#[derive(Clone, Debug)]
pub struct Numbered {
    /// Of which stream.
    pub session: Arc<Session>,
    /// From the first number that the batch deals with to the one behind its last. Those without a record are used up:
    /// they were refused for good.
    pub numbers: Range<u64>,
}

/// Numbers that follow one another, as do the places of what was published under them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The first number.
    pub number: u64,
    /// The place of what was published under it.
    pub sequence: Sequence,
    /// How many.
    pub count: u64,
}

impl Run {
    fn end(&self) -> u64 {
        self.number + self.count
    }

    fn place(&self, number: u64) -> Option<Sequence> {
        let offset = number.checked_sub(self.number).filter(|offset| *offset < self.count)?;
        Some(self.sequence.plus(offset))
    }

    /// Takes in a run that goes on where this one ends.
    fn extend(&mut self, next: &Run) -> bool {
        let follows = self.end() == next.number && self.sequence.plus(self.count) == next.sequence;
        if follows {
            self.count += next.count;
        }
        follows
    }
}

/// How much is remembered.
#[derive(Clone, Copy, Debug)]
pub struct Most {
    /// Producers of one log. Beyond, new ones are refused.
    pub producers: usize,
    /// Runs of one producer. Beyond, the place of its oldest is forgotten, not that the numbers were used.
    pub runs: usize,
    /// Runs of all producers together. Beyond, whoever adds one forgets one of its own.
    pub runs_together: usize,
}

impl Default for Most {
    fn default() -> Self {
        // Some 20 MiB in all.
        Most { producers: 100_000, runs: 1_024, runs_together: 262_144 }
    }
}

/// The producers of one log.
#[derive(Debug)]
pub struct Producers {
    most: Most,
    known: HashMap<ProducerName, Producer>,
    runs: usize,
    swept: Timestamp,
}

#[derive(Debug)]
struct Producer {
    // None until a stream comes: its numbers were found in the log.
    session: Option<Arc<Session>>,
    // The next number not yet seen.
    next: u64,
    runs: VecDeque<Run>,
    // Of lower numbers it is not known what became of them.
    forgotten: u64,
    used: Timestamp,
}

/// What became of a number that was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// It was published here.
    At(Sequence),
    /// It was published, or refused for good: nobody knows any more.
    Forgotten,
    /// It was refused for good.
    Refused,
}

impl Producers {
    /// Remembers no more than this.
    pub fn new(most: Most) -> Self {
        Producers { most, known: HashMap::new(), runs: 0, swept: Timestamp::EPOCH }
    }

    /// Begins a session, which ends the one before. Answers the next number that this producer has not used.
    pub fn attach(&mut self, session: Arc<Session>, now: Timestamp) -> Result<u64> {
        if self.known.len() >= self.most.producers && !self.known.contains_key(&session.producer) {
            return Err(too_many(self.known.len()));
        }
        let producer = self.entry(&session.producer, now);
        producer.used = producer.used.max(now);
        let next = producer.next;
        if let Some(before) = producer.session.replace(session) {
            before.replaced.cancel();
        }
        Ok(next)
    }

    /// Learns from the log that a run was published. In the order of the log.
    pub fn restore(&mut self, name: &ProducerName, run: Run, time: Timestamp) {
        if self.known.len() >= self.most.producers && !self.known.contains_key(name) {
            return;
        }
        let producer = self.entry(name, time);
        // One that begins again was forgotten in between, and counts anew.
        let anew = producer.runs.is_empty() || run.number < producer.next;
        if anew {
            let before = std::mem::take(&mut producer.runs).len();
            (producer.next, producer.forgotten) = (run.number, run.number);
            self.runs -= before;
        }
        self.remember(name, &[run], run.end(), time);
    }

    /// Ends the session that a producer has here, as it has another one elsewhere.
    pub fn replace(&mut self, name: &ProducerName) {
        if let Some(session) = self.known.get_mut(name).and_then(|producer| producer.session.take()) {
            session.replaced.cancel();
        }
    }

    /// Keeps what a block added, now that it is stored.
    pub fn apply(&mut self, additions: &Additions, time: Timestamp) {
        for addition in &additions.0 {
            self.remember(&addition.session.producer, &addition.runs, addition.next, time);
        }
    }

    /// Forgets the producers that have published nothing for `window` and have no stream.
    pub fn expire(&mut self, now: Timestamp, window: Duration) {
        if now.since(self.swept) < window / 4 {
            return;
        }
        self.swept = now;
        let oldest = now.minus(window);
        let runs = &mut self.runs;
        self.known.retain(|_, producer| {
            let live = producer.session.as_ref().is_some_and(|session| Arc::strong_count(session) > 1);
            if live {
                producer.used = now;
            }
            let keep = live || producer.used >= oldest;
            *runs -= if keep { 0 } else { producer.runs.len() };
            keep
        });
    }

    fn remember(&mut self, name: &ProducerName, runs: &[Run], next: u64, time: Timestamp) {
        let (most, mut together) = (self.most, self.runs);
        let producer = self.entry(name, time);
        producer.next = producer.next.max(next);
        producer.used = producer.used.max(time);
        for run in runs {
            if producer.runs.back_mut().is_some_and(|last| last.extend(run)) {
                continue;
            }
            if !producer.runs.is_empty() && (producer.runs.len() >= most.runs || together >= most.runs_together) {
                producer.forgotten = producer.runs.pop_front().map_or(producer.forgotten, |run| run.end());
                together -= 1;
            }
            producer.runs.push_back(*run);
            together += 1;
        }
        self.runs = together;
    }

    fn entry(&mut self, name: &ProducerName, now: Timestamp) -> &mut Producer {
        let new = || Producer { session: None, next: 1, runs: VecDeque::new(), forgotten: 1, used: now };
        // Looked up first, so that the name is cloned only once.
        match self.known.contains_key(name) {
            true => self.known.get_mut(name).expect("it was just seen"),
            false => self.known.entry(name.clone()).or_insert_with(new),
        }
    }
}

impl Producer {
    /// What became of a number that was used.
    fn place(&self, number: u64) -> Place {
        let at = self.runs.partition_point(|run| run.end() <= number);
        match self.runs.get(at).and_then(|run| run.place(number)) {
            Some(sequence) => Place::At(sequence),
            None if number < self.forgotten => Place::Forgotten,
            None => Place::Refused,
        }
    }
}

/// What a block that is being put together adds.
#[derive(Debug, Default)]
pub struct Additions(Vec<Addition>);

#[derive(Debug)]
struct Addition {
    session: Arc<Session>,
    next: u64,
    runs: Vec<Run>,
}

/// One producer, while a batch of its is placed. Only for the additions that gave it.
#[derive(Clone, Copy, Debug)]
pub struct Placing(usize);

impl Additions {
    /// Begins with a batch. Refused if its session was replaced, or if numbers before its first were never taken.
    pub fn begin(&mut self, numbered: &Numbered, known: &Producers) -> Result<Placing> {
        let session = &numbered.session;
        let producer = known.known.get(&session.producer);
        let current = producer.and_then(|producer| producer.session.as_ref());
        if !current.is_some_and(|current| Arc::ptr_eq(current, session)) {
            return Err(refusal::replaced(&session.producer));
        }
        let at = self.0.iter().position(|addition| Arc::ptr_eq(&addition.session, session)).unwrap_or_else(|| {
            let next = producer.map_or(1, |producer| producer.next);
            self.0.push(Addition { session: session.clone(), next, runs: Vec::new() });
            self.0.len() - 1
        });
        match self.0[at].next {
            next if numbered.numbers.start > next => Err(refusal::preceding(numbered.numbers.start, next)),
            _ => Ok(Placing(at)),
        }
    }

    /// Whether a number was used before.
    pub fn is_used(&self, placing: Placing, number: u64) -> bool {
        number < self.0[placing.0].next
    }

    /// What became of a number that was used.
    pub fn place(&self, placing: Placing, number: u64, known: &Producers) -> Place {
        let addition = &self.0[placing.0];
        match addition.runs.iter().find_map(|run| run.place(number)) {
            Some(sequence) => Place::At(sequence),
            None => known.known.get(&addition.session.producer).map_or(Place::Refused, |known| known.place(number)),
        }
    }

    /// What is answered for a number that was used: its first place, with what else is `known` of it, or its refusal.
    pub fn repeated(&self, placing: Placing, number: u64, known: &Producers, appended: Appended) -> Outcome {
        let sequence = match self.place(placing, number, known) {
            Place::At(sequence) => sequence,
            Place::Forgotten => Sequence::ZERO,
            Place::Refused => return Err(refusal::used_up(number)),
        };
        Ok(Appended { sequence, duplicate: true, publish_time: Timestamp::EPOCH, ..appended })
    }

    /// A run was taken.
    pub fn add(&mut self, placing: Placing, run: Run) {
        let addition = &mut self.0[placing.0];
        addition.next = addition.next.max(run.end());
        if !addition.runs.last_mut().is_some_and(|last| last.extend(&run)) {
            addition.runs.push(run);
        }
    }

    /// All numbers below `next` are used, be it that some were refused for good.
    pub fn use_up(&mut self, placing: Placing, next: u64) {
        let addition = &mut self.0[placing.0];
        addition.next = addition.next.max(next);
    }

    /// The runs that were taken, with their producers.
    pub fn runs(&self) -> impl Iterator<Item = (&ProducerName, &Run)> {
        self.0.iter().flat_map(|addition| addition.runs.iter().map(|run| (&addition.session.producer, run)))
    }
}

fn too_many(known: usize) -> Error {
    let message = format!(
        "{known} producers are remembered in this namespace, and no more can be: use a producer_id again, or wait until \
         those that are gone are forgotten"
    );
    Error::new(Reason::QuotaExceeded, message).field("producer_id").retry_after(Duration::from_secs(10))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn session(name: &str) -> Arc<Session> {
        let producer = ProducerName::parse(name).unwrap();
        Arc::new(Session { producer, replaced: CancellationToken::new() })
    }

    fn at(nanos: i64) -> Timestamp {
        Timestamp::from_nanos(nanos)
    }

    #[test]
    fn a_new_session_ends_the_one_before() {
        let mut producers = Producers::new(Most::default());
        let (first, second) = (session("p"), session("p"));
        assert_eq!(producers.attach(first.clone(), at(1)).unwrap(), 1);
        assert_eq!(producers.attach(second.clone(), at(2)).unwrap(), 1);
        assert!(first.replaced.is_cancelled() && !second.replaced.is_cancelled());
        let late = Additions::default().begin(&Numbered { session: first, numbers: 1..2 }, &producers).unwrap_err();
        assert_eq!(late.reason(), Reason::ProducerReplaced);
        assert!(Additions::default().begin(&Numbered { session: second, numbers: 1..2 }, &producers).is_ok());
    }

    #[test]
    fn a_producer_is_forgotten_after_the_window_unless_it_has_a_stream() {
        let mut producers = Producers::new(Most::default());
        let stays = session("stays");
        for name in ["stays", "goes"] {
            let run = Run { number: 1, sequence: Sequence(1), count: 5 };
            producers.restore(&ProducerName::parse(name).unwrap(), run, at(0));
        }
        producers.attach(stays.clone(), at(10)).unwrap();
        producers.expire(at(1_000), Duration::from_nanos(100));
        assert_eq!(producers.attach(session("goes"), at(1_000)).unwrap(), 1);
        assert_eq!(producers.attach(session("stays"), at(1_000)).unwrap(), 6);
    }

    #[test]
    fn one_that_was_forgotten_and_counts_anew_is_known_by_what_it_did_last() {
        let mut producers = Producers::new(Most::default());
        let name = ProducerName::parse("p").unwrap();
        for (number, sequence, count) in [(1, 10, 100), (1, 200, 50), (53, 300, 2)] {
            producers.restore(&name, Run { number, sequence: Sequence(sequence), count }, at(0));
        }
        let session = session("p");
        assert_eq!(producers.attach(session.clone(), at(1)).unwrap(), 55);
        let mut additions = Additions::default();
        let placing = additions.begin(&Numbered { session, numbers: 1..60 }, &producers).unwrap();
        let places = [1, 50, 51, 53].map(|number| additions.place(placing, number, &producers));
        let at = |sequence| Place::At(Sequence(sequence));
        assert_eq!(places, [at(200), at(249), Place::Refused, at(300)]);
    }

    #[test]
    fn too_many_producers_are_refused_and_old_places_forgotten() {
        let mut producers = Producers::new(Most { producers: 1, runs: 2, runs_together: 10 });
        let session_a = session("a");
        producers.attach(session_a.clone(), at(0)).unwrap();
        assert_eq!(producers.attach(session("b"), at(0)).unwrap_err().reason(), Reason::QuotaExceeded);
        let mut additions = Additions::default();
        let placing = additions.begin(&Numbered { session: session_a.clone(), numbers: 1..4 }, &producers).unwrap();
        for number in 1..4 {
            additions.add(placing, Run { number, sequence: Sequence(number * 10), count: 1 });
        }
        producers.apply(&additions, at(1));
        let mut again = Additions::default();
        let placing = again.begin(&Numbered { session: session_a, numbers: 1..4 }, &producers).unwrap();
        let places = [1, 2, 3].map(|number| again.place(placing, number, &producers));
        assert_eq!(places, [Place::Forgotten, Place::At(Sequence(20)), Place::At(Sequence(30))]);
        assert!(again.is_used(placing, 1) && !again.is_used(placing, 4));
    }

    proptest! {
        /// Batches of one producer, some refused, against a map from number to place.
        #[test]
        fn knows_what_a_naive_model_knows(
            batches in proptest::collection::vec((1..40u64, 0..12u64, 0..4u64, any::<bool>()), 1..60)
        ) {
            let mut producers = Producers::new(Most::default());
            let session = session("p");
            producers.attach(session.clone(), at(0)).unwrap();
            let mut model = HashMap::new();
            let (mut next, mut sequence) = (1, 1);
            for (first, count, others, stored) in batches {
                let mut additions = Additions::default();
                let numbers = first..first + count;
                let begun = additions.begin(&Numbered { session: session.clone(), numbers: numbers.clone() }, &producers);
                prop_assert_eq!(begun.is_ok(), first <= next);
                let Ok(placing) = begun else { continue };
                let mut fresh = Vec::new();
                for number in numbers.clone() {
                    prop_assert_eq!(additions.is_used(placing, number), number < next || fresh.iter().any(|(n, _)| *n == number));
                    if additions.is_used(placing, number) {
                        let known = model.get(&number).copied().map_or(Place::Refused, Place::At);
                        prop_assert_eq!(additions.place(placing, number, &producers), known);
                    } else {
                        additions.add(placing, Run { number, sequence: Sequence(sequence), count: 1 });
                        fresh.push((number, Sequence(sequence)));
                        sequence += 1;
                    }
                }
                additions.use_up(placing, numbers.end);
                sequence += others;
                if stored {
                    producers.apply(&additions, at(1));
                    model.extend(fresh);
                    next = next.max(numbers.end);
                }
            }
        }
    }
}

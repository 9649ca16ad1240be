//! What is scheduled, in the order in which it is due. Pure: it is told what lies in the log and what was published, and
//! holds a bounded part of what waits, the earliest; the rest is read of the log again when its turn comes.
//!
//! What was published is told by a [`Mark`] that lies in the log, in the same block as what it tells of: of all that lies
//! before `read`, what is due up to `published` was. Only what is due later than that is held here; what turns up and is
//! due earlier (it was on its way to the log while others were published) is *late*, and goes first.

use std::collections::BTreeMap;

use crate::model::{Sequence, Timestamp};

/// When a message is due, and which it is; those that are due at the same time keep their order.
pub type Due = (Timestamp, Sequence);

/// How far publishing has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Everything before it was looked at.
    pub read: Sequence,
    /// What was looked at and is due up to here was published.
    pub published: Due,
}

/// What waits.
#[derive(Debug)]
pub struct Agenda {
    mark: Mark,
    // Everything before it was looked at since the broker started.
    seen: Sequence,
    // The earliest, with their sizes.
    waiting: BTreeMap<Due, u32>,
    most: usize,
    // From here on there may be more in the log.
    beyond: Option<Due>,
}

/// What is to be done with a message that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing: it waits, or was published.
    Noted,
    /// It is to be published at once.
    Late,
}

impl Mark {
    /// Where nothing was published yet.
    pub const NONE: Mark = Mark { read: Sequence::ZERO, published: (Timestamp::EPOCH, Sequence::ZERO) };

    /// Whether a message that lies in the log was not published yet.
    pub fn leaves(&self, due: Due) -> bool {
        due > self.published || due.1 >= self.read
    }
}

impl Agenda {
    /// Holds `most` at a time, of a log in which publishing has come so far.
    pub fn new(mark: Mark, most: usize) -> Self {
        Agenda { mark, seen: Sequence::ZERO, waiting: BTreeMap::new(), most, beyond: None }
    }

    /// The first position that was not looked at.
    pub fn seen(&self) -> Sequence {
        self.seen
    }

    /// Everything before `next` was looked at, and what of it is late was published.
    pub fn passed(&mut self, next: Sequence) {
        self.seen = self.seen.max(next);
        self.mark.read = self.mark.read.max(self.seen);
    }

    /// What a mark says after what is late before `next` was published.
    pub fn mark_at(&self, next: Sequence) -> Mark {
        Mark { read: self.mark.read.max(next), ..self.mark }
    }

    /// A message lies in the log that was not looked at.
    pub fn find(&mut self, due: Due, bytes: u32) -> Found {
        match due <= self.mark.published {
            true if due.1 < self.mark.read => Found::Noted,
            // Its time has come once, whatever the clock says by now.
            true => Found::Late,
            false => {
                self.hold(due, bytes);
                Found::Noted
            }
        }
    }

    /// Whether the log is to be read once more for what found no room.
    pub fn is_exhausted(&self) -> bool {
        self.waiting.is_empty() && self.beyond.is_some()
    }

    /// The log is read once more, up to what was seen: everything that waits is to be held again.
    pub fn begin_again(&mut self) {
        self.beyond = None;
    }

    /// A message lies in the log that was looked at before.
    pub fn find_again(&mut self, due: Due, bytes: u32) {
        if due > self.mark.published {
            self.hold(due, bytes);
        }
    }

    fn hold(&mut self, due: Due, bytes: u32) {
        if self.beyond.is_some_and(|beyond| due >= beyond) {
            return;
        }
        self.waiting.insert(due, bytes);
        if self.waiting.len() > self.most {
            self.beyond = self.waiting.pop_last().map(|(last, _)| last);
        }
    }

    /// When the first is due.
    pub fn next(&self) -> Option<Timestamp> {
        self.waiting.first_key_value().map(|((time, _), _)| *time)
    }

    /// What is due by now, the earliest first: at most so many messages, and so many bytes unless one alone has more.
    pub fn due(&self, now: Timestamp, messages: usize, bytes: usize) -> Vec<Due> {
        let mut total = 0;
        let due = self.waiting.iter().take_while(|((time, _), _)| *time <= now).take(messages);
        let fits = due.take_while(|(_, size)| {
            let is_first = total == 0;
            total += **size as usize;
            is_first || total <= bytes
        });
        fits.map(|(due, _)| *due).collect()
    }

    /// What a mark says when this and everything before it was published.
    pub fn mark_after(&self, last: Due) -> Mark {
        Mark { published: self.mark.published.max(last), ..self.mark }
    }

    /// This and everything before it was published.
    pub fn published(&mut self, last: Due) {
        self.mark = self.mark_after(last);
        while self.waiting.first_key_value().is_some_and(|(due, _)| *due <= last) {
            self.waiting.pop_first();
        }
    }

    /// Whether a message that lies in the log waits.
    pub fn waits(&self, due: Due) -> bool {
        self.mark.leaves(due)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// A log of scheduled messages and marks, and whoever reads it: all that a broker does, without its log.
    #[derive(Default)]
    struct Model {
        /// When each is due, by sequence, from 1 on.
        log: Vec<Timestamp>,
        /// The last mark that is stored.
        mark: Option<Mark>,
        published: Vec<Due>,
        now: i64,
    }

    impl Model {
        fn due(&self, sequence: u64) -> Due {
            (self.log[sequence as usize - 1], Sequence(sequence))
        }

        fn open(&self, most: usize) -> Agenda {
            Agenda::new(self.mark.unwrap_or(Mark::NONE), most)
        }

        /// As the task does.
        fn read(&mut self, agenda: &mut Agenda) {
            let end = self.log.len() as u64;
            for sequence in agenda.seen().0.max(1)..=end {
                let due = self.due(sequence);
                if agenda.find(due, 1) == Found::Late {
                    self.published.push(due);
                    self.mark = Some(agenda.mark_at(Sequence(sequence + 1)));
                }
                agenda.passed(Sequence(sequence + 1));
            }
            if agenda.is_exhausted() {
                agenda.begin_again();
                (1..=end).for_each(|sequence| agenda.find_again(self.due(sequence), 1));
            }
        }

        fn publish(&mut self, agenda: &mut Agenda, most: usize, crash: bool) {
            let due = agenda.due(Timestamp::from_nanos(self.now), most, usize::MAX);
            let Some(&last) = due.last() else { return };
            if crash {
                return;
            }
            self.published.extend(&due);
            self.mark = Some(agenda.mark_after(last));
            agenda.published(last);
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Schedule(i64),
        Wait(i64),
        Read,
        Publish(usize),
        /// And whether in the middle of publishing.
        Restart(bool),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (-5..30i64).prop_map(Step::Schedule),
            3 => (0..10i64).prop_map(Step::Wait),
            3 => Just(Step::Read),
            3 => (1..4usize).prop_map(Step::Publish),
            1 => any::<bool>().prop_map(Step::Restart),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn each_is_published_once_and_not_before_its_time(most in 1..6usize, steps in proptest::collection::vec(step(), 0..60)) {
            let mut model = Model { now: 100, ..Model::default() };
            let mut agenda = model.open(most);
            let mut seen = BTreeSet::new();
            for step in steps.into_iter().chain([Step::Wait(1_000)]).chain((0..80).flat_map(|_| [Step::Read, Step::Publish(3)])) {
                match step {
                    // On its way to the log the time may have come already.
                    Step::Schedule(ahead) => model.log.push(Timestamp::from_nanos(model.now + ahead)),
                    Step::Wait(by) => model.now += by,
                    Step::Read => model.read(&mut agenda),
                    Step::Publish(count) => {
                        // Whoever publishes has read to the end.
                        model.read(&mut agenda);
                        model.publish(&mut agenda, count, false);
                    }
                    Step::Restart(crash) => {
                        model.read(&mut agenda);
                        model.publish(&mut agenda, 3, crash);
                        agenda = model.open(most);
                    }
                }
                for due in model.published.drain(..) {
                    prop_assert!(due.0.nanos() <= model.now, "{due:?} before its time");
                    prop_assert!(seen.insert(due.1), "{due:?} twice");
                }
                prop_assert!(agenda.waiting.len() <= most);
                for sequence in 1..=model.log.len() as u64 {
                    prop_assert_eq!(agenda.waits(model.due(sequence)), !seen.contains(&Sequence(sequence)));
                }
            }
            prop_assert_eq!(seen.len(), model.log.len());
        }
    }

    #[test]
    fn bytes_are_bounded_but_for_one() {
        let mut agenda = Agenda::new(Mark::NONE, 10);
        (1..=4).for_each(|n| assert_eq!(agenda.find((Timestamp::from_nanos(n), Sequence(n as u64)), 40), Found::Noted));
        let now = Timestamp::from_nanos(3);
        assert_eq!(
            [agenda.due(now, 10, 100).len(), agenda.due(now, 10, 1).len(), agenda.due(now, 10, 1_000).len()],
            [2, 1, 3]
        );
    }
}

//! The ledger against a model that remembers everything and looks at all of it each time.

mod model;
mod pair;

use proptest::prelude::*;

use self::{
    model::{Known, Model, State},
    pair::{Pair, step},
};
use super::*;
use crate::model::Timestamp;

const CONSUMERS: u32 = 3;
/// Of the log that the tests read.
const MESSAGES: u64 = 40;

fn order() -> impl Strategy<Value = DeliveryOrder> {
    prop_oneof![Just(DeliveryOrder::Shared), Just(DeliveryOrder::Key)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn it_does_what_the_model_does(
        order in order(),
        per_key in prop_oneof![Just(1u32), Just(2), Just(5)],
        keys in prop::collection::vec(0..4u8, MESSAGES as usize),
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let mut pair = Pair::with(order, per_key, &keys);
        pair.ledger.gather((1..=CONSUMERS).collect());
        for step in &steps {
            pair.run(step)?;
        }
        pair.finish()?;
    }
}

#[test]
fn what_is_gone_from_the_log_is_no_longer_open() {
    let mut pair = Pair::new(DeliveryOrder::Key, &[1, 1, 2]);
    let (first, lease) = pair.take(1).unwrap();
    pair.take(1).unwrap();
    Pair::moment(pair.now, |moment| pair.ledger.give_back(1, None, moment));
    pair.model.log[0].gone = true;
    assert_eq!(pair.take(1).map(|(sequence, _)| sequence), Some(3), "2 waits until it is noticed that 1 is gone");
    assert_eq!(pair.take(1).map(|(sequence, _)| sequence), Some(2));
    let failure = |_| unreachable!();
    let late = Pair::moment(pair.now, |moment| {
        pair.ledger.settle(Sequence(first), lease.lease, Verdict::Ack, failure, moment)
    });
    assert_eq!((late, pair.ledger.counts().expired), (Err(Reason::AlreadySettled), 1));
}

#[test]
fn what_retention_has_removed_is_told_from_what_has_expired() {
    let mut pair = Pair::new(DeliveryOrder::Shared, &[0, 0, 0, 0]);
    while pair.take(1).is_some() {}
    Pair::moment(pair.now, |moment| pair.ledger.give_back(1, None, moment));
    let span = pair.ledger.span(10).unwrap();
    pair.ledger.found(Sequence(1));
    let removed = pair.ledger.passed_again(&span, Sequence(5), Sequence(4));
    assert_eq!(removed, Some((Sequence(2), Sequence(3))), "1 was found, and 4 is gone for another reason");
    let Counts { removed, expired, .. } = pair.ledger.counts();
    assert_eq!((removed, expired, pair.ledger.open()), (2, 1, 1));
}

#[test]
fn at_the_bound_nothing_new_is_read_and_what_comes_again_is() {
    let mut pair = Pair::new(DeliveryOrder::Shared, &[0]);
    pair.ledger.configure(Rules { max_outstanding: u32::MAX, ..pair.model.rules.clone() });
    for sequence in 1..=OPEN as u64 {
        assert!(pair.ledger.span(1).is_some_and(|span| !span.again));
        assert!(matches!(pair.ledger.lease(Sequence(sequence), &[], 1, 1, pair.now), Offer::Leased(_)));
    }
    assert_eq!(pair.ledger.span(1), None);
    Pair::moment(pair.now, |moment| pair.ledger.give_back(1, None, moment));
    let again = Span { from: Sequence(1), through: Sequence(2), again: true, is_letter: false };
    assert_eq!(pair.ledger.span(2), Some(again));
    let bytes = pair.ledger.encode(pair.wall, pair.now);
    assert!(bytes.len() < 32, "what is alike is kept as one run: {} bytes", bytes.len());
    assert!(Ledger::restore(pair.model.rules, &bytes, 0, pair.wall, pair.now).is_some());
}

/// As version 1 wrote it. Later versions must still read it.
const FIXTURE: [u8; 35] = [
    1, 50, 9, 3, 1, 0, 2, 4, 1, 1, 5, 1, 60, 10, 2, 0, 0, 1, 1, 1, 1, 208, 196, 147, 145, 146, 52, 5, 1, 3, 2, 40, 1,
    0, 4,
];

#[test]
fn the_kept_form_comes_back() {
    let pair = Pair::new(DeliveryOrder::Shared, &[0]);
    let wall = Timestamp::from_nanos(1_790_000_000_000_000_000);
    let ledger = Ledger::restore(pair.model.rules.clone(), &FIXTURE, 0, wall, pair.now).unwrap();
    assert_eq!(ledger.read(), Sequence(50));
    let counts = Counts { acked: 9, redelivered: 3, dead_lettered: 1, expired: 0, removed: 2, dropped: 4 };
    assert_eq!(ledger.counts(), counts);
    assert!(ledger.is_skipped(Sequence(4)) && !ledger.is_skipped(Sequence(5)));
    let standing = |sequence| ledger.standing(Sequence(sequence)).map(|(standing, attempts, _)| (standing, attempts));
    assert_eq!([standing(10), standing(11)], [Some((Standing::Ready, 0)); 2]);
    assert!(matches!(standing(13), Some((Standing::BackingOff { .. }, 1))));
    assert_eq!(standing(19), Some((Standing::Dying, 3)));
    assert_eq!((ledger.open(), ledger.is_redriven(Sequence(60))), (5, true));
    assert!(ledger.span(1).is_some_and(|span| !span.is_letter));
    assert_eq!(ledger.encode(wall, pair.now), FIXTURE);
    for length in 0..FIXTURE.len() {
        // What was cut short is refused, or ends between two runs.
        let cut = Ledger::restore(pair.model.rules.clone(), &FIXTURE[..length], 0, wall, pair.now);
        assert!(cut.is_none_or(|cut| cut.open() < 5), "{length} bytes");
    }
}

#[test]
fn what_a_seek_leaves_out_is_told_from_what_was_settled() {
    let mut pair = Pair::new(DeliveryOrder::Shared, &[0; 5]);
    let leases = [1, 2, 3].map(|sequence| (sequence, pair.take(1).unwrap().1.lease));
    let mut settle = |(sequence, lease)| {
        let failure = |_| unreachable!();
        Pair::moment(pair.now, |moment| pair.ledger.settle(Sequence(sequence), lease, Verdict::Ack, failure, moment))
    };
    settle(leases[1]).unwrap();
    pair.ledger.seek(Sequence(6));
    let skipped: Vec<_> = (1..=6).filter(|&sequence| pair.ledger.is_skipped(Sequence(sequence))).collect();
    assert_eq!(skipped, [1, 3, 4, 5]);
    assert_eq!((pair.ledger.open(), pair.ledger.outstanding(), pair.ledger.read()), (0, 0, Sequence(6)));
    pair.ledger.seek(Sequence(3));
    assert!(pair.ledger.is_skipped(Sequence(1)) && !pair.ledger.is_skipped(Sequence(4)));
    assert_eq!(pair.take(1).unwrap().0, 3, "what lies behind a seek comes again");
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>) {
        let pair = Pair::new(DeliveryOrder::Key, &[0]);
        Ledger::restore(pair.model.rules, &[&[1], &bytes[..]].concat(), 0, pair.wall, pair.now);
    }
}

impl Pair {
    /// Leases all that may be, and answers their sequences.
    fn take_all(&mut self) -> Vec<u64> {
        let mut taken = Vec::new();
        while let Some((sequence, lease)) = self.take(1) {
            taken.push(sequence);
            self.leased.push((sequence, lease.lease));
        }
        taken
    }

    /// Whatever is leased fails, and comes again after so many seconds.
    fn nack_all(&mut self, seconds: impl Fn(u64) -> u64) {
        for (sequence, lease) in std::mem::take(&mut self.leased) {
            let verdict = Verdict::Nack { delay: Some(Duration::from_secs(seconds(sequence))) };
            let failure = |_| Failure { reason: "no".into(), consumer: "c".into() };
            Pair::moment(self.now, |moment| self.ledger.settle(Sequence(sequence), lease, verdict, failure, moment))
                .unwrap();
        }
    }

    fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        Pair::moment(self.now, |moment| self.ledger.tick(|_| "c".into(), moment));
    }
}

#[test]
fn what_backs_off_comes_early_in_its_order_and_what_is_not_taken_waits_on() {
    let mut pair = Pair::new(DeliveryOrder::Shared, &[0; 8]);
    let five: Vec<_> = (0..5).map(|_| pair.take(1).unwrap()).collect();
    pair.leased = five.iter().map(|(sequence, lease)| (*sequence, lease.lease)).collect();
    // The oldest would come last.
    pair.nack_all(|sequence| 100 - sequence);
    pair.ledger.set_early(true);
    let taken: Vec<_> = (0..3).map(|_| pair.take(1).unwrap().0).collect();
    assert_eq!(taken, [1, 2, 3]);
    pair.ledger.set_early(false);
    assert_eq!(pair.take_all(), [6, 7, 8], "4 and 5 wait for their time again");
    let until = |sequence| match pair.ledger.standing(Sequence(sequence)) {
        Some((Standing::BackingOff { until }, 1, _)) => until - pair.now,
        other => panic!("{other:?}"),
    };
    assert_eq!([until(4), until(5)], [96, 95].map(Duration::from_secs));
    pair.pass(95);
    assert!(pair.ledger.wants(Sequence(5)) && !pair.ledger.wants(Sequence(4)), "5 was to come after 95 s");
}

#[test]
fn what_fails_meanwhile_comes_early_too_and_what_was_read_and_not_taken_is_not_forgotten() {
    let mut pair = Pair::new(DeliveryOrder::Shared, &[0; 2]);
    pair.ledger.set_early(true);
    pair.take_all();
    pair.nack_all(|_| 1_000);
    let span = pair.ledger.span(10).unwrap();
    assert_eq!((span.from, span.through, span.again), (Sequence(1), Sequence(2), true));
    pair.ledger.found(Sequence(1));
    pair.ledger.found(Sequence(2));
    pair.ledger.lost(Sequence(2));
    assert_eq!(pair.take_all(), [2]);
}

#[test]
fn it_comes_early_though_most_fails_and_that_goes_on() {
    let mut pair = Pair::new(DeliveryOrder::Shared, &[0; 20]);
    pair.ledger.configure(Rules { max_outstanding: 15, ..pair.model.rules.clone() });
    assert_eq!(pair.take_all().len(), 15);
    pair.nack_all(|_| 1_000);
    let next = pair.ledger.next_try();
    assert!(next.is_some() && pair.ledger.room(pair.now) == 0);
    pair.ledger.set_early(true);
    assert_eq!(pair.take_all(), (1..=15).collect::<Vec<_>>(), "as many as may be out");
    pair.ledger.set_early(false);
    assert_eq!((pair.ledger.next_try(), pair.ledger.room(pair.now)), (next, 0));
}

#[test]
fn of_a_key_it_comes_early_one_by_one() {
    let mut pair = Pair::new(DeliveryOrder::Key, &[1, 1, 1, 2]);
    assert_eq!(pair.take_all(), [1, 4]);
    pair.nack_all(|_| 1_000);
    // Nobody knows the keys after a restart.
    pair.restart();
    pair.ledger.set_early(true);
    assert_eq!(pair.take_all(), [1, 4], "2 and 3 wait for 1");
    let lease = pair.leased[0].1;
    let failure = |_| unreachable!();
    Pair::moment(pair.now, |moment| pair.ledger.settle(Sequence(1), lease, Verdict::Ack, failure, moment)).unwrap();
    assert_eq!(pair.take_all(), [2]);
}

#[test]
fn whether_it_comes_early_outlives_a_seek() {
    let mut pair = Pair::new(DeliveryOrder::Shared, &[0; 2]);
    pair.take_all();
    pair.ledger.set_early(true);
    pair.ledger.seek(Sequence(1));
    pair.leased.clear();
    assert_eq!(pair.take_all(), [1, 2]);
    pair.nack_all(|_| 1_000);
    assert_eq!(pair.take_all(), [1, 2]);
}

#[test]
fn what_backs_off_behind_an_earlier_one_of_its_key_waits_for_that() {
    let mut pair = Pair::new(DeliveryOrder::Shared, &[1, 1]);
    pair.take_all();
    pair.nack_all(|_| 1_000);
    // Both are out of their order only as there was none.
    pair.ledger.configure(Rules { order: DeliveryOrder::Key, ..pair.model.rules.clone() });
    pair.ledger.set_early(true);
    assert_eq!(pair.take_all(), [1]);
    let failure = |_| unreachable!();
    let lease = pair.leased[0].1;
    Pair::moment(pair.now, |moment| pair.ledger.settle(Sequence(1), lease, Verdict::Ack, failure, moment)).unwrap();
    assert_eq!(pair.take_all(), [2]);
}

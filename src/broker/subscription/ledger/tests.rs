//! The ledger against a model that remembers everything and looks at all of it each time.

use proptest::prelude::*;

use super::*;
use crate::model::Timestamp;

const CONSUMERS: u32 = 3;
/// Of the log that the tests read.
const MESSAGES: u64 = 40;

/// A message as the model knows it.
#[derive(Clone, Debug)]
struct Known {
    key: Vec<u8>,
    attempts: u32,
    state: State,
    lease: u32,
    gone: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Unread,
    Ready,
    Leased(u32, Instant),
    Waits(Instant),
    Dying,
    Settled,
}

struct Model {
    rules: Rules,
    // What waits for its time may be handed out.
    early: bool,
    // Of sequences from 1 on.
    log: Vec<Known>,
}

impl Model {
    fn of(&mut self, sequence: u64) -> &mut Known {
        &mut self.log[sequence as usize - 1]
    }

    fn is_open(&self, at: usize) -> bool {
        !matches!(self.log[at].state, State::Unread | State::Settled)
    }

    /// Those of the key of a message, where that matters.
    fn alike(&self, at: usize) -> impl Iterator<Item = usize> + Clone {
        let key = &self.log[at].key;
        let is_ordered = self.rules.order == DeliveryOrder::Key && !key.is_empty();
        (0..self.log.len()).filter(move |other| is_ordered && *other != at && self.log[*other].key == *key)
    }

    fn is_blocked(&self, at: usize) -> bool {
        self.alike(at).any(|other| other < at && self.is_open(other))
    }

    /// Whether it may be handed to a consumer, beside others of its key.
    fn may_have(&self, at: usize, consumer: u32) -> bool {
        let before = self.alike(at).filter(|other| *other < at && self.is_open(*other));
        let is_out =
            |state: State| matches!(state, State::Leased(held, _) if held == consumer) || state == State::Dying;
        let in_turn = before.clone().all(|other| is_out(self.log[other].state));
        let holds = self.alike(at).all(|other| match self.log[other].state {
            State::Leased(held, _) => held == consumer,
            _ => true,
        });
        in_turn && holds && before.count() < self.rules.per_key as usize
    }

    /// What is out behind it in its key is not any more.
    fn follow_again(&mut self, sequence: u64) {
        let at = sequence as usize - 1;
        let behind: Vec<_> = self.alike(at).filter(|other| *other > at).collect();
        for other in behind {
            if matches!(self.log[other].state, State::Leased(..)) {
                self.log[other].state = State::Ready;
            }
        }
    }

    /// What must be handed out next: the first that comes again, else the first that is new.
    fn next(&mut self) -> Option<u64> {
        for at in 0..self.log.len() {
            let comes = match self.log[at].state {
                State::Ready => true,
                State::Waits(_) => self.early,
                _ => false,
            };
            if comes && !self.is_blocked(at) {
                return Some(at as u64 + 1);
            }
        }
        for at in 0..self.log.len() {
            if self.log[at].state != State::Unread {
                continue;
            }
            if self.log[at].gone {
                self.log[at].state = State::Settled;
                continue;
            }
            self.log[at].state = State::Ready;
            if !self.is_blocked(at) {
                return Some(at as u64 + 1);
            }
        }
        None
    }

    fn fail(&mut self, sequence: u64, again: Option<Instant>, now: Instant) {
        let most = self.rules.retry.max_attempts;
        let known = self.of(sequence);
        known.attempts += 1;
        known.state = match again {
            Some(_) if most.is_some_and(|most| known.attempts >= most) => State::Dying,
            Some(at) if at <= now => State::Ready,
            Some(at) => State::Waits(at),
            None => State::Dying,
        };
        if known.state != State::Dying {
            self.follow_again(sequence);
        }
    }

    fn tick(&mut self, now: Instant) {
        for sequence in (1..=self.log.len() as u64).rev() {
            match self.of(sequence).state {
                State::Leased(_, deadline) if deadline <= now => {
                    let attempts = self.of(sequence).attempts + 1;
                    let wait = retry::backoff(&self.rules.retry, attempts);
                    self.fail(sequence, Some(now + wait), now);
                }
                State::Waits(until) if until <= now => self.of(sequence).state = State::Ready,
                _ => {}
            }
        }
    }
}

/// What happens.
#[derive(Clone, Debug)]
enum Step {
    Take(u32),
    // Which of what was ever leased, whether with its own lease, and what is said.
    Settle(prop::sample::Index, Said),
    Pass(u64),
    Leave(u32, bool),
    Bury(bool),
    Gone(prop::sample::Index),
    Early(bool),
    // Which of the consumers are there, a bit each.
    Gather(u32),
    Restart,
}

#[derive(Clone, Copy, Debug)]
enum Said {
    Ack,
    Nack,
    NackAfter(u64),
    Release,
    ReleaseFor(u64),
    Reject,
    Extend(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let said = prop_oneof![
        4 => Just(Said::Ack),
        2 => Just(Said::Nack),
        1 => (0..20u64).prop_map(Said::NackAfter),
        1 => Just(Said::Release),
        1 => (0..20u64).prop_map(Said::ReleaseFor),
        1 => Just(Said::Reject),
        1 => (1..60u64).prop_map(Said::Extend),
    ];
    prop_oneof![
        8 => (1..=CONSUMERS).prop_map(Step::Take),
        8 => (any::<prop::sample::Index>(), said).prop_map(|(which, said)| Step::Settle(which, said)),
        2 => (1..40u64).prop_map(Step::Pass),
        1 => (1..=CONSUMERS, any::<bool>()).prop_map(|(consumer, counts)| Step::Leave(consumer, counts)),
        2 => any::<bool>().prop_map(Step::Bury),
        1 => any::<prop::sample::Index>().prop_map(Step::Gone),
        1 => any::<bool>().prop_map(Step::Early),
        1 => (0..1u32 << CONSUMERS).prop_map(Step::Gather),
        1 => Just(Step::Restart),
    ]
}

/// Both, and what a hub does between the ledger and the log.
struct Pair {
    ledger: Ledger,
    model: Model,
    now: Instant,
    wall: Timestamp,
    // Sequence and lease.
    leased: Vec<(u64, u32)>,
    // What is set aside for each consumer.
    own: [Vec<u64>; CONSUMERS as usize + 1],
    parked: [Vec<u64>; CONSUMERS as usize + 1],
}

impl Pair {
    fn new(order: DeliveryOrder, keys: &[u8]) -> Pair {
        Pair::with(order, 1, keys)
    }

    fn with(order: DeliveryOrder, per_key: u32, keys: &[u8]) -> Pair {
        let retry = RetryPolicy { max_attempts: Some(3), ..RetryPolicy::default() };
        let rules = Rules { order, ack_deadline: Duration::from_secs(30), retry, max_outstanding: 8, per_key };
        let known = |key: &u8| Known {
            key: if *key == 0 { Vec::new() } else { vec![*key] },
            attempts: 0,
            state: State::Unread,
            lease: 0,
            gone: false,
        };
        Pair {
            ledger: Ledger::new(rules.clone(), Sequence(1), 7),
            model: Model { rules, early: false, log: keys.iter().map(known).collect() },
            now: Instant::now(),
            wall: Timestamp::from_nanos(1_800_000_000_000_000_000),
            leased: Vec::new(),
            own: Default::default(),
            parked: Default::default(),
        }
    }

    /// As a hub does it, one message at a time.
    fn take(&mut self, consumer: u32) -> Option<(u64, Lease)> {
        if self.ledger.room(self.now) == 0 {
            return None;
        }
        while !self.own[consumer as usize].is_empty() {
            let sequence = self.own[consumer as usize].remove(0);
            if let Some(lease) = self.lease(sequence, consumer) {
                return Some((sequence, lease));
            }
        }
        self.recall(consumer);
        loop {
            let span = self.ledger.span(4)?;
            let end = self.model.log.len() as u64;
            if span.from.0 > end {
                return None;
            }
            let through = span.through.0.min(end);
            for sequence in span.from.0..=through {
                if self.model.log[sequence as usize - 1].gone || !self.ledger.wants(Sequence(sequence)) {
                    continue;
                }
                if span.again {
                    self.ledger.found(Sequence(sequence));
                }
                if let Some(lease) = self.lease(sequence, consumer) {
                    // What else it found goes back.
                    return Some((sequence, lease));
                }
            }
            match span.again {
                true => drop(self.ledger.passed_again(&span, Sequence(through + 1), Sequence::ZERO)),
                false => self.ledger.passed(Sequence(through + 1)),
            }
        }
    }

    fn lease(&mut self, sequence: u64, consumer: u32) -> Option<Lease> {
        let key = self.model.log[sequence as usize - 1].key.clone();
        match self.ledger.lease(Sequence(sequence), &key, 10, consumer, self.now) {
            Offer::Leased(lease) => Some(lease),
            Offer::For(holder) => {
                // What was set aside before its time does not wait for that any more.
                if matches!(self.model.of(sequence).state, State::Waits(_)) {
                    self.model.of(sequence).state = State::Ready;
                }
                match self.own[holder as usize].len() {
                    0..3 => self.own[holder as usize].push(sequence),
                    _ => {
                        self.ledger.park(Sequence(sequence));
                        self.parked[holder as usize].push(sequence);
                    }
                }
                None
            }
            Offer::Later => None,
        }
    }

    fn recall(&mut self, consumer: u32) {
        let parked = std::mem::take(&mut self.parked[consumer as usize]);
        parked.into_iter().for_each(|sequence| self.ledger.recall(Sequence(sequence)));
    }

    fn put_back(&mut self, consumer: u32) {
        let own = std::mem::take(&mut self.own[consumer as usize]);
        own.into_iter().rev().for_each(|sequence| self.ledger.put_back(Sequence(sequence)));
        self.recall(consumer);
    }

    fn moment<T>(now: Instant, run: impl FnOnce(&Moment<'_>) -> T) -> T {
        run(&Moment { now, jitter: &|duration| duration })
    }

    fn run(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match step {
            Step::Take(consumer) => self.check_take(*consumer)?,
            Step::Settle(which, said) if !self.leased.is_empty() => {
                let (sequence, lease) = *which.get(&self.leased);
                self.check_settle(sequence, lease, *said)?;
            }
            Step::Settle(..) => {}
            Step::Pass(seconds) => {
                self.now += Duration::from_secs(*seconds);
                self.wall = self.wall.plus(Duration::from_secs(*seconds));
                Pair::moment(self.now, |moment| self.ledger.tick(|_| "c".into(), moment));
                self.model.tick(self.now);
            }
            Step::Leave(consumer, counts) => {
                self.put_back(*consumer);
                let failure = counts.then(|| Failure { reason: "gone".into(), consumer: "c".into() });
                Pair::moment(self.now, |moment| self.ledger.give_back(*consumer, failure.as_ref(), moment));
                for sequence in (1..=self.model.log.len() as u64).rev() {
                    if matches!(self.model.of(sequence).state, State::Leased(held, _) if held == *consumer) {
                        match counts {
                            true => self.model.fail(sequence, Some(self.now), self.now),
                            false => {
                                self.model.of(sequence).state = State::Ready;
                                self.model.follow_again(sequence);
                            }
                        }
                    }
                }
            }
            Step::Bury(is_well) => self.check_deaths(*is_well)?,
            Step::Gone(which) => {
                let at = which.index(self.model.log.len());
                // When it is noticed that something open is gone is nobody's promise: that is tested by itself.
                self.model.log[at].gone |= self.model.log[at].state == State::Unread;
            }
            Step::Early(early) => {
                self.ledger.set_early(*early);
                self.model.early = *early;
            }
            Step::Gather(mask) => {
                self.ledger.gather((1..=CONSUMERS).filter(|consumer| mask & 1 << (consumer - 1) > 0).collect());
                (1..=CONSUMERS).filter(|consumer| mask & 1 << (consumer - 1) == 0).for_each(|gone| self.put_back(gone));
            }
            Step::Restart => self.restart(),
        }
        self.check_all()
    }

    fn check_take(&mut self, consumer: u32) -> Result<(), TestCaseError> {
        if self.ledger.room(self.now) == 0 {
            return Ok(());
        }
        let taken = match self.model.rules.per_key {
            1 => {
                let expected = self.model.next();
                let taken = self.take(consumer);
                prop_assert_eq!(taken.map(|(sequence, _)| sequence), expected);
                taken
            }
            _ => self.take(consumer),
        };
        self.read_on();
        let Some((sequence, lease)) = taken else { return Ok(()) };
        let at = sequence as usize - 1;
        let may_come = match self.model.log[at].state {
            State::Ready => true,
            State::Waits(_) => self.model.early,
            _ => false,
        };
        prop_assert!(may_come && self.model.may_have(at, consumer), "{sequence} to {consumer}: {:?}", self.model.log);
        let known = self.model.of(sequence);
        prop_assert_eq!(lease.attempt, known.attempts + 1);
        known.state = State::Leased(consumer, lease.deadline);
        known.lease = lease.lease;
        self.leased.push((sequence, lease.lease));
        Ok(())
    }

    fn check_settle(&mut self, sequence: u64, lease: u32, said: Said) -> Result<(), TestCaseError> {
        let verdict = match said {
            Said::Ack => Verdict::Ack,
            Said::Nack => Verdict::Nack { delay: None },
            Said::NackAfter(seconds) => Verdict::Nack { delay: Some(Duration::from_secs(seconds)) },
            Said::Release => Verdict::Release { delay: None },
            Said::ReleaseFor(seconds) => Verdict::Release { delay: Some(Duration::from_secs(seconds)) },
            Said::Reject => Verdict::Reject,
            Said::Extend(seconds) => Verdict::Extend { by: Some(Duration::from_secs(seconds)) },
        };
        let failure = |_| Failure { reason: "no".into(), consumer: "c".into() };
        let settled =
            Pair::moment(self.now, |moment| self.ledger.settle(Sequence(sequence), lease, verdict, failure, moment));
        let (now, known) = (self.now, self.model.of(sequence).clone());
        let expected = match known.state {
            State::Settled => Err(Reason::AlreadySettled),
            State::Leased(consumer, _) if known.lease == lease => Ok(Some(consumer)),
            State::Ready | State::Waits(_) if verdict == Verdict::Ack => Ok(None),
            _ => Err(Reason::LeaseExpired),
        };
        match (expected, said) {
            (Err(_), _) => {}
            (Ok(_), Said::Ack) => self.model.of(sequence).state = State::Settled,
            (Ok(_), Said::Nack) => {
                let wait = retry::backoff(&self.model.rules.retry, known.attempts + 1);
                self.model.fail(sequence, Some(now + wait), now);
            }
            (Ok(_), Said::NackAfter(seconds)) => {
                self.model.fail(sequence, Some(now + Duration::from_secs(seconds)), now);
            }
            (Ok(_), Said::Release | Said::ReleaseFor(0)) => {
                self.model.of(sequence).state = State::Ready;
                self.model.follow_again(sequence);
            }
            (Ok(_), Said::ReleaseFor(seconds)) => {
                self.model.of(sequence).state = State::Waits(now + Duration::from_secs(seconds));
                self.model.follow_again(sequence);
            }
            (Ok(_), Said::Reject) => self.model.fail(sequence, None, now),
            (Ok(consumer), Said::Extend(seconds)) => {
                let until = now + Duration::from_secs(seconds);
                self.model.of(sequence).state = State::Leased(consumer.unwrap_or_default(), until);
            }
        }
        let is_extended = matches!(said, Said::Extend(_));
        let told = settled.map(|ended| ended.map(|ended| ended.consumer));
        prop_assert_eq!(told, expected.map(|consumer| consumer.filter(|_| !is_extended)));
        Ok(())
    }

    fn check_deaths(&mut self, is_well: bool) -> Result<(), TestCaseError> {
        let mut told: Vec<_> = self.ledger.deaths().iter().map(|death| (death.sequence.0, death.attempts)).collect();
        told.sort_unstable();
        let dying =
            |(at, known): (usize, &Known)| (known.state == State::Dying).then_some((at as u64 + 1, known.attempts));
        let expected: Vec<_> = self.model.log.iter().enumerate().filter_map(dying).collect();
        prop_assert_eq!(&told, &expected);
        for (sequence, _) in told {
            match is_well {
                true => {
                    self.ledger.buried(Sequence(sequence));
                    self.model.of(sequence).state = State::Settled;
                }
                false => self.ledger.unburied(Sequence(sequence)),
            }
        }
        Ok(())
    }

    /// The broker stops without a word and starts again: leases are gone, and nothing is counted.
    fn restart(&mut self) {
        let bytes = self.ledger.encode(self.wall, self.now);
        let rules = self.model.rules.clone();
        self.ledger = Ledger::restore(rules, &bytes, 1_000_000, self.wall, self.now).expect("it was just encoded");
        for known in &mut self.model.log {
            if matches!(known.state, State::Leased(..)) {
                known.state = State::Ready;
            }
        }
        self.leased.clear();
        (self.own, self.parked) = Default::default();
        self.model.early = false;
        self.ledger.gather((1..=CONSUMERS).collect());
    }

    /// What the ledger has read the model has read too.
    fn read_on(&mut self) {
        for known in &mut self.model.log[..self.ledger.read().0 as usize - 1] {
            if known.state == State::Unread {
                known.state = if known.gone { State::Settled } else { State::Ready };
            }
        }
    }

    /// Whatever happened before: when all that is there is done, everything is.
    fn finish(&mut self) -> Result<(), TestCaseError> {
        self.run(&Step::Early(false))?;
        for _ in 0..10 * MESSAGES {
            self.run(&Step::Gather((1 << CONSUMERS) - 1))?;
            self.run(&Step::Pass(24 * 3600))?;
            self.run(&Step::Bury(true))?;
            for consumer in 1..=CONSUMERS {
                self.leased.clear();
                self.run(&Step::Take(consumer))?;
                if let Some(&(sequence, lease)) = self.leased.first() {
                    self.check_settle(sequence, lease, Said::Ack)?;
                }
            }
        }
        self.read_on();
        let left: Vec<_> = self.model.log.iter().filter(|known| known.state != State::Settled).collect();
        prop_assert!(left.is_empty() && self.ledger.open() == 0, "{left:?}");
        prop_assert!(self.ledger.keys.all().is_empty());
        Ok(())
    }

    /// Both say the same of every message.
    fn check_all(&self) -> Result<(), TestCaseError> {
        let mut outstanding = 0;
        for (at, known) in self.model.log.iter().enumerate() {
            let sequence = Sequence(at as u64 + 1);
            let standing = self.ledger.standing(sequence).map(|(standing, attempts, _)| {
                assert_eq!(attempts, known.attempts, "{sequence}");
                standing
            });
            let agrees = match (standing, known.state) {
                (None, State::Settled) => sequence < self.ledger.read(),
                (None, State::Unread) => known.gone || sequence >= self.ledger.read(),
                (Some(Standing::Ready | Standing::Blocked), State::Ready) => true,
                (Some(Standing::Leased { consumer, deadline, .. }), State::Leased(held, until)) => {
                    outstanding += 1;
                    consumer == held && deadline == until
                }
                // Of a time that was kept, milliseconds are.
                (Some(Standing::BackingOff { until }), State::Waits(at)) => {
                    at.max(until) - at.min(until) <= Duration::from_millis(1)
                }
                (Some(Standing::Dying), State::Dying) => true,
                _ => false,
            };
            prop_assert!(agrees, "{}: {:?} and {:?}", sequence, standing, known);
        }
        prop_assert_eq!(self.ledger.outstanding(), outstanding);
        if self.model.early {
            prop_assert_eq!(self.ledger.room(self.now), self.model.rules.max_outstanding - outstanding);
        }
        Ok(())
    }
}

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

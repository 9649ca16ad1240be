//! A ledger and its model, and what a hub does between the ledger and the log: both must agree on every message after every
//! step.

use super::*;

/// What happens.
#[derive(Clone, Debug)]
pub(super) enum Step {
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
pub(super) enum Said {
    Ack,
    Nack,
    NackAfter(u64),
    Release,
    ReleaseFor(u64),
    Reject,
    Extend(u64),
}

pub(super) fn step() -> impl Strategy<Value = Step> {
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
pub(super) struct Pair {
    pub(super) ledger: Ledger,
    pub(super) model: Model,
    pub(super) now: Instant,
    pub(super) wall: Timestamp,
    // Sequence and lease.
    pub(super) leased: Vec<(u64, u32)>,
    // What is set aside for each consumer.
    pub(super) own: [Vec<u64>; CONSUMERS as usize + 1],
    pub(super) parked: [Vec<u64>; CONSUMERS as usize + 1],
}

impl Pair {
    pub(super) fn new(order: DeliveryOrder, keys: &[u8]) -> Pair {
        Pair::with(order, 1, keys)
    }

    pub(super) fn with(order: DeliveryOrder, per_key: u32, keys: &[u8]) -> Pair {
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
    pub(super) fn take(&mut self, consumer: u32) -> Option<(u64, Lease)> {
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

    pub(super) fn lease(&mut self, sequence: u64, consumer: u32) -> Option<Lease> {
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

    pub(super) fn recall(&mut self, consumer: u32) {
        let parked = std::mem::take(&mut self.parked[consumer as usize]);
        parked.into_iter().for_each(|sequence| self.ledger.recall(Sequence(sequence)));
    }

    pub(super) fn put_back(&mut self, consumer: u32) {
        let own = std::mem::take(&mut self.own[consumer as usize]);
        own.into_iter().rev().for_each(|sequence| self.ledger.put_back(Sequence(sequence)));
        self.recall(consumer);
    }

    pub(super) fn moment<T>(now: Instant, run: impl FnOnce(&Moment<'_>) -> T) -> T {
        run(&Moment { now, jitter: &|duration| duration })
    }

    pub(super) fn run(&mut self, step: &Step) -> Result<(), TestCaseError> {
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

    pub(super) fn check_take(&mut self, consumer: u32) -> Result<(), TestCaseError> {
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

    pub(super) fn check_settle(&mut self, sequence: u64, lease: u32, said: Said) -> Result<(), TestCaseError> {
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

    pub(super) fn check_deaths(&mut self, is_well: bool) -> Result<(), TestCaseError> {
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
    pub(super) fn restart(&mut self) {
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
    pub(super) fn read_on(&mut self) {
        for known in &mut self.model.log[..self.ledger.read().0 as usize - 1] {
            if known.state == State::Unread {
                known.state = if known.gone { State::Settled } else { State::Ready };
            }
        }
    }

    /// Whatever happened before: when all that is there is done, everything is.
    pub(super) fn finish(&mut self) -> Result<(), TestCaseError> {
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
    pub(super) fn check_all(&self) -> Result<(), TestCaseError> {
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

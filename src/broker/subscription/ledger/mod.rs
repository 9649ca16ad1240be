//! Decides what happens to each delivery of one subscription. Never reads a clock, never awaits, never touches storage:
//! it is told what lies in the log and what time it is, and says what may be handed out and what is to be given up.
//!
//! Everything before a position, `read`, is either *open* or settled: the log is read in order, and what it holds for
//! the subscription becomes open when it is handed out for the first time. So what is open is all there is to remember,
//! however much was settled around it, and however much still waits: the ledger holds windows, never backlogs.
//! `src/docs/delivery.md` has the table of transitions.

mod breaker;
mod checkpoint;
mod early;
mod entry;
mod keys;
mod leases;
mod letters;
mod progress;
mod reading;
mod retry;
mod skipped;
mod turns;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use self::{
    breaker::Breaker,
    entry::Entry,
    keys::{Keys, Turn},
    leases::Leases,
    skipped::Skipped,
};
pub use self::{
    entry::{Failure, Standing},
    progress::{Kind, OpenRun, Progress},
    reading::Span,
};
use crate::model::{DeliveryOrder, Reason, RetryPolicy, Sequence, Verdict};

/// So many messages are open at the most: leased, waiting for another attempt, or for their key. At the bound nothing
/// further is read.
pub const OPEN: usize = 100_000;
/// So many dead letters that were sent back are remembered, as long as they are kept.
pub const LETTERS: usize = 100_000;

/// By what rules.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// Who may have what at the same time.
    pub order: DeliveryOrder,
    /// How long a lease lasts.
    pub ack_deadline: Duration,
    /// When what failed comes again, and how often.
    pub retry: RetryPolicy,
    /// Leases at the same time, over all consumers.
    pub max_outstanding: u32,
    /// Of one key.
    pub per_key: u32,
}

/// What happens to each delivery.
#[derive(Debug)]
pub struct Ledger {
    rules: Rules,
    // Everything before it is open or settled.
    read: Sequence,
    open: BTreeMap<Sequence, Entry>,
    // Those of them that may be handed out, or whose key must be learnt first.
    wanted: BTreeSet<Sequence>,
    leases: Leases,
    // When back-offs are over.
    backoffs: BTreeSet<(Instant, Sequence)>,
    // Those that are to be given up, and nobody was told of yet.
    dying: Vec<Sequence>,
    keys: Keys,
    // Leases that ended since somebody last asked, as one before them in their key came back.
    revoked: Vec<Ended>,
    // Dead letters that were sent back, whatever became of them.
    letters: BTreeSet<Sequence>,
    breaker: Breaker,
    // What backs off may be handed out.
    early: bool,
    skipped: Skipped,
    outstanding: u32,
    // The last lease that was given.
    lease: u32,
    counts: Counts,
}

/// What was counted since the subscription was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Settled by their consumers.
    pub acked: u64,
    /// Handed out again.
    pub redelivered: u64,
    /// Given up.
    pub dead_lettered: u64,
    /// Gone before they were settled: expired, or purged.
    pub expired: u64,
    /// Removed by retention before they were settled; an upper bound.
    pub removed: u64,
    /// Left out as more waited than may.
    pub dropped: u64,
}

/// A message that may be handed to a consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Tells it from other leases of the message.
    pub lease: u32,
    /// From 1 on.
    pub attempt: u32,
    /// Until then it must be settled.
    pub deadline: Instant,
}

/// What became of asking for a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// It is leased.
    Leased(Lease),
    /// It is set aside for this consumer, who has the key, and is to be leased to him next.
    For(u32),
    /// It is not to be handed out, or not now: then it is wanted again when its time has come.
    Later,
}

/// A message that is to be given up: it is put to the dead letters, and then told to be [`Ledger::buried`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Death {
    /// Which.
    pub sequence: Sequence,
    /// Attempts that failed.
    pub attempts: u32,
    /// It was one before, and was sent back.
    pub is_letter: bool,
    /// Why the last one did.
    pub failure: Failure,
}

/// A lease that ended, whatever the reason: its consumer's window has room again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Whose it was.
    pub consumer: u32,
    /// The message's size.
    pub bytes: u32,
}

/// How an attempt failed, and when the next may follow.
enum Again {
    AtOnce,
    After(Duration),
    ByPolicy,
    Never,
}

/// What a caller says of time and chance.
pub struct Moment<'a> {
    /// The time.
    pub now: Instant,
    /// Takes up to a tenth off a time, or adds it.
    pub jitter: &'a dyn Fn(Duration) -> Duration,
}

impl Ledger {
    /// One that has settled everything before `first`. `lease` is the number before that of its first lease: random, so
    /// that the ids of an earlier run of the broker mean nothing.
    pub fn new(rules: Rules, first: Sequence, lease: u32) -> Self {
        let mut skipped = Skipped::default();
        skipped.add(Sequence::FIRST, first);
        Ledger {
            skipped,
            rules,
            read: first,
            open: BTreeMap::new(),
            wanted: BTreeSet::new(),
            leases: Leases::default(),
            backoffs: BTreeSet::new(),
            dying: Vec::new(),
            keys: Keys::default(),
            revoked: Vec::new(),
            letters: BTreeSet::new(),
            breaker: Breaker::default(),
            early: false,
            outstanding: 0,
            lease,
            counts: Counts::default(),
        }
    }

    /// Goes by other rules from now on. What is leased keeps its deadline.
    pub fn configure(&mut self, rules: Rules) {
        self.rules = rules;
        for key in self.keys.all() {
            self.call(&key);
        }
    }

    /// Whatever failed so far, it is tried at full speed again.
    pub fn resume(&mut self) {
        self.breaker = Breaker::default();
    }

    /// Everything before it is open or settled.
    pub fn read(&self) -> Sequence {
        self.read
    }

    /// Leases that are out.
    pub fn outstanding(&self) -> u32 {
        self.outstanding
    }

    /// How many messages are open.
    pub fn open(&self) -> usize {
        self.open.len()
    }

    /// The oldest message that is not settled, as far as the log was read.
    pub fn oldest(&self) -> Option<Sequence> {
        self.open.first_key_value().map(|(sequence, _)| *sequence)
    }

    /// What was counted.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Whether most of the recent attempts failed, and the next is tried alone, and not before this time.
    pub fn next_try(&self) -> Option<Instant> {
        self.breaker.next_try()
    }

    /// Where an open message stands, how many attempts failed, and why the last did.
    pub fn standing(&self, sequence: Sequence) -> Option<(Standing, u32, Option<&Failure>)> {
        let entry = self.open.get(&sequence)?;
        Some((entry.standing, entry.attempts, entry.failure.as_deref()))
    }

    /// Whether a message may still be handed out, and no attempt of it has failed; for one that the subscription asks for.
    pub fn is_untried(&self, sequence: Sequence) -> bool {
        match self.open.get(&sequence) {
            Some(entry) => entry.attempts == 0 && entry.standing != Standing::Dying,
            None => sequence >= self.read,
        }
    }

    /// How many more leases may be out.
    pub fn room(&self, now: Instant) -> u32 {
        let most = match self.breaker.next_try().filter(|_| !self.early) {
            Some(next) if now < next => 0,
            Some(_) => self.rules.max_outstanding.min(1),
            None => self.rules.max_outstanding,
        };
        most.saturating_sub(self.outstanding)
    }

    /// Leases a message to a consumer, if it may be. To be asked only where there is room. `key` is the message's ordering
    /// key, empty if it has none.
    pub fn lease(&mut self, sequence: Sequence, key: &[u8], bytes: u32, consumer: u32, now: Instant) -> Offer {
        match self.admit(sequence, key, consumer) {
            Turn::Now => {}
            Turn::Of(holder) => return Offer::For(holder),
            Turn::Later | Turn::Taken => return Offer::Later,
        }
        let entry = self.open.get_mut(&sequence).expect("it was just admitted");
        self.lease = self.lease.wrapping_add(1);
        let deadline = now + self.rules.ack_deadline;
        entry.lease = self.lease;
        entry.standing = Standing::Leased { consumer, deadline, bytes };
        let attempt = entry.attempts.saturating_add(1);
        self.leases.add(deadline, sequence, self.lease);
        self.outstanding += 1;
        self.counts.redelivered += u64::from(attempt > 1);
        Offer::Leased(Lease { lease: self.lease, attempt, deadline })
    }

    /// Settles a delivery. `consumer` is the name of whoever had it.
    pub fn settle(
        &mut self,
        sequence: Sequence,
        lease: u32,
        verdict: Verdict,
        failure: impl FnOnce(u32) -> Failure,
        moment: &Moment<'_>,
    ) -> Result<Option<Ended>, Reason> {
        let entry = match self.open.get_mut(&sequence) {
            Some(entry) => entry,
            None if sequence < self.read => return Err(Reason::AlreadySettled),
            // It was handed out before a crash or a seek that has taken that back.
            None => return Err(Reason::LeaseExpired),
        };
        let holder = match entry.standing {
            Standing::Leased { consumer, bytes, .. } if entry.lease == lease => Ended { consumer, bytes },
            // Whoever was once handed it and has done the work is believed, as long as nobody else has it by now.
            Standing::Ready | Standing::BackingOff { .. } | Standing::Blocked if verdict == Verdict::Ack => {
                self.breaker.succeeded();
                self.counts.acked += 1;
                self.close(sequence);
                return Ok(None);
            }
            _ => return Err(Reason::LeaseExpired),
        };
        match verdict {
            Verdict::Ack => {
                self.outstanding -= 1;
                self.breaker.succeeded();
                self.counts.acked += 1;
                self.close(sequence);
            }
            Verdict::Nack { delay } => {
                let again = delay.map_or(Again::ByPolicy, Again::After);
                self.fail(sequence, failure(holder.consumer), again, moment);
            }
            Verdict::Release { delay } => self.release(sequence, delay.unwrap_or_default(), moment.now),
            Verdict::Reject => self.fail(sequence, failure(holder.consumer), Again::Never, moment),
            Verdict::Extend { by } => {
                let deadline = moment.now + by.unwrap_or(self.rules.ack_deadline);
                entry.standing = Standing::Leased { consumer: holder.consumer, deadline, bytes: holder.bytes };
                self.leases.add_apart(deadline, sequence, lease);
                return Ok(None);
            }
        }
        self.leases.tidy(|sequence, lease, deadline| is_live(&self.open, sequence, lease, deadline));
        Ok(Some(holder))
    }

    /// Gives back what a consumer has, and answers how many that were. With `failure`, an attempt of each has failed.
    pub fn give_back(&mut self, consumer: u32, failure: Option<&Failure>, moment: &Moment<'_>) -> usize {
        let held =
            |entry: &Entry| matches!(entry.standing, Standing::Leased { consumer: held, .. } if held == consumer);
        let held: Vec<_> = self.open.iter().filter(|(_, entry)| held(entry)).map(|(sequence, _)| *sequence).collect();
        // The last first: what comes back ends the leases of those behind it in its key, and each is to be counted.
        for &sequence in held.iter().rev() {
            match failure {
                Some(failure) => self.fail(sequence, failure.clone(), Again::AtOnce, moment),
                None => self.release(sequence, Duration::ZERO, moment.now),
            }
        }
        held.len()
    }

    /// Ends the leases whose time is over, and the back-offs. Answers whose leases ended.
    pub fn tick(&mut self, name: impl Fn(u32) -> Arc<str>, moment: &Moment<'_>) -> Vec<Ended> {
        let (mut ended, mut over) = (Vec::new(), Vec::new());
        while let Some((deadline, sequence, lease)) = self.leases.pop_due(moment.now) {
            if is_live(&self.open, sequence, lease, deadline) {
                over.push(sequence);
            }
        }
        // As in `give_back`.
        over.sort_unstable();
        for sequence in over.into_iter().rev() {
            let Standing::Leased { consumer, bytes, .. } = self.open[&sequence].standing else { continue };
            ended.push(Ended { consumer, bytes });
            let failure = Failure { reason: "the lease expired".into(), consumer: name(consumer) };
            self.fail(sequence, failure, Again::ByPolicy, moment);
        }
        while let Some(&(until, sequence)) = self.backoffs.first()
            && until <= moment.now
        {
            self.backoffs.pop_first();
            if let Some(entry) = self.open.get_mut(&sequence) {
                entry.standing = Standing::Ready;
                self.wanted.insert(sequence);
            }
        }
        ended
    }

    /// When [`Ledger::tick`] has something to do next.
    pub fn due(&mut self) -> Option<Instant> {
        let open = &self.open;
        let lease = self.leases.first(|sequence, lease, deadline| is_live(open, sequence, lease, deadline));
        let backoff = self.backoffs.first().map(|(until, _)| *until);
        [lease, backoff].into_iter().flatten().min()
    }

    /// Those that are to be given up, each told once.
    pub fn deaths(&mut self) -> Vec<Death> {
        let unknown =
            || Failure { reason: "the broker was restarted before it was told why".into(), consumer: "".into() };
        let death = |sequence: Sequence| {
            let entry = self.open.get(&sequence)?;
            let failure = entry.failure.as_deref().cloned().unwrap_or_else(unknown);
            Some(Death { sequence, attempts: entry.attempts, is_letter: entry.is_letter, failure })
        };
        std::mem::take(&mut self.dying).into_iter().filter_map(death).collect()
    }

    /// Whether anything comes again, and its time has come.
    pub fn has_wanted(&self) -> bool {
        !self.wanted.is_empty()
    }

    /// Whether anything is to be given up that nobody was told of yet.
    pub fn has_deaths(&self) -> bool {
        !self.dying.is_empty()
    }

    /// It lies with the dead letters, or was dropped.
    pub fn buried(&mut self, sequence: Sequence) {
        if self.open.get(&sequence).is_some_and(|entry| entry.standing == Standing::Dying) {
            self.counts.dead_lettered += 1;
            self.close(sequence);
        }
    }

    /// It could not be put to the dead letters: it is told again.
    pub fn unburied(&mut self, sequence: Sequence) {
        if self.open.get(&sequence).is_some_and(|entry| entry.standing == Standing::Dying) {
            self.dying.push(sequence);
        }
    }

    /// A lease ends, and nothing is counted.
    fn release(&mut self, sequence: Sequence, wait: Duration, now: Instant) {
        self.outstanding -= 1;
        self.come_again(sequence, wait, now);
    }

    /// A message waits to be handed out again.
    fn come_again(&mut self, sequence: Sequence, wait: Duration, now: Instant) {
        self.follow_again(sequence);
        let Some(entry) = self.open.get_mut(&sequence) else { return };
        if wait.is_zero() {
            entry.standing = Standing::Ready;
            self.wanted.insert(sequence);
            return;
        }
        let until = now + wait;
        entry.standing = Standing::BackingOff { until };
        self.backoffs.insert((until, sequence));
        if self.early {
            self.wanted.insert(sequence);
        }
    }

    /// An attempt failed.
    fn fail(&mut self, sequence: Sequence, failure: Failure, again: Again, moment: &Moment<'_>) {
        let Some(entry) = self.open.get_mut(&sequence) else { return };
        entry.attempts = entry.attempts.saturating_add(1);
        entry.failure = Some(Box::new(failure));
        self.outstanding -= 1;
        // Who rejects has judged the message: that says nothing against himself.
        if !matches!(again, Again::Never) {
            self.breaker.failed(moment.now);
        }
        let wait = match again {
            Again::Never => None,
            _ if retry::is_over(&self.rules.retry, entry.attempts) => None,
            Again::AtOnce => Some(Duration::ZERO),
            Again::After(delay) => Some(delay),
            Again::ByPolicy => Some((moment.jitter)(retry::backoff(&self.rules.retry, entry.attempts))),
        };
        match wait {
            None => {
                entry.standing = Standing::Dying;
                self.dying.push(sequence);
            }
            Some(wait) => self.come_again(sequence, wait, moment.now),
        }
    }

    /// A message is settled, whatever the way.
    fn close(&mut self, sequence: Sequence) {
        let Some(entry) = self.open.remove(&sequence) else { return };
        self.wanted.remove(&sequence);
        if let Standing::BackingOff { until } = entry.standing {
            self.backoffs.remove(&(until, sequence));
        }
        let Some(key) = entry.key else { return };
        self.keys.leave(&key, sequence);
        self.call(&key);
    }
}

/// Whether a deadline is the one of a lease that is out.
fn is_live(open: &BTreeMap<Sequence, Entry>, sequence: Sequence, lease: u32, at: Instant) -> bool {
    open.get(&sequence).is_some_and(|entry| {
        entry.lease == lease && matches!(entry.standing, Standing::Leased { deadline, .. } if deadline == at)
    })
}

#[cfg(test)]
mod tests;

//! What of a ledger outlives the broker: how far the log was read, and what is open. Leases do not: whoever had one is
//! asked again. Plain data: `checkpoint` has its bytes, and a namespace that moves takes it along.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::{Counts, Entry, LETTERS, Ledger, OPEN, Rules, Standing, retry, skipped::RANGES};
use crate::model::{DeliveryOrder, Sequence, Timestamp};

/// How far a subscription has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Everything before it is settled or open.
    pub read: Sequence,
    /// What was counted.
    pub counts: Counts,
    /// What was passed over, each with the first behind it; in the order in which that happened.
    pub skipped: Vec<(Sequence, Sequence)>,
    /// Dead letters that were sent back. Rising.
    pub letters: Vec<Sequence>,
    /// What is open. Rising.
    pub open: Vec<OpenRun>,
}

/// Sequences one after the other about which the same is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenRun {
    /// The first of them.
    pub first: Sequence,
    /// How many.
    pub count: u64,
    /// Attempts that failed.
    pub attempts: u32,
    /// What becomes of them.
    pub kind: Kind,
    /// They are dead letters that were sent back.
    pub is_letter: bool,
}

/// What becomes of an open message when the broker starts again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It may be handed out.
    Ready,
    /// It waits until then; whole milliseconds.
    BackingOff(Timestamp),
    /// It is to be given up.
    Dying,
}

const MILLI: i64 = 1_000_000;

impl Progress {
    /// Adds what is open behind all that was added.
    pub fn push(&mut self, next: OpenRun) {
        match self.open.last_mut() {
            Some(run) if run.goes_on_with(&next) => run.count += next.count,
            _ => self.open.push(next),
        }
    }

    /// Whether it is one that a ledger can have: nothing beyond its bounds, all in its order.
    pub fn is_sound(&self) -> bool {
        let (mut end, mut open) = (0, 0u64);
        let runs_rise = self.open.iter().all(|run| {
            let rises = run.first.0 >= end && run.count <= OPEN as u64;
            end = run.first.0.saturating_add(run.count);
            open = open.saturating_add(run.count);
            rises && end < u64::MAX
        });
        runs_rise
            && open <= OPEN as u64
            && self.letters.len() <= LETTERS
            && self.letters.is_sorted_by(|one, next| one < next)
            && self.skipped.len() <= RANGES
    }
}

impl OpenRun {
    /// Whether the next sequences can be a part of it.
    fn goes_on_with(&self, next: &OpenRun) -> bool {
        let alike = (self.attempts, self.kind, self.is_letter) == (next.attempts, next.kind, next.is_letter);
        alike && self.first.plus(self.count) == next.first
    }

    /// Each of them.
    pub fn sequences(&self) -> impl Iterator<Item = Sequence> + use<> {
        (self.first.0..self.first.0.saturating_add(self.count)).map(Sequence)
    }
}

impl Ledger {
    /// How far it has come. `wall` is what the clock says now.
    pub fn progress(&self, wall: Timestamp, now: Instant) -> Progress {
        let mut progress = Progress {
            read: self.read,
            counts: self.counts,
            skipped: self.skipped.ranges().collect(),
            letters: self.letters.iter().copied().collect(),
            open: Vec::new(),
        };
        for (&first, entry) in &self.open {
            let kind = match entry.standing {
                Standing::Ready | Standing::Blocked | Standing::Leased { .. } => Kind::Ready,
                Standing::BackingOff { until } => Kind::BackingOff(whole_millis(wall.plus(until - now))),
                Standing::Dying => Kind::Dying,
            };
            progress.push(OpenRun { first, count: 1, attempts: entry.attempts, kind, is_letter: entry.is_letter });
        }
        progress
    }

    /// A ledger that goes on from there.
    pub fn go_on(rules: Rules, progress: Progress, lease: u32, wall: Timestamp, now: Instant) -> Ledger {
        let Progress { read, counts, skipped, letters, open } = progress;
        let mut ledger = Ledger { counts, ..Ledger::new(rules, read, lease) };
        ledger.skipped = Default::default();
        skipped.into_iter().for_each(|(first, end)| ledger.skipped.add(first, end));
        ledger.letters = letters.into_iter().collect();
        ledger.open = entries(&open, wall, now);
        for (sequence, entry) in &mut ledger.open {
            if retry::is_over(&ledger.rules.retry, entry.attempts) {
                entry.standing = Standing::Dying;
            }
            match entry.standing {
                Standing::Dying => ledger.dying.push(*sequence),
                Standing::BackingOff { until } => drop(ledger.backoffs.insert((until, *sequence))),
                _ => {}
            }
            // What waits is read too where its key must be learnt, before anything behind it is handed out.
            if entry.standing == Standing::Ready || ledger.rules.order == DeliveryOrder::Key {
                ledger.wanted.insert(*sequence);
            }
        }
        ledger
    }
}

fn entries(open: &[OpenRun], wall: Timestamp, now: Instant) -> BTreeMap<Sequence, Entry> {
    let mut entries = BTreeMap::new();
    for run in open {
        let standing = match run.kind {
            Kind::Ready => Standing::Ready,
            Kind::BackingOff(until) => Standing::BackingOff { until: now + until.since(whole_millis(wall)) },
            Kind::Dying => Standing::Dying,
        };
        let entry = Entry { attempts: run.attempts, standing, is_letter: run.is_letter, ..Entry::ready() };
        entries.extend(run.sequences().map(|sequence| (sequence, entry.clone())));
    }
    entries
}

fn whole_millis(time: Timestamp) -> Timestamp {
    Timestamp::from_nanos(time.nanos() / MILLI * MILLI)
}

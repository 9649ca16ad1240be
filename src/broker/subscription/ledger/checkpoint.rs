//! What of a ledger must survive: how far the log was read, and what is open. Leases do not: whoever had one is asked
//! again.
//!
//! Version 1 of the form: its number in a byte; then varints: `read`, the counts, how many ranges were passed over, the two
//! ends of each, how many dead letters were sent back, the distance of each from the one before, and runs of what is open: the distance from the end of the run before (of the first, from zero), how many sequences one after the other, failed attempts, and
//! a kind, whose back-off has its end in milliseconds of wall time.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    Counts, Entry, LETTERS, Ledger, Rules, Standing, retry,
    skipped::{RANGES, Skipped},
};
use crate::model::{DeliveryOrder, Sequence, Timestamp, wire};

const VERSION: u8 = 1;
/// Of a kind: it is a dead letter that was sent back.
const LETTER: u64 = 4;

/// What becomes of an open message when the broker starts again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It may be handed out.
    Ready,
    /// It waits until then, in milliseconds since 1970.
    BackingOff(u64),
    /// It is to be given up.
    Dying,
}

impl Ledger {
    /// The bytes to be kept. `wall` is what the clock says now.
    pub fn encode(&self, wall: Timestamp, now: Instant) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        let Counts { acked, redelivered, dead_lettered, expired, removed, dropped } = self.counts;
        for number in [self.read.0, acked, redelivered, dead_lettered, expired, removed, dropped] {
            wire::put_varint(&mut bytes, number);
        }
        let ranges = self.skipped.ranges();
        wire::put_varint(&mut bytes, ranges.len() as u64);
        for end in ranges.flat_map(|(first, end)| [first, end]) {
            wire::put_varint(&mut bytes, end.0);
        }
        wire::put_varint(&mut bytes, self.letters.len() as u64);
        let mut before = 0;
        for letter in &self.letters {
            wire::put_varint(&mut bytes, letter.0 - before);
            before = letter.0;
        }
        let mut runs = Runs { bytes, end: 0, run: None };
        for (sequence, entry) in &self.open {
            let kind = match entry.standing {
                Standing::Ready | Standing::Blocked | Standing::Leased { .. } => Kind::Ready,
                Standing::BackingOff { until } => Kind::BackingOff(millis(wall.plus(until - now))),
                Standing::Dying => Kind::Dying,
            };
            runs.add(Run { first: sequence.0, count: 1, attempts: entry.attempts, kind, is_letter: entry.is_letter });
        }
        runs.finish()
    }

    /// The ledger as it was kept; None if the bytes are of no form that is known.
    pub fn restore(rules: Rules, bytes: &[u8], lease: u32, wall: Timestamp, now: Instant) -> Option<Ledger> {
        let (&VERSION, mut bytes) = bytes.split_first()? else { return None };
        let mut numbers = [0; 7];
        for number in &mut numbers {
            *number = wire::take_varint(&mut bytes)?;
        }
        let [read, acked, redelivered, dead_lettered, expired, removed, dropped] = numbers;
        let counts = Counts { acked, redelivered, dead_lettered, expired, removed, dropped };
        let mut ledger = Ledger { counts, ..Ledger::new(rules, Sequence(read), lease) };
        ledger.skipped = skipped(&mut bytes)?;
        ledger.letters = letters(&mut bytes)?;
        ledger.open = open(bytes, wall, now)?;
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
        Some(ledger)
    }
}

fn millis(time: Timestamp) -> u64 {
    u64::try_from(time.nanos() / 1_000_000).unwrap_or_default()
}

fn skipped(bytes: &mut &[u8]) -> Option<Skipped> {
    let mut skipped = Skipped::default();
    let ranges = wire::take_varint(bytes).filter(|ranges| *ranges <= RANGES as u64)?;
    for _ in 0..ranges {
        skipped.add(Sequence(wire::take_varint(bytes)?), Sequence(wire::take_varint(bytes)?));
    }
    Some(skipped)
}

fn letters(bytes: &mut &[u8]) -> Option<BTreeSet<Sequence>> {
    let count = wire::take_varint(bytes).filter(|count| *count <= LETTERS as u64)?;
    let mut last = 0u64;
    (0..count)
        .map(|_| {
            last = last.checked_add(wire::take_varint(bytes)?)?;
            Some(Sequence(last))
        })
        .collect()
}

fn open(mut bytes: &[u8], wall: Timestamp, now: Instant) -> Option<BTreeMap<Sequence, Entry>> {
    let mut open = BTreeMap::new();
    let mut end = 0u64;
    while !bytes.is_empty() {
        let first = end.checked_add(wire::take_varint(&mut bytes)?)?;
        let count = wire::take_varint(&mut bytes)?;
        end = first.checked_add(count)?;
        if open.len() as u64 + count > super::OPEN as u64 {
            return None;
        }
        let attempts = u32::try_from(wire::take_varint(&mut bytes)?).ok()?;
        let kind = wire::take_varint(&mut bytes)?;
        let standing = match kind & !LETTER {
            0 => Standing::Ready,
            1 => {
                let until = wire::take_varint(&mut bytes)?;
                Standing::BackingOff { until: now + Duration::from_millis(until.saturating_sub(millis(wall))) }
            }
            2 => Standing::Dying,
            _ => return None,
        };
        let entry = Entry { attempts, standing, is_letter: kind & LETTER != 0, ..Entry::ready() };
        open.extend((first..end).map(|sequence| (Sequence(sequence), entry.clone())));
    }
    Some(open)
}

/// Sequences one after the other about which the same is said.
struct Runs {
    bytes: Vec<u8>,
    // Of the last run that was written.
    end: u64,
    run: Option<Run>,
}

struct Run {
    first: u64,
    count: u64,
    attempts: u32,
    kind: Kind,
    is_letter: bool,
}

impl Run {
    /// Whether the next sequence can be a part of it.
    fn takes(&self, next: &Run) -> bool {
        let alike = (self.attempts, self.kind, self.is_letter) == (next.attempts, next.kind, next.is_letter);
        alike && self.first + self.count == next.first
    }
}

impl Runs {
    fn add(&mut self, next: Run) {
        match &mut self.run {
            Some(run) if run.takes(&next) => run.count += 1,
            _ => {
                self.write();
                self.run = Some(next);
            }
        }
    }

    fn write(&mut self) {
        let Some(Run { first, count, attempts, kind, is_letter }) = self.run.take() else { return };
        let (number, until) = match kind {
            Kind::Ready => (0, None),
            Kind::BackingOff(until) => (1, Some(until)),
            Kind::Dying => (2, None),
        };
        let number = if is_letter { number | LETTER } else { number };
        for number in [first - self.end, count, attempts.into(), number].into_iter().chain(until) {
            wire::put_varint(&mut self.bytes, number);
        }
        self.end = first + count;
    }

    fn finish(mut self) -> Vec<u8> {
        self.write();
        self.bytes
    }
}

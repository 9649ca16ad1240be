//! The bytes in which a ledger is kept: those of its progress.
//!
//! Version 1 of the form: its number in a byte; then varints: `read`, the counts, how many ranges were passed over, the two
//! ends of each, how many dead letters were sent back, the distance of each from the one before, and runs of what is open: the distance from the end of the run before (of the first, from zero), how many sequences one after the other, failed attempts, and
//! a kind, whose back-off has its end in milliseconds of wall time.

use tokio::time::Instant;

use super::{
    Counts, LETTERS, Ledger, OPEN, Rules,
    progress::{Kind, OpenRun, Progress},
    skipped::RANGES,
};
use crate::model::{Sequence, Timestamp, wire};

const VERSION: u8 = 1;
/// Of a kind: it is a dead letter that was sent back.
const LETTER: u64 = 4;
const MILLI: i64 = 1_000_000;

impl Ledger {
    /// The bytes to be kept. `wall` is what the clock says now.
    pub fn encode(&self, wall: Timestamp, now: Instant) -> Vec<u8> {
        self.progress(wall, now).encode()
    }

    /// The ledger as it was kept; None if the bytes are of no form that is known.
    pub fn restore(rules: Rules, bytes: &[u8], lease: u32, wall: Timestamp, now: Instant) -> Option<Ledger> {
        Some(Ledger::go_on(rules, Progress::decode(bytes)?, lease, wall, now))
    }
}

impl Progress {
    /// The bytes to be kept.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        let Counts { acked, redelivered, dead_lettered, expired, removed, dropped } = self.counts;
        for number in [self.read.0, acked, redelivered, dead_lettered, expired, removed, dropped] {
            wire::put_varint(&mut bytes, number);
        }
        wire::put_varint(&mut bytes, self.skipped.len() as u64);
        for end in self.skipped.iter().flat_map(|(first, end)| [first, end]) {
            wire::put_varint(&mut bytes, end.0);
        }
        wire::put_varint(&mut bytes, self.letters.len() as u64);
        let mut before = 0;
        for letter in &self.letters {
            wire::put_varint(&mut bytes, letter.0 - before);
            before = letter.0;
        }
        let mut end = 0;
        for OpenRun { first, count, attempts, kind, is_letter } in &self.open {
            let (number, until) = match kind {
                Kind::Ready => (0, None),
                Kind::BackingOff(until) => (1, Some(until.nanos().unsigned_abs() / MILLI.unsigned_abs())),
                Kind::Dying => (2, None),
            };
            let number = if *is_letter { number | LETTER } else { number };
            for number in [first.0 - end, *count, u64::from(*attempts), number].into_iter().chain(until) {
                wire::put_varint(&mut bytes, number);
            }
            end = first.0 + count;
        }
        bytes
    }

    /// What was kept; None if the bytes are of no form that is known.
    pub fn decode(bytes: &[u8]) -> Option<Progress> {
        let (&VERSION, mut bytes) = bytes.split_first()? else { return None };
        let mut numbers = [0; 7];
        for number in &mut numbers {
            *number = wire::take_varint(&mut bytes)?;
        }
        let [read, acked, redelivered, dead_lettered, expired, removed, dropped] = numbers;
        let counts = Counts { acked, redelivered, dead_lettered, expired, removed, dropped };
        let (skipped, letters) = (skipped(&mut bytes)?, letters(&mut bytes)?);
        Some(Progress { read: Sequence(read), counts, skipped, letters, open: open(bytes)? })
    }
}

fn skipped(bytes: &mut &[u8]) -> Option<Vec<(Sequence, Sequence)>> {
    let ranges = wire::take_varint(bytes).filter(|ranges| *ranges <= RANGES as u64)?;
    (0..ranges).map(|_| Some((Sequence(wire::take_varint(bytes)?), Sequence(wire::take_varint(bytes)?)))).collect()
}

fn letters(bytes: &mut &[u8]) -> Option<Vec<Sequence>> {
    let count = wire::take_varint(bytes).filter(|count| *count <= LETTERS as u64)?;
    let mut last = 0u64;
    (0..count)
        .map(|_| {
            last = last.checked_add(wire::take_varint(bytes)?)?;
            Some(Sequence(last))
        })
        .collect()
}

fn open(mut bytes: &[u8]) -> Option<Vec<OpenRun>> {
    let (mut runs, mut end, mut open) = (Vec::new(), 0u64, 0u64);
    while !bytes.is_empty() {
        let first = end.checked_add(wire::take_varint(&mut bytes)?)?;
        let count = wire::take_varint(&mut bytes)?;
        end = first.checked_add(count)?;
        open = open.checked_add(count).filter(|open| *open <= OPEN as u64)?;
        let attempts = u32::try_from(wire::take_varint(&mut bytes)?).ok()?;
        let kind = wire::take_varint(&mut bytes)?;
        let (is_letter, first) = (kind & LETTER != 0, Sequence(first));
        let kind = match kind & !LETTER {
            0 => Kind::Ready,
            1 => Kind::BackingOff(from_millis(wire::take_varint(&mut bytes)?)),
            2 => Kind::Dying,
            _ => return None,
        };
        runs.push(OpenRun { first, count, attempts, kind, is_letter });
    }
    Some(runs)
}

fn from_millis(millis: u64) -> Timestamp {
    Timestamp::from_nanos(i64::try_from(millis).unwrap_or(i64::MAX).saturating_mul(MILLI))
}

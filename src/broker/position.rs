//! Where a stream begins, and what it cannot have. Pure.

use crate::{
    engine::Bounds,
    model::{Cursor, Error, Gap, GapReason, Position, Reason, Result, Sequence},
};

/// Where a stream begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// The first position that it reads.
    pub next: Sequence,
    /// What it misses.
    pub gap: Option<Gap>,
}

/// Finds the beginning in a log with these bounds. With `strict`, what would be a gap is refused.
///
/// A sequence that is not there yet is waited for, also with the cursor of a stream that waited for it. Any other cursor
/// beyond the end belongs to a part that was cut off: its stream goes on right after what is there, so that nothing is
/// missed whatever the numbers of what comes.
pub fn resolve(position: Position, bounds: &Bounds, strict: bool) -> Result<Start> {
    let start = match position {
        // What names a time or counts from the end begins there too, unless the log has something for it.
        Position::New | Position::Time(_) | Position::Last(_) | Position::LastPerTopic => Start::at(bounds.end.next()),
        Position::Earliest | Position::At(Sequence::ZERO) => Start::at(bounds.first),
        Position::At(sequence) => Start::at(sequence).not_before(bounds.first),
        Position::After(cursor) => after(cursor, bounds),
    };
    match start.gap {
        Some(gap) if strict => Err(expired(&gap, bounds.first)),
        _ => Ok(start),
    }
}

/// The refusal of a position that cannot be had, where a stream wants none else. `first` is the first that is kept.
pub fn expired(gap: &Gap, first: Sequence) -> Error {
    let message = match gap.reason {
        GapReason::LogReplaced if gap.first == Sequence::ZERO => {
            "the cursor belongs to an earlier log of this namespace, which is gone".to_owned()
        }
        GapReason::LogReplaced => {
            format!("the positions {} to {} were cut off by a crash of the broker", gap.first, gap.last)
        }
        GapReason::Retention | GapReason::Skipped => {
            format!("the positions {} to {} are no longer kept", gap.first, gap.last)
        }
    };
    let hint = format!("{message}: begin at {first} or EARLIEST, or leave out `strict` to be told of the gap");
    Error::new(Reason::PositionExpired, hint).field("start").with("first", first)
}

fn after(cursor: Cursor, bounds: &Bounds) -> Start {
    let replaced = |first, last| Some(Gap { reason: GapReason::LogReplaced, first, last });
    if cursor.log != bounds.id {
        return Start { next: bounds.first, gap: replaced(Sequence::ZERO, Sequence::ZERO) };
    }
    if cursor.waits {
        return Start::at(cursor.after.next()).not_before(bounds.first);
    }
    let cut = bounds.cuts.iter().find(|(first, last)| (*first..=*last).contains(&cursor.after));
    match cut {
        // What it had seen of the cut is gone; of the rest nothing was ever there.
        Some(&(first, _)) => Start { next: first.max(bounds.first), gap: replaced(first, cursor.after) },
        None if cursor.after > bounds.end && cursor.after >= bounds.first => {
            let next = bounds.end.next();
            Start { next, gap: replaced(next, cursor.after) }
        }
        None => Start::at(cursor.after.next()).not_before(bounds.first),
    }
}

impl Start {
    fn at(next: Sequence) -> Self {
        Start { next, gap: None }
    }

    fn not_before(self, first: Sequence) -> Self {
        if self.next >= first {
            return self;
        }
        Start { next: first, gap: Some(Gap { reason: GapReason::Retention, first: self.next, last: first.previous() }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::LogId;

    fn bounds(first: u64, end: u64, cuts: &[(u64, u64)]) -> Bounds {
        let cuts = cuts.iter().map(|&(first, last)| (Sequence(first), Sequence(last))).collect();
        Bounds { id: LogId(7), first: Sequence(first), end: Sequence(end), cuts, bytes: 0 }
    }

    fn cursor(log: u64, after: u64) -> Position {
        Position::After(Cursor { log: LogId(log), after: Sequence(after), waits: false })
    }

    fn waiting(after: u64) -> Position {
        Position::After(Cursor { log: LogId(7), after: Sequence(after), waits: true })
    }

    fn gap(reason: GapReason, first: u64, last: u64) -> Option<Gap> {
        Some(Gap { reason, first: Sequence(first), last: Sequence(last) })
    }

    #[test]
    fn every_position_has_a_beginning() {
        use GapReason::{LogReplaced, Retention};
        let empty = bounds(1, 0, &[]);
        let plain = bounds(10, 20, &[]);
        let emptied = bounds(21, 20, &[]);
        let cut = bounds(10, 60, &[(21, 50)]);
        let just_cut = bounds(10, 20, &[(21, 50)]);
        let cases = [
            (&empty, Position::New, 1, None),
            (&empty, Position::Earliest, 1, None),
            (&empty, Position::At(Sequence(1)), 1, None),
            (&empty, cursor(7, 0), 1, None),
            (&plain, Position::New, 21, None),
            (&plain, Position::Earliest, 10, None),
            (&plain, Position::At(Sequence(0)), 10, None),
            (&plain, Position::At(Sequence(10)), 10, None),
            (&plain, Position::At(Sequence(9)), 10, gap(Retention, 9, 9)),
            (&plain, Position::At(Sequence(1)), 10, gap(Retention, 1, 9)),
            (&plain, Position::At(Sequence(99)), 99, None),
            (&plain, cursor(7, 9), 10, None),
            (&plain, cursor(7, 8), 10, gap(Retention, 9, 9)),
            (&plain, cursor(7, 0), 10, gap(Retention, 1, 9)),
            (&plain, cursor(7, 15), 16, None),
            (&plain, cursor(7, 20), 21, None),
            (&plain, cursor(7, 25), 21, gap(LogReplaced, 21, 25)),
            (&plain, cursor(8, 15), 10, gap(LogReplaced, 0, 0)),
            (&emptied, cursor(7, 20), 21, None),
            (&emptied, cursor(7, 5), 21, gap(Retention, 6, 20)),
            (&cut, cursor(7, 20), 21, None),
            (&cut, cursor(7, 21), 21, gap(LogReplaced, 21, 21)),
            (&cut, cursor(7, 50), 21, gap(LogReplaced, 21, 50)),
            (&cut, cursor(7, 51), 52, None),
            (&just_cut, cursor(7, 30), 21, gap(LogReplaced, 21, 30)),
            (&just_cut, cursor(7, 70), 21, gap(LogReplaced, 21, 70)),
            // What it waited for is still to come, or has come.
            (&plain, waiting(25), 26, None),
            (&plain, waiting(15), 16, None),
            (&plain, waiting(5), 10, gap(Retention, 6, 9)),
            (&cut, waiting(30), 31, None),
        ];
        for (bounds, position, next, gap) in cases {
            let start = resolve(position, bounds, false).unwrap();
            assert_eq!(start, Start { next: Sequence(next), gap }, "{position:?} in {bounds:?}");
            let strict = resolve(position, bounds, true);
            assert_eq!(strict.is_err(), gap.is_some(), "{position:?} in {bounds:?}");
        }
    }

    #[test]
    fn the_cursor_of_a_stream_that_began_after_a_gap_is_good() {
        let cut = bounds(10, 60, &[(21, 50)]);
        for position in [cursor(7, 30), cursor(8, 3), cursor(7, 2), cursor(7, 99)] {
            let start = resolve(position, &cut, false).unwrap();
            let again = resolve(cursor(7, start.next.0 - 1), &cut, true).unwrap();
            assert_eq!(again, Start::at(start.next), "{position:?}");
        }
    }

    #[test]
    fn a_refusal_names_what_is_kept() {
        let refusal = resolve(Position::At(Sequence(1)), &bounds(10, 20, &[]), true).unwrap_err();
        assert_eq!((refusal.reason(), refusal.violated_field()), (Reason::PositionExpired, Some("start")));
        assert_eq!(refusal.metadata(), [("first", "10".to_owned())]);
        assert!(refusal.message().starts_with("the positions 1 to 9 are no longer kept"), "{refusal}");
    }
}

//! A message's position in its namespace's log.

use std::fmt;

/// A position: grows, may skip, is never reused, not even after a crash. The first message has 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(pub u64);

impl Sequence {
    /// Before every message.
    pub const ZERO: Sequence = Sequence(0);
    /// The first that a log gives out.
    pub const FIRST: Sequence = Sequence(1);
    /// After every message.
    pub const MAX: Sequence = Sequence(u64::MAX);

    /// The position after this one.
    pub fn next(self) -> Sequence {
        Sequence(self.0.saturating_add(1))
    }

    /// The position before this one; zero stays zero.
    pub fn previous(self) -> Sequence {
        Sequence(self.0.saturating_sub(1))
    }

    /// The position `count` further on.
    pub fn plus(self, count: u64) -> Sequence {
        Sequence(self.0.saturating_add(count))
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

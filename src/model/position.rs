//! Where a reader begins, and what it is told when it cannot have everything.

use super::{Cursor, Sequence, Timestamp};

/// Where reading begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// Only what is published from now on.
    New,
    /// Everything still kept.
    Earliest,
    /// After what the cursor has seen.
    After(Cursor),
    /// This one first.
    At(Sequence),
    /// What was published then or later.
    Time(Timestamp),
    /// The last so many that match, then new ones.
    Last(u32),
    /// The newest of each topic that matches, then new ones.
    LastPerTopic,
}

/// Messages that the receiver will never see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Why not.
    pub reason: GapReason,
    /// The first that is missing; zero if nothing can be said.
    pub first: Sequence,
    /// The last that is missing; zero if nothing can be said.
    pub last: Sequence,
}

/// Why a receiver misses messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GapReason {
    /// It asked to be moved on when it lags.
    Skipped,
    /// They were removed before they could be read.
    Retention,
    /// Its position belongs to another log, or to a part that a crash cut off.
    LogReplaced,
}

/// What happens to a stream that has caught up once and then falls behind the memory of the broker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LagPolicy {
    /// It reads on from the log; nothing is lost.
    #[default]
    CatchUp,
    /// It jumps to the newest and is told of the gap.
    Skip,
    /// It ends, and is told its cursor.
    Disconnect,
}

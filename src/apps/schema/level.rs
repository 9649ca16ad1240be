//! What versions of a subject must be compatible with, as a flag and as a word.

use crate::pb::v1::Compatibility;

/// What versions of a subject keep to.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// As for all subjects
    Default,
    /// Anything goes
    None,
    /// The next reads what the last wrote
    Backward,
    /// The next reads what any before wrote
    BackwardTransitive,
    /// The last reads what the next writes
    Forward,
    /// Any before reads what the next writes
    ForwardTransitive,
    /// Both, with the last
    Full,
    /// Both, with any before
    FullTransitive,
}

impl Level {
    /// As the contract names it.
    pub fn wire(self) -> Compatibility {
        match self {
            Level::Default => Compatibility::Unspecified,
            Level::None => Compatibility::None,
            Level::Backward => Compatibility::Backward,
            Level::BackwardTransitive => Compatibility::BackwardTransitive,
            Level::Forward => Compatibility::Forward,
            Level::ForwardTransitive => Compatibility::ForwardTransitive,
            Level::Full => Compatibility::Full,
            Level::FullTransitive => Compatibility::FullTransitive,
        }
    }
}

/// The word for what came over the wire.
pub fn word(level: Compatibility) -> &'static str {
    match level {
        Compatibility::Unspecified => "default",
        Compatibility::None => "none",
        Compatibility::Backward => "backward",
        Compatibility::BackwardTransitive => "backward-transitive",
        Compatibility::Forward => "forward",
        Compatibility::ForwardTransitive => "forward-transitive",
        Compatibility::Full => "full",
        Compatibility::FullTransitive => "full-transitive",
    }
}

//! What an answered publish is worth.

/// The values rise in strength; an answer is never weaker than what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Durability {
    /// Accepted; lost if the process dies now.
    Memory,
    /// Handed to the operating system; survives the process.
    Written,
    /// On stable storage; survives a power cut.
    Synced,
    /// On stable storage of a majority of machines.
    Replicated,
}

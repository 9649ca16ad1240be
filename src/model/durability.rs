//! What an answered publish is worth.

use std::fmt;

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

/// As the contract names it.
impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Durability::Memory => "MEMORY",
            Durability::Written => "WRITTEN",
            Durability::Synced => "SYNCED",
            Durability::Replicated => "REPLICATED",
        })
    }
}

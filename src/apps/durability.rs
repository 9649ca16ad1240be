//! What an answered publish is worth, as a flag and as a word.

use serde::Serialize;

use crate::pb::v1;

/// How durable a message is before its publish is answered.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// Accepted; lost if the broker dies now
    Memory,
    /// Handed to the operating system; survives the broker
    Written,
    /// On stable storage; survives a power cut
    Synced,
    /// On stable storage of a majority of machines
    Replicated,
}

impl Durability {
    /// As the contract names it.
    pub fn wire(self) -> v1::Durability {
        match self {
            Durability::Memory => v1::Durability::Memory,
            Durability::Written => v1::Durability::Written,
            Durability::Synced => v1::Durability::Synced,
            Durability::Replicated => v1::Durability::Replicated,
        }
    }
}

/// The word for what came over the wire.
pub fn word(durability: i32) -> &'static str {
    match v1::Durability::try_from(durability) {
        Ok(v1::Durability::Memory) => "memory",
        Ok(v1::Durability::Written) => "written",
        Ok(v1::Durability::Synced) => "synced",
        Ok(v1::Durability::Replicated) => "replicated",
        Ok(v1::Durability::Unspecified) | Err(_) => "unknown",
    }
}

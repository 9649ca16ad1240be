//! A choice among records that goes beyond their topics. The engine asks; what it is about is not the engine's to know.

use std::fmt;

use super::Block;

/// Rows of a block that are asked about at a time: one a bit.
pub const GROUP: usize = 64;

/// Positions that one reading of memory passes by at most if there is a filter: one that takes little would go through
/// everything without a rest.
pub const EFFORT: u64 = 4 << 10;

/// Chooses among the records that a reader's patterns want.
pub trait Filter: fmt::Debug + Send + Sync + 'static {
    /// Which of the `wanted` rows it takes. Bit n stands for row `group * GROUP + n` of the block; what is not wanted is
    /// never taken. Asked again about the same rows, by whomever, it answers the same.
    fn choose(&self, block: &Block, group: usize, wanted: u64) -> u64;
}

//! A block as it lies on disk: a header with a checksum, then the records as they travel, then the runs of producer
//! numbers (`runs.rs`). Whole or not at all.
//! Never touches a file.
//!
//! Version 2, little endian, 48 bytes before the records:
//!
//! | at | bytes | what |
//! |---|---|---|
//! | 0 | 4 | `TBLK` |
//! | 4 | 4 | crc32c of all that follows, begun with the segment's identity |
//! | 8 | 4 | bytes of records |
//! | 12 | 4 | number of records; zero in a closing block |
//! | 16 | 8 | sequence of the first record; of the next one in a closing block |
//! | 24 | 8 | everything up to this sequence was on stable storage when this was written |
//! | 32 | 8 | publish time of the records, nanoseconds since 1970 |
//! | 40 | 4 | flags |
//! | 44 | 4 | bytes of runs; zero in version 1 |

use std::ops::Range;

use crate::model::{Sequence, Timestamp};

/// Bytes before the records.
pub const HEADER: usize = 48;
/// No block has more bytes of records, nor of runs; what claims to is none.
pub const MOST: usize = 16 << 20;

const MAGIC: [u8; 4] = *b"TBLK";
const HAS_IDS: u32 = 1;
const HAS_EXPIRING: u32 = 2;
const CLOSING: u32 = 4;

/// What the header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Bytes of records.
    pub bytes: usize,
    /// Bytes of runs of producer numbers, behind the records.
    pub runs: usize,
    /// Number of records.
    pub count: u32,
    /// Sequence of the first.
    pub first: Sequence,
    /// Everything up to here was on stable storage when this was written.
    pub synced_through: Sequence,
    /// Publish time of the records.
    pub time: Timestamp,
    /// Some records have a message id.
    pub has_ids: bool,
    /// Some records may expire.
    pub has_expiring: bool,
    /// Written when the log was put to rest: nothing follows unless it was taken up again.
    pub closing: bool,
}

/// A checksum's beginning: bytes of another segment can never pass for this one's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(u32);

impl Seed {
    /// From a segment's random identity.
    pub fn new(identity: u64) -> Self {
        Seed(crc32c::crc32c(&identity.to_le_bytes()))
    }
}

impl Frame {
    /// A closing block: everything through `last` is on stable storage, and `next` comes next.
    pub fn closing(next: Sequence, last: Sequence, time: Timestamp) -> Frame {
        Frame {
            bytes: 0,
            runs: 0,
            count: 0,
            first: next,
            synced_through: last,
            time,
            has_ids: false,
            has_expiring: false,
            closing: true,
        }
    }

    /// The bytes of a block without records.
    pub fn encode(&self, seed: Seed) -> [u8; HEADER] {
        let mut block = [0; HEADER];
        self.seal(seed, &mut block);
        block
    }

    /// Fills in the header of `block`, which holds records and runs behind [`HEADER`] bytes of room.
    pub fn seal(&self, seed: Seed, block: &mut [u8]) {
        debug_assert_eq!(block.len(), self.size());
        let flag = |is: bool, bit: u32| if is { bit } else { 0 };
        let flags = flag(self.has_ids, HAS_IDS) | flag(self.has_expiring, HAS_EXPIRING) | flag(self.closing, CLOSING);
        block[0..4].copy_from_slice(&MAGIC);
        block[8..12].copy_from_slice(&(self.bytes as u32).to_le_bytes());
        block[12..16].copy_from_slice(&self.count.to_le_bytes());
        block[16..24].copy_from_slice(&self.first.0.to_le_bytes());
        block[24..32].copy_from_slice(&self.synced_through.0.to_le_bytes());
        block[32..40].copy_from_slice(&self.time.nanos().to_le_bytes());
        block[40..44].copy_from_slice(&flags.to_le_bytes());
        block[44..48].copy_from_slice(&(self.runs as u32).to_le_bytes());
        let crc = crc32c::crc32c_append(seed.0, &block[8..]);
        block[4..8].copy_from_slice(&crc.to_le_bytes());
    }

    /// Reads a header. None if it cannot be one; the checksum is [`Frame::verify`]'s.
    pub fn parse(header: &[u8]) -> Option<Frame> {
        if header.len() < HEADER || header[0..4] != MAGIC {
            return None;
        }
        let u32_at = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("four bytes"));
        let u64_at = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().expect("eight bytes"));
        let frame = Frame {
            bytes: u32_at(8) as usize,
            runs: u32_at(44) as usize,
            count: u32_at(12),
            first: Sequence(u64_at(16)),
            synced_through: Sequence(u64_at(24)),
            time: Timestamp::from_nanos(u64_at(32) as i64),
            has_ids: u32_at(40) & HAS_IDS != 0,
            has_expiring: u32_at(40) & HAS_EXPIRING != 0,
            closing: u32_at(40) & CLOSING != 0,
        };
        let plausible = frame.bytes <= MOST
            && frame.runs <= MOST
            && frame.closing == (frame.count == 0)
            && frame.first > Sequence::ZERO;
        plausible.then_some(frame)
    }

    /// Whether header and records are as they were written. `block` is exactly this frame's bytes.
    pub fn verify(seed: Seed, block: &[u8]) -> bool {
        let crc = u32::from_le_bytes(block[4..8].try_into().expect("four bytes"));
        crc32c::crc32c_append(seed.0, &block[8..]) == crc
    }

    /// Bytes on disk.
    pub fn size(&self) -> usize {
        HEADER + self.bytes + self.runs
    }

    /// Where in the block its records lie.
    pub fn records(&self) -> Range<usize> {
        HEADER..HEADER + self.bytes
    }

    /// The last record's sequence; of a closing block the one before it.
    pub fn last(&self) -> Sequence {
        Sequence((self.first.0 + u64::from(self.count)).saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_flipped_bit_and_any_other_segment_is_noticed(
            body in proptest::collection::vec(any::<u8>(), 1..300),
            first in 1..u64::MAX / 2,
            bit in any::<prop::sample::Index>(),
        ) {
            let seed = Seed::new(7);
            let frame = Frame {
                bytes: body.len() / 2,
                runs: body.len().div_ceil(2),
                count: 1,
                first: Sequence(first),
                synced_through: Sequence(first - 1),
                time: Timestamp::from_nanos(5),
                has_ids: true,
                has_expiring: false,
                closing: false,
            };
            let mut block = vec![0; HEADER];
            block.extend_from_slice(&body);
            frame.seal(seed, &mut block);
            prop_assert_eq!(Frame::parse(&block), Some(frame));
            prop_assert!(Frame::verify(seed, &block));
            prop_assert!(!Frame::verify(Seed::new(8), &block));
            let bit = bit.index(block.len() * 8);
            block[bit / 8] ^= 1 << (bit % 8);
            let intact = Frame::parse(&block).is_some_and(|f| f.size() == block.len()) && Frame::verify(seed, &block);
            prop_assert!(!intact);
        }
    }
}

//! What the serializers of a registry write before a payload: which schema it is of, and for Protobuf which message of the file,
//! as a count and indexes, each a variable-length integer with its sign in the lowest bit. Never knows what an id stands for.

use super::{Violation, path};

/// A zero byte, and the id in four.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Names the schema.
    pub id: u32,
    /// What comes after.
    pub rest: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Its bytes.
    pub const BYTES: usize = 5;

    /// If there is one.
    pub fn of(payload: &'a [u8]) -> Option<Self> {
        match payload {
            [0, a, b, c, d, rest @ ..] => Some(Frame { id: u32::from_be_bytes([*a, *b, *c, *d]), rest }),
            _ => None,
        }
    }

    /// The bytes before what comes after.
    pub fn begin(id: u32) -> [u8; Frame::BYTES] {
        let [a, b, c, d] = id.to_be_bytes();
        [0, a, b, c, d]
    }
}

/// Indexes of one path: messages within messages.
const DEPTH: i64 = 100;

/// Which message a payload is, and the payload. A single zero stands for the first.
pub fn message(framed: &[u8]) -> Result<(Vec<u32>, &[u8]), Violation> {
    let mut rest = framed;
    let count = integer(&mut rest)?;
    if count == 0 {
        return Ok((vec![0], rest));
    }
    if !(0..=DEPTH).contains(&count) {
        return Err(broken("it claims to be a message that lies too deep, or nowhere"));
    }
    let mut indexes = Vec::new();
    for _ in 0..count {
        let index = integer(&mut rest)?;
        indexes.push(u32::try_from(index).map_err(|_| broken("it claims to be a message that is nowhere"))?);
    }
    Ok((indexes, rest))
}

fn integer(rest: &mut &[u8]) -> Result<i64, Violation> {
    let mut bits = 0u64;
    for shift in (0..35).step_by(7) {
        let Some((&byte, after)) = rest.split_first() else {
            return Err(broken("it ends before it says which message it is"));
        };
        *rest = after;
        bits |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok((bits >> 1).cast_signed() ^ -(bits & 1).cast_signed());
        }
    }
    Err(broken("the number that says which message it is has more than five bytes"))
}

fn broken(what: &str) -> Violation {
    Violation::new(path::ROOT, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_says_which_message_it_is() {
        for (framed, indexes, rest) in [
            (&[0, 7, 8][..], vec![0], &[7, 8][..]),
            (&[2, 0, 9], vec![0], &[9]),
            (&[4, 2, 6], vec![1, 3], &[]),
            (&[2, 0x80, 2], vec![128], &[]),
        ] {
            assert_eq!(message(framed), Ok((indexes, rest)), "{framed:?}");
        }
        for bad in [&[][..], &[2], &[1], &[2, 1], &[0xfe, 0xff, 0xff, 0xff, 0xf], &[0xff; 9]] {
            assert!(message(bad).is_err(), "{bad:?}");
        }
    }
}

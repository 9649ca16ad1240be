//! What a payload says of its schema itself, as the serializers of a registry write it.

/// A zero byte, and the id in four.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Names the schema.
    pub id: u32,
    /// What comes after.
    pub rest: &'a [u8],
}

impl<'a> Frame<'a> {
    /// If there is one.
    pub fn of(payload: &'a [u8]) -> Option<Self> {
        match payload {
            [0, a, b, c, d, rest @ ..] => Some(Frame { id: u32::from_be_bytes([*a, *b, *c, *d]), rest }),
            _ => None,
        }
    }
}

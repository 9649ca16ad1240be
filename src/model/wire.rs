//! The few pieces of the protobuf wire format that a record is made of. Never knows a message's fields.

/// Wire type of a varint.
pub const VARINT: u64 = 0;
/// Wire type of eight fixed bytes.
pub const FIXED64: u64 = 1;
/// Wire type of a length and that many bytes.
pub const BYTES: u64 = 2;
/// Wire type of four fixed bytes.
pub const FIXED32: u64 = 5;

/// Bytes that `value` takes as a varint.
pub fn varint_len(value: u64) -> usize {
    // One byte for each begun seven bits; zero takes one.
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// Appends `value` as a varint.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Bytes that a length-delimited field takes. Only for field numbers below 16, whose tag is one byte.
pub fn bytes_field_len(length: usize) -> usize {
    1 + varint_len(length as u64) + length
}

/// Appends a length-delimited field with a number below 16.
pub fn put_bytes_field(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    put_header(out, field, bytes.len());
    out.extend_from_slice(bytes);
}

/// Appends the tag and the length of a length-delimited field with a number below 16.
pub fn put_header(out: &mut Vec<u8>, field: u8, length: usize) {
    out.push(field << 3 | BYTES as u8);
    put_varint(out, length as u64);
}

/// Takes a varint from the front of `bytes`; None if it does not end or is longer than ten bytes.
#[inline]
pub fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    // Nearly all of them have one byte.
    match *bytes {
        [byte @ ..0x80, rest @ ..] => {
            *bytes = rest;
            Some(u64::from(*byte))
        }
        _ => take_long_varint(bytes),
    }
}

fn take_long_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for (at, &byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte < 0x80 {
            *bytes = &bytes[at + 1..];
            return Some(value);
        }
    }
    None
}

/// Takes `length` bytes from the front.
pub fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (front, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(front)
}

/// One field of a message: its number, and its bytes or its number's value.
pub struct Field<'a> {
    /// The field's number.
    pub number: u64,
    /// Its wire type.
    pub kind: u64,
    /// The content of a length-delimited field; empty for the others.
    pub bytes: &'a [u8],
    /// The value of a varint; zero for the others.
    pub value: u64,
}

/// Takes the next field from the front; None at the end or where the bytes make no sense.
#[inline]
pub fn take_field<'a>(bytes: &mut &'a [u8]) -> Option<Field<'a>> {
    let tag = take_varint(bytes)?;
    let mut field = Field { number: tag >> 3, kind: tag & 7, bytes: &[], value: 0 };
    match tag & 7 {
        VARINT => field.value = take_varint(bytes)?,
        FIXED64 => drop(take(bytes, 8)?),
        FIXED32 => drop(take(bytes, 4)?),
        BYTES => {
            let length = take_varint(bytes)?;
            field.bytes = take(bytes, usize::try_from(length).ok()?)?;
        }
        _ => return None,
    }
    Some(field)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn varints_come_back(value: u64) {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            prop_assert_eq!(out.len(), varint_len(value));
            let mut rest = &out[..];
            prop_assert_eq!(take_varint(&mut rest), Some(value));
            prop_assert!(rest.is_empty());
        }
    }
}

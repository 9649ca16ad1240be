//! Reads protobuf field by field, so that what is only counted is never decoded. Never copies.

use tonic::Status;

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// A varint, or four or eight fixed bytes.
    Number(u64),
    /// What has a length: bytes, text, a message.
    Bytes(&'a [u8]),
}

impl<'a> Value<'a> {
    /// The bytes; empty if it is a number.
    pub fn bytes(self) -> &'a [u8] {
        match self {
            Value::Bytes(bytes) => bytes,
            Value::Number(_) => &[],
        }
    }
}

/// Takes the next field off `bytes`: its number and what it holds; none at the end.
pub fn take_field<'a>(bytes: &mut &'a [u8]) -> Result<Option<(u64, Value<'a>)>, Status> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let tag = take_varint(bytes)?;
    let value = match tag & 7 {
        0 => Value::Number(take_varint(bytes)?),
        1 => Value::Number(u64::from_le_bytes(*take_chunk(bytes)?)),
        2 => {
            let length = take_varint(bytes)?;
            let (content, rest) = bytes.split_at_checked(length as usize).ok_or_else(malformed)?;
            *bytes = rest;
            Value::Bytes(content)
        }
        5 => Value::Number(u32::from_le_bytes(*take_chunk(bytes)?).into()),
        _ => return Err(malformed()),
    };
    Ok(Some((tag >> 3, value)))
}

/// What is told of bytes that are no protobuf.
pub fn malformed() -> Status {
    Status::data_loss("the broker sent bytes that are no response")
}

fn take_chunk<'a, const N: usize>(bytes: &mut &'a [u8]) -> Result<&'a [u8; N], Status> {
    let (chunk, rest) = bytes.split_first_chunk().ok_or_else(malformed)?;
    *bytes = rest;
    Ok(chunk)
}

fn take_varint(bytes: &mut &[u8]) -> Result<u64, Status> {
    let mut value = 0;
    for (at, &byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte < 0x80 {
            *bytes = &bytes[at + 1..];
            return Ok(value);
        }
    }
    Err(malformed())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;
    use crate::pb::v1::Message;

    #[test]
    fn fields_as_they_come() {
        let message = Message { topic: "a".into(), sequence: 1 << 60, message_id: "i".into(), ..Default::default() };
        let encoded = message.encode_to_vec();
        let mut bytes = encoded.as_slice();
        let mut fields = Vec::new();
        while let Some(field) = take_field(&mut bytes).unwrap() {
            fields.push(field);
        }
        assert_eq!(fields, [(1, Value::Bytes(b"a")), (2, Value::Number(1 << 60)), (8, Value::Bytes(b"i"))]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let mut rest = bytes.as_slice();
            while let Ok(Some(_)) = take_field(&mut rest) {}
        }
    }
}

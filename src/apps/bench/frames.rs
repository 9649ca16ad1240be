//! What is published: requests that are encoded once as far as they are the same, and get their number when they are
//! sent. Pure.

use bytes::{BufMut, Bytes};
use prost::{
    Message,
    encoding::{WireType, encode_key, encode_varint, encoded_len_varint},
};

use tonic::Status;

use super::{
    options::Payload,
    wire::{malformed, take_field},
};
use crate::pb::v1::{PublishRequest, PublishStreamRequest};

/// Bytes at the beginning of a payload that hold the message's number, the lowest byte first.
pub const NUMBER: usize = 8;

/// Requests for all messages of a run. Topics take turns: a message's number says whose turn it is.
#[derive(Clone, Debug)]
pub struct Frames {
    /// For each topic, what stands before the number.
    heads: Vec<Bytes>,
    /// What follows it.
    tail: Bytes,
}

/// Some consecutive messages, which make one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The number of the first, from 0.
    pub first: u64,
    /// How many.
    pub count: u32,
}

impl Frames {
    /// For messages of this kind on these topics.
    pub fn new(topics: &[String], payload: &Payload) -> Frames {
        let heads = topics.iter().map(|topic| head(topic, payload)).collect();
        let mut tail = vec![b'x'; payload.size - NUMBER];
        tail.extend(durability(payload).encode_to_vec());
        Frames { heads, tail: tail.into() }
    }

    /// Writes these messages as `PublishStreamRequest.requests`.
    pub fn encode(&self, run: Run, into: &mut impl BufMut) {
        for number in run.first..run.first + u64::from(run.count) {
            into.put_slice(&self.heads[(number % self.heads.len() as u64) as usize]);
            into.put_u64_le(number);
            into.put_slice(&self.tail);
        }
    }

    /// One message as a `PublishRequest`, in a namespace.
    pub fn unary(&self, number: u64, namespace: &[u8], into: &mut Vec<u8>) {
        let head = &self.heads[(number % self.heads.len() as u64) as usize];
        // Without what makes it a part of a stream's request: one byte of tag, and its length.
        let length = 1 + head[1..].iter().take_while(|&&byte| byte >= 0x80).count() + 1;
        into.put_slice(&head[length..]);
        into.put_u64_le(number);
        into.put_slice(&self.tail);
        into.put_slice(namespace);
    }
}

/// What only the first frame of a stream says.
pub fn opening(producer_id: &str, namespace: &str) -> Bytes {
    let opening = PublishStreamRequest {
        producer_id: producer_id.to_owned(),
        first_number: 1,
        namespace: namespace.to_owned(),
        ..Default::default()
    };
    opening.encode_to_vec().into()
}

/// The namespace as a field of a `PublishRequest`.
pub fn namespace(namespace: &str) -> Bytes {
    PublishRequest { namespace: namespace.to_owned(), ..Default::default() }.encode_to_vec().into()
}

fn durability(payload: &Payload) -> PublishRequest {
    PublishRequest { durability: payload.durability.wire().into(), ..Default::default() }
}

/// From the tag of `requests` to the length of `data`. A protobuf's fields may come in any order and be put together
/// from pieces, so topic and durability are encoded by the generated code.
fn head(topic: &str, payload: &Payload) -> Bytes {
    const REQUESTS: u32 = 1;
    const DATA: u32 = 2;
    let topic = PublishRequest { topic: topic.to_owned(), ..Default::default() }.encode_to_vec();
    let size = payload.size as u64;
    let request = topic.len() + 1 + encoded_len_varint(size) + payload.size + durability(payload).encoded_len();
    let mut head = Vec::new();
    encode_key(REQUESTS, WireType::LengthDelimited, &mut head);
    encode_varint(request as u64, &mut head);
    head.extend(topic);
    encode_key(DATA, WireType::LengthDelimited, &mut head);
    encode_varint(size, &mut head);
    head.into()
}

/// The number at the beginning of a message's `data`.
pub fn number(mut message: &[u8]) -> Result<u64, Status> {
    const DATA: u64 = 4;
    while let Some((field, value)) = take_field(&mut message)? {
        if let (DATA, Some(number)) = (field, value.bytes().first_chunk::<NUMBER>()) {
            return Ok(u64::from_le_bytes(*number));
        }
    }
    Err(malformed())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{apps::durability::Durability, pb::v1::publish_request};

    fn frames(size: usize) -> Frames {
        let topics = ["a".to_owned(), "b/b".to_owned()];
        Frames::new(&topics, &Payload { size, durability: Durability::Synced })
    }

    fn check(request: &PublishRequest, number: u64, size: usize) {
        assert_eq!(request.topic, ["a", "b/b"][number as usize % 2]);
        assert_eq!(request.durability(), Durability::Synced.wire());
        let Some(publish_request::Payload::Data(data)) = &request.payload else { panic!("{request:?}") };
        assert_eq!((data.len(), &data[..NUMBER]), (size, &number.to_le_bytes()[..]));
    }

    #[test]
    fn frames_are_what_the_contract_says() {
        for size in [8, 128, 300, 70_000] {
            let mut bytes = opening("p", "n").to_vec();
            frames(size).encode(Run { first: 7, count: 3 }, &mut bytes);
            let request = PublishStreamRequest::decode(bytes.as_slice()).unwrap();
            assert_eq!((&*request.producer_id, request.first_number, &*request.namespace), ("p", 1, "n"));
            assert_eq!(request.requests.len(), 3);
            for (request, number) in request.requests.iter().zip(7..) {
                check(request, number, size);
            }
        }
    }

    #[test]
    fn a_unary_request_is_the_same_one() {
        for size in [8, 128, 300, 70_000] {
            let mut bytes = Vec::new();
            frames(size).unary(4, &namespace("n"), &mut bytes);
            let request = PublishRequest::decode(bytes.as_slice()).unwrap();
            assert_eq!(request.namespace, "n");
            check(&request, 4, size);
        }
    }
}

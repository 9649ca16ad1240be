//! Requests to publish, read where they lie: topic, payload and attributes are borrowed from the bytes of the request and
//! copied once, into the record. The only messages that are not decoded by generated code: they are the hot path.
//!
//! Reads what `tilde.v1.PublishRequest` says, and passes over fields that it does not know, as every reader of protobuf.

use std::str;

use bytes::Bytes;
use http::HeaderMap;
use prost::Message as _;

use super::{convert, wait};
use crate::{
    broker::{Call, Publish},
    model::{Error, Message, NamespaceName, Payload, Reason, Result, Sequence, Topic, wire},
    pb::v1 as pb,
};

/// A request as it came, not decoded yet.
#[derive(Clone, Debug, Default)]
pub struct Raw(pub Bytes);

/// Reads a `PublishRequest`.
pub fn publish(mut bytes: &[u8]) -> Result<Publish<'_>> {
    // The topic comes first, unless somebody encodes by hand.
    let mut message = Message::new(Topic::default(), Payload::None);
    let mut topic = "";
    let (mut ttl, mut deliver_time, mut expected_last_sequence) = (None, None, None);
    let (mut durability, mut namespace) = (0, None);
    while !bytes.is_empty() {
        let field = wire::take_field(&mut bytes).ok_or_else(|| undecodable("it ends too early"))?;
        match field.number {
            1 => topic = text(&field, "topic")?,
            2 => message.payload = Payload::Data(content(&field, "data")?.into()),
            3 => message.payload = Payload::Text(text(&field, "text")?.into()),
            4 => {
                let (key, value) = attribute(content(&field, "attributes")?)?;
                message.attributes.insert(key.into(), value.into());
            }
            5 => message.ordering_key = text(&field, "ordering_key")?.into(),
            6 => message.message_id = text(&field, "message_id")?.into(),
            7 => message.content_type = text(&field, "content_type")?.into(),
            8 => message.reply_to = text(&field, "reply_to")?.into(),
            9 => message.correlation_id = text(&field, "correlation_id")?.into(),
            10 => {
                let duration = prost_types::Duration::decode(content(&field, "ttl")?);
                ttl = Some(duration.map_err(|error| undecodable(&format!("ttl: {error}")))?);
            }
            11 => {
                let time = prost_types::Timestamp::decode(content(&field, "deliver_time")?);
                deliver_time = Some(time.map_err(|error| undecodable(&format!("deliver_time: {error}")))?);
            }
            12 => expected_last_sequence = Some(Sequence(number(&field, "expected_last_sequence")?)),
            // As protobuf has it: an enum is 32 bits wide, whatever was sent.
            13 => durability = number(&field, "durability")? as i32,
            14 => namespace = Some(text(&field, "namespace")?).filter(|name| !name.is_empty()),
            _ => {}
        }
    }
    message.topic = Topic::parse_writable(topic)?;
    message.deliver_time = deliver_time.map(|time| convert::parse_timestamp(time, "deliver_time")).transpose()?;
    Ok(Publish {
        namespace: namespace.map(NamespaceName::parse).transpose()?,
        message,
        ttl: ttl.map(|ttl| convert::parse_duration(ttl, "ttl")).transpose()?,
        expected_last_sequence,
        durability: convert::parse_durability(durability, "durability")?,
    })
}

/// Reads a `CallRequest`; `headers` say how long its caller waits.
pub fn call<'a>(mut bytes: &'a [u8], headers: &HeaderMap) -> Result<Call<'a>> {
    let (mut request, mut max_replies, mut collapse_key, mut timeout) = (&[][..], 0, "", None);
    while !bytes.is_empty() {
        let field = wire::take_field(&mut bytes).ok_or_else(|| undecodable("it ends too early"))?;
        match field.number {
            1 => request = content(&field, "request")?,
            2 => max_replies = number(&field, "max_replies")? as u32,
            3 => collapse_key = text(&field, "collapse_key")?,
            4 => {
                let duration = prost_types::Duration::decode(content(&field, "timeout")?);
                timeout = Some(duration.map_err(|error| undecodable(&format!("timeout: {error}")))?);
            }
            _ => {}
        }
    }
    let call = Call {
        publish: publish(request).map_err(|error| error.within("request"))?,
        max_replies: max_replies.max(1),
        collapse_key: collapse_key.to_owned(),
        timeout: wait::timeout(timeout, headers)?,
    };
    call.check_bounds()?;
    Ok(call)
}

/// The `collapse_key` of a `CallRequest`; empty if there is none, or if it cannot be read.
pub fn collapse_key(mut bytes: &[u8]) -> &[u8] {
    let mut key = &[][..];
    while let Some(field) = wire::take_field(&mut bytes) {
        if field.number == 3 {
            key = field.bytes;
        }
    }
    key
}

/// Reads a `BatchPublishRequest`: whether it is atomic, and the bytes of its requests.
pub fn batch(mut bytes: &[u8]) -> Result<(bool, Vec<&[u8]>)> {
    let (mut atomic, mut requests) = (false, Vec::new());
    while !bytes.is_empty() {
        let field = wire::take_field(&mut bytes).ok_or_else(|| undecodable("it ends too early"))?;
        match field.number {
            1 => requests.push(content(&field, "requests")?),
            2 => atomic = number(&field, "atomic")? != 0,
            _ => {}
        }
    }
    Ok((atomic, requests))
}

/// Reads a `PublishStreamRequest`: what it says besides requests, if it says anything, and the bytes of its requests.
pub fn frame(bytes: &[u8]) -> Result<(Option<pb::PublishStreamRequest>, Vec<&[u8]>)> {
    let mut rest = bytes;
    let (mut said, mut requests) = (Vec::new(), Vec::new());
    while !rest.is_empty() {
        let start = rest;
        let field = wire::take_field(&mut rest).ok_or_else(|| undecodable("it ends too early"))?;
        match field.number {
            1 => requests.push(content(&field, "requests")?),
            _ => said.extend_from_slice(&start[..start.len() - rest.len()]),
        }
    }
    if said.is_empty() {
        return Ok((None, requests));
    }
    let said = pb::PublishStreamRequest::decode(&*said).map_err(|error| undecodable(&error.to_string()))?;
    Ok((Some(said), requests))
}

fn attribute(mut entry: &[u8]) -> Result<(&str, &str)> {
    let (mut key, mut value) = ("", "");
    while !entry.is_empty() {
        let field = wire::take_field(&mut entry).ok_or_else(|| undecodable("an attribute ends too early"))?;
        match field.number {
            1 => key = text(&field, "attributes")?,
            2 => value = text(&field, "attributes")?,
            _ => {}
        }
    }
    Ok((key, value))
}

fn content<'a>(field: &wire::Field<'a>, name: &str) -> Result<&'a [u8]> {
    match field.kind {
        wire::BYTES => Ok(field.bytes),
        _ => Err(undecodable(&format!("{name} has another type"))),
    }
}

fn text<'a>(field: &wire::Field<'a>, name: &str) -> Result<&'a str> {
    str::from_utf8(content(field, name)?).map_err(|_| undecodable(&format!("{name} is no UTF-8")))
}

fn number(field: &wire::Field<'_>, name: &str) -> Result<u64> {
    match field.kind {
        wire::VARINT => Ok(field.value),
        _ => Err(undecodable(&format!("{name} has another type"))),
    }
}

/// The refusal of bytes that are not what the contract says.
pub fn undecodable(why: &str) -> Error {
    let message = format!(
        "the request does not decode ({why}): send it as the .proto says, with text in valid UTF-8 and bytes in `data`"
    );
    Error::new(Reason::RequestInvalid, message)
}

#[cfg(test)]
mod tests {
    use std::{borrow::Cow, time::Duration};

    use proptest::prelude::*;

    use super::*;
    use crate::model::{Durability, Timestamp};

    fn read(request: &pb::PublishRequest) -> Result<String> {
        publish(&request.encode_to_vec()).map(|publish| format!("{publish:?}"))
    }

    #[test]
    fn a_request_becomes_what_it_says() {
        let request = pb::PublishRequest {
            topic: "orders/eu".into(),
            payload: Some(pb::publish_request::Payload::Text("hi".into())),
            attributes: [("b".into(), "2".into()), ("a".into(), "1".into())].into(),
            ttl: Some(prost_types::Duration { seconds: 3, nanos: 0 }),
            expected_last_sequence: Some(0),
            deliver_time: Some(prost_types::Timestamp { seconds: 9, nanos: 7 }),
            durability: pb::Durability::Written.into(),
            namespace: "other".into(),
            reply_to: "answers".into(),
            ..Default::default()
        }
        .encode_to_vec();
        let publish = publish(&request).unwrap();
        assert_eq!(publish.namespace.unwrap().as_str(), "other");
        assert_eq!(publish.message.topic.as_str(), "orders/eu");
        assert_eq!(publish.message.payload, Payload::Text("hi".into()));
        assert_eq!(publish.message.attributes.len(), 2);
        assert_eq!(publish.message.attributes["b"], "2");
        assert_eq!(publish.message.reply_to, "answers");
        assert_eq!(publish.ttl, Some(Duration::from_secs(3)));
        assert_eq!(publish.expected_last_sequence, Some(Sequence::ZERO));
        assert_eq!(publish.message.deliver_time, Some(Timestamp::from_nanos(9_000_000_007)));
        assert_eq!(publish.durability, Some(Durability::Written));
    }

    #[test]
    fn refusals_name_the_field() {
        let good = || pb::PublishRequest { topic: "t".into(), ..Default::default() };
        let ttl = Some(prost_types::Duration { seconds: -1, nanos: 0 });
        let deliver_time = Some(prost_types::Timestamp { seconds: 1, nanos: -1 });
        let cases = [
            (pb::PublishRequest { topic: "a~".into(), ..good() }, Reason::TopicInvalid, "topic"),
            (pb::PublishRequest { topic: String::new(), ..good() }, Reason::TopicInvalid, "topic"),
            (pb::PublishRequest { topic: "$dead/x".into(), ..good() }, Reason::TopicInvalid, "topic"),
            (pb::PublishRequest { namespace: "A".into(), ..good() }, Reason::NamespaceInvalid, "namespace"),
            (pb::PublishRequest { ttl, ..good() }, Reason::RequestInvalid, "ttl"),
            (pb::PublishRequest { deliver_time, ..good() }, Reason::RequestInvalid, "deliver_time"),
            (pb::PublishRequest { durability: 77, ..good() }, Reason::RequestInvalid, "durability"),
        ];
        for (request, reason, field) in cases {
            let error = read(&request).unwrap_err();
            assert_eq!((error.reason(), error.violated_field()), (reason, Some(field)));
        }
    }

    #[test]
    fn what_does_not_decode_is_the_callers_fault() {
        // A topic that is no UTF-8; a field that ends too early; a topic that is a number.
        for bad in [&[0x0a, 2, 0xc3, 0x28][..], &[0x0a, 9, b'a'], &[0x08, 1]] {
            assert_eq!(publish(bad).unwrap_err().reason(), Reason::RequestInvalid);
        }
        assert!(frame(&[0x0a, 9, b'a']).is_err() && batch(&[0x0a, 9, b'a']).is_err());
    }

    #[test]
    fn a_frame_is_told_from_its_requests() {
        let request = pb::PublishRequest { topic: "t".into(), ..Default::default() };
        let plain = pb::PublishStreamRequest { requests: vec![request.clone(); 3], ..Default::default() };
        let bytes = plain.encode_to_vec();
        let (said, requests) = frame(&bytes).unwrap();
        assert!(said.is_none() && requests == vec![&*request.encode_to_vec(); 3]);
        let first = pb::PublishStreamRequest { producer_id: "p".into(), first_number: 7, ..plain };
        let bytes = first.encode_to_vec();
        let (said, requests) = frame(&bytes).unwrap();
        let said = said.unwrap();
        assert_eq!((said.producer_id.as_str(), said.first_number, requests.len()), ("p", 7, 3));
        let batched = pb::BatchPublishRequest { requests: vec![request], atomic: true }.encode_to_vec();
        assert!(batch(&batched).unwrap().0);
    }

    proptest! {
        /// Whatever the generated code encodes is read as the generated code reads it.
        #[test]
        fn reads_what_generated_code_reads(
            topic in "[a-zä/]{1,20}", data in proptest::collection::vec(any::<u8>(), 0..50), text in ".{0,20}", kind in 0..3,
            attributes in proptest::collection::btree_map("[a-z]{1,5}", ".{0,5}", 0..4), id in ".{0,9}",
            expected in proptest::option::of(any::<u64>()), durability in 0..5i32, seconds in proptest::option::of(0..1000i64),
        ) {
            let payload = match kind {
                0 => None,
                1 => Some(pb::publish_request::Payload::Data(data.into())),
                _ => Some(pb::publish_request::Payload::Text(text)),
            };
            let ttl = seconds.map(|seconds| prost_types::Duration { seconds, nanos: 0 });
            let request = pb::PublishRequest {
                topic, payload, attributes, message_id: id.clone(), ordering_key: id, ttl, durability,
                expected_last_sequence: expected, ..Default::default()
            };
            let bytes = request.encode_to_vec();
            let read = publish(&bytes).unwrap();
            prop_assert_eq!(read.message.topic.as_str(), request.topic);
            match (&read.message.payload, &request.payload) {
                (Payload::None, None) => {}
                (Payload::Data(data), Some(pb::publish_request::Payload::Data(sent))) => prop_assert_eq!(&**data, &**sent),
                (Payload::Text(text), Some(pb::publish_request::Payload::Text(sent))) => prop_assert_eq!(&**text, &**sent),
                other => prop_assert!(false, "{other:?}"),
            }
            let attributes = request.attributes.iter().map(|(k, v)| (Cow::from(k.as_str()), Cow::from(v.as_str())));
            prop_assert_eq!(read.message.attributes, attributes.collect());
            prop_assert_eq!(&*read.message.message_id, request.message_id);
            prop_assert_eq!(&*read.message.ordering_key, request.ordering_key);
            prop_assert_eq!(read.ttl.map(|ttl| ttl.as_secs() as i64), seconds);
            prop_assert_eq!(read.expected_last_sequence.map(|sequence| sequence.0), request.expected_last_sequence);
            prop_assert_eq!(read.durability.map_or(0, convert::durability), request.durability);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = (publish(&bytes).is_ok(), batch(&bytes).is_ok(), frame(&bytes).is_ok());
        }
    }
}

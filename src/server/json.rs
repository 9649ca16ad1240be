//! A message as JSON, straight from its record: the protobuf JSON mapping of `tilde.v1.Message`. Whoever speaks JSON over
//! HTTP is sent it so, and nothing of it is decoded to a tree before. Never adds a blank or a line break.

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::model::{
    Record, Timestamp,
    record::{Part, TRAILER},
    wire,
};

const SECONDS_A_DAY: i64 = 86_400;

/// Appends a message.
pub fn message(record: &Record<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"topic\":");
    text(record.topic(), out);
    out.extend_from_slice(b",\"sequence\":\"");
    number(record.sequence().0, out);
    out.extend_from_slice(b"\",\"publishTime\":");
    time(record.publish_time(), out);
    let encoded = record.message();
    let mut rest = &encoded[..encoded.len() - TRAILER];
    while let Some(field) = wire::take_field(&mut rest) {
        let name = match field.number {
            4 => {
                out.extend_from_slice(b",\"data\":");
                data(field.bytes, out);
                continue;
            }
            5 => "text",
            7 => "orderingKey",
            8 => "messageId",
            9 => "contentType",
            10 => "replyTo",
            11 => "correlationId",
            // The topic; attributes and times, which follow.
            _ => continue,
        };
        key(name, out);
        text(&utf8(field.bytes), out);
    }
    attributes(record, out);
    for (name, given) in [("expireTime", record.expire_time()), ("deliverTime", record.deliver_time())] {
        if let Some(given) = given {
            key(name, out);
            time(given, out);
        }
    }
    out.push(b'}');
}

/// Appends text in quotes.
pub fn text(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut copied = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        if byte >= b' ' && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[copied..at]);
        copied = at + 1;
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => {
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[byte >> 4, byte & 15].map(|half| b"0123456789abcdef"[half as usize]));
            }
        }
    }
    out.extend_from_slice(&bytes[copied..]);
    out.push(b'"');
}

/// Appends a time in quotes: RFC 3339 in UTC, with three, six or nine digits of a second where it has any.
pub fn time(time: Timestamp, out: &mut Vec<u8>) {
    out.push(b'"');
    rfc3339(time, out);
    out.push(b'"');
}

/// The same without quotes.
pub fn rfc3339(time: Timestamp, out: &mut Vec<u8>) {
    let (seconds, nanos) = time.parts();
    let (year, month, day) = date(seconds / SECONDS_A_DAY);
    let second = (seconds % SECONDS_A_DAY) as u64;
    // Four digits suffice: a timestamp ends in 2262.
    let fields = [
        (year, 4, b'-'),
        (month, 2, b'-'),
        (day, 2, b'T'),
        (second / 3600, 2, b':'),
        (second / 60 % 60, 2, b':'),
        (second % 60, 2, b'.'),
    ];
    for (value, width, behind) in fields {
        digits(value, width, out);
        out.push(behind);
    }
    match nanos as u64 {
        0 => drop(out.pop()),
        nanos if nanos % 1_000_000 == 0 => digits(nanos / 1_000_000, 3, out),
        nanos if nanos % 1_000 == 0 => digits(nanos / 1_000, 6, out),
        nanos => digits(nanos, 9, out),
    }
    out.push(b'Z');
}

fn attributes(record: &Record<'_>, out: &mut Vec<u8>) {
    let mut is_first = true;
    for part in record.parts() {
        let Part::Attribute(name, value) = part else { continue };
        out.extend_from_slice(if is_first { b",\"attributes\":{" } else { b"," });
        is_first = false;
        text(&utf8(name), out);
        out.push(b':');
        text(&utf8(value), out);
    }
    if !is_first {
        out.push(b'}');
    }
}

fn key(name: &str, out: &mut Vec<u8>) {
    out.push(b',');
    text(name, out);
    out.push(b':');
}

fn data(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let begin = out.len();
    out.resize(begin + bytes.len().div_ceil(3) * 4, 0);
    let written = STANDARD.encode_slice(bytes, &mut out[begin..]).expect("three bytes are four characters");
    out.truncate(begin + written);
    out.push(b'"');
}

/// Texts were UTF-8 when they were published; whatever lies there, the answer is JSON.
fn utf8(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// Appends a whole number.
pub fn number(mut value: u64, out: &mut Vec<u8>) {
    let mut text = [0; 20];
    let mut at = text.len();
    loop {
        at -= 1;
        text[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&text[at..]);
}

fn digits(mut value: u64, width: usize, out: &mut Vec<u8>) {
    let begin = out.len();
    out.resize(begin + width, b'0');
    for at in (begin..begin + width).rev() {
        out[at] = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// Year, month and day of a day since 1970: Howard Hinnant's `civil_from_days`, whose years begin in March, so that the
/// day that only some years have is the last of them.
fn date(days: i64) -> (u64, u64, u64) {
    let days = days as u64 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use std::{borrow::Cow, collections::BTreeMap, sync::LazyLock};

    use proptest::{collection::btree_map, option, prelude::*};
    use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};

    use super::*;
    use crate::{
        model::{Message, Payload, Records, Sequence, Stamp, Topic, limits},
        pb,
    };

    static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| DescriptorPool::decode(pb::DESCRIPTORS).unwrap());

    /// As the generic mapping writes it: decoded by the descriptors alone.
    fn generic(encoded: &[u8]) -> serde_json::Value {
        let message = POOL.get_message_by_name("tilde.v1.Message").unwrap();
        let message = DynamicMessage::decode(message, encoded).unwrap();
        message.serialize_with_options(serde_json::value::Serializer, &SerializeOptions::new()).unwrap()
    }

    fn payload() -> impl Strategy<Value = Payload<'static>> {
        prop_oneof![
            Just(Payload::None),
            proptest::collection::vec(any::<u8>(), 0..70).prop_map(|data| Payload::Data(data.into())),
            any::<String>().prop_map(|text| Payload::Text(text.into())),
        ]
    }

    fn short() -> impl Strategy<Value = Cow<'static, str>> {
        prop_oneof![Just(Cow::Borrowed("")), ".{1,40}".prop_map(Cow::Owned)]
    }

    fn instant() -> impl Strategy<Value = Timestamp> {
        let nanos = prop_oneof![
            0..i64::MAX,
            (0..9_000_000_000_i64).prop_map(|seconds| seconds * 1_000_000_000),
            (0..9_000_000_000_000_i64).prop_map(|millis| millis * 1_000_000),
            (0..9_000_000_000_000_000_i64).prop_map(|micros| micros * 1_000),
        ];
        nanos.prop_map(Timestamp::from_nanos)
    }

    proptest! {
        #[test]
        fn it_is_the_generic_mapping(
            topic in "[^~$\\p{C}][^~\\p{C}]{0,30}",
            payload in payload(),
            attributes in btree_map("[^\\x00]{1,10}", any::<String>(), 0..4),
            texts in (short(), short(), short(), short()),
            times in (instant(), option::of(instant()), option::of(instant())),
            sequence in 1..=u64::MAX,
        ) {
            let mut message = Message::new(Topic::parse(topic.as_str()).unwrap(), payload);
            let attributes: BTreeMap<String, String> = attributes;
            message.attributes = attributes.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
            (message.ordering_key, message.message_id, message.content_type, message.correlation_id) = texts;
            message.reply_to = topic.clone().into();
            (message.expire_time, message.deliver_time) = (times.1, times.2);
            let mut bytes = Vec::new();
            message.encode(limits::MESSAGE_BYTES, &mut bytes).unwrap();
            Stamp::new(times.0).put(&mut bytes, Sequence(sequence));
            let record = Records::new(&bytes).next().unwrap().unwrap();

            let mut written = Vec::new();
            super::message(&record, &mut written);
            let parsed: serde_json::Value = serde_json::from_slice(&written).expect("it is JSON");
            prop_assert_eq!(parsed, generic(record.message()));
        }
    }

    #[test]
    fn it_reads_well() {
        let mut message = Message::new(Topic::parse("a\"b").unwrap(), Payload::Data(b"hi".as_slice().into()));
        message.attributes.insert("k".into(), "\u{1}\n".into());
        let mut bytes = Vec::new();
        message.encode(limits::MESSAGE_BYTES, &mut bytes).unwrap();
        Stamp::new(Timestamp::from_nanos(1_709_210_096_789_000_000)).put(&mut bytes, Sequence(7));
        let mut written = Vec::new();
        super::message(&Records::new(&bytes).next().unwrap().unwrap(), &mut written);
        let expected = r#"{"topic":"a\"b","sequence":"7","publishTime":"2024-02-29T12:34:56.789Z","data":"aGk=","attributes":{"k":"\u0001\n"}}"#;
        assert_eq!(String::from_utf8(written).unwrap(), expected);
    }
}

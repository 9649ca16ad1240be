//! A message as its publisher hands it over, and how it becomes a record. It may be borrowed from the bytes of the
//! request: nothing is copied before it is encoded.

use std::{borrow::Cow, collections::BTreeMap};

use super::{
    Error, Reason, Record, Result, Timestamp, Topic, limits,
    record::{Part, TRAILER},
    wire,
};

/// What a publisher says, checked and encoded by [`Message::encode`].
#[derive(Clone, Debug)]
pub struct Message<'a> {
    /// Where it is published.
    pub topic: Topic<'a>,
    /// What it carries.
    pub payload: Payload<'a>,
    /// At most 64.
    pub attributes: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
    /// Messages with one key keep their order; empty is none.
    pub ordering_key: Cow<'a, str>,
    /// The publisher's own id; empty is none.
    pub message_id: Cow<'a, str>,
    /// Empty is none.
    pub content_type: Cow<'a, str>,
    /// Where an answer is awaited; empty is none.
    pub reply_to: Cow<'a, str>,
    /// To which request an answer belongs; empty is none.
    pub correlation_id: Cow<'a, str>,
    /// From when on nobody receives it any more.
    pub expire_time: Option<Timestamp>,
    /// Before that nobody receives it.
    pub deliver_time: Option<Timestamp>,
}

/// What a message carries. What the publisher chose is what subscribers get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload<'a> {
    /// Nothing at all.
    None,
    /// Bytes.
    Data(Cow<'a, [u8]>),
    /// Text, which JSON tools show as it is.
    Text(Cow<'a, str>),
}

impl Payload<'_> {
    /// Its bytes, whichever kind it is.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Payload::None => &[],
            Payload::Data(data) => data,
            Payload::Text(text) => text.as_bytes(),
        }
    }
}

impl<'a> Message<'a> {
    /// A message with nothing but topic and payload.
    pub fn new(topic: Topic<'a>, payload: Payload<'a>) -> Self {
        Message {
            topic,
            payload,
            attributes: BTreeMap::new(),
            ordering_key: Cow::default(),
            message_id: Cow::default(),
            content_type: Cow::default(),
            reply_to: Cow::default(),
            correlation_id: Cow::default(),
            expire_time: None,
            deliver_time: None,
        }
    }

    /// The same, borrowed from nothing.
    pub fn into_owned(self) -> Message<'static> {
        let owned = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        Message {
            topic: self.topic.into_owned(),
            payload: match self.payload {
                Payload::None => Payload::None,
                Payload::Data(data) => Payload::Data(data.into_owned().into()),
                Payload::Text(text) => Payload::Text(owned(text)),
            },
            attributes: self.attributes.into_iter().map(|(key, value)| (owned(key), owned(value))).collect(),
            ordering_key: owned(self.ordering_key),
            message_id: owned(self.message_id),
            content_type: owned(self.content_type),
            reply_to: owned(self.reply_to),
            correlation_id: owned(self.correlation_id),
            expire_time: self.expire_time,
            deliver_time: self.deliver_time,
        }
    }

    /// What a record says, as its publisher handed it over; None of bytes that are no message.
    pub fn decode(record: &Record<'a>) -> Option<Message<'a>> {
        let text = |bytes: &'a [u8]| std::str::from_utf8(bytes).ok().map(Cow::Borrowed);
        let mut message = Message::new(Topic::parse(record.topic()).ok()?, Payload::None);
        for field in record.fields() {
            match field.number {
                4 => message.payload = Payload::Data(Cow::Borrowed(field.bytes)),
                5 => message.payload = Payload::Text(text(field.bytes)?),
                7 => message.ordering_key = text(field.bytes)?,
                8 => message.message_id = text(field.bytes)?,
                9 => message.content_type = text(field.bytes)?,
                10 => message.reply_to = text(field.bytes)?,
                11 => message.correlation_id = text(field.bytes)?,
                _ => {}
            }
        }
        for part in record.parts() {
            if let Part::Attribute(key, value) = part {
                message.attributes.insert(text(key)?, text(value)?);
            }
        }
        message.expire_time = record.expire_time();
        message.deliver_time = record.deliver_time();
        Some(message)
    }

    /// Checks the message against the limits and appends its record to `out`, all but sequence and time, which
    /// [`super::Stamp`] fills in. `most` is the number of bytes that an encoded message may have. Nothing is
    /// appended if it is refused.
    pub fn encode(&self, most: usize, out: &mut Vec<u8>) -> Result<()> {
        self.check()?;
        let length = self.encoded_len();
        if length > most {
            let message = format!(
                "the message has {length} bytes encoded: at most {most} are allowed; split it, or publish a \
                 reference to where it lies"
            );
            return Err(Error::new(Reason::MessageTooLarge, message).with("bytes", length).with("limit", most));
        }
        out.reserve(wire::bytes_field_len(length));
        wire::put_header(out, 1, length);
        wire::put_bytes_field(out, 1, self.topic.as_str().as_bytes());
        match &self.payload {
            Payload::None => {}
            Payload::Data(data) => wire::put_bytes_field(out, 4, data),
            Payload::Text(text) => wire::put_bytes_field(out, 5, text.as_bytes()),
        }
        for (key, value) in &self.attributes {
            wire::put_header(out, 6, attribute_len(key, value));
            wire::put_bytes_field(out, 1, key.as_bytes());
            wire::put_bytes_field(out, 2, value.as_bytes());
        }
        for (field, text) in self.texts() {
            if !text.is_empty() {
                wire::put_bytes_field(out, field, text.as_bytes());
            }
        }
        for (field, time) in self.times() {
            let Some(time) = time else { continue };
            let (seconds, nanos) = time.parts();
            wire::put_header(out, field, timestamp_len(time));
            out.push(1 << 3);
            wire::put_varint(out, seconds as u64);
            out.push(2 << 3);
            wire::put_varint(out, nanos as u64);
        }
        out.extend_from_slice(&[0; TRAILER]);
        Ok(())
    }

    /// The texts that are left out when empty, with their field numbers.
    fn texts(&self) -> [(u8, &str); 5] {
        [
            (7, &self.ordering_key),
            (8, &self.message_id),
            (9, &self.content_type),
            (10, &self.reply_to),
            (11, &self.correlation_id),
        ]
    }

    fn encoded_len(&self) -> usize {
        let mut length = TRAILER + wire::bytes_field_len(self.topic.as_str().len());
        if self.payload != Payload::None {
            length += wire::bytes_field_len(self.payload.bytes().len());
        }
        for (key, value) in &self.attributes {
            length += wire::bytes_field_len(attribute_len(key, value));
        }
        for (_, text) in self.texts() {
            if !text.is_empty() {
                length += wire::bytes_field_len(text.len());
            }
        }
        let times = self.times().into_iter().filter_map(|(_, time)| time);
        length + times.map(|time| wire::bytes_field_len(timestamp_len(time))).sum::<usize>()
    }

    /// The times that may be left out, with their field numbers.
    fn times(&self) -> [(u8, Option<Timestamp>); 2] {
        [(12, self.expire_time), (13, self.deliver_time)]
    }

    fn check(&self) -> Result<()> {
        let invalid = |field: &str, message: String| Err(Error::new(Reason::MessageInvalid, message).field(field));
        let names = [
            ("ordering_key", &self.ordering_key),
            ("message_id", &self.message_id),
            ("content_type", &self.content_type),
            ("correlation_id", &self.correlation_id),
        ];
        for (field, text) in names {
            if text.len() > limits::NAME_BYTES {
                let (has, most) = (text.len(), limits::NAME_BYTES);
                return invalid(field, format!("the {field} has {has} bytes: at most {most} are allowed"));
            }
        }
        if !self.reply_to.is_empty() {
            Topic::parse(&*self.reply_to).map_err(|error| error.field("reply_to"))?;
        }
        if self.attributes.len() > limits::ATTRIBUTES {
            let (has, most) = (self.attributes.len(), limits::ATTRIBUTES);
            return invalid("attributes", format!("the message has {has} attributes: at most {most} are allowed"));
        }
        let mut total = 0;
        for (key, value) in &self.attributes {
            total += key.len() + value.len();
            if key.is_empty() || key.len() > limits::ATTRIBUTE_KEY_BYTES {
                let (has, most) = (key.len(), limits::ATTRIBUTE_KEY_BYTES);
                return invalid("attributes", format!("an attribute's key has {has} bytes: it takes 1 to {most}"));
            }
            if value.len() > limits::ATTRIBUTE_VALUE_BYTES {
                let (has, most) = (value.len(), limits::ATTRIBUTE_VALUE_BYTES);
                return invalid("attributes", format!("attribute {key:?} has {has} bytes: at most {most} are allowed"));
            }
        }
        if total > limits::ATTRIBUTES_BYTES {
            let most = limits::ATTRIBUTES_BYTES;
            return invalid("attributes", format!("the attributes have {total} bytes: at most {most} are allowed"));
        }
        Ok(())
    }
}

fn attribute_len(key: &str, value: &str) -> usize {
    wire::bytes_field_len(key.len()) + wire::bytes_field_len(value.len())
}

fn timestamp_len(time: Timestamp) -> usize {
    let (seconds, nanos) = time.parts();
    2 + wire::varint_len(seconds as u64) + wire::varint_len(nanos as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Records, Sequence, Stamp};

    #[test]
    fn a_record_tells_what_was_put_in() {
        let mut message = Message::new(Topic::parse("orders/eu").unwrap(), Payload::Text("hallo".into()));
        message.message_id = "id-1".into();
        message.attributes.insert("a".into(), "b".into());
        message.expire_time = Some(Timestamp::from_nanos(99_000_000_007));
        message.deliver_time = Some(Timestamp::from_nanos(98_000_000_000));
        let mut bytes = Vec::new();
        message.encode(limits::MESSAGE_BYTES, &mut bytes).unwrap();
        let time = Timestamp::from_nanos(1_800_000_000_123_456_789);
        Stamp::new(time).put(&mut bytes, Sequence(42));

        let record = Records::new(&bytes).next().unwrap().unwrap();
        assert_eq!(record.framed(), &bytes[..]);
        assert_eq!((record.topic(), record.payload()), ("orders/eu", &b"hallo"[..]));
        assert_eq!((record.sequence(), record.publish_time()), (Sequence(42), time));
        assert_eq!((record.message_id(), record.expire_time()), (&b"id-1"[..], message.expire_time));
        assert_eq!(record.deliver_time(), message.deliver_time);
    }

    #[test]
    fn limits_hold_and_name_the_field() {
        let message = || Message::new(Topic::parse("t").unwrap(), Payload::None);
        let refusal = |message: Message<'_>| message.encode(1000, &mut Vec::new()).unwrap_err();

        let mut long = message();
        long.ordering_key = "k".repeat(256).into();
        assert_eq!(refusal(long).violated_field(), Some("ordering_key"));

        let mut many = message();
        many.attributes = (0..65).map(|n| (n.to_string().into(), Cow::default())).collect();
        assert_eq!(refusal(many).violated_field(), Some("attributes"));

        let mut large = message();
        large.payload = Payload::Data(vec![0; 1000].into());
        assert_eq!(refusal(large).reason(), Reason::MessageTooLarge);
    }
}

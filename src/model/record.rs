//! A record: one message as it lies in the log and travels on streams, the same bytes in both places.
//!
//! It is field 1 of a `SubscribeResponse`: a tag, a length, and the encoded `tilde.v1.Message`. The message begins
//! with its topic and ends with a trailer of fixed size that holds what is known only when its place in the order is
//! known, so that everything else is encoded before any lock, and the trailer is found without decoding.
//!
//! Version 1 of the form; `Records` is what reads it back.

use super::{Sequence, Timestamp, wire};

/// Bytes of the trailer: `sequence` (tag, eight bytes), `publish_time` (tag, length, and two varints with their tags,
/// padded to five bytes each, which protobuf allows: enough for seconds until the year 3058).
pub const TRAILER: usize = 9 + 2 + 6 + 6;

/// The least that a record can take: no payload, a topic of one byte.
pub const LEAST: usize = 2 + 3 + TRAILER;

const TAG: u8 = 1 << 3 | wire::BYTES as u8;
const TOPIC: u64 = 1;
const DATA: u64 = 4;
const TEXT: u64 = 5;
const ATTRIBUTE: u64 = 6;
const ORDERING_KEY: u64 = 7;
const MESSAGE_ID: u64 = 8;
const CONTENT_TYPE: u64 = 9;
const CORRELATION_ID: u64 = 11;
const EXPIRE_TIME: u64 = 12;
const DELIVER_TIME: u64 = 13;

/// A time, encoded once for all records that are taken together.
#[derive(Clone, Copy)]
pub struct Stamp([u8; TRAILER]);

impl Stamp {
    /// The trailer for records published at `time`.
    pub fn new(time: Timestamp) -> Self {
        let (seconds, nanos) = time.parts();
        let mut trailer = [0; TRAILER];
        trailer[0] = 2 << 3 | wire::FIXED64 as u8;
        trailer[9] = 3 << 3 | wire::BYTES as u8;
        trailer[10] = 12;
        trailer[11] = 1 << 3;
        trailer[12..17].copy_from_slice(&padded(seconds as u64));
        trailer[17] = 2 << 3;
        trailer[18..23].copy_from_slice(&padded(nanos as u64));
        Stamp(trailer)
    }

    /// Writes sequence and time into the last bytes of an encoded record.
    pub fn put(&mut self, record: &mut [u8], sequence: Sequence) {
        self.0[1..9].copy_from_slice(&sequence.0.to_le_bytes());
        let at = record.len() - TRAILER;
        record[at..].copy_from_slice(&self.0);
    }
}

/// A varint of exactly five bytes.
fn padded(value: u64) -> [u8; 5] {
    let group = |n: u32| (value >> (7 * n)) as u8;
    [group(0) | 0x80, group(1) | 0x80, group(2) | 0x80, group(3) | 0x80, group(4) & 0x7f]
}

/// One record, in place.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    framed: &'a [u8],
    message: &'a [u8],
    topic: &'a str,
}

impl<'a> Record<'a> {
    /// The record with its tag and length, as it travels.
    pub fn framed(&self) -> &'a [u8] {
        self.framed
    }

    /// The encoded `tilde.v1.Message`.
    pub fn message(&self) -> &'a [u8] {
        self.message
    }

    /// Where it was published.
    pub fn topic(&self) -> &'a str {
        self.topic
    }

    /// Its position.
    pub fn sequence(&self) -> Sequence {
        let at = self.message.len() - TRAILER + 1;
        Sequence(u64::from_le_bytes(self.message[at..at + 8].try_into().expect("eight bytes")))
    }

    /// When it was taken.
    pub fn publish_time(&self) -> Timestamp {
        let trailer = &self.message[self.message.len() - TRAILER..];
        let part = |at: usize| wire::take_varint(&mut &trailer[at..]).unwrap_or(0);
        Timestamp::from_parts(part(12) as i64, part(18) as i32).unwrap_or_default()
    }

    /// From when on nobody receives it any more.
    pub fn expire_time(&self) -> Option<Timestamp> {
        self.time(EXPIRE_TIME)
    }

    /// When its publisher wanted it to be delivered.
    pub fn deliver_time(&self) -> Option<Timestamp> {
        self.time(DELIVER_TIME)
    }

    fn time(&self, number: u64) -> Option<Timestamp> {
        let mut time = self.field(number)?;
        let (mut seconds, mut nanos) = (0, 0);
        while let Some(field) = wire::take_field(&mut time) {
            match field.number {
                1 => seconds = field.value as i64,
                2 => nanos = field.value as i32,
                _ => {}
            }
        }
        Timestamp::from_parts(seconds, nanos)
    }

    /// The publisher's own id; empty if it gave none.
    pub fn message_id(&self) -> &'a [u8] {
        self.field(MESSAGE_ID).unwrap_or_default()
    }

    /// What it answers, or is to be answered with; empty if there is nothing.
    pub fn correlation_id(&self) -> &'a [u8] {
        self.field(CORRELATION_ID).unwrap_or_default()
    }

    /// The payload's bytes, whichever kind it is; empty if there is none.
    pub fn payload(&self) -> &'a [u8] {
        self.field(DATA).or_else(|| self.field(TEXT)).unwrap_or_default()
    }

    /// What the publisher said besides topic and payload, and a filter may ask for.
    pub fn parts(&self) -> impl Iterator<Item = Part<'a>> + use<'a> {
        let mut rest = &self.message[..self.message.len() - TRAILER];
        std::iter::from_fn(move || {
            while let Some(field) = wire::take_field(&mut rest) {
                match field.number {
                    ATTRIBUTE => return Some(attribute(field.bytes)),
                    ORDERING_KEY => return Some(Part::OrderingKey(field.bytes)),
                    CONTENT_TYPE => return Some(Part::ContentType(field.bytes)),
                    _ => {}
                }
            }
            None
        })
    }

    /// All that the publisher said, as it lies there.
    pub(super) fn fields(&self) -> impl Iterator<Item = wire::Field<'a>> + use<'a> {
        let mut rest = &self.message[..self.message.len() - TRAILER];
        std::iter::from_fn(move || wire::take_field(&mut rest))
    }

    fn field(&self, number: u64) -> Option<&'a [u8]> {
        self.fields().find(|field| field.number == number).map(|field| field.bytes)
    }
}

/// A part of a message; its texts are UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// A name and a value.
    Attribute(&'a [u8], &'a [u8]),
    /// Never empty.
    OrderingKey(&'a [u8]),
    /// Never empty.
    ContentType(&'a [u8]),
}

/// An entry of a map of texts.
fn attribute(mut entry: &[u8]) -> Part<'_> {
    let (mut name, mut value) = (&[][..], &[][..]);
    while let Some(field) = wire::take_field(&mut entry) {
        match field.number {
            1 => name = field.bytes,
            2 => value = field.bytes,
            _ => {}
        }
    }
    Part::Attribute(name, value)
}

/// The records in a run of bytes, one after the other. Bytes that make no record end it with [`Malformed`].
#[derive(Clone)]
pub struct Records<'a>(&'a [u8]);

/// Bytes that are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl<'a> Records<'a> {
    /// Reads `bytes` from the front.
    pub fn new(bytes: &'a [u8]) -> Self {
        Records(bytes)
    }

    fn take(&mut self) -> Option<Record<'a>> {
        let whole = self.0;
        let mut rest = whole;
        if wire::take(&mut rest, 1)? != [TAG] {
            return None;
        }
        let length = usize::try_from(wire::take_varint(&mut rest)?).ok()?;
        let message = wire::take(&mut rest, length)?;
        let mut fields = message.get(..message.len().checked_sub(TRAILER)?)?;
        let topic = wire::take_field(&mut fields).filter(|field| field.number == TOPIC)?;
        let topic = std::str::from_utf8(topic.bytes).ok()?;
        self.0 = rest;
        Some(Record { framed: &whole[..whole.len() - rest.len()], message, topic })
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let record = self.take();
        if record.is_none() {
            self.0 = &[];
        }
        Some(record.ok_or(Malformed))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for record in Records::new(&bytes).flatten() {
                let _ = (record.topic(), record.sequence(), record.publish_time(), record.expire_time());
                let _ = (record.message_id(), record.payload(), record.parts().count());
            }
        }
    }
}

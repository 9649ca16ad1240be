//! What an event is: the fields of the record that comes in and of the one that goes out, and how one becomes the other.
//! Never publishes anything.

use bytes::Bytes;

use super::destination::canonical;
use crate::{
    client::{Message, PublishRequest},
    schema::{Frame, RecordReader, RecordWriter, Shape, Value, Violation},
};

/// What comes in. All of it must be there.
pub const INPUT: [(&str, Shape); 5] = [
    ("origin_service_id", Shape::Text),
    ("destination_service_type", Shape::Text),
    ("event_timestamp", Shape::Long),
    ("payload", Shape::Text),
    // It must be there and is not sent on.
    ("origin_service_type", Shape::Text),
];

/// What goes out.
pub const OUTPUT: [(&str, Shape); 6] = [
    ("producer_service_id", Shape::Text),
    ("processor_service_id", Shape::Text),
    ("destination_type", Shape::Text),
    ("producer_event_timestamp", Shape::Long),
    ("processor_event_timestamp", Shape::Long),
    ("payload", Shape::Text),
];

/// The attribute that names the schema of a payload without a frame.
const SCHEMA_ID: &str = "schema_id";

/// An event that came in, where it lies in its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// Whose it is.
    pub origin: &'a str,
    /// Where it is to go, as it was written.
    pub destination: &'a str,
    /// When it happened, in milliseconds.
    pub time: i64,
    /// What it says.
    pub payload: &'a str,
}

/// What events of a destination are written with.
#[derive(Debug)]
pub struct Output {
    /// Where they are published.
    pub topic: String,
    /// By which id their schema is known.
    pub schema_id: u32,
    /// Makes their payloads.
    pub writer: RecordWriter,
}

/// By which schema a message was written, and what is written; why that cannot be told, if not.
pub fn unframed(message: &Message) -> Result<(u32, &[u8]), String> {
    match (message.bytes(), message.attributes.get(SCHEMA_ID)) {
        (payload, Some(id)) if !payload.starts_with(&[0]) => match id.parse() {
            Ok(id) => Ok((id, payload)),
            Err(_) => Err(format!("its attribute {SCHEMA_ID} is {id:?}, which is no id of a schema")),
        },
        (payload, _) => {
            let frame = Frame::of(payload).map(|frame| (frame.id, frame.rest));
            let why = "it does not say by which schema it was written: a zero byte and the schema's id come first";
            frame.ok_or_else(|| why.to_owned())
        }
    }
}

impl<'a> Event<'a> {
    /// Reads one.
    pub fn read(reader: &RecordReader, payload: &'a [u8]) -> Result<Self, Violation> {
        let mut values = [Value::Long(0); INPUT.len()];
        reader.read(payload, &mut values)?;
        match values {
            [Value::Text(origin), Value::Text(destination), Value::Long(time), Value::Text(payload), _] => {
                Ok(Event { origin, destination, time, payload })
            }
            _ => unreachable!("the reader gives what was asked for"),
        }
    }

    /// The name of its destination, as destinations are compared.
    pub fn destination(&self) -> String {
        canonical(self.destination)
    }

    /// As it is sent on by a router, at this time in milliseconds. `destination` is its canonical name.
    pub fn sent_on(&self, output: &Output, destination: &str, processor: &str, now: i64) -> PublishRequest {
        let values = [
            Value::Text(self.origin),
            Value::Text(processor),
            Value::Text(destination),
            Value::Long(self.time),
            Value::Long(now),
            Value::Text(self.payload),
        ];
        let texts = self.origin.len() + processor.len() + destination.len() + self.payload.len();
        // The numbers have at most ten bytes each, as have the lengths of the texts together in all but huge ones.
        let mut payload = Vec::with_capacity(Frame::BYTES + texts + 40);
        payload.extend_from_slice(&Frame::begin(output.schema_id));
        output.writer.write(&values, &mut payload);
        let request = PublishRequest::data(&output.topic, Bytes::from(payload));
        PublishRequest { ordering_key: format!("{}:{destination}", self.origin), ..request }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{Kind, Schema};

    fn schema(fields: &[(&str, Shape)]) -> Schema {
        let field = |(name, shape): &(&str, Shape)| {
            let kind = if *shape == Shape::Text { "string" } else { "long" };
            format!(r#"{{"name":"{name}","type":"{kind}"}}"#)
        };
        let fields: Vec<_> = fields.iter().map(field).collect();
        let text = format!(r#"{{"type":"record","name":"R","fields":[{}]}}"#, fields.join(","));
        Schema::parse(Kind::Avro, &text, &[]).unwrap()
    }

    #[test]
    fn an_event_is_sent_on_with_its_key_and_times() {
        let (input, output) = (schema(&INPUT), schema(&OUTPUT));
        let mut payload = Vec::new();
        let texts = ["7", "marketing"].map(Value::Text);
        let values = [texts[0], texts[1], Value::Long(1_000), Value::Text("p"), Value::Text("monitor")];
        input.writer(&INPUT).unwrap().write(&values, &mut payload);
        let event = Event::read(&input.reader(&INPUT).unwrap(), &payload).unwrap();
        let output = Output { topic: "out".into(), schema_id: 258, writer: output.writer(&OUTPUT).unwrap() };
        let sent = event.sent_on(&output, &event.destination(), "r1", 1_005);
        assert_eq!((sent.topic.as_str(), sent.ordering_key.as_str()), ("out", "7:MARKETING"));
        let message = Message {
            payload: Some(crate::pb::v1::message::Payload::Data(match sent.payload.unwrap() {
                crate::pb::v1::publish_request::Payload::Data(data) => data,
                other => panic!("{other:?}"),
            })),
            ..Message::default()
        };
        let (id, rest) = unframed(&message).unwrap();
        let mut values = [Value::Long(0); OUTPUT.len()];
        schema(&OUTPUT).reader(&OUTPUT).unwrap().read(rest, &mut values).unwrap();
        let times = [1_000, 1_005].map(Value::Long);
        let texts = ["7", "r1", "MARKETING", "p"].map(Value::Text);
        assert_eq!((id, values), (258, [texts[0], texts[1], texts[2], times[0], times[1], texts[3]]));
    }

    #[test]
    fn the_schema_is_named_in_front_or_beside() {
        let message = |bytes: &[u8], id: Option<&str>| Message {
            payload: Some(crate::pb::v1::message::Payload::Data(Bytes::copy_from_slice(bytes))),
            attributes: id.iter().map(|id| (SCHEMA_ID.to_owned(), (*id).to_owned())).collect(),
            ..Message::default()
        };
        assert_eq!(unframed(&message(&[0, 0, 0, 1, 2, 9], None)), Ok((258, &[9][..])));
        assert_eq!(unframed(&message(&[2, b'a'], Some("7"))), Ok((7, &[2, b'a'][..])));
        for bad in [message(&[], None), message(&[0, 0, 0, 1], None), message(&[1, 2], None), message(&[1], Some("x"))]
        {
            assert!(unframed(&bad).is_err());
        }
    }
}

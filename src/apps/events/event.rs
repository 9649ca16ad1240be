//! What an event is: its fields, its key, and its bytes as serializers frame them. Never publishes one.

use bytes::Bytes;

use crate::{
    clock::Clock,
    pb::v1::{PublishRequest, publish_request::Payload},
    schema::{Broken, Frame, RecordWriter, Schema, Shape, Value},
};

/// The fields of a record for events, in the order in which they are written.
const FIELDS: [(&str, Shape); 5] = [
    ("origin_service_id", Shape::Text),
    ("origin_service_type", Shape::Text),
    ("destination_service_type", Shape::Text),
    ("event_timestamp", Shape::Long),
    ("payload", Shape::Text),
];

/// What a payload says in front of its own id.
const DUMMY: &str = "dummy-payload ";
/// Fills a payload up.
const FILL: char = '.';

/// Makes events of one origin, for its destinations in turn.
#[derive(Debug)]
pub struct Maker {
    /// Where to.
    pub topic: String,
    /// Where they come from.
    pub origin: Origin,
    /// Where they are to go in the end, at least one; each with its key.
    pub destinations: Vec<Destination>,
    /// How they are written.
    pub form: Form,
    /// What payloads are filled up to, in bytes.
    pub payload_bytes: usize,
}

/// Who says that he makes an event.
#[derive(Clone, Debug)]
pub struct Origin {
    /// Which one.
    pub id: String,
    /// Of what kind.
    pub kind: String,
}

/// Where an event is to go.
#[derive(Debug)]
pub struct Destination {
    name: String,
    /// What keeps its order: events of one origin for one destination.
    key: String,
}

/// The schema of events, as it is registered.
#[derive(Debug)]
pub struct Form {
    id: u32,
    writer: RecordWriter,
}

impl Destination {
    /// Of events of an origin. Destinations are written in capitals.
    pub fn new(name: &str, origin: &Origin) -> Self {
        let name = name.to_uppercase();
        Destination { key: format!("{}:{name}", origin.id), name }
    }
}

impl Form {
    /// Broken if the schema is not one of events.
    pub fn new(id: u32, schema: &Schema) -> Result<Self, Broken> {
        Ok(Form { id, writer: schema.writer(&FIELDS)? })
    }
}

impl Maker {
    /// The event of this number, counted from 0.
    pub fn event(&self, number: u64, clock: &impl Clock) -> PublishRequest {
        let turn = (number % self.destinations.len() as u64) as usize;
        let destination = &self.destinations[turn];
        let payload = self.payload(clock);
        let values = [
            Value::Text(&self.origin.id),
            Value::Text(&self.origin.kind),
            Value::Text(&destination.name),
            Value::Long(clock.now().nanos() / 1_000_000),
            Value::Text(&payload),
        ];
        let mut bytes = Frame::begin(self.form.id).to_vec();
        self.form.writer.write(&values, &mut bytes);
        PublishRequest {
            topic: self.topic.clone(),
            payload: Some(Payload::Data(Bytes::from(bytes))),
            ordering_key: destination.key.clone(),
            ..PublishRequest::default()
        }
    }

    fn payload(&self, clock: &impl Clock) -> String {
        let mut payload = format!("{DUMMY}{}", uuid(clock));
        let missing = self.payload_bytes.saturating_sub(payload.len());
        payload.extend(std::iter::repeat_n(FILL, missing));
        payload
    }
}

/// A UUID by chance alone (RFC 9562, version 4).
fn uuid(clock: &impl Clock) -> String {
    const VERSION: u64 = 0x4000;
    const VARIANT: u64 = 0x8000;
    let (first, second) = (clock.random(), clock.random());
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        first >> 32,
        (first >> 16) & 0xffff,
        first & 0x0fff | VERSION,
        (second >> 48) & 0x3fff | VARIANT,
        second & 0xffff_ffff_ffff,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::{ManualClock, SystemClock},
        schema::Kind,
    };

    const SCHEMA: &str = include_str!("../../../tests/fixtures/events/producer-to-processor.avsc");

    #[test]
    fn events_go_to_the_destinations_in_turn() {
        let schema = Schema::parse(Kind::Avro, SCHEMA, &[]).unwrap();
        let origin = Origin { id: "123456".into(), kind: "Ledger".into() };
        let destinations = ["finance", "Straße"].map(|name| Destination::new(name, &origin)).into();
        let form = Form::new(258, &schema).unwrap();
        let maker = Maker { topic: "in".into(), origin, destinations, form, payload_bytes: 60 };
        let clock = ManualClock::new(SystemClock.now(), 7);
        let reader = schema.reader(&FIELDS).unwrap();
        for (number, destination) in [(0, "FINANCE"), (1, "STRASSE"), (2, "FINANCE")] {
            let event = maker.event(number, &clock);
            assert_eq!((event.topic.as_str(), event.ordering_key), ("in", format!("123456:{destination}")));
            let Some(Payload::Data(bytes)) = event.payload else { panic!("it is data") };
            assert_eq!(bytes[..5], [0, 0, 0, 1, 2]);
            let mut values = [Value::Long(0); 5];
            reader.read(&bytes[5..], &mut values).unwrap();
            let [id, kind, to, time, Value::Text(payload)] = values else { panic!("{values:?}") };
            assert_eq!((id, kind, to), (Value::Text("123456"), Value::Text("Ledger"), Value::Text(destination)));
            assert_eq!(time, Value::Long(clock.now().nanos() / 1_000_000));
            assert!(payload.starts_with("dummy-payload ") && payload.len() == 60, "{payload}");
        }
    }

    #[test]
    fn uuids_are_of_version_4_and_differ() {
        let clock = ManualClock::new(SystemClock.now(), 7);
        let uuids: Vec<String> = (0..100).map(|_| uuid(&clock)).collect();
        for uuid in &uuids {
            let parts: Vec<usize> = uuid.split('-').map(str::len).collect();
            assert_eq!(parts, [8, 4, 4, 4, 12], "{uuid}");
            assert!(uuid[14..].starts_with('4') && uuid[19..].starts_with(['8', '9', 'a', 'b']), "{uuid}");
        }
        let different: std::collections::BTreeSet<_> = uuids.iter().collect();
        assert_eq!(different.len(), uuids.len());
    }

    #[test]
    fn a_schema_of_something_else_is_refused() {
        let other = Schema::parse(Kind::Avro, r#"{"type":"record","name":"R","fields":[]}"#, &[]).unwrap();
        assert!(Form::new(1, &other).unwrap_err().to_string().contains("no field origin_service_id"));
    }
}

//! How what a durable subscription delivers is printed: the message, and what settles it. Pure: writes into a buffer.

use std::io::{self, Write};

use serde::Serialize;

use super::{
    message::{Form, Object},
    output,
};
use crate::pb::v1::Delivery;

/// What is printed with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum With {
    /// The ack_id, for whoever settles it later: in text it stands in front.
    AckId,
    /// Nothing that could be settled.
    Nothing,
}

impl With {
    /// Writes one delivery. What has no message is nothing.
    pub fn write(self, out: &mut impl Write, form: Form, delivery: &Delivery) -> io::Result<()> {
        let Some(message) = &delivery.message else { return Ok(()) };
        match (form, self) {
            (Form::Json, _) => {
                let with_id = self == With::AckId;
                let delivered = Delivered {
                    message: Object::new(message, None),
                    ack_id: if with_id { &delivery.ack_id } else { "" },
                    attempt: delivery.attempt,
                    ack_deadline: if with_id { output::time(delivery.ack_deadline.as_ref()) } else { String::new() },
                };
                output::json_line(out, &delivered)
            }
            (Form::Text, With::AckId) => {
                write!(out, "{}  ", delivery.ack_id)?;
                form.write(out, message, None)
            }
            _ => form.write(out, message, None),
        }
    }
}

/// A message, and what belongs to this delivery of it.
#[derive(Serialize)]
struct Delivered<'a> {
    #[serde(flatten)]
    message: Object<'a>,
    #[serde(skip_serializing_if = "str::is_empty")]
    ack_id: &'a str,
    attempt: u32,
    #[serde(skip_serializing_if = "String::is_empty")]
    ack_deadline: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb::v1::{Message, message::Payload};

    #[test]
    fn with_what_settles_it_and_without() {
        let message = Message { topic: "a".into(), payload: Some(Payload::Text("x".into())), ..Default::default() };
        let delivery = Delivery { message: Some(message), ack_id: "id".into(), attempt: 2, ack_deadline: None };
        let printed = |with: With, form| {
            let mut out = Vec::new();
            with.write(&mut out, form, &delivery).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(printed(With::AckId, Form::Text), "id  a  x\n");
        assert_eq!(printed(With::Nothing, Form::Text), "a  x\n");
        assert_eq!(printed(With::AckId, Form::Raw), "x\n");
        let json = |with| serde_json::from_str::<serde_json::Value>(&printed(with, Form::Json)).unwrap();
        assert_eq!((&json(With::AckId)["ack_id"], &json(With::AckId)["attempt"]), (&"id".into(), &2.into()));
        assert_eq!(json(With::Nothing)["ack_id"], serde_json::Value::Null);
    }
}

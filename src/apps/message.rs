//! How a received message is printed. Pure: writes into a buffer.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Serialize;

use super::output;
use crate::pb::v1::{Message, message::Payload};

/// How to print messages.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Topic, two blanks, payload; what is no text, and control characters but the tab, are escaped
    Text,
    /// One object a line, with all that the message has
    Json,
    /// The payload as it is, and a newline
    Raw,
}

impl Form {
    /// Writes one message. `cursor` is given with the last of those that came together.
    pub fn write(self, out: &mut impl Write, message: &Message, cursor: Option<&str>) -> io::Result<()> {
        match self {
            Form::Text => {
                visible(out, &message.topic)?;
                out.write_all(b"  ")?;
                match std::str::from_utf8(payload(message)) {
                    Ok(text) => visible(out, text)?,
                    Err(_) => write!(out, "{}", payload(message).escape_ascii())?,
                }
                out.write_all(b"\n")
            }
            Form::Json => output::json_line(out, &Object::new(message, cursor)),
            Form::Raw => {
                out.write_all(payload(message))?;
                out.write_all(b"\n")
            }
        }
    }
}

/// Text that others wrote, for a line of one's own.
pub fn on_its_line(text: &str) -> String {
    let mut line = Vec::with_capacity(text.len());
    visible(&mut line, text).expect("memory takes whatever is written");
    String::from_utf8(line).expect("what was text still is")
}

/// Writes text so that it neither moves the cursor nor gives the terminal orders, and stays on its line.
fn visible(out: &mut impl Write, text: &str) -> io::Result<()> {
    // Those that turn the direction of text around let it pass for another.
    let turns = |letter| matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let control = |letter: char| letter.is_control() && letter != '\t' || turns(letter);
    for part in text.split_inclusive(control) {
        match part.char_indices().next_back() {
            Some((at, letter)) if control(letter) => write!(out, "{}{}", &part[..at], letter.escape_default())?,
            _ => out.write_all(part.as_bytes())?,
        }
    }
    Ok(())
}

fn payload(message: &Message) -> &[u8] {
    match &message.payload {
        Some(Payload::Text(text)) => text.as_bytes(),
        Some(Payload::Data(data)) => data,
        None => &[],
    }
}

/// A message with the names of the contract. What it does not have is left out.
#[derive(Serialize)]
pub struct Object<'a> {
    topic: &'a str,
    sequence: u64,
    publish_time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    attributes: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "str::is_empty")]
    ordering_key: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    message_id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    content_type: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    reply_to: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    correlation_id: &'a str,
    #[serde(skip_serializing_if = "String::is_empty")]
    expire_time: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    deliver_time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<&'a str>,
}

impl<'a> Object<'a> {
    /// `cursor` is given with the last of those that came together.
    pub fn new(message: &'a Message, cursor: Option<&'a str>) -> Self {
        let (text, data) = match &message.payload {
            Some(Payload::Text(text)) => (Some(text.as_str()), None),
            Some(Payload::Data(data)) => (None, Some(STANDARD.encode(data))),
            None => (None, None),
        };
        Object {
            topic: &message.topic,
            sequence: message.sequence,
            publish_time: output::time(message.publish_time.as_ref()),
            text,
            data,
            attributes: &message.attributes,
            ordering_key: &message.ordering_key,
            message_id: &message.message_id,
            content_type: &message.content_type,
            reply_to: &message.reply_to,
            correlation_id: &message.correlation_id,
            expire_time: output::time(message.expire_time.as_ref()),
            deliver_time: output::time(message.deliver_time.as_ref()),
            cursor,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(form: Form, payload: Payload) -> Vec<u8> {
        let message = Message {
            topic: "a/b".into(),
            sequence: 7,
            publish_time: Some(prost_types::Timestamp { seconds: 1, nanos: 500_000_000 }),
            payload: Some(payload),
            attributes: [("k".to_owned(), "v".to_owned())].into(),
            ..Message::default()
        };
        let mut out = Vec::new();
        form.write(&mut out, &message, Some("cur")).unwrap();
        out
    }

    #[test]
    fn the_three_forms() {
        let text = || Payload::Text("hi\tä".into());
        let data = || Payload::Data(vec![0xff, b'x', b'\r'].into());
        assert_eq!(printed(Form::Text, text()), "a/b  hi\tä\n".as_bytes());
        assert_eq!(printed(Form::Text, data()), b"a/b  \\xffx\\r\n");
        let orders = || Payload::Text("ä\u{1b}[2Jb\r\nc\u{9b}\u{7f}".into());
        assert_eq!(printed(Form::Text, orders()), "a/b  ä\\u{1b}[2Jb\\r\\nc\\u{9b}\\u{7f}\n".as_bytes());
        assert_eq!(printed(Form::Raw, orders()), "ä\u{1b}[2Jb\r\nc\u{9b}\u{7f}\n".as_bytes());
        assert_eq!(printed(Form::Raw, data()), b"\xffx\r\n");
        let json = String::from_utf8(printed(Form::Json, data())).unwrap();
        let expected = r#"{"topic":"a/b","sequence":7,"publish_time":"1970-01-01T00:00:01.5Z","data":"/3gN","attributes":{"k":"v"},"cursor":"cur"}"#;
        assert_eq!(json, format!("{expected}\n"));
        assert!(String::from_utf8(printed(Form::Json, text())).unwrap().contains(r#""text":"hi\tä""#));
    }
}

//! `POST /v1/topics/{topic}/messages`: the body is the payload, as it is. What else a message has stands in parameters or,
//! under the same names with dashes behind `tilde-`, in headers. The hot path of plain HTTP: nothing but the payload is
//! looked at, and it is copied once, into the record.

use std::{borrow::Cow, io::Write as _, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, Response, header, request};
use percent_encoding::percent_decode_str;
use tonic::{Status, body::Body};

use super::json;
use crate::{
    broker::{Broker, Publish, Published},
    model::{Durability, Message, NamespaceName, Payload, Result, Sequence, Timestamp, Topic, limits},
    server::{
        http::{
            body,
            problem::invalid,
            query::{Query, unknown},
        },
        json::rfc3339,
    },
    units::Span,
};

/// What can be said besides the payload.
pub const PARAMETERS: [(&str, &str); 9] = [
    ("namespace", "Where; `default` if it is left out."),
    ("message_id", "Your own id: the same again within the deduplication window is answered with the first result."),
    ("ordering_key", "Messages with one key keep their order inside a subscription that orders by key."),
    ("ttl", "How long it may be received, as in 30s or 7d."),
    ("deliver_time", "Published to its topic then, as in 2026-11-28T10:00:00Z."),
    ("durability", "What the answer is to be worth: memory, written, synced or replicated."),
    ("expected_last_sequence", "Publish only if the topic's last sequence is this one; 0 if it has none."),
    ("reply_to", "The topic where an answer is awaited."),
    ("correlation_id", "Tells to which request an answer belongs."),
];
/// A parameter for each attribute: this, and the attribute's key.
pub const ATTRIBUTES: &str = "attributes.";
/// Headers that say the same.
const HEADERS: &str = "tilde-";
const ATTRIBUTE_HEADERS: &str = "tilde-attribute-";

/// Types whose bytes are text, if they are valid UTF-8: JSON tools then show them as they are.
const TEXT: [&str; 8] = ["text/", "json", "xml", "yaml", "javascript", "x-www-form-urlencoded", "csv", "toml"];

/// Publishes what was sent.
pub async fn answer(
    broker: &Arc<Broker>,
    head: &request::Parts,
    body: &mut Body,
    topic: &str,
) -> Result<Response<Body>, Status> {
    let payload = body::read(&head.headers, body, limits::REQUEST_BYTES).await?;
    let publishing = broker.publish(publish(head, topic, &payload)?);
    drop(payload);
    Ok(json(told(&publishing.await?)))
}

/// What is to be published.
fn publish<'a>(head: &'a request::Parts, topic: &'a str, payload: &'a Bytes) -> Result<Publish<'a>> {
    let content_type = header_text(&head.headers, header::CONTENT_TYPE.as_str())?.unwrap_or_default();
    let payload = payload_of(payload, &content_type);
    let message = Message { content_type, ..Message::new(Topic::parse_writable(topic)?, payload) };
    let mut publish = Publish { namespace: None, message, ttl: None, expected_last_sequence: None, durability: None };
    let mut said = Vec::new();
    if head.uri.query().is_some_and(|query| !query.is_empty()) {
        for (name, value) in Query::of(&head.uri).rest() {
            once(&mut said, &name)?;
            match name.strip_prefix(ATTRIBUTES) {
                Some(key) => attribute(&mut publish.message, key.to_owned().into(), value, &name)?,
                None => set(&mut publish, &name, value)?,
            }
        }
    }
    for name in head.headers.keys().map(|name| name.as_str()).filter(|name| name.starts_with(HEADERS)) {
        let value = header_text(&head.headers, name)?.unwrap_or_default();
        match name.strip_prefix(ATTRIBUTE_HEADERS) {
            Some(key) => attribute(&mut publish.message, Cow::Borrowed(key), value, name)?,
            None => {
                let parameter = name[HEADERS.len()..].replace('-', "_");
                once(&mut said, &parameter)?;
                set(&mut publish, &parameter, value)?;
            }
        }
    }
    Ok(publish)
}

/// Refuses what is said twice: nobody knows which is meant.
fn once(said: &mut Vec<String>, name: &str) -> Result<()> {
    if said.iter().any(|known| known == name) {
        return Err(invalid(name, "is given twice: once is enough"));
    }
    said.push(name.to_owned());
    Ok(())
}

fn attribute<'a>(message: &mut Message<'a>, key: Cow<'a, str>, value: Cow<'a, str>, name: &str) -> Result<()> {
    match message.attributes.insert(key, value) {
        None => Ok(()),
        Some(_) => Err(invalid(name, "is given twice: once is enough")),
    }
}

fn set<'a>(publish: &mut Publish<'a>, name: &str, value: Cow<'a, str>) -> Result<()> {
    let message = &mut publish.message;
    match name {
        "namespace" => publish.namespace = Some(NamespaceName::parse(&value)?),
        "message_id" => message.message_id = value,
        "ordering_key" => message.ordering_key = value,
        "reply_to" => message.reply_to = value,
        "correlation_id" => message.correlation_id = value,
        "ttl" => publish.ttl = Some(span(name, &value)?),
        "deliver_time" => message.deliver_time = Some(time(name, &value)?),
        "durability" => publish.durability = Some(durability(&value)?),
        "expected_last_sequence" => {
            let sequence = value.parse().map_err(|_| invalid(name, &format!("is {value:?}: it takes a sequence")))?;
            publish.expected_last_sequence = Some(Sequence(sequence));
        }
        _ => {
            let known: Vec<_> = PARAMETERS.iter().map(|(name, _)| *name).chain(["attributes.KEY"]).collect();
            return Err(unknown(name, &known));
        }
    }
    Ok(())
}

/// Text if its type says so and it is: else bytes.
fn payload_of<'a>(payload: &'a [u8], content_type: &str) -> Payload<'a> {
    let is_text = content_type.is_empty() || TEXT.iter().any(|part| content_type.contains(part));
    match std::str::from_utf8(payload) {
        _ if payload.is_empty() => Payload::None,
        Ok(text) if is_text => Payload::Text(text.into()),
        _ => Payload::Data(payload.into()),
    }
}

/// A header's text. What headers cannot hold is percent-encoded there, as webhooks send it.
fn header_text<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<Cow<'a, str>>> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let text = std::str::from_utf8(value.as_bytes()).map_err(|_| invalid(name, "is no UTF-8"))?;
    match percent_decode_str(text).decode_utf8() {
        Ok(text) => Ok(Some(text)),
        Err(_) => Err(invalid(name, "does not decode to UTF-8: what headers cannot hold is percent-encoded")),
    }
}

/// A length of time, as in `30s`.
fn span(name: &str, text: &str) -> Result<std::time::Duration> {
    text.parse::<Span>().map(|span| span.0).map_err(|why| invalid(name, &format!("is no duration: {why}")))
}

/// A time, as RFC 3339 writes it.
pub fn time(name: &str, text: &str) -> Result<Timestamp> {
    let time = text.parse::<jiff::Timestamp>().ok();
    let time = time.and_then(|time| Timestamp::from_parts(time.as_second(), time.subsec_nanosecond()));
    time.ok_or_else(|| invalid(name, &format!("is {text:?}: it takes a time as in 2026-11-28T10:00:00Z")))
}

fn durability(text: &str) -> Result<Durability> {
    let lower = text.to_ascii_lowercase();
    Ok(match lower.strip_prefix("durability_").unwrap_or(&lower) {
        "memory" => Durability::Memory,
        "written" => Durability::Written,
        "synced" => Durability::Synced,
        "replicated" => Durability::Replicated,
        _ => {
            return Err(invalid("durability", &format!("is {text:?}: it takes memory, written, synced or replicated")));
        }
    })
}

/// `tilde.v1.PublishResponse` as JSON.
fn told(published: &Published) -> Bytes {
    let durability = match published.durability {
        Durability::Memory => "MEMORY",
        Durability::Written => "WRITTEN",
        Durability::Synced => "SYNCED",
        Durability::Replicated => "REPLICATED",
    };
    let Published { sequence, publish_time, duplicate, cursor, .. } = published;
    let mut out = Vec::with_capacity(256);
    // As a stream writes it, to the digit: people compare them.
    let written = write!(out, r#"{{"sequence":"{sequence}","publishTime":""#).and_then(|()| {
        rfc3339(*publish_time, &mut out);
        write!(
            out,
            r#"","duplicate":{duplicate},"durability":"DURABILITY_{durability}","cursor":"{}"}}"#,
            cursor.encode()
        )
    });
    debug_assert!(written.is_ok(), "memory takes what is written");
    out.into()
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;
    use crate::model::Reason;

    fn read(uri: &str, headers: &[(&str, &str)], body: &'static [u8]) -> Result<String> {
        let mut request = Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        publish(&head, "a", &Bytes::from_static(body)).map(|publish| format!("{publish:?}"))
    }

    #[test]
    fn parameters_and_headers_say_the_same() {
        let query = "/x?message_id=i&ttl=1m&ordering_key=k%20%C3%A4&attributes.lang=de&durability=written&namespace=team\
                     &expected_last_sequence=0&deliver_time=2030-01-01T00:00:00Z&reply_to=r&correlation_id=c";
        let headers = [
            ("tilde-message-id", "i"),
            ("tilde-ttl", "1m"),
            ("tilde-ordering-key", "k %C3%A4"),
            ("tilde-attribute-lang", "de"),
            ("tilde-durability", "WRITTEN"),
            ("tilde-namespace", "team"),
            ("tilde-expected-last-sequence", "0"),
            ("tilde-deliver-time", "2030-01-01T00:00:00Z"),
            ("tilde-reply-to", "r"),
            ("tilde-correlation-id", "c"),
        ];
        assert_eq!(read(query, &[], b"x").unwrap(), read("/x", &headers, b"x").unwrap());
    }

    #[test]
    fn text_is_what_says_so_and_is() {
        let kind = |content_type: &str, body: &'static [u8]| match payload_of(body, content_type) {
            Payload::None => "none",
            Payload::Data(_) => "data",
            Payload::Text(_) => "text",
        };
        for (content_type, body, expected) in [
            ("", &b"a"[..], "text"),
            ("text/plain; charset=utf-8", b"a", "text"),
            ("application/json", b"{}", "text"),
            ("application/cloudevents+json", b"{}", "text"),
            ("application/octet-stream", b"a", "data"),
            ("image/png", b"a", "data"),
            ("text/plain", b"\xff", "data"),
            ("text/plain", b"", "none"),
        ] {
            assert_eq!(kind(content_type, body), expected, "{content_type}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (uri, headers, field) in [
            ("/x?ttl=soon", &[][..], "ttl"),
            ("/x?msg_id=1", &[], "msg_id"),
            ("/x?durability=forever", &[], "durability"),
            ("/x?namespace=A", &[], "namespace"),
            ("/x?deliver_time=tomorrow", &[], "deliver_time"),
            ("/x?expected_last_sequence=-1", &[], "expected_last_sequence"),
            ("/x?attributes.a=1", &[("tilde-attribute-a", "2")], "tilde-attribute-a"),
            ("/x", &[("tilde-messageid", "1")], "messageid"),
            ("/x?message_id=a&message_id=b", &[], "message_id"),
            ("/x?message_id=a", &[("tilde-message-id", "a")], "message_id"),
            ("/x", &[("tilde-message-id", "%ff")], "tilde-message-id"),
        ] {
            assert_eq!(read(uri, headers, b"x").unwrap_err().violated_field(), Some(field), "{uri}");
        }
        assert_eq!(read("/x", &[("content-type", "%ff")], b"").unwrap_err().reason(), Reason::RequestInvalid);
    }
}

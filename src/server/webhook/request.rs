//! What is sent of a message: headers and body, in each of the three formats. Pure.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use url::Url;

use super::sign;
use crate::{
    model::{
        PushFormat, Record, Records, Sequence, Subscription, Timestamp,
        record::{Part, TRAILER},
        wire,
    },
    server::json,
};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const BYTES: HeaderValue = HeaderValue::from_static("application/octet-stream");
/// What every attribute of a CloudEvent begins with in a header.
const EVENT: &str = "ce-";

/// By what a subscription's messages are sent, worked out once.
pub struct Plan {
    /// Which.
    pub subscription: Arc<Subscription>,
    /// How long a push may take.
    pub timeout: Duration,
    tag: u32,
    url: Url,
    keys: Vec<Vec<u8>>,
    headers: HeaderMap,
}

/// A message to be sent.
pub struct Source<'a> {
    /// The encoded record, with tag and length.
    pub record: &'a [u8],
    /// The how manieth delivery.
    pub attempt: u32,
    /// Now.
    pub time: Timestamp,
}

/// A request to be sent.
pub struct Outgoing {
    /// Where to.
    pub url: Url,
    /// All but those that the connection needs.
    pub headers: HeaderMap,
    /// What it carries.
    pub body: Bytes,
    /// Of the message.
    pub sequence: Sequence,
}

impl Plan {
    /// None if it does not push. `tag` tells it from other subscriptions.
    pub fn new(subscription: Arc<Subscription>, tag: u32) -> Option<Self> {
        let push = subscription.push.as_ref()?;
        let named = push.headers.iter().filter_map(|(name, value)| {
            let mut value = HeaderValue::from_str(value.reveal()).ok()?;
            value.set_sensitive(true);
            Some((HeaderName::try_from(name).ok()?, value))
        });
        Some(Plan {
            tag,
            timeout: push.timeout(subscription.ack_deadline),
            url: push.target(),
            keys: push.secrets.iter().filter_map(|secret| secret.key()).collect(),
            headers: named.collect(),
            subscription,
        })
    }

    /// What is sent of a message; None if it cannot be read.
    pub fn request(&self, source: &Source<'_>) -> Option<Outgoing> {
        let record = Records::new(source.record).next()?.ok()?;
        let id = format!("msg_{:08x}_{}", self.tag, record.sequence());
        let mut headers = self.headers.clone();
        let body = match self.subscription.push.as_ref()?.format {
            PushFormat::Envelope => {
                headers.insert(header::CONTENT_TYPE, JSON);
                self.envelope(&record, source.attempt)
            }
            PushFormat::Raw => {
                raw(&record, source.attempt, &mut headers);
                Bytes::copy_from_slice(record.payload())
            }
            PushFormat::CloudEvents => {
                self.event(&record, &id, &mut headers);
                Bytes::copy_from_slice(record.payload())
            }
        };
        let timestamp = source.time.parts().0.to_string();
        if !self.keys.is_empty() {
            put(&mut headers, "webhook-signature", &sign::signatures(&self.keys, &id, &timestamp, &body));
        }
        put(&mut headers, "webhook-id", &id);
        put(&mut headers, "webhook-timestamp", &timestamp);
        Some(Outgoing { url: self.url.clone(), headers, body, sequence: record.sequence() })
    }

    fn envelope(&self, record: &Record<'_>, attempt: u32) -> Bytes {
        let mut body = Vec::with_capacity(256 + record.message().len() * 3 / 2);
        body.extend_from_slice(b"{\"subscription\":");
        json::text(self.subscription.name.as_str(), &mut body);
        body.extend_from_slice(b",\"namespace\":");
        json::text(self.subscription.namespace.as_str(), &mut body);
        body.extend_from_slice(b",\"attempt\":");
        json::number(attempt.into(), &mut body);
        body.extend_from_slice(b",\"message\":");
        json::message(record, &mut body);
        body.push(b'}');
        body.into()
    }

    fn event(&self, record: &Record<'_>, id: &str, headers: &mut HeaderMap) {
        headers.insert(header::CONTENT_TYPE, content_type(record));
        let mut time = Vec::new();
        json::rfc3339(record.publish_time(), &mut time);
        put(headers, "ce-id", id);
        put(headers, "ce-source", &encoded(format!("/namespaces/{}", self.subscription.namespace).as_bytes()));
        put(headers, "ce-type", "tilde.message");
        put(headers, "ce-subject", &encoded(record.topic().as_bytes()));
        put(headers, "ce-time", &String::from_utf8_lossy(&time));
        for part in record.parts() {
            let Part::Attribute(key, value) = part else { continue };
            let name = std::str::from_utf8(key).ok().and_then(|key| key.strip_prefix(EVENT));
            // The content type speaks for the body, and the version for the form.
            let is_ours = |name: &str| matches!(name, "specversion" | "datacontenttype");
            let is_name = |name: &str| {
                !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
            };
            if let Some(name) = name.filter(|name| is_name(name) && !is_ours(name)) {
                put(headers, &format!("{EVENT}{name}"), &encoded(value));
            }
        }
        put(headers, "ce-specversion", "1.0");
    }
}

fn raw(record: &Record<'_>, attempt: u32, headers: &mut HeaderMap) {
    headers.insert(header::CONTENT_TYPE, content_type(record));
    let mut text = Vec::new();
    json::rfc3339(record.publish_time(), &mut text);
    put(headers, "tilde-topic", &encoded(record.topic().as_bytes()));
    put(headers, "tilde-sequence", &record.sequence().to_string());
    put(headers, "tilde-publish-time", &String::from_utf8_lossy(&text));
    put(headers, "tilde-attempt", &attempt.to_string());
    for field in fields(record) {
        let name = match field.number {
            7 => "tilde-ordering-key",
            8 => "tilde-message-id",
            10 => "tilde-reply-to",
            11 => "tilde-correlation-id",
            _ => continue,
        };
        put(headers, name, &encoded(field.bytes));
    }
    let mut others = Vec::new();
    for part in record.parts() {
        let Part::Attribute(key, value) = part else { continue };
        match attribute_name(key) {
            Some(name) => put(headers, &name, &encoded(value)),
            None => {
                others.push(if others.is_empty() { b'{' } else { b',' });
                json::text(&String::from_utf8_lossy(key), &mut others);
                others.push(b':');
                json::text(&String::from_utf8_lossy(value), &mut others);
            }
        }
    }
    if !others.is_empty() {
        others.push(b'}');
        put(headers, "tilde-attributes", &encoded(&others));
    }
}

/// The header of an attribute whose key can be one as it is: headers know no upper case, so two keys might become one.
fn attribute_name(key: &[u8]) -> Option<String> {
    let is_plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(byte);
    let key = Some(key).filter(|key| key.iter().all(is_plain))?;
    Some(format!("tilde-attribute-{}", std::str::from_utf8(key).ok()?))
}

fn fields<'a>(record: &Record<'a>) -> impl Iterator<Item = wire::Field<'a>> + use<'a> {
    let message = record.message();
    let mut rest = &message[..message.len() - TRAILER];
    std::iter::from_fn(move || wire::take_field(&mut rest))
}

/// What the publisher said it is, if a header can say it; else by the kind of the payload.
fn content_type(record: &Record<'_>) -> HeaderValue {
    let said = record.parts().find_map(|part| match part {
        Part::ContentType(said) => HeaderValue::from_bytes(said).ok().filter(|said| said.to_str().is_ok()),
        Part::Attribute(..) | Part::OrderingKey(_) => None,
    });
    said.unwrap_or_else(|| match fields(record).any(|field| field.number == 5) {
        true => TEXT,
        false => BYTES,
    })
}

fn put(headers: &mut HeaderMap, name: &str, value: &str) {
    // Names are tokens, and values are encoded: neither can be refused.
    if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
        headers.insert(name, value);
    }
}

/// As a header can carry it: what is not visible ASCII, `"` and `%` in percent-encoding, as the HTTP binding of
/// CloudEvents has it.
fn encoded(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        match byte {
            b'"' | b'%' | 0..=b' ' | 0x7f.. => {
                text.push('%');
                text.extend([byte >> 4, byte & 15].map(|half| char::from(b"0123456789ABCDEF"[half as usize])));
            }
            _ => text.push(byte.into()),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::{Hidden, Message, NamespaceName, Payload, Push, Stamp, SubscriptionName, Topic, limits};

    fn plan(format: PushFormat) -> Plan {
        let push = Push {
            url: "https://example.com/hook".into(),
            secrets: vec![Hidden::new(format!("whsec_{}", "A".repeat(32)))],
            headers: [("X-Key".into(), Hidden::new("open"))].into(),
            format,
            ..Push::default()
        };
        let (name, namespace) = (SubscriptionName::parse("wörk").unwrap(), NamespaceName::parse("team").unwrap());
        Plan::new(Arc::new(Subscription { push: Some(push), ..Subscription::new(name, namespace) }), 0xab).unwrap()
    }

    fn record(change: impl FnOnce(&mut Message<'_>)) -> Vec<u8> {
        let mut message = Message::new(Topic::parse("orders/\u{fc} 1").unwrap(), Payload::Text("hi".into()));
        change(&mut message);
        let mut bytes = Vec::new();
        message.encode(limits::MESSAGE_BYTES, &mut bytes).unwrap();
        Stamp::new(Timestamp::from_nanos(1_700_000_000_000_000_000)).put(&mut bytes, Sequence(42));
        bytes
    }

    fn sent(format: PushFormat, record: &[u8]) -> (BTreeMap<String, String>, Vec<u8>) {
        let source = Source { record, attempt: 3, time: Timestamp::from_nanos(1_800_000_000_000_000_000) };
        let Outgoing { headers, body, sequence, .. } = plan(format).request(&source).unwrap();
        assert_eq!(sequence, Sequence(42));
        let headers = headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
        (headers.collect(), body.to_vec())
    }

    /// What is the same in every format.
    fn common(headers: &mut BTreeMap<String, String>) {
        let mut take = |name: &str| headers.remove(name).unwrap_or_else(|| panic!("{name} is missing"));
        assert_eq!(take("webhook-id"), "msg_000000ab_42");
        assert_eq!(take("webhook-timestamp"), "1800000000");
        assert!(take("webhook-signature").starts_with("v1,"));
        assert_eq!(take("x-key"), "open");
    }

    fn attributes(message: &mut Message<'_>, all: &[(&'static str, &'static str)]) {
        message.attributes.extend(all.iter().map(|(key, value)| ((*key).into(), (*value).into())));
    }

    #[test]
    fn an_envelope_says_where_it_comes_from() {
        let (mut headers, body) = sent(PushFormat::Envelope, &record(|_| {}));
        common(&mut headers);
        assert_eq!(headers, [("content-type".into(), "application/json".into())].into());
        let expected = r#"{"subscription":"wörk","namespace":"team","attempt":3,"message":{"topic":"orders/ü 1","sequence":"42","publishTime":"2023-11-14T22:13:20Z","text":"hi"}}"#;
        assert_eq!(String::from_utf8(body).unwrap(), expected);
    }

    #[test]
    fn raw_is_the_payload_and_headers_for_the_rest() {
        let full = record(|message| {
            attributes(message, &[("lang", "d e\u{e9}%"), ("Upper", "1"), ("a b", "\r\nx: y"), ("e", "")]);
            (message.ordering_key, message.message_id) = ("k\u{1}".into(), "id".into());
            (message.reply_to, message.correlation_id) = ("answers".into(), "c".into());
        });
        let (mut headers, body) = sent(PushFormat::Raw, &full);
        common(&mut headers);
        let expected = [
            ("content-type", "text/plain; charset=utf-8"),
            ("tilde-topic", "orders/%C3%BC%201"),
            ("tilde-sequence", "42"),
            ("tilde-publish-time", "2023-11-14T22:13:20Z"),
            ("tilde-attempt", "3"),
            ("tilde-ordering-key", "k%01"),
            ("tilde-message-id", "id"),
            ("tilde-reply-to", "answers"),
            ("tilde-correlation-id", "c"),
            ("tilde-attribute-lang", "d%20e%C3%A9%25"),
            ("tilde-attribute-e", ""),
            ("tilde-attributes", "{%22Upper%22:%221%22,%22a%20b%22:%22\\r\\nx:%20y%22}"),
        ];
        assert_eq!(headers, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
        assert_eq!(body, b"hi");
    }

    #[test]
    fn the_content_type_is_the_publishers_if_a_header_can_say_it() {
        let of = |change: &dyn Fn(&mut Message<'_>)| sent(PushFormat::Raw, &record(change)).0["content-type"].clone();
        assert_eq!(of(&|message| message.content_type = "image/png".into()), "image/png");
        assert_eq!(of(&|message| message.content_type = "a\r\nb: c".into()), "text/plain; charset=utf-8");
        assert_eq!(of(&|message| message.payload = Payload::Data(vec![1].into())), "application/octet-stream");
        assert_eq!(of(&|message| message.payload = Payload::None), "application/octet-stream");
    }

    #[test]
    fn a_cloud_event_takes_its_attributes_from_those_of_the_message() {
        let (mut headers, body) =
            sent(PushFormat::CloudEvents, &record(|message| attributes(message, &[("lang", "de")])));
        common(&mut headers);
        let expected = [
            ("content-type", "text/plain; charset=utf-8"),
            ("ce-specversion", "1.0"),
            ("ce-id", "msg_000000ab_42"),
            ("ce-source", "/namespaces/team"),
            ("ce-type", "tilde.message"),
            ("ce-subject", "orders/%C3%BC%201"),
            ("ce-time", "2023-11-14T22:13:20Z"),
        ];
        assert_eq!(headers, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
        assert_eq!(body, b"hi");

        let given = [
            ("ce-id", "7"),
            ("ce-source", "//shop"),
            ("ce-type", "order \"new\""),
            ("ce-subject", "o"),
            ("ce-time", "2020-01-01T00:00:00Z"),
            ("ce-traceparent", "00-\u{20ac}"),
            ("ce-specversion", "9"),
            ("ce-datacontenttype", "no"),
            ("ce-Upper", "no"),
            ("ce-", "no"),
        ];
        let (mut headers, _) = sent(PushFormat::CloudEvents, &record(|message| attributes(message, &given)));
        common(&mut headers);
        let expected = [
            ("content-type", "text/plain; charset=utf-8"),
            ("ce-specversion", "1.0"),
            ("ce-id", "7"),
            ("ce-source", "//shop"),
            ("ce-type", "order%20%22new%22"),
            ("ce-subject", "o"),
            ("ce-time", "2020-01-01T00:00:00Z"),
            ("ce-traceparent", "00-%E2%82%AC"),
        ];
        assert_eq!(headers, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    }
}

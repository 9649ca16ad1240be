//! Bodies of requests. What a publisher sent is passed on letter for letter, but for what is written over it: its values are
//! never read.

use std::fmt;

use http::{HeaderMap, header};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::Said;

/// An object whose values stay as they were written, in their order.
#[derive(Debug, Default)]
pub struct Object(Vec<(String, Box<RawValue>)>);

impl Object {
    /// Whether it has nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&RawValue> {
        self.0.iter().find(|(known, _)| known == key).map(|(_, value)| &**value)
    }

    /// Puts a value, over one of the same key.
    pub fn put(&mut self, key: &str, value: Box<RawValue>) {
        match self.0.iter_mut().find(|(known, _)| known == key) {
            Some((_, there)) => *there = value,
            None => self.0.push((key.to_owned(), value)),
        }
    }
}

/// A text as JSON.
pub fn text(text: &str) -> Box<RawValue> {
    serde_json::value::to_raw_value(text).expect("a text is JSON")
}

/// Reads the object in a body.
pub fn parse(headers: &HeaderMap, body: &[u8], needs_content_type: bool) -> Result<Option<Object>, Said> {
    if needs_content_type && !is_json(headers) {
        return Err(Said::new(415, "Send JSON, and a header that says so: Content-Type: application/json"));
    }
    serde_json::from_slice(body).map_err(|error| Said::new(400, format!("The body is no JSON object: {error}")))
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
}

impl Serialize for Object {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Entries)
    }
}

struct Entries;

impl<'de> Visitor<'de> for Entries {
    type Value = Object;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
        let mut object = Object::default();
        while let Some((key, value)) = map.next_entry::<String, Box<RawValue>>()? {
            object.put(&key, value);
        }
        Ok(object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stay_as_they_were_written() {
        let sent = r#"{"b":{"x":[1e400,0.10,{"ä":null}]},"":"\u00e4","topic":1}"#;
        let mut object: Object = serde_json::from_str(sent).unwrap();
        assert_eq!(serde_json::to_string(&object).unwrap(), sent);
        object.put("topic", text("t"));
        let told = r#"{"b":{"x":[1e400,0.10,{"ä":null}]},"":"\u00e4","topic":"t"}"#;
        assert_eq!(serde_json::to_string(&object).unwrap(), told);
    }

    #[test]
    fn what_is_no_object_is_refused_and_null_is_nothing() {
        let json = HeaderMap::from_iter([(header::CONTENT_TYPE, "application/json; charset=utf-8".parse().unwrap())]);
        let status = |body: &str| parse(&json, body.as_bytes(), true).map_err(|said| said.0.as_u16());
        assert!(status("null").unwrap().is_none() && status("{}").unwrap().unwrap().is_empty());
        for body in ["", "[]", "\"x\"", "{", "{\"a\":}", "1"] {
            assert_eq!(status(body).unwrap_err(), 400, "{body}");
        }
        assert_eq!(parse(&HeaderMap::new(), b"{}", true).map_err(|said| said.0.as_u16()).unwrap_err(), 415);
        assert!(parse(&HeaderMap::new(), b"{}", false).is_ok());
    }
}

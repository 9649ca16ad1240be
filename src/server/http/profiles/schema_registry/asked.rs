//! What a request asks for: the parts of its path, its query, its body. A parameter that nobody knows is let be, as clients
//! send more than there is. Never knows what is registered.

use std::borrow::Cow;

use bytes::Bytes;
use http::{StatusCode, request};
use serde::de::DeserializeOwned;

use super::refusal::{self, Refusal};
use crate::{pb::v1 as pb, server::http::route::Parameters};

/// The version that is the newest there is.
pub const NEWEST: u32 = 0;
/// What one listing answers, in bytes of what is listed.
const LISTED_BYTES: usize = 16 << 20;
/// What versions may be, for those who call one something else.
const VERSIONS: &str = "Allowed values are between [1, 2^31-1] and the string \"latest\"";

/// A request that led somewhere.
pub struct Asked<'a> {
    /// Of the path.
    pub parts: Parameters<'a>,
    /// Its head.
    pub head: &'a request::Parts,
    /// Its body.
    pub body: Bytes,
}

/// The part of a listing that is wanted.
pub struct Page {
    skip: usize,
    rows: usize,
    bytes: usize,
}

impl Asked<'_> {
    /// The subject; empty if the path has none.
    pub fn subject(&self) -> &str {
        self.part("subject")
    }

    /// The version.
    pub fn version(&self) -> Result<u32, Refusal> {
        let said = self.part("version");
        if said == "-1" || said.eq_ignore_ascii_case("latest") {
            return Ok(NEWEST);
        }
        let version = said.parse().ok().filter(|version| (1..=i32::MAX.cast_unsigned()).contains(version));
        version.ok_or_else(|| {
            let message = format!("The specified version '{said}' is not a valid version id. {VERSIONS}");
            Refusal::new(refusal::INVALID_VERSION, message)
        })
    }

    /// The id. One that is no number is none.
    pub fn id(&self) -> Result<u32, Refusal> {
        let id = self.part("id").parse().ok().filter(|id| *id > 0);
        id.ok_or_else(|| Refusal::of(StatusCode::NOT_FOUND))
    }

    /// What the query says under a name.
    pub fn value(&self, name: &str) -> Option<Cow<'_, str>> {
        let query = self.head.uri.query().unwrap_or_default();
        form_urlencoded::parse(query.as_bytes()).find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// Whether the query says `true`, in any case.
    pub fn flag(&self, name: &str) -> bool {
        self.value(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// Whether a header says `true`.
    pub fn header(&self, name: &str) -> bool {
        self.head.headers.get(name).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"true"))
    }

    /// Whether a Protobuf schema is wanted as its descriptor instead of its text.
    pub fn wants_descriptor(&self) -> bool {
        self.value("format").is_some_and(|format| format == "serialized")
    }

    /// What the names of subjects begin with that are wanted.
    pub fn prefix(&self) -> Cow<'_, str> {
        match self.value("subjectPrefix") {
            // Of any context.
            Some(prefix) if prefix.starts_with(":*:") => prefix[":*:".len()..].to_owned().into(),
            prefix => prefix.unwrap_or_default(),
        }
    }

    /// Whether a listing looks at what was deleted.
    pub fn wants_deleted(&self) -> bool {
        self.flag("deleted") || self.wants_only_deleted()
    }

    /// Whether a listing has a version that it looked at.
    pub fn wants(&self, schema: &pb::Schema) -> bool {
        schema.deleted || !self.wants_only_deleted()
    }

    /// The part of a listing.
    pub fn page(&self) -> Page {
        // What is negative is left out.
        let number = |name| self.value(name).and_then(|value| value.parse().ok());
        let (skip, rows) = (number("offset").unwrap_or_default(), number("limit").unwrap_or(usize::MAX));
        Page { skip, rows, bytes: LISTED_BYTES }
    }

    /// The body.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Refusal> {
        serde_json::from_slice(&self.body).map_err(|error| {
            Refusal::new(refusal::INVALID_BODY, format!("The body is not the JSON that is wanted here: {error}"))
        })
    }

    fn wants_only_deleted(&self) -> bool {
        // The client in Python says it in its own language.
        self.flag("deletedOnly") || self.flag("deleted_only")
    }

    fn part(&self, name: &str) -> &str {
        self.parts.iter().find(|(known, _)| *known == name).map(|(_, part)| &**part).unwrap_or_default()
    }
}

impl Page {
    /// Whether the next row, of so many bytes, is in it.
    pub fn takes(&mut self, bytes: usize) -> bool {
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        // Behind one that does not fit is none.
        self.rows = if bytes > self.bytes { 0 } else { self.rows };
        let takes = self.rows > 0;
        if takes {
            (self.rows, self.bytes) = (self.rows - 1, self.bytes - bytes);
        }
        takes
    }
}

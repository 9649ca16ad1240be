//! The form in which the state keeps schemas and subjects: JSON. A schema never changes and never goes: payloads name it by
//! its id, and may be read long after its subject is gone.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{Rules, draft::Reference};
use crate::{
    model::{Error, Reason, Result},
    schema::Kind,
};

/// A schema under an id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredSchema {
    kind: String,
    /// As it was registered first.
    pub text: String,
    /// What it refers to, each by a version that is there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<Reference>,
    /// Of what it means, so that the same is found: SHA-256 in hexadecimal.
    pub digest: String,
}

/// A subject: its versions, and its rules if it has any of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredSubject {
    /// By rising number.
    #[serde(default)]
    pub versions: Vec<StoredVersion>,
    /// See [`Rules`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<Rules>,
}

/// One of its versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredVersion {
    /// From 1.
    pub version: u32,
    /// The schema that it is.
    pub id: u32,
    /// Nobody is handed it any more who does not ask for what was deleted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deleted: bool,
}

impl StoredSchema {
    /// Of a kind.
    pub fn new(kind: Kind, text: String, references: Vec<Reference>, digest: String) -> Self {
        StoredSchema { kind: kind.as_str().to_owned(), text, references, digest }
    }

    /// What it is written in.
    pub fn kind(&self) -> Result<Kind> {
        self.kind.parse().map_err(|_| unreadable("a schema"))
    }
}

impl StoredSubject {
    /// Those that were not deleted; with `deleted` all.
    pub fn versions(&self, deleted: bool) -> impl DoubleEndedIterator<Item = &StoredVersion> {
        self.versions.iter().filter(move |version| deleted || !version.deleted)
    }

    /// One version; the newest if it is 0.
    pub fn version(&self, version: u32, deleted: bool) -> Option<&StoredVersion> {
        let mut versions = self.versions(deleted);
        match version {
            0 => versions.next_back(),
            _ => versions.find(|found| found.version == version),
        }
    }
}

/// To be stored.
pub fn bytes(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("numbers and texts become JSON")
}

/// Takes back what [`bytes()`] made.
pub fn parse<T: DeserializeOwned>(key: &str, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| {
        tracing::error!(key, %error, "what the state has of schemas cannot be read");
        unreadable(key)
    })
}

fn unreadable(what: &str) -> Error {
    Error::new(Reason::StorageCorrupt, format!("what is stored of {what} cannot be read"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Compatibility;

    /// As the first version wrote it. Later ones must still read it.
    const SUBJECT: &str = r#"{"versions":[{"version":1,"id":7,"deleted":true},{"version":3,"id":9}],"rules":{"compatibility":"FULL","read_only":false}}"#;
    const SCHEMA: &str =
        r#"{"kind":"AVRO","text":"\"int\"","references":[{"name":"a","subject":"s","version":2}],"digest":"ab"}"#;

    #[test]
    fn the_stored_forms_come_back_as_they_went() {
        let subject: StoredSubject = parse("s", SUBJECT.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(bytes(&subject)).unwrap(), SUBJECT);
        assert_eq!(subject.rules.unwrap().compatibility, Some(Compatibility::Full));
        assert_eq!(subject.version(0, false).map(|found| found.id), Some(9));
        assert_eq!((subject.version(1, false), subject.version(1, true).map(|found| found.id)), (None, Some(7)));
        let schema: StoredSchema = parse("s", SCHEMA.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(bytes(&schema)).unwrap(), SCHEMA);
        assert_eq!(schema.kind().unwrap(), Kind::Avro);
        assert_eq!(parse::<StoredSchema>("s", b"{}").unwrap_err().reason(), Reason::StorageCorrupt);
    }
}

//! A schema as somebody brings it: its text, and what that refers to. Never knows what is registered.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{
    model::{Error, Reason, Result, limits},
    schema::{Broken, Kind, Referenced, Schema},
};

/// A schema that may or may not be registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// What it is written in.
    pub kind: Kind,
    /// What it says.
    pub text: String,
    /// What that refers to.
    pub references: Vec<Reference>,
}

/// A version of a subject that a schema refers to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// As the text calls it.
    pub name: String,
    /// Where it is.
    pub subject: String,
    /// Which; 0 is the newest.
    pub version: u32,
}

/// What a schema refers to, in full, each after what it itself needs.
#[derive(Debug, Default)]
pub struct Needed {
    texts: Vec<(String, Kind, String)>,
}

impl Draft {
    /// Checks what needs no registry.
    pub fn check(&self) -> Result<()> {
        let refuse = |field: &str, what: String| Err(Error::new(Reason::SchemaInvalid, what).field(field));
        if self.text.len() > limits::SCHEMA_BYTES {
            let (bytes, most) = (self.text.len(), limits::SCHEMA_BYTES);
            return refuse("schema.text", format!("the schema has {bytes} bytes: at most {most} are allowed"));
        }
        if self.references.len() > limits::SCHEMA_REFERENCES {
            let (count, most) = (self.references.len(), limits::SCHEMA_REFERENCES);
            return refuse(
                "schema.references",
                format!("the schema has {count} references: at most {most} are allowed"),
            );
        }
        Ok(())
    }

    /// Makes sense of it.
    pub fn read(&self, needed: &Needed) -> Result<Schema> {
        Schema::parse(self.kind, &self.text, &needed.referenced()).map_err(refused)
    }

    /// Equal for two that mean the same and refer to the same.
    pub fn digest(&self, schema: &Schema) -> String {
        let mut digest = Sha256::new();
        let mut add = |text: &str| {
            digest.update((text.len() as u64).to_le_bytes());
            digest.update(text);
        };
        add(self.kind.as_str());
        add(schema.normalized());
        for Reference { name, subject, version } in &self.references {
            [name, subject, version.to_string().as_str()].into_iter().for_each(&mut add);
        }
        digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl Needed {
    /// Adds what is needed by what comes next; what is there by this name already is the same.
    pub fn add(&mut self, name: &str, kind: Kind, text: &str) {
        self.texts.push((name.to_owned(), kind, text.to_owned()));
    }

    /// Whether something is there by this name.
    pub fn has(&self, name: &str) -> bool {
        self.texts.iter().any(|(known, _, _)| known == name)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    fn referenced(&self) -> Vec<Referenced<'_>> {
        self.texts.iter().map(|(name, kind, text)| Referenced { name, kind: *kind, text }).collect()
    }
}

fn refused(broken: Broken) -> Error {
    Error::new(Reason::SchemaInvalid, broken.to_string()).field("schema.text").with("path", broken.path)
}

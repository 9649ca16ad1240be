//! Schemas that move: all that is registered in a namespace, told piece by piece to whoever takes it elsewhere, and what comes,
//! under the ids that it had. Never asks the rules: it was registered once.

use std::collections::VecDeque;

use futures_util::future;

use super::{
    check_subject,
    draft::Draft,
    registry::{Registry, Versioned},
    stored::{StoredSchema, StoredSubject},
};
use crate::model::{Error, Reason, Result, limits};

/// Schemas and subjects, and about how many bytes, in one piece at most; a larger one goes alone.
const PIECE: (usize, usize) = (512, 256 << 10);
/// What a subject or a version takes, about, besides its name.
const ROW: usize = 32;

/// A part of what is registered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MovedSchemas {
    /// By their ids, without a hole.
    pub schemas: Vec<MovedSchema>,
    /// Each after the schemas that are its versions.
    pub subjects: Vec<MovedSubject>,
}

/// A schema with what names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MovedSchema {
    /// Names it in payloads.
    pub id: u32,
    /// What it says.
    pub draft: Draft,
    /// Of what it means. It comes along: what a schema refers to may have gone, and then nobody could make sense of it.
    pub digest: String,
}

/// A subject with all that is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MovedSubject {
    /// Empty: all subjects that have no rules of their own.
    pub name: String,
    /// What is known.
    pub subject: StoredSubject,
}

/// What is left of a registry that goes out. Its subjects are those of when it began, and no schema goes that they need.
pub struct Leaving {
    id: u32,
    subjects: VecDeque<MovedSubject>,
}

impl Registry {
    /// Begins to tell what is registered now.
    pub async fn leave(&self) -> Result<Leaving> {
        self.catch_up().await?;
        let rules = self.rules()?.value;
        let of_all = rules.map(|_| (String::new(), StoredSubject { versions: Vec::new(), rules }));
        let subjects = of_all.into_iter().chain(self.subjects()?);
        Ok(Leaving { id: 1, subjects: subjects.map(|(name, subject)| MovedSubject { name, subject }).collect() })
    }

    /// Takes in what moves. What is there already must be the same: ids and versions are named elsewhere.
    pub async fn take_in(&self, moved: MovedSchemas) -> Result<()> {
        let MovedSchemas { schemas, subjects } = moved;
        future::try_join_all(schemas.into_iter().map(|schema| self.take_schema(schema))).await?;
        future::try_join_all(subjects.into_iter().map(|subject| self.take_subject(subject))).await?;
        Ok(())
    }

    async fn take_schema(&self, moved: MovedSchema) -> Result<()> {
        let MovedSchema { id, draft: Draft { kind, text, references }, digest } = moved;
        let schema = StoredSchema::new(kind, text, references, digest);
        match self.put_stored(id, &schema).await? || self.stored(id)? == Some(schema) {
            true => Ok(()),
            false => Err(differs(format!("schema with the id {id}"))),
        }
    }

    async fn take_subject(&self, moved: MovedSubject) -> Result<()> {
        let MovedSubject { name, subject } = moved;
        if name.is_empty() {
            let kept = self.rules()?;
            let is_free = kept.value.is_none();
            let rules = Versioned { value: subject.rules, ..kept };
            return match is_free && self.put_rules(rules).await? || self.rules()?.value == subject.rules {
                true => Ok(()),
                false => Err(differs("rule for all subjects".into())),
            };
        }
        let is_kept = self.put_subject(&name, Versioned { value: subject.clone(), state: 0 }).await?;
        match is_kept || self.subject(&name)?.value == subject {
            true => Ok(()),
            false => Err(differs(format!("subject {name:?}"))),
        }
    }
}

impl Leaving {
    /// The next piece; none at the end.
    pub fn next(&mut self, registry: &Registry) -> Result<Option<MovedSchemas>> {
        let (mut moved, mut bytes) = (MovedSchemas::default(), 0);
        let mut fits = |moved: &MovedSchemas, more: usize| {
            bytes += more;
            let rows = moved.schemas.len() + moved.subjects.len();
            rows == 0 || rows < PIECE.0 && bytes <= PIECE.1
        };
        while let Some(stored) = registry.stored(self.id)? {
            if !fits(&moved, stored.text.len() + ROW * stored.references.len()) {
                return Ok(Some(moved));
            }
            let (kind, id) = (stored.kind()?, self.id);
            let StoredSchema { text, references, digest, .. } = stored;
            moved.schemas.push(MovedSchema { id, draft: Draft { kind, text, references }, digest });
            self.id += 1;
        }
        while let Some(next) = self.subjects.front() {
            if !fits(&moved, next.name.len() + ROW * (next.subject.versions.len() + 1)) {
                return Ok(Some(moved));
            }
            moved.subjects.extend(self.subjects.pop_front());
        }
        Ok(Some(moved).filter(|moved| *moved != MovedSchemas::default()))
    }
}

impl MovedSchemas {
    /// Refuses what no registry tells; `before` schemas came before.
    pub fn check(&self, before: u64) -> Result<()> {
        let mut last = before;
        for (at, MovedSchema { id, draft, digest }) in self.schemas.iter().enumerate() {
            let refuse = |what| Err(invalid(what, format!("schemas[{at}]")));
            if u64::from(*id) != last + 1 || *id > limits::SCHEMAS {
                return refuse(format!("schema {id} does not belong behind schema {last}"));
            }
            if digest.len() != 64 || !digest.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
                return refuse(format!("the digest of schema {id} is none"));
            }
            draft.check().map_err(|error| error.within(format_args!("schemas[{at}]")))?;
            last += 1;
        }
        for (at, moved) in self.subjects.iter().enumerate() {
            moved.check(last).map_err(|what| invalid(what, format!("subjects[{at}]")))?;
        }
        Ok(())
    }
}

impl MovedSubject {
    /// `schemas` came before it.
    fn check(&self, schemas: u64) -> Result<(), String> {
        let MovedSubject { name, subject } = self;
        let versions = &subject.versions;
        match name.as_str() {
            "" if versions.is_empty() => {}
            "" => return Err("rules for all subjects have no versions".into()),
            name => check_subject(name).map_err(|error| error.message().to_owned())?,
        }
        let rises = versions.iter().try_fold(0, |last, next| (next.version > last).then_some(next.version)).is_some();
        if !rises || versions.len() > limits::SCHEMA_VERSIONS {
            return Err(format!("the versions of subject {name:?} do not rise, or are too many"));
        }
        match versions.iter().find(|version| version.id == 0 || u64::from(version.id) > schemas) {
            Some(version) => Err(format!("subject {name:?} names schema {}, which did not come before it", version.id)),
            None => Ok(()),
        }
    }
}

fn invalid(what: String, field: String) -> Error {
    Error::new(Reason::RequestInvalid, what).field(field)
}

fn differs(what: String) -> Error {
    let message = format!("the namespace has another {what} than the one that moves in: name another namespace");
    Error::new(Reason::NamespaceNotEmpty, message).field("namespace")
}

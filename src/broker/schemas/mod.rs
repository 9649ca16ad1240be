//! The registry of schemas: subjects, their versions, and the rules that a next version keeps. Decides what may be registered
//! and deleted; what a schema means is for `schema`. Never fetches what a schema refers to.

mod demand;
mod draft;
mod registry;
mod stored;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use self::{
    draft::{Draft, Reference},
    registry::{Ready, Registry},
};
use self::{
    registry::Versioned,
    stored::{StoredSubject, StoredVersion},
};
use super::{Broker, served::Served};
use crate::{
    model::{Error, NamespaceName, Reason, Result, limits, topic},
    schema::{Compatibility, Schema, compatibility},
};

/// What subjects keep to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// How far apart versions may be; none: as for all, or BACKWARD.
    #[serde(with = "word")]
    pub compatibility: Option<Compatibility>,
    /// Nothing can be registered or deleted.
    pub read_only: bool,
}

/// A version of a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// What it says.
    pub draft: Draft,
    /// Of which subject; empty if it was asked for by its id.
    pub subject: String,
    /// Which version, from 1; 0 if it was asked for by its id.
    pub version: u32,
    /// Names it in payloads.
    pub id: u32,
    /// It was deleted.
    pub deleted: bool,
}

/// How a payload names its schema.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Empty: by `id`, or as the payload says itself.
    pub subject: String,
    /// 0: the newest.
    pub version: u32,
    /// 0: not so.
    pub id: u32,
}

impl Broker {
    /// Adds a version to a subject. What it has already is no error. Answers whether it was added.
    pub async fn register_schema(
        &self,
        namespace: &NamespaceName,
        subject: &str,
        mut draft: Draft,
    ) -> Result<(Registered, bool)> {
        check_subject(subject)?;
        let served = self.registry(namespace).await?;
        let registry = &served.place.schemas;
        loop {
            let kept = registry.subject(subject)?;
            let schema = registry.read(&mut draft)?;
            let digest = draft.digest(&schema);
            if let Some(found) = same(registry, &kept.value, &digest, false)? {
                return Ok((registered(registry, subject, &found)?, false));
            }
            let rules = rules(registry, subject, &kept.value)?;
            refuse_read_only(subject, rules)?;
            let problems = compare(registry, rules, &schema, &kept.value)?;
            if !problems.is_empty() {
                return Err(incompatible(subject, rules.compatibility.unwrap_or_default(), &problems));
            }
            if kept.value.versions.len() >= limits::SCHEMA_VERSIONS {
                let most = limits::SCHEMA_VERSIONS;
                let message =
                    format!("subject {subject:?} has {most} versions, as many as it may: delete some for good");
                return Err(Error::new(Reason::QuotaExceeded, message).with("limit", most));
            }
            let id = registry.id(&draft, &digest).await?;
            let version = StoredVersion { version: next(&kept.value), id, deleted: false };
            let mut changed = kept.value.clone();
            // What was deleted and comes again is a version of its own.
            changed.versions.push(version);
            if registry.put_subject(subject, Versioned { value: changed, state: kept.state }).await? {
                tracing::info!(%namespace, subject, version = version.version, id, "a schema was registered");
                return Ok((registered(registry, subject, &version)?, true));
            }
            registry.catch_up().await?;
        }
    }

    /// One version of a subject, the newest if `version` is 0.
    pub async fn get_schema(
        &self,
        namespace: &NamespaceName,
        subject: &str,
        version: u32,
        deleted: bool,
    ) -> Result<Registered> {
        check_subject(subject)?;
        let served = self.registry(namespace).await?;
        let registry = &served.place.schemas;
        let kept = registry.subject(subject)?.value;
        let found = find(subject, &kept, version, deleted)?;
        registered(registry, subject, found)
    }

    /// A schema by its id.
    pub async fn get_schema_by_id(&self, namespace: &NamespaceName, id: u32) -> Result<Registered> {
        let served = self.registry(namespace).await?;
        let ready = served.place.schemas.ready(id)?.ok_or_else(|| no_schema(id))?;
        Ok(Registered { draft: ready.draft.clone(), subject: String::new(), version: 0, id, deleted: false })
    }

    /// The version of a subject that a schema is.
    pub async fn lookup_schema(
        &self,
        namespace: &NamespaceName,
        subject: &str,
        mut draft: Draft,
        deleted: bool,
    ) -> Result<Registered> {
        check_subject(subject)?;
        let served = self.registry(namespace).await?;
        let registry = &served.place.schemas;
        let kept = registry.subject(subject)?.value;
        if kept.versions(deleted).next().is_none() {
            return Err(no_subject(subject));
        }
        let schema = registry.read(&mut draft)?;
        let found = same(registry, &kept, &draft.digest(&schema), deleted)?.ok_or_else(|| {
            let message = format!("subject {subject:?} has no version that is this schema: register it first");
            Error::new(Reason::SchemaNotFound, message).with("missing", "schema")
        })?;
        registered(registry, subject, &found)
    }

    /// Versions that come after `(subject, version)`, at most `most`; of one subject, or with one id, if such are given.
    pub async fn list_schemas(
        &self,
        namespace: &NamespaceName,
        only: &Wanted,
        deleted: bool,
        after: (&str, u32),
        most: usize,
    ) -> Result<Vec<Registered>> {
        let served = self.registry(namespace).await?;
        let registry = &served.place.schemas;
        let subjects = match only.subject.as_str() {
            "" => registry.subjects()?,
            subject => vec![(subject.to_owned(), registry.subject(subject)?.value)],
        };
        let mut rows = Vec::new();
        for (subject, kept) in subjects {
            for version in kept.versions(deleted).filter(|version| only.id == 0 || version.id == only.id) {
                if (subject.as_str(), version.version) > after && rows.len() < most {
                    rows.push(registered(registry, &subject, version)?);
                }
            }
        }
        Ok(rows)
    }

    /// Deletes one version of a subject, or all if `version` is 0; with `permanent` what was deleted before, for good.
    /// Answers which.
    pub async fn delete_schema(
        &self,
        namespace: &NamespaceName,
        subject: &str,
        version: u32,
        permanent: bool,
    ) -> Result<Vec<u32>> {
        check_subject(subject)?;
        let served = self.registry(namespace).await?;
        let registry = &served.place.schemas;
        loop {
            let kept = registry.subject(subject)?;
            refuse_read_only(subject, rules(registry, subject, &kept.value)?)?;
            let chosen = chosen(subject, &kept.value, version, permanent)?;
            refuse_referenced(registry, subject, &chosen)?;
            let mut changed = kept.value.clone();
            match permanent {
                true => changed.versions.retain(|version| !chosen.contains(&version.version)),
                false => changed
                    .versions
                    .iter_mut()
                    .filter(|version| chosen.contains(&version.version))
                    .for_each(|version| version.deleted = true),
            }
            if changed.versions(true).next().is_none() || version == 0 {
                // Rules go with the subject.
                changed.rules = None;
            }
            if registry.put_subject(subject, Versioned { value: changed, state: kept.state }).await? {
                tracing::info!(%namespace, subject, versions = ?chosen, permanent, "schemas were deleted");
                return Ok(chosen);
            }
            registry.catch_up().await?;
        }
    }

    /// What keeps a schema from being a subject's next version, a sentence each; or only from standing beside `version`, if
    /// that is not 0.
    pub async fn check_compatibility(
        &self,
        namespace: &NamespaceName,
        subject: &str,
        mut draft: Draft,
        version: u32,
    ) -> Result<Vec<String>> {
        check_subject(subject)?;
        let served = self.registry(namespace).await?;
        let registry = &served.place.schemas;
        let mut kept = registry.subject(subject)?.value;
        let rules = rules(registry, subject, &kept)?;
        if version != 0 {
            kept.versions = vec![*find(subject, &kept, version, false)?];
        }
        let schema = registry.read(&mut draft)?;
        compare(registry, rules, &schema, &kept)
    }

    /// Compares a payload with a schema. Answers with which.
    pub async fn validate_payload(
        &self,
        namespace: &NamespaceName,
        wanted: Wanted,
        payload: &[u8],
    ) -> Result<Registered> {
        let served = self.registry(namespace).await?;
        let registry = &served.place.schemas;
        let frame = Frame::of(payload);
        let found = match (wanted.subject.as_str(), wanted.id, &frame) {
            ("", 0, None) => {
                let message =
                    "the payload names no schema (a zero byte and an id), and neither does the request: name one";
                return Err(Error::new(Reason::RequestInvalid, message).field("subject"));
            }
            ("", 0, Some(frame)) => by_id(registry, frame.id)?,
            ("", id, _) => by_id(registry, id)?,
            (subject, _, _) => {
                check_subject(subject)?;
                let kept = registry.subject(subject)?.value;
                registered(registry, subject, find(subject, &kept, wanted.version, false)?)?
            }
        };
        let ready = registry.ready(found.id)?.ok_or_else(|| no_schema(found.id))?;
        ready.check(payload, frame)?;
        Ok(found)
    }

    /// The rules of a subject, if it has any of its own; of all that have none if the subject is empty.
    pub async fn schema_rules(&self, namespace: &NamespaceName, subject: &str) -> Result<Option<Rules>> {
        let served = self.registry(namespace).await?;
        let registry = &served.place.schemas;
        match subject {
            "" => Ok(registry.rules()?.value),
            _ => Ok(registry.subject(subject)?.value.rules),
        }
    }

    /// Changes them; none: those of all are in force again.
    pub async fn update_schema_rules(
        &self,
        namespace: &NamespaceName,
        subject: &str,
        rules: Option<Rules>,
    ) -> Result<()> {
        let served = self.registry(namespace).await?;
        let registry = &served.place.schemas;
        loop {
            let is_kept = if subject.is_empty() {
                let kept = registry.rules()?;
                registry.put_rules(Versioned { value: rules, ..kept }).await?
            } else {
                check_subject(subject)?;
                let kept = registry.subject(subject)?;
                let value = StoredSubject { rules, ..kept.value };
                registry.put_subject(subject, Versioned { value, state: kept.state }).await?
            };
            if is_kept {
                return Ok(());
            }
            registry.catch_up().await?;
        }
    }

    /// A namespace's registry, with all that others have registered before.
    async fn registry(&self, namespace: &NamespaceName) -> Result<Arc<Served>> {
        let served = self.served(namespace)?;
        served.place.schemas.catch_up().await?;
        Ok(served)
    }

    /// Forgets all schemas of a namespace that is gone.
    pub(super) async fn forget_schemas(&self, namespace: &NamespaceName) -> Result<()> {
        for (key, value) in self.engine.state().list(&format!("{}{namespace}/", registry::PREFIX))? {
            self.engine.state().delete(&key, value.version).await?;
        }
        Ok(())
    }
}

/// What a payload says of its schema itself: a zero byte, and the id in four.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Names the schema.
    pub id: u32,
    /// What comes after.
    pub rest: &'a [u8],
}

impl<'a> Frame<'a> {
    /// If there is one.
    pub fn of(payload: &'a [u8]) -> Option<Self> {
        match payload {
            [0, a, b, c, d, rest @ ..] => Some(Frame { id: u32::from_be_bytes([*a, *b, *c, *d]), rest }),
            _ => None,
        }
    }
}

impl Ready {
    /// Whether a payload is as this schema says. A frame that names it is none of it.
    pub fn check(&self, payload: &[u8], frame: Option<Frame<'_>>) -> Result<()> {
        let checked = match frame.filter(|frame| frame.id == self.id) {
            Some(frame) => self.schema.validate_framed(frame.rest),
            None => self.schema.validate(payload),
        };
        checked.map_err(|violation| {
            Error::new(Reason::SchemaViolation, violation.to_string())
                .field("payload")
                .with("path", &violation.path)
                .with("schema_id", self.id)
        })
    }
}

/// The version that is a schema, if one is.
fn same(registry: &Registry, kept: &StoredSubject, digest: &str, deleted: bool) -> Result<Option<StoredVersion>> {
    let Some(id) = registry.known_id(digest)? else { return Ok(None) };
    Ok(kept.versions(deleted).rev().find(|version| version.id == id).copied())
}

fn find<'a>(subject: &str, kept: &'a StoredSubject, version: u32, deleted: bool) -> Result<&'a StoredVersion> {
    kept.version(version, deleted).ok_or_else(|| match kept.versions(deleted).next() {
        None => no_subject(subject),
        Some(_) => no_version(subject, version),
    })
}

fn registered(registry: &Registry, subject: &str, version: &StoredVersion) -> Result<Registered> {
    let StoredVersion { version, id, deleted } = *version;
    Ok(Registered { subject: subject.to_owned(), version, deleted, ..by_id(registry, id)? })
}

fn by_id(registry: &Registry, id: u32) -> Result<Registered> {
    let ready = registry.ready(id)?.ok_or_else(|| no_schema(id))?;
    Ok(Registered { draft: ready.draft.clone(), subject: String::new(), version: 0, id, deleted: false })
}

fn next(kept: &StoredSubject) -> u32 {
    kept.versions.iter().map(|version| version.version).max().unwrap_or_default() + 1
}

/// The rules in force for a subject.
fn rules(registry: &Registry, subject: &str, kept: &StoredSubject) -> Result<Rules> {
    let own = kept.rules.unwrap_or_default();
    let of_all = match subject {
        "" => Rules::default(),
        _ => registry.rules()?.value.unwrap_or_default(),
    };
    Ok(Rules {
        compatibility: own.compatibility.or(of_all.compatibility),
        read_only: kept.rules.map_or(of_all.read_only, |own| own.read_only),
    })
}

/// What keeps a schema from being the next one.
fn compare(registry: &Registry, rules: Rules, schema: &Schema, kept: &StoredSubject) -> Result<Vec<String>> {
    let level = rules.compatibility.unwrap_or_default();
    if level == Compatibility::None {
        return Ok(Vec::new());
    }
    let versions: Vec<_> = kept.versions(false).collect();
    let mut earlier = Vec::with_capacity(versions.len());
    for version in &versions {
        earlier.push(registry.ready(version.id)?.ok_or_else(|| no_schema(version.id))?);
    }
    let schemas: Vec<_> = earlier.iter().map(|ready| &ready.schema).collect();
    let found = compatibility::check(level, schema, &schemas);
    Ok(found.into_iter().map(|found| found.said_of(versions[found.earlier].version)).collect())
}

/// Which versions a deletion takes.
fn chosen(subject: &str, kept: &StoredSubject, version: u32, permanent: bool) -> Result<Vec<u32>> {
    if kept.versions(permanent).next().is_none() {
        return Err(no_subject(subject));
    }
    let all: Vec<_> = kept.versions(permanent).filter(|found| version == 0 || found.version == version).collect();
    if all.is_empty() {
        return Err(no_version(subject, version));
    }
    if permanent && all.iter().any(|found| !found.deleted) {
        let message =
            format!("of subject {subject:?} only what was deleted before can be deleted for good: delete it first");
        return Err(Error::new(Reason::SchemaNotDeleted, message));
    }
    Ok(all.iter().map(|found| found.version).collect())
}

/// What others refer to stays.
fn refuse_referenced(registry: &Registry, subject: &str, versions: &[u32]) -> Result<()> {
    for (other, kept) in registry.subjects()? {
        for version in kept.versions(false).filter(|found| other != subject || !versions.contains(&found.version)) {
            let references = registry.stored(version.id)?.map(|stored| stored.references).unwrap_or_default();
            if references.iter().any(|used| used.subject == subject && versions.contains(&used.version)) {
                let version = version.version;
                let message = format!("version {version} of subject {other:?} refers to it: delete that first");
                return Err(Error::new(Reason::SchemaReferenced, message));
            }
        }
    }
    Ok(())
}

fn refuse_read_only(subject: &str, rules: Rules) -> Result<()> {
    match rules.read_only {
        true => {
            let message = format!("subject {subject:?} is read-only: nothing can be registered or deleted");
            Err(Error::new(Reason::SchemaReadOnly, message))
        }
        false => Ok(()),
    }
}

fn check_subject(subject: &str) -> Result<()> {
    topic::check(subject, "subject", limits::NAME_BYTES)
        .map_err(|what| Error::new(Reason::SchemaInvalid, what).field("subject"))
}

fn incompatible(subject: &str, level: Compatibility, problems: &[String]) -> Error {
    let message = format!(
        "the schema cannot be the next version of subject {subject:?}, which is {level}: {}; change it, or the subject's \
         compatibility",
        problems.join("; ")
    );
    Error::new(Reason::SchemaIncompatible, message).with("compatibility", level)
}

fn no_subject(subject: &str) -> Error {
    let message = format!("there is no subject {subject:?}: register a schema for it first");
    Error::new(Reason::SchemaNotFound, message).with("missing", "subject")
}

fn no_version(subject: &str, version: u32) -> Error {
    let message = format!("subject {subject:?} has no version {version}: list those there are");
    Error::new(Reason::SchemaNotFound, message).with("missing", "version")
}

fn no_schema(id: u32) -> Error {
    Error::new(Reason::SchemaNotFound, format!("there is no schema with the id {id} in this namespace"))
        .with("missing", "schema")
}

/// A level as its word.
mod word {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer, de::Error as _};

    use crate::schema::Compatibility;

    pub fn serialize<S: Serializer>(level: &Option<Compatibility>, to: S) -> Result<S::Ok, S::Error> {
        level.map(Compatibility::as_str).serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Compatibility>, D::Error> {
        let word = Option::<String>::deserialize(from)?;
        word.map(|word| word.parse().map_err(D::Error::custom)).transpose()
    }
}

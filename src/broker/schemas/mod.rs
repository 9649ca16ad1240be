//! The registry of schemas: subjects, their versions, and the rules that a next version keeps. Decides what may be registered
//! and deleted; what a schema means is for `schema`. Never fetches what a schema refers to.

mod demand;
mod draft;
mod lookup;
mod moving;
mod ready;
mod registry;
mod rules;
mod stored;

use std::sync::Arc;

pub use self::{
    draft::{Draft, Reference},
    lookup::Lookup,
    moving::{Leaving, MovedSchema, MovedSchemas, MovedSubject},
    registry::Registry,
    rules::Rules,
    stored::{StoredSubject, StoredVersion},
};
use self::{
    registry::Versioned,
    rules::{chosen, compare, in_force, incompatible, refuse_read_only, refuse_referenced},
};
use super::{Broker, served::Served};
use crate::{
    model::{Error, NamespaceName, Reason, Result, limits, topic},
    schema::Frame,
};

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
            let rules = in_force(registry, subject, &kept.value)?;
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
        by_id(&served.place.schemas, id)
    }

    /// The descriptor of a Protobuf file, in base64; none of the other kinds.
    pub async fn schema_descriptor(&self, namespace: &NamespaceName, id: u32) -> Result<Option<String>> {
        let served = self.registry(namespace).await?;
        let ready = served.place.schemas.ready(id)?.ok_or_else(|| no_schema(id))?;
        Ok(ready.schema.descriptor().map(str::to_owned))
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
            refuse_read_only(subject, in_force(registry, subject, &kept.value)?)?;
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
        let rules = in_force(registry, subject, &kept)?;
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
                // What was written by an earlier version says so.
                let named = frame
                    .filter(|_| wanted.version == 0)
                    .and_then(|frame| kept.versions(false).find(|version| version.id == frame.id));
                let version = named.map_or_else(|| find(subject, &kept, wanted.version, false), Ok)?;
                registered(registry, subject, version)?
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

    /// Changes them; none: those of all are in force again. Answers with what they are then. The change is made anew if
    /// others are in force meanwhile.
    pub async fn update_schema_rules(
        &self,
        namespace: &NamespaceName,
        subject: &str,
        change: impl Fn(Option<Rules>) -> Option<Rules>,
    ) -> Result<Option<Rules>> {
        let served = self.registry(namespace).await?;
        let registry = &served.place.schemas;
        loop {
            let (rules, is_kept) = if subject.is_empty() {
                let kept = registry.rules()?;
                let rules = change(kept.value);
                (rules, registry.put_rules(Versioned { value: rules, ..kept }).await?)
            } else {
                check_subject(subject)?;
                let kept = registry.subject(subject)?;
                let rules = change(kept.value.rules);
                let value = StoredSubject { rules, ..kept.value };
                (rules, registry.put_subject(subject, Versioned { value, state: kept.state }).await?)
            };
            if is_kept {
                return Ok(rules);
            }
            registry.catch_up().await?;
        }
    }

    /// Ends when all is known here that other brokers had registered before, in any namespace.
    pub(super) async fn look_for_schemas(&self) -> Result<()> {
        self.schema_lookup.look(self.engine.state()).await
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
    let draft = registry.draft(id)?.ok_or_else(|| no_schema(id))?;
    Ok(Registered { draft, subject: String::new(), version: 0, id, deleted: false })
}

fn next(kept: &StoredSubject) -> u32 {
    kept.versions.iter().map(|version| version.version).max().unwrap_or_default() + 1
}

fn check_subject(subject: &str) -> Result<()> {
    topic::check(subject, "subject", limits::NAME_BYTES)
        .map_err(|what| Error::new(Reason::SchemaInvalid, what).field("subject"))
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

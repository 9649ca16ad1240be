//! What subjects keep to: which next version may be, and what may be deleted. Never changes anything.

use serde::{Deserialize, Serialize};

use super::{no_schema, no_subject, no_version, registry::Registry, stored::StoredSubject};
use crate::{
    model::{Error, Reason, Result},
    schema::{Compatibility, Schema, compatibility},
};

/// What subjects keep to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// How far apart versions may be; none: as for all, or BACKWARD.
    #[serde(with = "word")]
    pub compatibility: Option<Compatibility>,
    /// Nothing can be registered or deleted; none: as for all, or false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_only: Option<bool>,
}

/// The rules in force for a subject.
pub fn in_force(registry: &Registry, subject: &str, kept: &StoredSubject) -> Result<Rules> {
    let own = kept.rules.unwrap_or_default();
    let of_all = match subject {
        "" => Rules::default(),
        _ => registry.rules()?.value.unwrap_or_default(),
    };
    Ok(Rules {
        compatibility: own.compatibility.or(of_all.compatibility),
        read_only: own.read_only.or(of_all.read_only),
    })
}

/// What keeps a schema from being the next one.
pub fn compare(registry: &Registry, rules: Rules, schema: &Schema, kept: &StoredSubject) -> Result<Vec<String>> {
    let level = rules.compatibility.unwrap_or_default();
    if level == Compatibility::None {
        return Ok(Vec::new());
    }
    let mut versions: Vec<_> = kept.versions(false).collect();
    if !level.is_transitive() {
        versions.drain(..versions.len().saturating_sub(1));
    }
    let mut problems = Vec::new();
    // One at a time: all together may take more than there is room for.
    for version in versions {
        let earlier = registry.ready(version.id)?.ok_or_else(|| no_schema(version.id))?;
        let found = compatibility::check(level, schema, &[&earlier.schema]);
        problems.extend(found.into_iter().map(|found| found.said_of(version.version)));
    }
    Ok(problems)
}

/// Which versions a deletion takes.
pub fn chosen(subject: &str, kept: &StoredSubject, version: u32, permanent: bool) -> Result<Vec<u32>> {
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
pub fn refuse_referenced(registry: &Registry, subject: &str, versions: &[u32]) -> Result<()> {
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

/// Nothing changes in a subject that is read-only.
pub fn refuse_read_only(subject: &str, rules: Rules) -> Result<()> {
    match rules.read_only.unwrap_or_default() {
        true => {
            let message = format!("subject {subject:?} is read-only: nothing can be registered or deleted");
            Err(Error::new(Reason::SchemaReadOnly, message))
        }
        false => Ok(()),
    }
}

/// The refusal of a schema that cannot be the next one.
pub fn incompatible(subject: &str, level: Compatibility, problems: &[String]) -> Error {
    let message = format!(
        "the schema cannot be the next version of subject {subject:?}, which is {level}: {}; change it, or the subject's \
         compatibility",
        problems.join("; ")
    );
    Error::new(Reason::SchemaIncompatible, message).with("compatibility", level)
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

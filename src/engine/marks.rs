//! Purge marks as they are kept in the engine's state. Never hides anything: that is `purge`.
//!
//! Version 1: JSON under `purge/NAMESPACE`.

use serde::{Deserialize, Serialize};

use super::{State, purge::PurgeMarks};
use crate::model::{Error, NamespaceName, Pattern, Reason, Result, Sequence};

#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    // Patterns with the last sequence that they hide.
    marks: Vec<(String, u64)>,
}

fn key(name: &NamespaceName) -> String {
    format!("purge/{name}")
}

/// The marks of a log.
pub fn load(state: &dyn State, name: &NamespaceName) -> Result<PurgeMarks> {
    Ok(load_version(state, name)?.0)
}

fn load_version(state: &dyn State, name: &NamespaceName) -> Result<(PurgeMarks, u64)> {
    let mut marks = PurgeMarks::default();
    let Some(value) = state.get(&key(name))? else { return Ok((marks, 0)) };
    let stored: Stored = serde_json::from_slice(&value.bytes).map_err(|error| {
        tracing::error!(namespace = %name, %error, "the purge marks in the state make no sense");
        Error::new(Reason::StorageCorrupt, format!("namespace {name}: its purge marks cannot be read"))
    })?;
    for (pattern, through) in stored.marks {
        marks.add(Pattern::parse(&pattern)?, Sequence(through));
    }
    Ok((marks, value.version))
}

/// Adds one, durably, and drops those that lie wholly before `first`. Answers all that there are then.
pub async fn add(
    state: &dyn State,
    name: &NamespaceName,
    first: Sequence,
    pattern: &Pattern,
    through: Sequence,
) -> Result<PurgeMarks> {
    loop {
        let (mut marks, version) = load_version(state, name)?;
        marks.forget_before(first);
        marks.add(pattern.clone(), through);
        let stored = marks.iter().map(|(pattern, through)| (pattern.to_string(), through.0)).collect();
        let bytes = serde_json::to_vec(&Stored { version: 1, marks: stored });
        let bytes = bytes.expect("text and numbers are always JSON");
        if state.put(&key(name), bytes, version).await?.is_some() {
            return Ok(marks);
        }
    }
}

/// Forgets those of a removed log.
pub async fn forget(state: &dyn State, name: &NamespaceName) -> Result<()> {
    let key = key(name);
    while let Some(value) = state.get(&key)? {
        if state.delete(&key, value.version).await? {
            break;
        }
    }
    Ok(())
}

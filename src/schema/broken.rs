//! A text that is no schema.

use thiserror::Error;

/// What is wrong with a schema, where, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the schema is broken at {path}: {what}")]
pub struct Broken {
    /// Where: `$` is all of the text, `$.fields[2].type` a part of a text in JSON, `3:14` a line and a column of one in
    /// Protobuf, or of one that is no JSON. Begins with the name of what is referred to, if it is there:
    /// `common.avsc $.fields[2]`.
    pub path: String,
    /// What is wrong, and what to do.
    pub what: String,
}

impl Broken {
    pub(super) fn new(path: impl Into<String>, what: impl Into<String>) -> Self {
        Broken { path: path.into(), what: shown(what) }
    }

    /// All of the text is wrong.
    pub(super) fn whole(what: impl Into<String>) -> Self {
        Broken::new("$", what)
    }

    /// It is wrong in a schema that is referred to.
    pub(super) fn referenced(self, name: &str) -> Self {
        Broken { path: format!("{name} {}", self.path), ..self }
    }
}

/// Characters of a sentence that are shown: some quote what they are about, which may be long.
const SHOWN: usize = 400;

/// A sentence that is short enough.
pub(super) fn shown(what: impl Into<String>) -> String {
    let mut what = what.into();
    if let Some((end, _)) = what.char_indices().nth(SHOWN) {
        what.truncate(end);
        what.push('…');
    }
    what
}

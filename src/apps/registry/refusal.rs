//! Why a registry did not do what it was asked to, sorted by what to do next. Each says it in a sentence.

use std::fmt;

use crate::apps::failure::Failure;

/// Why it did not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such subject, version or id.
    Missing(String),
    /// It was not reached, or cannot just now: worth another try.
    Passing(String),
    /// Anything else: another try would be refused, too.
    Other(String),
}

impl Refusal {
    /// Says first what it is that is missing.
    pub(super) fn of(self, missing: impl fmt::Display) -> Self {
        match self {
            Refusal::Missing(said) => Refusal::Missing(format!("{missing}: {said}")),
            other => other,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Refusal::Missing(what) | Refusal::Passing(what) | Refusal::Other(what)) = self;
        f.write_str(what)
    }
}

impl std::error::Error for Refusal {}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Failure::new(refusal.to_string())
    }
}

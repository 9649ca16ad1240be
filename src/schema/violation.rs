//! A payload that is not as its schema says.

use thiserror::Error;

use super::{broken::shown, path};

/// What is wrong with a payload, and where.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the payload breaks its schema at {path}: {what}")]
pub struct Violation {
    /// Where, in the same form for every kind of schema: `$` is all of the payload, `$.order.items[3].price` a part, and
    /// `$["a b"]` a name that is no plain word.
    pub path: String,
    /// What is wrong.
    pub what: String,
}

impl Violation {
    pub(super) fn new(path: impl Into<String>, what: impl Into<String>) -> Self {
        Violation { path: path.into(), what: shown(what) }
    }
}

/// A violation on its way out: its path grows at the front. Boxed, so that what is right is one word.
pub(super) type Failed = Box<Violation>;

/// What is wrong with the value at hand.
#[cold]
pub(super) fn failed(what: impl Into<String>) -> Failed {
    Box::new(Violation::new("", what))
}

impl Violation {
    /// The value is the member of this name of another.
    #[cold]
    pub(super) fn within(mut self: Box<Self>, name: &str) -> Failed {
        self.path.insert_str(0, &path::name(name));
        self
    }

    /// The value is one of the items of another.
    #[cold]
    pub(super) fn item(mut self: Box<Self>, index: u64) -> Failed {
        self.path.insert_str(0, &path::index(index));
        self
    }

    /// The value is all of the payload.
    #[cold]
    pub(super) fn whole(mut self) -> Violation {
        self.path.insert_str(0, path::ROOT);
        self
    }
}

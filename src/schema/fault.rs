//! What keeps one schema from reading what another wrote, in one direction.

/// At most so many are told of one pair of schemas: who has read these has enough to do.
pub const FAULTS: usize = 50;

/// One reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where in the data, or among a file's messages.
    pub path: String,
    /// What is in the way.
    pub what: String,
}

impl Fault {
    pub fn new(path: impl Into<String>, what: impl Into<String>) -> Self {
        Fault { path: path.into(), what: what.into() }
    }
}

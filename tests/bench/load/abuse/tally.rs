//! Counts what came of the tries of one attack.

use std::{collections::BTreeMap, io};

use serde_json::{Value, json};
use tonic::Status;
use tonic_types::StatusExt;

use super::frames::Fate;

/// How often each thing happened.
#[derive(Debug, Default)]
pub struct Tally(BTreeMap<String, u64>);

impl Tally {
    /// It happened once more.
    pub fn count(&mut self, what: impl Into<String>) {
        *self.0.entry(what.into()).or_default() += 1;
    }

    /// A call was answered so: its code and, if it has one, its reason.
    pub fn answer<T>(&mut self, answer: &Result<T, Status>) {
        let Err(status) = answer else { return self.count("Ok") };
        let details = status.get_error_details();
        let reason = details.error_info().map(|info| info.reason.as_str()).unwrap_or("no reason");
        self.count(format!("{:?} {reason}", status.code()));
    }

    /// A connection ended so, or could not even be made.
    pub fn fate(&mut self, fate: io::Result<Fate>) {
        self.count(fate.map_or("not connected", |fate| fate.word()));
    }

    /// As an object.
    pub fn json(&self) -> Value {
        json!(self.0)
    }
}

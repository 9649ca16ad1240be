//! Avro (<https://avro.apache.org/docs/1.12.0/specification/>): a text becomes [`types`] once ([`parse`], [`name`],
//! [`default`]); against these a payload is walked ([`plan`], [`walk`]), the fields of a record are read and written
//! ([`read`], [`write`](mod@write), [`encode`]), and another schema is resolved ([`resolve`]). Our own parser, since the crate
//! `apache-avro` says neither where a schema is broken nor stops at a depth; the tests hold it against that crate. Never
//! makes a value of a payload.

mod canonical;
mod default;
mod encode;
mod name;
mod parse;
mod plan;
pub mod read;
mod resolve;
mod types;
mod walk;
pub mod write;

#[cfg(test)]
mod tests;

use super::{Broken, Limits, Violation, definition::Referenced, document, fault::Fault};
use plan::Plan;
use types::{Id, Record, Type, Types};

/// A schema that is ready.
#[derive(Debug)]
pub struct Avro {
    types: Types,
    root: Id,
    plan: Plan,
    normalized: String,
}

impl Avro {
    pub fn parse(text: &str, references: &[Referenced<'_>], limits: &Limits) -> Result<Self, Broken> {
        let mut parser = parse::Parser::new(limits);
        for Referenced { name, text, .. } in references {
            let added = document::parse(text).and_then(|document| parser.add(&document));
            added.map_err(|broken| broken.referenced(name))?;
        }
        let document = document::parse(text)?;
        let root = parser.add(&document)?;
        let types = parser.finish();
        let plan = Plan::new(&types, root, limits);
        let normalized = document::canonical(&canonical::canonical(&document, ""));
        Ok(Avro { types, root, plan, normalized })
    }

    pub fn normalized(&self) -> &str {
        &self.normalized
    }

    pub fn validate(&self, payload: &[u8]) -> Result<(), Violation> {
        self.plan.check(payload, &self.types)
    }

    /// The record that the schema is.
    fn record(&self) -> Result<&Record, Broken> {
        match self.types.get(self.root) {
            Type::Record(record) => Ok(record),
            other => Err(Broken::whole(format!("it is a {}, and only a record has fields", other.title()))),
        }
    }

    /// Why this schema cannot read what `writer` wrote.
    pub fn read(&self, writer: &Avro) -> Vec<Fault> {
        resolve::resolve((&self.types, self.root), (&writer.types, writer.root))
    }
}

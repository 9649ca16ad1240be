//! What a subscriber asks for beyond topics: a condition on each message, in a part of the Common Expression Language.
//! In reading order: text becomes tokens (`token`), tokens a tree (`syntax`), the tree a condition whose types are
//! right and whose cost is bounded (`check`, [`condition`]), and any number of conditions one program that asks a
//! record for everything once ([`program`]). Pure.

mod check;
pub mod condition;
pub mod program;
mod quick;
mod syntax;
mod token;

pub use condition::Condition;
pub use program::Program;

use super::{Error, Reason, Result, limits};

/// A filter that makes sense. Two that ask for the same in the same order are equal, however they are written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Filter {
    condition: Condition,
}

impl Filter {
    /// Reads a filter. None if the text is empty, or blank: then everything is wanted.
    pub fn parse(text: &str) -> Result<Option<Filter>> {
        if text.len() > limits::FILTER_BYTES {
            let message = format!("the filter has {} bytes: at most {} are allowed", text.len(), limits::FILTER_BYTES);
            return Err(Error::new(Reason::FilterInvalid, message).field("filter"));
        }
        if text.trim().is_empty() {
            return Ok(None);
        }
        let condition = syntax::parse(text).and_then(|node| check::condition(&node));
        condition.map(|condition| Some(Filter { condition })).map_err(|fault| fault.refusal(text))
    }

    /// What it asks for.
    pub fn condition(&self) -> &Condition {
        &self.condition
    }
}

/// What is wrong with a filter, and where.
#[derive(Debug, PartialEq, Eq)]
struct Fault {
    /// The byte where it begins.
    at: usize,
    /// What is wrong, and what to do.
    message: String,
}

/// Characters of the filter that a refusal shows.
const SHOWN: usize = 24;

impl Fault {
    fn new(at: usize, message: impl Into<String>) -> Self {
        Fault { at, message: message.into() }
    }

    /// What the caller sees: line and column, counted from 1 in characters, and what stands there.
    fn refusal(self, text: &str) -> Error {
        let (before, rest) = text.split_at(self.at);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        let mut shown: String = rest.lines().next().unwrap_or_default().chars().take(SHOWN).collect();
        if shown.len() < rest.trim_end().len() {
            shown.push('…');
        }
        let place = match (line, shown.is_empty()) {
            (1, true) => "at its end".to_owned(),
            (1, false) => format!("at column {column}, `{shown}`"),
            (_, true) => format!("at the end of line {line}"),
            (_, false) => format!("at line {line}, column {column}, `{shown}`"),
        };
        let message = format!("the filter makes no sense {place}: {}", self.message);
        Error::new(Reason::FilterInvalid, message).field("filter").with("line", line).with("column", column)
    }
}

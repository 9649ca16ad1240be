//! Schemas that are ready to look at payloads, as many as there is room for. Any of them may be gone at any time: whoever
//! wants one makes it anew.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use crate::{
    model::{Error, Reason, Result},
    schema::{Frame, Schema},
};

/// Schemas that one namespace keeps.
const MOST: usize = 1_000;
/// Bytes that they take, about: 2 MiB of texts in JSON, 8 MiB of the others.
const MOST_BYTES: usize = 128 << 20;

/// A schema under its id, ready to look at payloads.
#[derive(Debug)]
pub struct Ready {
    /// Names it in payloads.
    pub id: u32,
    /// What it says.
    pub schema: Schema,
}

/// Those of one namespace.
#[derive(Debug, Default)]
pub struct Cache {
    by_id: HashMap<u32, Arc<Ready>>,
    // As they came.
    in_order: VecDeque<u32>,
    bytes: usize,
}

impl Ready {
    /// Whether a payload is as this schema says. A frame that names it is none of it.
    pub fn check(&self, payload: &[u8], frame: Option<Frame<'_>>) -> Result<()> {
        let checked = match frame.filter(|frame| frame.id == self.id) {
            Some(frame) => self.schema.validate_framed(frame.rest),
            None => self.schema.validate(payload),
        };
        checked.map_err(|violation| {
            Error::new(Reason::SchemaViolation, violation.to_string())
                .field("payload")
                .with("path", &violation.path)
                .with("schema_id", self.id)
        })
    }
}

impl Cache {
    /// The schema of an id, if it is kept.
    pub fn get(&self, id: u32) -> Option<Arc<Ready>> {
        self.by_id.get(&id).cloned()
    }

    /// Keeps one, and of the others those that came last, as far as there is room beside it.
    pub fn keep(&mut self, ready: Arc<Ready>) {
        if self.by_id.contains_key(&ready.id) {
            return;
        }
        self.bytes += ready.schema.size();
        while self.by_id.len() >= MOST || self.bytes > MOST_BYTES {
            let Some(first) = self.in_order.pop_front() else { break };
            self.bytes -= self.by_id.remove(&first).map_or(0, |gone| gone.schema.size());
        }
        self.in_order.push_back(ready.id);
        self.by_id.insert(ready.id, ready);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Kind;

    fn ready(id: u32, bytes: usize) -> Arc<Ready> {
        let text = format!(r#"{{"title":"{}"}}"#, "x".repeat(bytes));
        Arc::new(Ready { id, schema: Schema::parse(Kind::Json, &text, &[]).unwrap() })
    }

    #[test]
    fn there_are_as_many_as_there_is_room_for() {
        let mut cache = Cache::default();
        (0..2_000).for_each(|id| cache.keep(ready(id, 1)));
        assert!((0..2_000).all(|id| cache.get(id).is_some() == (id >= 1_000)));
        // Each takes about a quarter of the room.
        let large = MOST_BYTES / 4 / 65;
        for id in [1, 2, 3, 4, 4, 5, 6] {
            cache.keep(ready(id, large));
        }
        assert!((0..2_000).all(|id| cache.get(id).is_some() == (3..=6).contains(&id)));
        let kept: usize = cache.by_id.values().map(|ready| ready.schema.size()).sum();
        assert!(kept == cache.bytes && kept <= MOST_BYTES, "{kept}");
        cache.keep(ready(7, 1));
        assert_eq!((cache.by_id.len(), cache.in_order.len()), (5, 5));
    }
}

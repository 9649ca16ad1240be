//! Which messages of each ordering key are open, in order: only the first of a key may be handed out. Pure.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use crate::model::Sequence;

/// The open messages of each key.
#[derive(Debug, Default)]
pub struct Keys(HashMap<Arc<[u8]>, VecDeque<Sequence>>);

impl Keys {
    /// A message of a key becomes open. Answers the key as it is kept, and whether it is the first of it.
    pub fn enter(&mut self, key: &[u8], sequence: Sequence) -> (Arc<[u8]>, bool) {
        let key = match self.0.get_key_value(key) {
            Some((known, _)) => known.clone(),
            None => Arc::from(key),
        };
        let open = self.0.entry(key.clone()).or_default();
        // Nearly always it is the last.
        let at = open.partition_point(|known| *known < sequence);
        open.insert(at, sequence);
        (key, at == 0)
    }

    /// Whether no earlier message of the key is open.
    pub fn is_first(&self, key: &Arc<[u8]>, sequence: Sequence) -> bool {
        self.0.get(key).and_then(VecDeque::front) == Some(&sequence)
    }

    /// A message is no longer open. Answers the first of its key then.
    pub fn leave(&mut self, key: &Arc<[u8]>, sequence: Sequence) -> Option<Sequence> {
        let open = self.0.get_mut(key)?;
        if let Ok(at) = open.binary_search(&sequence) {
            open.remove(at);
        }
        let first = open.front().copied();
        if first.is_none() {
            self.0.remove(key);
        }
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_a_key_goes_and_the_next_follows() {
        let mut keys = Keys::default();
        let (a, first) = keys.enter(b"a", Sequence(1));
        assert!(first);
        assert!(
            keys.enter(b"b", Sequence(2)).1 && !keys.enter(b"a", Sequence(3)).1 && !keys.enter(b"a", Sequence(5)).1
        );
        assert_eq!(keys.leave(&a, Sequence(3)), Some(Sequence(1)), "one in the middle changes nothing");
        assert_eq!(keys.leave(&a, Sequence(1)), Some(Sequence(5)));
        assert_eq!(keys.leave(&a, Sequence(5)), None);
        assert_eq!(keys.0.len(), 1, "a key without messages is forgotten");
    }
}

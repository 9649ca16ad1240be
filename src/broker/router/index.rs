//! Finds the streams that want a topic. Pure. A topic costs its own length, and each distinct pattern that matches is
//! visited once in a block, whatever the number of topics in it: so there is no cache of results to keep right.

use std::{cell::Cell, collections::HashMap};

use super::{radix::Radix, routes::Routes};
use crate::model::{Pattern, Sequence, topic};

/// Names a stream; small, and used again when the stream has gone.
pub type Slot = u32;

/// Who wants what.
#[derive(Default)]
pub struct Index {
    exact: HashMap<Box<str>, Group>,
    prefixes: Radix<Group>,
    all: Group,
    // Counts visits, so that a group is told from one that was seen in this visit.
    visit: u64,
}

/// The streams with the same pattern, sorted.
#[derive(Default)]
struct Group {
    slots: Vec<Slot>,
    seen: Cell<u64>,
    // Counts the groups of one visit, where they are told apart.
    number: Cell<u32>,
}

impl Index {
    /// Adds a stream's pattern.
    pub fn insert(&mut self, pattern: &Pattern, slot: Slot) {
        match pattern {
            Pattern::Prefix(prefix) if prefix.is_empty() => &mut self.all,
            Pattern::Prefix(prefix) => self.prefixes.entry(prefix.as_bytes()),
            Pattern::Exact(name) => self.exact.entry(name.clone()).or_default(),
        }
        .insert(slot);
    }

    /// Takes a stream's pattern out.
    pub fn remove(&mut self, pattern: &Pattern, slot: Slot) {
        match pattern {
            Pattern::Prefix(prefix) if prefix.is_empty() => self.all.remove(slot),
            Pattern::Prefix(prefix) => {
                let group = self.prefixes.entry(prefix.as_bytes());
                group.remove(slot);
                if group.slots.is_empty() {
                    self.prefixes.remove(prefix.as_bytes());
                }
            }
            Pattern::Exact(name) => {
                let Some(group) = self.exact.get_mut(name) else { return };
                group.remove(slot);
                if group.slots.is_empty() {
                    self.exact.remove(name);
                }
            }
        }
    }

    /// Whether nobody wants anything.
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.prefixes.is_empty() && self.all.slots.is_empty()
    }

    /// Tells `found` which streams want any of the topics. A stream is told once for each of its patterns that match.
    pub fn visit<'a>(&mut self, topics: impl Iterator<Item = &'a str> + Clone, mut found: impl FnMut(Slot)) {
        if self.is_empty() {
            return;
        }
        self.visit += 1;
        let visit = self.visit;
        for name in topics.clone() {
            if !topic::is_reserved(name) {
                self.all.tell(visit, &mut found);
            }
            if let Some(group) = self.exact.get(name) {
                group.tell(visit, &mut found);
            }
        }
        self.prefixes.walk(topics.map(str::as_bytes), |_, group| group.tell(visit, &mut found));
    }
}

impl Index {
    /// Which streams want which of a block's topics, but for those that want everything. None if that is more than `most`
    /// pairs: then looking for them costs more than it saves.
    pub fn routes<'a>(
        &mut self,
        first: Sequence,
        topics: impl Iterator<Item = &'a str> + Clone,
        most: usize,
    ) -> Option<Routes> {
        self.visit += 1;
        let visit = self.visit;
        let (mut slots, mut pairs, mut groups) = (Vec::new(), Vec::new(), 0);
        let mut found = |topic: usize, group: &Group| {
            if slots.len() + pairs.len() > most {
                return;
            }
            if group.seen.replace(visit) != visit {
                group.number.set(groups);
                groups += 1;
                slots.extend(group.slots.iter().map(|slot| (*slot, group.number.get())));
            }
            pairs.push((group.number.get(), topic as u32));
        };
        for (topic, name) in topics.clone().enumerate() {
            if let Some(group) = self.exact.get(name) {
                found(topic, group);
            }
        }
        self.prefixes.walk(topics.map(str::as_bytes), found);
        (slots.len() + pairs.len() <= most).then(|| Routes::new(first, groups, slots, &pairs))
    }

    /// The streams that want everything.
    pub fn wanting_all(&self) -> &[Slot] {
        &self.all.slots
    }

    /// Whether all streams want everything.
    pub fn is_plain(&self) -> bool {
        self.exact.is_empty() && self.prefixes.is_empty()
    }
}

impl Group {
    fn insert(&mut self, slot: Slot) {
        if let Err(at) = self.slots.binary_search(&slot) {
            self.slots.insert(at, slot);
        }
    }

    fn remove(&mut self, slot: Slot) {
        if let Ok(at) = self.slots.binary_search(&slot) {
            self.slots.remove(at);
        }
    }

    fn tell(&self, visit: u64, found: &mut impl FnMut(Slot)) {
        if self.seen.replace(visit) != visit {
            self.slots.iter().copied().for_each(found);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn finds_whom_a_list_of_patterns_finds(
            steps in proptest::collection::vec(("\\$?[ab]{0,3}~?", 0..6u32, any::<bool>()), 1..60),
            topics in proptest::collection::vec("\\$?[ab]{1,4}", 1..6),
        ) {
            let mut index = Index::default();
            let mut naive = BTreeSet::new();
            for (text, slot, insert) in steps {
                let Ok(pattern) = Pattern::parse(&text) else { continue };
                if insert {
                    index.insert(&pattern, slot);
                    naive.insert((pattern, slot));
                } else {
                    index.remove(&pattern, slot);
                    naive.remove(&(pattern, slot));
                }
                prop_assert_eq!(index.is_empty(), naive.is_empty());
                let mut found = Vec::new();
                index.visit(topics.iter().map(String::as_str), |slot| found.push(slot));
                found.sort_unstable();
                // Once a pattern, however many topics match.
                let wanted = naive.iter().filter(|(pattern, _)| topics.iter().any(|topic| pattern.matches(topic)));
                let mut expected: Vec<_> = wanted.map(|(_, slot)| *slot).collect();
                expected.sort_unstable();
                prop_assert_eq!(found, expected);

                let routes = index.routes(Sequence(7), topics.iter().map(String::as_str), usize::MAX).unwrap();
                for slot in 0..6 {
                    let wants = |topic: &str| naive.iter().any(|(pattern, other)| {
                        *other == slot && *pattern != Pattern::Prefix("".into()) && pattern.matches(topic)
                    });
                    let expected: Vec<u32> = (0..).zip(&topics).filter(|(_, topic)| wants(topic)).map(|(at, _)| at).collect();
                    prop_assert_eq!(routes.topics(slot), expected);
                }
                let none = index.routes(Sequence(7), topics.iter().map(String::as_str), 0);
                prop_assert!(none.is_none_or(|routes| routes.slots().count() == 0));
            }
        }
    }
}

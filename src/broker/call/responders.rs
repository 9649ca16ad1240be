//! Who says that he answers calls, on which topics: here, and on the other brokers as far as they have told. Never hears of
//! a call.
//!
//! What is told is small: the patterns, once each. Where they are too many, a broker says that it may answer anything in
//! that namespace; a call that nobody answers is then known by its timeout only.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::{sync::watch, time::timeout};

use super::super::router::index::Index;
use crate::{
    engine::Members,
    model::{NamespaceName, Pattern, PatternSet},
};

/// Patterns of one namespace that are told to others, and their bytes.
const TOLD_PATTERNS: usize = 1_000;
const TOLD_BYTES: usize = 64 << 10;
/// Telling others takes no longer than this, or goes on without them.
const PATIENCE: Duration = Duration::from_secs(2);

/// All of one broker.
pub struct Responders {
    tables: Mutex<HashMap<NamespaceName, Table>>,
    // The other brokers, if there can be any.
    members: Option<Arc<dyn Members>>,
    elsewhere: Mutex<Elsewhere>,
}

/// What is answered here, in one namespace.
#[derive(Default)]
struct Table {
    // All in one slot: it does not matter who.
    index: Index,
    counts: HashMap<Pattern, usize>,
}

/// What others have told.
#[derive(Default)]
struct Elsewhere {
    told: Option<watch::Receiver<Vec<Bytes>>>,
    words: Vec<Word>,
}

/// What one broker tells: the patterns of each namespace; none of them if they are too many.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Word(BTreeMap<String, Option<Vec<String>>>);

/// One who answers, as long as this is held.
pub struct Registration {
    responders: Arc<Responders>,
    namespace: NamespaceName,
    patterns: Arc<PatternSet>,
}

impl Responders {
    /// Nobody yet.
    pub fn new(members: Option<Arc<dyn Members>>) -> Arc<Self> {
        let told = members.as_ref().map(|members| {
            let mut told = members.others();
            told.mark_changed();
            told
        });
        let elsewhere = Mutex::new(Elsewhere { told, words: Vec::new() });
        Arc::new(Responders { tables: Mutex::default(), members, elsewhere })
    }

    /// One more answers. Others know once [`Responders::told`] has ended.
    pub fn register(self: &Arc<Self>, namespace: &NamespaceName, patterns: Arc<PatternSet>) -> Registration {
        let mut tables = self.tables();
        let table = tables.entry(namespace.clone()).or_default();
        for pattern in patterns.patterns() {
            let count = table.counts.entry(pattern.clone()).or_default();
            *count += 1;
            if *count == 1 {
                table.index.insert(pattern, 0);
            }
        }
        self.tell(&tables);
        Registration { responders: self.clone(), namespace: namespace.clone(), patterns }
    }

    /// Ends when the other brokers can know who answers here.
    pub async fn told(&self) {
        let Some(members) = &self.members else { return };
        if !matches!(timeout(PATIENCE, members.told()).await, Ok(Ok(()))) {
            tracing::warn!("the other brokers may not know yet who answers calls here");
        }
    }

    /// Whether anybody answers on a topic, on any broker.
    pub async fn answer(&self, namespace: &NamespaceName, topic: &str) -> bool {
        if self.answer_here(namespace, topic) || self.answer_elsewhere(namespace, topic) {
            return true;
        }
        let Some(members) = &self.members else { return false };
        // Somebody may just have begun.
        if !matches!(timeout(PATIENCE, members.catch_up()).await, Ok(Ok(()))) {
            tracing::debug!("what the other brokers say of who answers calls may be old");
        }
        self.answer_elsewhere(namespace, topic)
    }

    fn answer_here(&self, namespace: &NamespaceName, topic: &str) -> bool {
        let mut answers = false;
        if let Some(table) = self.tables().get_mut(namespace) {
            table.index.visit(std::iter::once(topic), |_| answers = true);
        }
        answers
    }

    fn answer_elsewhere(&self, namespace: &NamespaceName, topic: &str) -> bool {
        let mut elsewhere = self.elsewhere.lock().expect("nobody panics while holding what others told");
        let Elsewhere { told: Some(told), words } = &mut *elsewhere else { return false };
        if told.has_changed().unwrap_or(false) {
            let heard = told.borrow_and_update();
            *words = heard.iter().filter_map(|word| serde_json::from_slice(word).ok()).collect();
        }
        words.iter().any(|word| word.answers(namespace, topic))
    }

    fn tell(&self, tables: &HashMap<NamespaceName, Table>) {
        if let Some(members) = &self.members {
            members.tell(Word::of(tables).encode());
        }
    }

    fn tables(&self) -> MutexGuard<'_, HashMap<NamespaceName, Table>> {
        self.tables.lock().expect("nobody panics while holding the responders")
    }
}

impl Word {
    fn of(tables: &HashMap<NamespaceName, Table>) -> Self {
        let told = tables.iter().map(|(namespace, table)| {
            let mut patterns: Vec<_> = table.counts.keys().map(Pattern::to_string).collect();
            patterns.sort_unstable();
            let bytes: usize = patterns.iter().map(String::len).sum();
            let is_small = patterns.len() <= TOLD_PATTERNS && bytes <= TOLD_BYTES;
            (namespace.to_string(), is_small.then_some(patterns))
        });
        Word(told.collect())
    }

    /// Nothing at all where nobody answers anything.
    fn encode(&self) -> Bytes {
        match self.0.is_empty() {
            true => Bytes::new(),
            false => serde_json::to_vec(self).expect("texts are always JSON").into(),
        }
    }

    fn answers(&self, namespace: &NamespaceName, topic: &str) -> bool {
        match self.0.get(namespace.as_str()) {
            None => false,
            Some(None) => true,
            Some(Some(patterns)) => {
                patterns.iter().any(|pattern| Pattern::parse(pattern).is_ok_and(|pattern| pattern.matches(topic)))
            }
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut tables = self.responders.tables();
        let Some(table) = tables.get_mut(&self.namespace) else { return };
        for pattern in self.patterns.patterns() {
            let Some(count) = table.counts.get_mut(pattern) else { continue };
            *count -= 1;
            if *count == 0 {
                table.counts.remove(pattern);
                table.index.remove(pattern, 0);
            }
        }
        if table.counts.is_empty() {
            tables.remove(&self.namespace);
        }
        self.responders.tell(&tables);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(patterns: &[&str]) -> Arc<PatternSet> {
        Arc::new(PatternSet::parse(patterns).unwrap())
    }

    #[tokio::test]
    async fn whoever_answers_is_known_until_he_goes() {
        let responders = Responders::new(None);
        let (here, other) = (NamespaceName::default(), NamespaceName::parse("other").unwrap());
        let first = responders.register(&here, patterns(&["a/~", "b"]));
        let second = responders.register(&here, patterns(&["a/~"]));
        assert!(responders.answer(&here, "a/x").await && responders.answer(&here, "b").await);
        assert!(!responders.answer(&here, "c").await && !responders.answer(&other, "b").await);
        drop(first);
        assert!(responders.answer(&here, "a/x").await && !responders.answer(&here, "b").await);
        drop(second);
        assert!(!responders.answer(&here, "a/x").await);
        assert!(responders.tables().is_empty());
    }

    #[test]
    fn what_is_told_is_small() {
        let responders = Responders::new(None);
        let here = NamespaceName::default();
        assert_eq!(Word::of(&responders.tables()).encode(), "");
        let few = responders.register(&here, patterns(&["a/~", "b"]));
        let word: Word = serde_json::from_slice(&Word::of(&responders.tables()).encode()).unwrap();
        assert!(word.answers(&here, "a/x") && !word.answers(&here, "c"));
        let names: Vec<_> = (0..1000).map(|at| format!("{at}")).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let many = responders.register(&here, patterns(&names));
        let word = Word::of(&responders.tables());
        assert_eq!(word, Word([("default".to_owned(), None)].into()));
        assert!(word.answers(&here, "anything") && word.encode().len() < 100);
        drop((few, many));
    }
}

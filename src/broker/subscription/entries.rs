//! The subscriptions as they are found: by namespace and name, with one look. Never stores anything.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound,
    sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use tokio::sync::{Notify, watch};

use super::{catalog::Described, hub::Hub, push::Pushing, stored::Kept};
use crate::model::{NamespaceName, Result, Subscription, SubscriptionName, SubscriptionState};

/// The subscriptions of all namespaces. A namespace without any may be missing.
#[derive(Default)]
pub struct Entries {
    named: RwLock<ByNamespace>,
    /// Told when one came, or changed.
    pub changed: Arc<Notify>,
    /// Counts what came, changed and went.
    changes: watch::Sender<u64>,
}

type ByNamespace = HashMap<NamespaceName, BTreeMap<SubscriptionName, Entry>>;

/// One of them. A change makes another one with the same hub.
#[derive(Clone)]
pub struct Entry {
    pub kept: Kept,
    /// Of what is kept, as the engine's state counts it.
    pub version: u64,
    pub hub: Arc<Hub>,
}

impl Entries {
    /// Looks at one, if it is there.
    pub fn look<T>(
        &self,
        namespace: &NamespaceName,
        name: &SubscriptionName,
        see: impl FnOnce(&Entry) -> T,
    ) -> Option<T> {
        self.read().get(namespace)?.get(name).map(see)
    }

    /// Those that come after a name, by name.
    pub fn after(&self, namespace: &NamespaceName, name: &str) -> Vec<Entry> {
        let namespaces = self.read();
        let behind = (Bound::Excluded(name), Bound::Unbounded);
        let entries = namespaces.get(namespace).map(|entries| entries.range::<str, _>(behind));
        entries.into_iter().flatten().map(|(_, entry)| entry.clone()).collect()
    }

    /// How many a namespace has.
    pub fn count(&self, namespace: &NamespaceName) -> usize {
        self.read().get(namespace).map_or(0, BTreeMap::len)
    }

    /// Puts one there, or in the place of the one of that name.
    pub fn put(&self, entry: Entry) {
        let Subscription { namespace, name, .. } = &*entry.kept.specification;
        let (namespace, name) = (namespace.clone(), name.clone());
        self.write().entry(namespace).or_default().insert(name, entry);
        self.changed.notify_one();
        self.tell();
    }

    /// Takes one out.
    pub fn remove(&self, namespace: &NamespaceName, name: &SubscriptionName) {
        self.write().get_mut(namespace).and_then(|entries| entries.remove(name));
        self.tell();
    }

    /// Takes all of a namespace out.
    pub fn remove_all(&self, namespace: &NamespaceName) -> Vec<Arc<Hub>> {
        let entries = self.write().remove(namespace).unwrap_or_default();
        self.tell();
        entries.into_values().map(|entry| entry.hub).collect()
    }

    /// Takes all out.
    pub fn clear(&self) -> Vec<Arc<Hub>> {
        let all = std::mem::take(&mut *self.write());
        self.tell();
        all.into_values().flat_map(BTreeMap::into_values).map(|entry| entry.hub).collect()
    }

    /// Those that push.
    pub fn pushing(&self) -> Vec<Pushing> {
        let namespaces = self.read();
        let entries = namespaces.values().flat_map(BTreeMap::values);
        let pushing = entries.filter(|entry| entry.kept.specification.push.is_some());
        pushing.map(|Entry { kept, .. }| kept.pushing()).collect()
    }

    /// Told when one came, changed, or went.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn tell(&self) {
        self.changes.send_modify(|changes| *changes += 1);
    }

    /// All that serve one.
    pub fn hubs(&self) -> Vec<Arc<Hub>> {
        self.read().values().flat_map(BTreeMap::values).map(|entry| entry.hub.clone()).collect()
    }

    fn read(&self) -> RwLockReadGuard<'_, ByNamespace> {
        self.named.read().expect("nobody panics while holding the subscriptions")
    }

    fn write(&self) -> RwLockWriteGuard<'_, ByNamespace> {
        self.named.write().expect("nobody panics while holding the subscriptions")
    }
}

impl Entry {
    /// As others see it.
    pub async fn describe(&self) -> Result<Described> {
        let (state, paused_until) = self.hub.pause_state();
        let (subscription, etag) = (self.kept.specification.clone(), self.version.to_string());
        let is_paused = state == SubscriptionState::Paused;
        let state_reason = self.kept.reason.clone().filter(|_| is_paused).unwrap_or_default();
        Ok(Described { subscription, etag, state, state_reason, paused_until, stats: self.hub.stats().await? })
    }
}

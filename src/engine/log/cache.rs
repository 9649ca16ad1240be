//! What was read from segments and may be read again: spans of blocks, and indexes. Bounded in bytes over all logs;
//! the oldest goes first. Never reads anything itself.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
    sync::{Arc, Mutex},
};

/// Values that were costly to get, at most so many bytes of them.
pub struct Cache<K, V: ?Sized> {
    most: usize,
    held: Mutex<Held<K, V>>,
}

struct Held<K, V: ?Sized> {
    bytes: usize,
    values: HashMap<K, (Arc<V>, usize)>,
    // In the order in which they came.
    order: VecDeque<K>,
}

impl<K: Copy + Eq + Hash, V: ?Sized> Cache<K, V> {
    /// An empty one that holds at most `most` bytes.
    pub fn new(most: usize) -> Self {
        Cache { most, held: Mutex::new(Held { bytes: 0, values: HashMap::new(), order: VecDeque::new() }) }
    }

    /// What is held for a key.
    pub fn get(&self, key: K) -> Option<Arc<V>> {
        self.lock().values.get(&key).map(|(value, _)| value.clone())
    }

    /// Holds a value of so many bytes. What is larger than a quarter of the cache is not held.
    pub fn put(&self, key: K, value: Arc<V>, bytes: usize) {
        if bytes > self.most / 4 {
            return;
        }
        let mut held = self.lock();
        if let Some((_, before)) = held.values.insert(key, (value, bytes)) {
            held.bytes -= before;
        } else {
            held.order.push_back(key);
        }
        held.bytes += bytes;
        while held.bytes > self.most {
            let Some(oldest) = held.order.pop_front() else { break };
            if let Some((_, bytes)) = held.values.remove(&oldest) {
                held.bytes -= bytes;
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Held<K, V>> {
        self.held.lock().expect("nobody panics while holding the cache")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_when_it_is_full_and_the_large_never_comes() {
        let cache = Cache::new(100);
        for key in 0..10 {
            cache.put(key, Arc::new(key), 20);
        }
        assert_eq!((0..10).filter(|&key| cache.get(key).is_some()).collect::<Vec<_>>(), [5, 6, 7, 8, 9]);
        cache.put(5, Arc::new(55), 20);
        assert_eq!(cache.get(5).as_deref(), Some(&55));
        cache.put(11, Arc::new(11), 26);
        assert!(cache.get(11).is_none());
    }
}

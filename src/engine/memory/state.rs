//! Small values in memory. Nothing survives the process.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard},
};

use crate::{
    engine::{BoxFuture, State, Value},
    model::Result,
};

/// Small values.
#[derive(Default)]
pub struct MemoryState(Mutex<Values>);

#[derive(Default)]
struct Values {
    by_key: BTreeMap<String, Value>,
    // One for all keys, so that a key that was removed and made again has another version.
    version: u64,
}

impl MemoryState {
    fn values(&self) -> MutexGuard<'_, Values> {
        self.0.lock().expect("nobody panics while holding the values")
    }
}

impl Values {
    fn is_at(&self, key: &str, expected: u64) -> bool {
        self.by_key.get(key).map_or(0, |value| value.version) == expected
    }
}

impl State for MemoryState {
    fn get(&self, key: &str) -> Result<Option<Value>> {
        Ok(self.values().by_key.get(key).cloned())
    }

    fn list(&self, prefix: &str) -> Result<Vec<(String, Value)>> {
        let values = self.values();
        let from = values.by_key.range(prefix.to_owned()..);
        Ok(from.take_while(|(key, _)| key.starts_with(prefix)).map(|(k, v)| (k.clone(), v.clone())).collect())
    }

    fn put<'a>(&'a self, key: &'a str, bytes: Vec<u8>, expected: u64) -> BoxFuture<'a, Result<Option<u64>>> {
        Box::pin(async move {
            let mut values = self.values();
            if !values.is_at(key, expected) {
                return Ok(None);
            }
            values.version += 1;
            let version = values.version;
            values.by_key.insert(key.to_owned(), Value { bytes, version });
            Ok(Some(version))
        })
    }

    fn delete<'a>(&'a self, key: &'a str, expected: u64) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move {
            let mut values = self.values();
            let matches = expected != 0 && values.is_at(key, expected);
            if matches {
                values.by_key.remove(key);
            }
            Ok(matches)
        })
    }
}

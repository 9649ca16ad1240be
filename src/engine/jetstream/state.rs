//! The small values in a key-value bucket of NATS, with a copy of all of them here: reading asks nobody. What others change
//! is here a moment later. Never holds messages.
//!
//! A key of the bucket is the key, with what NATS does not take in one written `=XX`.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_nats::jetstream::{
    self, Context,
    kv::{CreateErrorKind, Entry, Operation, Store, UpdateErrorKind, Watch},
    stream::LastRawMessageErrorKind,
};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio_util::sync::CancellationToken;

use super::{escape, stream::is_behind, too_few, unreachable};
use crate::{
    engine::{BoxFuture, State, Value},
    model::Result,
};

/// The bucket.
const BUCKET: &str = "tilde";
/// What tells a mark from a value.
const OPERATION: &str = "KV-Operation";
/// A watch that broke is begun again after this.
const AGAIN: Duration = Duration::from_millis(500);
/// What is on its way is here soon.
const SOON: Duration = Duration::from_millis(5);

/// The values of one cluster.
pub struct KvState {
    store: Store,
    values: Arc<Mutex<Values>>,
    heard: Arc<AtomicU64>,
}

#[derive(Default)]
struct Values {
    by_key: BTreeMap<String, Value>,
    // Of removed keys, so that what comes late about them is told from what is new.
    removed: BTreeMap<String, u64>,
    // The last version that was heard of, in their order.
    seen: u64,
    // Counts what was learned, for whoever does not want to wait for the others.
    heard: Arc<AtomicU64>,
}

impl Values {
    fn set(&mut self, key: String, bytes: Vec<u8>, version: u64) {
        let known = self.by_key.get(&key).map_or(0, |value| value.version);
        let removed = self.removed.get(&key).copied().unwrap_or_default();
        if version > known && version > removed {
            self.removed.remove(&key);
            self.by_key.insert(key, Value { bytes, version });
            self.heard.fetch_add(1, Ordering::Release);
        }
    }

    fn remove(&mut self, key: String, version: u64) {
        if self.by_key.get(&key).is_some_and(|value| value.version > version) {
            return;
        }
        self.by_key.remove(&key);
        let removed = self.removed.entry(key).or_default();
        *removed = version.max(*removed);
        self.heard.fetch_add(1, Ordering::Release);
    }

    /// Hears of what has come next.
    fn hear(&mut self, entry: Entry) {
        self.seen = self.seen.max(entry.revision);
        self.learn(entry);
    }

    fn learn(&mut self, entry: Entry) {
        let Some(key) = plain(&entry.key) else { return };
        match entry.operation {
            Operation::Put => self.set(key, entry.value.to_vec(), entry.revision),
            Operation::Delete | Operation::Purge => self.remove(key, entry.revision),
        }
    }
}

impl KvState {
    /// Opens the bucket, or makes it, and reads all that is in it. Follows it until `stop`.
    pub async fn open(context: &Context, replicas: usize, stop: CancellationToken) -> Result<Self> {
        let config = jetstream::kv::Config {
            bucket: BUCKET.into(),
            description: "Tilde: namespaces, subscriptions, and what must be remembered of them".into(),
            history: 1,
            num_replicas: replicas,
            ..Default::default()
        };
        let store = bucket(context, config).await?;
        let values = Values::default();
        let heard = values.heard.clone();
        let values = Arc::new(Mutex::new(values));
        let held = store.status().await.map_err(unreachable)?.values();
        let mut watch = store.watch_with_history(">").await.map_err(unreachable)?;
        if held > 0 {
            loop {
                let entry = watch.next().await.ok_or_else(|| unreachable("the watch ended"))?.map_err(unreachable)?;
                let is_last = entry.delta == 0;
                lock(&values).hear(entry);
                if is_last {
                    break;
                }
            }
        }
        let follow = follow(store.clone(), watch, values.clone());
        tokio::spawn(async move { stop.run_until_cancelled(follow).await });
        Ok(KvState { store, values, heard })
    }

    fn values(&self) -> MutexGuard<'_, Values> {
        lock(&self.values)
    }

    /// Learns now what NATS has of a key: what was refused is newer than what is known here.
    async fn refresh(&self, key: &str) -> Result<()> {
        match newest(&self.store, &escaped(key)).await? {
            Some((bytes, version)) => self.values().set(key.to_owned(), bytes.to_vec(), version),
            None => {
                self.values().by_key.remove(key);
                self.heard.fetch_add(1, Ordering::Release);
            }
        }
        Ok(())
    }
}

/// Opens a bucket, or makes it.
pub async fn bucket(context: &Context, config: jetstream::kv::Config) -> Result<Store> {
    let (name, replicas) = (config.bucket.clone(), config.num_replicas);
    let store = match context.get_key_value(&name).await {
        Ok(store) => store,
        Err(_) => match context.create_key_value(config).await {
            Ok(store) => store,
            // Another broker may make it at the same time.
            Err(error) => context.get_key_value(&name).await.map_err(|_| unreachable(error))?,
        },
    };
    let mut stream = store.stream.cached_info().config.clone();
    let kept = stream.num_replicas;
    if kept < replicas {
        stream.num_replicas = replicas;
        let raised = context.update_stream(&stream).await;
        raised.map_err(|error| too_few(&stream.name, kept, replicas, error))?;
    }
    Ok(store)
}

/// A value and its version, as the leader knows them: a replica may be behind.
pub async fn newest(store: &Store, key: &str) -> Result<Option<(Bytes, u64)>> {
    match store.stream.get_last_raw_message_by_subject(&format!("{}{key}", store.prefix)).await {
        // What was removed is there as a mark.
        Ok(message) if message.headers.get(OPERATION).is_some() => Ok(None),
        Ok(message) => Ok(Some((message.payload, message.sequence))),
        Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
        Err(error) => Err(unreachable(error)),
    }
}

fn lock(values: &Mutex<Values>) -> MutexGuard<'_, Values> {
    values.lock().expect("nobody panics while holding the values")
}

async fn follow(store: Store, mut watch: Watch, values: Arc<Mutex<Values>>) {
    loop {
        while let Some(next) = watch.next().await {
            match next {
                Ok(entry) => lock(&values).hear(entry),
                Err(error) => tracing::debug!(%error, "the state is not heard of"),
            }
        }
        watch = loop {
            tokio::time::sleep(AGAIN).await;
            match store.watch_with_history(">").await {
                Ok(watch) => break watch,
                Err(error) => tracing::debug!(%error, "the state cannot be followed"),
            }
        };
    }
}

impl State for KvState {
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
            let (name, value) = (escaped(key), bytes.clone().into());
            let put = match expected {
                0 => match self.store.create(name, value).await {
                    Ok(version) => Some(version),
                    Err(error) if error.kind() == CreateErrorKind::AlreadyExists || is_behind(&error) => None,
                    Err(error) => return Err(unreachable(error)),
                },
                expected => match self.store.update(name, value, expected).await {
                    Ok(version) => Some(version),
                    Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision || is_behind(&error) => None,
                    Err(error) => return Err(unreachable(error)),
                },
            };
            match put {
                Some(version) => self.values().set(key.to_owned(), bytes, version),
                None => self.refresh(key).await?,
            }
            Ok(put)
        })
    }

    fn heard(&self) -> u64 {
        self.heard.load(Ordering::Acquire)
    }

    fn catch_up(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async {
            let last = self.store.stream.get_info().await.map_err(unreachable)?.state.last_sequence;
            while self.values().seen < last {
                tokio::time::sleep(SOON).await;
            }
            Ok(())
        })
    }

    fn delete<'a>(&'a self, key: &'a str, expected: u64) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move {
            if expected == 0 || self.get(key)?.is_none_or(|value| value.version != expected) {
                return Ok(false);
            }
            match self.store.delete_expect_revision(escaped(key), Some(expected)).await {
                Ok(()) => {
                    self.values().remove(key.to_owned(), expected);
                    Ok(true)
                }
                Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision || is_behind(&error) => {
                    self.refresh(key).await?;
                    Ok(false)
                }
                Err(error) => Err(unreachable(error)),
            }
        })
    }
}

/// A key as the bucket takes it: no empty token, and no dot, so that it is one token.
fn escaped(key: &str) -> String {
    let mut name = String::with_capacity(key.len());
    escape::push(&mut name, key, |c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '/'));
    name
}

fn plain(name: &str) -> Option<String> {
    let mut key = Vec::with_capacity(name.len());
    escape::pull(&mut key, name)?;
    String::from_utf8(key).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_key_comes_back(key in "[a-z/.=~ é$]{1,20}") {
            prop_assert_eq!(plain(&escaped(&key)), Some(key));
        }
    }
}

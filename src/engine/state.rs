//! Small values that must survive: settings, marks, checkpoints. Never messages.

use super::BoxFuture;
use crate::model::Result;

/// Values by key, changed by compare-and-set. Keys are paths: `namespace/default`.
pub trait State: Send + Sync {
    /// The value of a key.
    fn get(&self, key: &str) -> Result<Option<Value>>;

    /// All whose key begins so, by key.
    fn list(&self, prefix: &str) -> Result<Vec<(String, Value)>>;

    /// Sets a key if its version is still `expected` (zero: there is none), else answers None. Durable once answered.
    fn put<'a>(&'a self, key: &'a str, bytes: Vec<u8>, expected: u64) -> BoxFuture<'a, Result<Option<u64>>>;

    /// Another number whenever something has become known here that others may have changed; always the same if there can be
    /// no others. Asked often: it asks nobody.
    fn heard(&self) -> u64 {
        0
    }

    /// Waits until all is known here that others had changed before.
    fn catch_up(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Removes a key if its version is still `expected`. Answers whether it was; durable once answered.
    fn delete<'a>(&'a self, key: &'a str, expected: u64) -> BoxFuture<'a, Result<bool>>;
}

/// A value and its version, which grows with every change and is never zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Changes with every change.
    pub version: u64,
}

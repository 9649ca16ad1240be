//! What the brokers that share an engine tell each other, as long as each of them is there. Never says what that is for.

use bytes::Bytes;
use tokio::sync::watch;

use super::BoxFuture;
use crate::model::Result;

/// The brokers of one engine that several share. Each has one word, and replaces it.
pub trait Members: Send + Sync + 'static {
    /// Says something from now on; nothing, if it is empty. Others hear of it soon.
    fn tell(&self, word: Bytes);

    /// Ends when what this broker said last can be heard.
    fn told(&self) -> BoxFuture<'_, Result<()>>;

    /// What the others say, as far as it was heard, and when that changes. What a broker said is forgotten some seconds
    /// after it is gone.
    fn others(&self) -> watch::Receiver<Vec<Bytes>>;

    /// Ends when all is heard that could be heard when it was called.
    fn catch_up(&self) -> BoxFuture<'_, Result<()>>;
}

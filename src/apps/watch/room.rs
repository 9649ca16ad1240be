//! How much waits to be published, between the thread that looks and the task that publishes. Counts, and holds nothing.

use std::sync::{Condvar, Mutex, MutexGuard};

use tokio::sync::Notify;

/// Changes that wait at most, and their bytes. One that is larger goes alone.
pub const CHANGES: u64 = 1_000;
const BYTES: u64 = 64 << 20;

/// What waits.
#[derive(Debug)]
pub struct Room {
    waiting: Mutex<Waiting>,
    freed: Condvar,
    filled: Notify,
}

#[derive(Clone, Copy, Debug, Default)]
struct Waiting {
    changes: u64,
    bytes: u64,
    stopped: bool,
}

impl Room {
    /// With what waits from before.
    pub fn new((changes, bytes): (u64, u64)) -> Self {
        let waiting = Waiting { changes, bytes, stopped: false };
        Room { waiting: Mutex::new(waiting), freed: Condvar::new(), filled: Notify::new() }
    }

    /// How many wait.
    pub fn changes(&self) -> u64 {
        self.waiting().changes
    }

    /// So many more wait.
    pub fn add(&self, changes: u64, bytes: u64) {
        let mut waiting = self.waiting();
        waiting.changes += changes;
        waiting.bytes += bytes;
        self.filled.notify_one();
    }

    /// So many are published.
    pub fn remove(&self, changes: u64, bytes: u64) {
        let mut waiting = self.waiting();
        waiting.changes = waiting.changes.saturating_sub(changes);
        waiting.bytes = if waiting.changes == 0 { 0 } else { waiting.bytes.saturating_sub(bytes) };
        self.freed.notify_all();
    }

    /// Nobody waits for room any more.
    pub fn stop(&self) {
        self.waiting().stopped = true;
        self.freed.notify_all();
    }

    /// Whether there is room for more beside these, which are not counted yet.
    pub fn has(&self, changes: u64, bytes: u64) -> bool {
        self.waiting().has(changes, bytes)
    }

    /// Waits for room; false if it was stopped.
    pub fn wait(&self) -> bool {
        let full = |waiting: &mut Waiting| !waiting.stopped && !waiting.has(0, 0);
        let waiting = self.freed.wait_while(self.waiting(), full);
        !waiting.expect("nobody panics while counting").stopped
    }

    /// Waits until something is to be published.
    pub async fn filled(&self) {
        while self.changes() == 0 {
            self.filled.notified().await;
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().expect("nobody panics while counting")
    }
}

impl Waiting {
    fn has(&self, changes: u64, bytes: u64) -> bool {
        self.changes + changes < CHANGES && self.bytes + bytes < BYTES
    }
}

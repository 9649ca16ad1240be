//! Who waits to hear what becomes of a message. They are told that something has changed, never what: each looks for itself.
//! Whoever settles looks whether there is anybody, once for all that he settles together.

use std::sync::Arc;

use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

use super::{hub::Hub, inner::Inner};

/// Those who wait; each has a clone.
#[derive(Clone, Default)]
pub(super) struct Onlookers(Arc<Notify>);

impl Onlookers {
    /// Something was settled or has failed, or nothing is handed out any more. To be called with the lock in hand, under
    /// which onlookers come: so none is missed.
    pub fn tell(&self) {
        if Arc::strong_count(&self.0) > 1 {
            self.0.notify_waiters();
        }
    }
}

impl Hub {
    /// Waits until this is so; until the deadline at most, and no longer than the broker hands anything out.
    pub(super) async fn watch(&self, deadline: Instant, is_so: impl Fn(&Inner) -> bool) {
        let onlookers = self.lock().onlookers.clone();
        let watching = async {
            loop {
                // It hears what is told from here on, and looks after that.
                let told = onlookers.0.notified();
                if is_so(&self.lock()) {
                    return;
                }
                told.await;
            }
        };
        tokio::select! {
            biased;
            _ = timeout_at(deadline, watching) => {}
            () = self.shared.closing.cancelled() => {}
        }
    }
}

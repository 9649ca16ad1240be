//! Subscriptions that nobody uses any more, and that want to be deleted then. One task a broker, asleep while there is none
//! of that kind. A restart of the broker counts as use.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep_until};

use super::hub::Hub;
use crate::{broker::Broker, model::Result};

/// However soon the next one is over: so many are looked at together.
const LOOK: Duration = Duration::from_millis(500);

impl Broker {
    /// Deletes what is idle for too long, from now on.
    pub(in crate::broker) fn watch_idle(self: &Arc<Self>) {
        let (broker, closing) = (Arc::downgrade(self), self.shared.closing.clone());
        let changed = self.subscriptions.changed.clone();
        let watch = async move {
            loop {
                let Some(next) = broker.upgrade().map(|broker| async move { broker.expire_idle().await }) else {
                    return;
                };
                match next.await {
                    None => changed.notified().await,
                    Some(next) => {
                        tokio::select! {
                            () = sleep_until(next.max(Instant::now() + LOOK)) => {}
                            () = changed.notified() => {}
                        }
                    }
                }
            }
        };
        self.runtime.spawn(async move { closing.run_until_cancelled(watch).await });
    }

    /// Deletes what is idle for too long by now. Answers when the next may be.
    async fn expire_idle(&self) -> Option<Instant> {
        let mut next: Option<Instant> = None;
        for hub in self.subscriptions.hubs() {
            let Some(until) = hub.idle_until() else { continue };
            if until > Instant::now() {
                next = Some(next.map_or(until, |next| next.min(until)));
            } else if let Err(error) = self.delete_idle(&hub).await {
                tracing::warn!(subscription = %hub.specification().name, %error, "an idle subscription is not deleted");
                next = Some(Instant::now() + LOOK);
            }
        }
        next
    }

    async fn delete_idle(&self, hub: &Hub) -> Result<()> {
        let _alone = self.changes.lock().await;
        let specification = hub.specification();
        let (namespace, name) = (&specification.namespace, &specification.name);
        // It may have been used, or deleted, meanwhile.
        let is_idle = hub.idle_until().is_some_and(|until| until <= Instant::now());
        match self.entry(namespace, name) {
            Ok(entry) if is_idle && std::ptr::eq(&*entry.hub, hub) => self.delete_entry(&entry).await,
            _ => Ok(()),
        }
    }
}

impl Hub {
    /// Until when it stays though nobody uses it; None if for ever.
    fn idle_until(&self) -> Option<Instant> {
        let inner = self.lock();
        let idle = inner.specification.expire_after_idle.filter(|_| inner.ended.is_none())?;
        // Who paused it wants it to be there later.
        let waits_for_somebody = inner.consumers.is_empty() && !inner.is_paused(self.shared.clock.now());
        let used = if waits_for_somebody { inner.used } else { Instant::now() };
        Some(used + idle)
    }
}

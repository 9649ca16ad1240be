//! Subscriptions that move: where one stands, told to whoever takes it elsewhere, and one that comes and goes on where it
//! was. Never knows of places in another log.

use std::sync::Arc;

use tokio::time::Instant;

use super::{
    catalog::{self, LEDGERS, changed_meanwhile},
    hub::Hub,
    ledger::Progress,
    stored::Kept,
};
use crate::{
    broker::{Broker, served::Place, transfer::Carried},
    engine::Value,
    model::{Error, NamespaceName, Reason, Result, SubscriptionName},
};

impl Broker {
    /// A subscription, and where it stands.
    pub(in crate::broker) async fn carry(&self, namespace: &NamespaceName, name: &SubscriptionName) -> Result<Carried> {
        let hub = self.adopted(namespace, name).await?;
        let Kept { pause, reason, specification, .. } = self.entry(namespace, name)?.kept;
        Ok(Carried { subscription: specification, pause, reason, progress: hub.progress() })
    }

    /// Creates a subscription that goes on from there. Its namespace's quota is not asked: it was there.
    pub(in crate::broker) async fn settle_down(&self, carried: Carried, place: &Arc<Place>) -> Result<()> {
        let Carried { subscription, pause, reason, progress } = carried;
        let (namespace, name) = (&subscription.namespace, &subscription.name);
        let _alone = self.changes.lock().await;
        if !Arc::ptr_eq(&self.served(namespace)?.place, place) {
            return Err(place.gone());
        }
        if self.subscriptions.look(namespace, name, |_| ()).is_some() {
            let message = format!("somebody has created a subscription {name} in namespace {namespace} meanwhile");
            return Err(Error::new(Reason::SubscriptionMismatch, message).field("name"));
        }
        // What it has settled first: without a specification it counts for nothing, the other way round all would come
        // again.
        let ledger = catalog::key(LEDGERS, namespace, name);
        self.remove_key(&ledger).await?;
        let bytes = progress.encode();
        let Some(version) = self.engine.state().put(&ledger, bytes.clone(), 0).await? else {
            return Err(changed_meanwhile(name));
        };
        let id = self.shared.clock.random();
        let kept = Kept { id, first: progress.read, pause, reason, specification: subscription };
        let stored = self.store_subscription(&kept, 0).await?;
        let entry = self.serve_from(kept, stored, place.clone(), Some(Value { bytes, version }))?;
        let kept = &entry.kept.specification;
        tracing::info!(namespace = %kept.namespace, subscription = %kept.name, "the subscription goes on here");
        Ok(())
    }
}

impl Hub {
    /// Where it stands.
    fn progress(&self) -> Progress {
        let (wall, now) = (self.shared.clock.now(), Instant::now());
        self.lock().ledger.progress(wall, now)
    }
}

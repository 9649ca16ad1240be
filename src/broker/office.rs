//! Working off the subscriptions where several brokers share an engine: only the one that holds the office does. It knows
//! them from the state when it gets it, and forgets them when it loses it. Never delivers.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, time::sleep};

use super::{Broker, Holder, Shared};
use crate::model::{Error, Reason, Result};

/// What cannot be read from the state is tried again after this. So often it is looked which namespaces there are, too.
const AGAIN: Duration = Duration::from_secs(1);

impl Shared {
    /// Whether this broker may work off subscriptions, at this moment.
    pub(super) fn works(&self) -> bool {
        self.office.as_ref().is_none_or(|office| office.is_mine())
    }

    /// What is told then.
    pub(super) fn does_not_work(&self) -> Error {
        let message = "another broker works off the subscriptions, or will in a moment: connect again";
        Error::new(Reason::EngineUnreachable, message).retry_after(AGAIN)
    }
}

impl Broker {
    /// Who works off the subscriptions, and when that changes; None if there is only this broker.
    pub fn worker(&self) -> Option<watch::Receiver<Holder>> {
        Some(self.shared.office.as_ref()?.holder())
    }

    /// Works off the subscriptions from now on, or whenever it is this broker that does.
    pub(super) async fn begin_work(self: &Arc<Self>) -> Result<()> {
        let Some(office) = &self.shared.office else { return self.open_subscriptions().await };
        let (mut holder, broker, closing) = (office.holder(), Arc::downgrade(self), self.shared.closing.clone());
        let follow = async move {
            // The term for which the subscriptions are served.
            let mut served = None;
            loop {
                let term = match *holder.borrow_and_update() {
                    Holder::Me(term) => Some(term),
                    Holder::Nobody | Holder::Other(_) => None,
                };
                let Some(broker) = broker.upgrade() else { return };
                if let Err(error) = broker.open_others().await {
                    tracing::warn!(%error, "the namespaces that others have made are not all served yet");
                }
                if served != term {
                    broker.close_subscriptions();
                    served = None;
                }
                if served.is_none() && term.is_some() {
                    match broker.take_over().await {
                        Ok(()) => served = term,
                        Err(error) => {
                            tracing::error!(%error, "the subscriptions cannot be worked off yet");
                            broker.close_subscriptions();
                        }
                    }
                }
                drop(broker);
                tokio::select! {
                    changed = holder.changed() => if changed.is_err() { return },
                    () = sleep(AGAIN) => {}
                }
            }
        };
        self.runtime.spawn(async move { closing.run_until_cancelled(follow).await });
        Ok(())
    }

    /// Goes on where another broker stopped.
    async fn take_over(&self) -> Result<()> {
        self.finish_deletions().await?;
        self.open_subscriptions().await
    }
}

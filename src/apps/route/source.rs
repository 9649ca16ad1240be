//! Where events come from: the durable subscription that all routers of a group share. Never reads an event.

use std::{fmt::Display, time::Duration};

use crate::{
    apps::{
        failure::Failure,
        output::wire_duration,
        patience::Patience,
        remote::{Remote, Tenant},
    },
    client::{self, Channel, Fault, within},
    pb::v1::{
        CreateSubscriptionRequest, DeliveryOrder, GetSubscriptionRequest, RetryPolicy, StartPosition, Subscription,
        start_position::{Position, Preset},
        subscription,
        subscriptions_client::SubscriptionsClient,
    },
};

/// Events of one key that may be under way: enough that a single key fills a burst.
const PER_KEY: u32 = 2_048;
/// How long a call may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The subscription.
#[derive(Clone, Debug)]
pub struct Source {
    /// Which broker.
    pub remote: Remote,
    /// Whose world.
    pub tenant: Tenant,
    /// Its topic.
    pub topic: String,
    /// Its name.
    pub group: String,
}

impl Source {
    /// Waits until the broker is there.
    pub async fn reach(&self, patience: &mut Patience) -> Result<(), Failure> {
        while let Err(fault) = self.remote.messages().await {
            let failure = self.remote.failure(fault.clone());
            if !fault.is_passing() || !patience.again(fault.retry_delay, &failure).await {
                return Err(failure);
            }
        }
        Ok(())
    }

    /// Sees to it that the subscription is there, and is one that keeps order. Answers what speaks against it, if it was made by
    /// somebody else.
    pub async fn ensure(&self, patience: &mut Patience) -> Result<Vec<String>, Failure> {
        let found = loop {
            match self.find().await {
                Ok(found) => break found,
                Err(fault) if fault.is_passing() => {
                    let failure = self.remote.failure(fault.clone());
                    if !patience.again(fault.retry_delay, &failure).await {
                        return Err(failure);
                    }
                }
                Err(fault) => return Err(self.remote.failure(fault)),
            }
        };
        self.check(&found)?;
        let name = &self.group;
        let slow = (found.max_outstanding_per_key() < PER_KEY).then(|| {
            let few = found.max_outstanding_per_key();
            format!(
                "subscription {name:?} lets {few} events of a key be under way: `tilde subscription update {name} \
                 --max-outstanding-per-key {PER_KEY}` makes it faster"
            )
        });
        let most = found.retry_policy.map_or(-1, |retry| retry.max_attempts);
        let gives_up = (most > 0).then(|| {
            format!(
                "subscription {name:?} gives an event up after {most} attempts, also if routers were killed meanwhile: `tilde \
                 subscription update {name} --max-attempts never` does not"
            )
        });
        let drops = found.dead_letter_policy.as_ref().is_some_and(|policy| policy.drop).then(|| {
            format!("subscription {name:?} keeps no dead letters: what cannot be routed is lost; --dead-letter-topic '' keeps it")
        });
        let filters = (!found.filter.is_empty())
            .then(|| format!("subscription {name:?} has a filter: what it leaves out is not routed"));
        let pauses = (found.state() == subscription::State::Paused)
            .then(|| format!("subscription {name:?} is paused: `tilde subscription resume {name}` lets it deliver"));
        Ok([slow, gives_up, drops, filters, pauses].into_iter().flatten().collect())
    }

    /// Events that are not settled yet.
    pub async fn backlog(&self) -> Option<u64> {
        Some(self.get().await.ok()?.stats?.backlog_messages)
    }

    async fn find(&self) -> Result<Subscription, Fault> {
        match self.get().await {
            Err(fault) if fault.reason.as_deref() == Some("SUBSCRIPTION_NOT_FOUND") => {}
            found => return found,
        }
        match self.create().await {
            // Another router of the group was faster.
            Err(fault) if fault.reason.as_deref() == Some("SUBSCRIPTION_MISMATCH") => self.get().await,
            created => created,
        }
    }

    async fn subscriptions(&self) -> Result<SubscriptionsClient<Channel>, Fault> {
        Ok(SubscriptionsClient::new(client::connect(&self.remote.broker).await?))
    }

    async fn get(&self) -> Result<Subscription, Fault> {
        let mut subscriptions = self.subscriptions().await?;
        let request = GetSubscriptionRequest { name: self.group.clone(), namespace: self.tenant.namespace.clone() };
        let answer = within(PATIENCE, request, |request| subscriptions.get_subscription(request)).await?;
        Ok(answer.subscription.unwrap_or_default())
    }

    async fn create(&self) -> Result<Subscription, Fault> {
        let mut subscriptions = self.subscriptions().await?;
        let subscription = Subscription {
            name: self.group.clone(),
            namespace: self.tenant.namespace.clone(),
            topics: vec![self.topic.clone()],
            delivery_order: DeliveryOrder::Key.into(),
            max_outstanding_per_key: Some(PER_KEY),
            start: Some(StartPosition { position: Some(Position::Preset(Preset::Earliest.into())) }),
            // A router says itself which events are dead; that one was killed says nothing against those that it had.
            retry_policy: Some(RetryPolicy {
                min_backoff: Some(wire_duration(Duration::ZERO)),
                max_backoff: Some(wire_duration(Duration::from_secs(10))),
                multiplier: 0.0,
                max_attempts: -1,
            }),
            ..Subscription::default()
        };
        let request = CreateSubscriptionRequest { subscription: Some(subscription) };
        let answer = within(PATIENCE, request, |request| subscriptions.create_subscription(request)).await?;
        Ok(answer.subscription.unwrap_or_default())
    }

    fn check(&self, found: &Subscription) -> Result<(), Failure> {
        let refuse = |what: &dyn Display| {
            let name = &self.group;
            Err(Failure::new(format!("subscription {name:?} {what}")).hint(format!(
                "name another --group-id, or change it: `tilde subscription update {name} {} --order key \
                 --max-outstanding-per-key {PER_KEY}`",
                self.topic
            )))
        };
        if found.delivery_order() != DeliveryOrder::Key {
            return refuse(&"is there and does not keep the order of keys");
        }
        if found.topics != [self.topic.as_str()] {
            return refuse(&format_args!("is there and reads {}, not {}", found.topics.join(" "), self.topic));
        }
        Ok(())
    }
}

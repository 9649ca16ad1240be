//! Whose subscriptions, at which broker, and how to print: what all subcommands have in common.

use crate::{
    apps::{
        failure::Failure,
        output::Format,
        remote::{Remote, Tenant},
    },
    client::{Channel, Fault},
    pb::v1::{
        GetSubscriptionRequest, Subscription, broker_client::BrokerClient, subscriptions_client::SubscriptionsClient,
    },
};

/// Whose, and where.
#[derive(clap::Args, Debug)]
pub struct Home {
    #[command(flatten)]
    tenant: Tenant,

    #[command(flatten)]
    remote: Remote,
}

/// Which subscription.
#[derive(clap::Args, Debug)]
pub struct Name {
    /// The subscription
    pub name: String,
}

/// How an answer is printed.
#[derive(clap::Args, Debug)]
pub struct Print {
    /// How to print
    #[arg(long, value_enum, default_value = "text", display_order = 900)]
    pub format: Format,
}

impl Home {
    /// The namespace.
    pub fn namespace(&self) -> String {
        self.tenant.namespace.clone()
    }

    /// Subscriptions themselves.
    pub async fn subscriptions(&self) -> Result<SubscriptionsClient<Channel>, Failure> {
        self.remote.subscriptions().await
    }

    /// What they deliver.
    pub async fn messages(&self) -> Result<BrokerClient<Channel>, Failure> {
        self.remote.messages().await.map_err(|fault| self.failure(fault))
    }

    /// One subscription as it stands.
    pub async fn get(&self, name: &Name) -> anyhow::Result<Subscription> {
        let request = GetSubscriptionRequest { name: name.name.clone(), namespace: self.namespace() };
        let answer = self.subscriptions().await?.get_subscription(request).await;
        given(answer.map_err(|status| self.failure(status))?.into_inner().subscription)
    }

    /// What to tell of a call that failed.
    pub fn failure(&self, fault: impl Into<Fault>) -> Failure {
        self.remote.failure(fault)
    }
}

/// The subscription that every answer has that is about one.
pub fn given(subscription: Option<Subscription>) -> anyhow::Result<Subscription> {
    subscription.ok_or_else(|| Failure::new("the broker's answer is empty").into())
}

//! Which broker, and whose world there: the flags that every client command has.

use std::future::Future;

use anyhow::Context;
use tokio::runtime;

use super::failure::Failure;
use crate::client::{self, ANSWER_BYTES, Channel, Client, DEFAULT_URL, Fault};
use crate::pb::v1::{
    broker_client::BrokerClient, namespaces_client::NamespacesClient, schemas_client::SchemasClient,
    subscriptions_client::SubscriptionsClient, topics_client::TopicsClient, transfer_client::TransferClient,
};

/// Rows asked for in one page of a listing: as many as the contract allows.
pub const PAGE_ROWS: u32 = 1_000;

/// Which broker.
#[derive(clap::Args, Clone, Debug)]
pub struct Remote {
    /// The broker: http://HOST:PORT, or just HOST:PORT or HOST; the port is 7126 if none is named
    #[arg(long, value_name = "URL", env = "TILDE_BROKER", default_value = DEFAULT_URL, global = true)]
    #[arg(help_heading = "Broker", value_parser = client::full_url)]
    pub broker: String,
}

/// Whose world.
#[derive(clap::Args, Clone, Debug)]
pub struct Tenant {
    /// The namespace; `default` exists unasked
    #[arg(long, value_name = "NAME", env = "TILDE_NAMESPACE", default_value = "default", global = true)]
    #[arg(help_heading = "Broker")]
    pub namespace: String,
}

impl Remote {
    /// Streams that come back by themselves. Connects when it is first used.
    pub fn client(&self, tenant: &Tenant) -> Result<Client, Failure> {
        let options = Client::options(&self.broker).namespace(&tenant.namespace);
        options.lazy().map_err(|fault| self.failure(fault))
    }

    /// Single calls of publish, subscribe and consume. The error is the bare fault, as it may be worth another try.
    pub async fn messages(&self) -> Result<BrokerClient<Channel>, Fault> {
        let channel = client::connect(&self.broker).await?;
        Ok(BrokerClient::new(channel).max_decoding_message_size(ANSWER_BYTES))
    }

    /// What is kept of topics.
    pub async fn topics(&self) -> Result<TopicsClient<Channel>, Failure> {
        Ok(TopicsClient::new(self.connect().await?))
    }

    /// The tenants.
    pub async fn namespaces(&self) -> Result<NamespacesClient<Channel>, Failure> {
        Ok(NamespacesClient::new(self.connect().await?))
    }

    /// Durable subscriptions.
    pub async fn subscriptions(&self) -> Result<SubscriptionsClient<Channel>, Failure> {
        // A page of those with many patterns is large.
        Ok(SubscriptionsClient::new(self.connect().await?).max_decoding_message_size(ANSWER_BYTES))
    }

    /// What payloads look like.
    pub async fn schemas(&self) -> Result<SchemasClient<Channel>, Failure> {
        Ok(SchemasClient::new(self.connect().await?).max_decoding_message_size(ANSWER_BYTES))
    }

    /// Namespaces that move.
    pub async fn transfer(&self) -> Result<TransferClient<Channel>, Failure> {
        Ok(TransferClient::new(self.connect().await?).max_decoding_message_size(ANSWER_BYTES))
    }

    /// What to tell of a call that failed.
    pub fn failure(&self, fault: impl Into<Fault>) -> Failure {
        Failure::call(&fault.into(), &self.broker)
    }

    async fn connect(&self) -> Result<Channel, Failure> {
        client::connect(&self.broker).await.map_err(|fault| self.failure(fault))
    }
}

/// Runs a client command. One thread keeps the connection going while the command itself reads and prints on the main
/// thread, where it may block.
pub fn run<T>(command: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("no thread can be started")?;
    let result = runtime.block_on(command);
    // Not waited for: a thread may be reading standard input, which ends when it likes.
    runtime.shutdown_background();
    result
}

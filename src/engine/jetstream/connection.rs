//! The connection to NATS: made as soon as a server can be reached, and again whenever it broke. Never asks for anything.

use std::{sync::Arc, time::Duration};

use async_nats::{Client, ConnectOptions, Event, ServerAddr};
use tokio::{sync::watch, time::timeout};

use super::{Config, unreachable, unusable};
use crate::model::Result;

/// A broken connection is tried again after this, then after twice as long, and so on, up to the second.
const RECONNECT: Duration = Duration::from_millis(50);
const RECONNECT_MOST: Duration = Duration::from_secs(1);
/// A server that says nothing is asked so often; after three times in vain another connection is made.
const PING: Duration = Duration::from_secs(3);
/// How long a connection may take until its lack is told.
const CONNECTING: Duration = Duration::from_secs(3);

/// Connects as soon as a server can be reached, and again whenever none could be.
pub async fn open(config: &Config, reach: Arc<watch::Sender<bool>>) -> Result<Client> {
    let mut options =
        ConnectOptions::new().name("tilde").retry_on_initial_connect().max_reconnects(None).ping_interval(PING);
    options = options.reconnect_delay_callback(|attempts| (RECONNECT * attempts as u32).min(RECONNECT_MOST));
    // Whether JetStream answers too is found out by whoever asks it: see the office.
    options = options.event_callback(move |event| {
        if let Event::Disconnected | Event::Closed = event {
            reach.send_replace(false);
        }
        std::future::ready(())
    });
    if let Some(file) = &config.credentials {
        let found = options.credentials_file(file).await;
        options = found.map_err(|error| unusable(format_args!("{}: {error}", file.display())))?;
    }
    if let Some(file) = &config.root_certificates {
        options = options.add_root_certificates(file.clone());
    }
    // All servers of a cluster know the same users.
    let servers: Result<Vec<ServerAddr>, _> = config.urls.iter().map(|url| url.parse()).collect();
    let servers = servers.map_err(unusable)?;
    let user = servers.iter().find_map(|server| Some((server.username()?.to_owned(), server.password()?.to_owned())));
    if let Some((user, password)) = user {
        options = options.user_and_password(user, password);
    }
    options.connect(servers).await.map_err(unusable)
}

/// Whether a server has let this broker in.
pub async fn check(client: &Client, urls: &[String]) -> Result<()> {
    match timeout(CONNECTING, client.flush()).await {
        Ok(Ok(())) => Ok(()),
        _ => Err(unreachable(format_args!("no server lets this broker in at {}", told(urls)))),
    }
}

/// URLs as they may be told: without passwords.
pub fn told(urls: &[String]) -> String {
    let told = |url: &String| match url
        .split_once("://")
        .and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once('@')?.1)))
    {
        Some((scheme, server)) => format!("{scheme}://{server}"),
        None => url.clone(),
    };
    urls.iter().map(told).collect::<Vec<_>>().join(",")
}

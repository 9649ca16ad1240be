//! The broker, as this receiver knows it: by the profile's plain HTTP.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::apps::failure::Failure;

/// How long an answer may take: longer than the broker waits for what it is pushing just now.
const PATIENCE: Duration = Duration::from_secs(40);

/// Where the profile is served, and as whom it knows this receiver.
#[derive(Debug)]
pub struct Hub {
    base: String,
    url: String,
    http: reqwest::Client,
}

/// What waited.
#[derive(Deserialize)]
struct Inbox {
    messages: Vec<Waiting>,
}

/// A message that waited.
#[derive(Deserialize)]
struct Waiting {
    ack_id: String,
    message: Value,
}

impl Hub {
    /// Of the profile at `base`, for the receiver at `url`.
    pub fn new(base: &str, url: String) -> anyhow::Result<Self> {
        // Both ends of it are on this machine or in one network: without a proxy, and plain unless the URL says otherwise.
        let provider = rustls::crypto::ring::default_provider().install_default();
        debug_assert!(provider.is_ok(), "a command makes one client");
        let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build()?;
        Ok(Hub { base: base.trim_end_matches('/').to_owned(), url, http })
    }

    /// As whom the profile knows this receiver.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Subscribes this receiver.
    pub async fn subscribe(&self, topic: &str) -> Result<(), Failure> {
        let mut there = self.at("/subscribe/")?;
        there.path_segments_mut().map_err(|()| self.no_url())?.pop_if_empty().push(topic);
        self.send(self.http.post(there).json(&json!({ "url": self.url }))).await.map(drop)
    }

    /// Fetches what waits, and acknowledges it.
    pub async fn fetch(&self) -> Result<Vec<Value>, Failure> {
        let mut there = self.at("/inbox")?;
        there.query_pairs_mut().append_pair("url", &self.url);
        let answer = self.send(self.http.get(there)).await?;
        let inbox: Inbox = serde_json::from_slice(&answer)
            .map_err(|error| Failure::new(format!("what {} answered is no inbox: {error}", self.base)))?;
        let (ack_ids, messages): (Vec<_>, Vec<_>) =
            inbox.messages.into_iter().map(|waiting| (waiting.ack_id, waiting.message)).unzip();
        if !ack_ids.is_empty() {
            let settled = json!({ "url": self.url, "ack_ids": ack_ids });
            self.send(self.http.post(self.at("/inbox/ack")?).json(&settled)).await?;
        }
        Ok(messages)
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Vec<u8>, Failure> {
        let failed = |error: reqwest::Error| {
            Failure::new(format!("cannot reach the profile webhook-inbox at {}: {error}", self.base))
                .hint("is `tilde serve --profile webhook-inbox=ADDR` running there? --hub URL names another")
        };
        let answer = request.send().await.map_err(failed)?;
        let status = answer.status();
        let body = answer.bytes().await.map_err(failed)?;
        match status.is_success() {
            true => Ok(body.to_vec()),
            false => Err(Failure::new(format!("{} answered {status}: {}", self.base, String::from_utf8_lossy(&body)))),
        }
    }

    fn at(&self, path: &str) -> Result<url::Url, Failure> {
        url::Url::parse(&format!("{}{path}", self.base)).map_err(|_| self.no_url())
    }

    fn no_url(&self) -> Failure {
        Failure::usage(format!("{} is no URL: write it as in http://127.0.0.1:8000", self.base))
    }
}

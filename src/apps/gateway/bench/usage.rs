//! What the gateway takes of its machine, as its counters tell it.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use serde::Serialize;
use tokio::time::sleep;

/// How often it is asked.
const EVERY: Duration = Duration::from_millis(200);

/// What it took at the start, at most, and at the end. All zero if it was not asked.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Used {
    /// System threads before the first request.
    pub gateway_threads_before: u64,
    /// The most that were seen.
    pub gateway_threads_most: u64,
    /// The most callers that were seen waiting.
    pub gateway_waiting_most: u64,
    /// Memory before the first request.
    pub gateway_resident_before: u64,
    /// The most that was seen.
    pub gateway_resident_most: u64,
    /// After the last answer, and a pause.
    pub gateway_resident_after: u64,
}

/// Asks every so often.
#[derive(Clone, Debug)]
pub struct Usage {
    url: String,
    http: reqwest::Client,
    used: Arc<Mutex<Used>>,
}

impl Usage {
    /// Of the gateway whose counters are at this URL.
    pub fn new(url: String) -> anyhow::Result<Usage> {
        // Without a provider the client cannot be made; that another has been installed already does no harm.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build()?;
        Ok(Usage { url, http, used: Arc::default() })
    }

    /// Looks once.
    pub async fn look(&self) -> anyhow::Result<Used> {
        let text = self.http.get(&self.url).send().await?.error_for_status()?.text().await?;
        let value = |name: &str| {
            let name = format!("tilde_gateway_{name} ");
            text.lines().find_map(|line| line.strip_prefix(&name)?.parse::<u64>().ok()).unwrap_or_default()
        };
        let (threads, resident) = (value("process_threads"), value("process_resident_memory_bytes"));
        let mut used = self.used.lock().expect("nobody panics while holding it");
        if used.gateway_threads_before == 0 {
            (used.gateway_threads_before, used.gateway_resident_before) = (threads, resident);
        }
        used.gateway_threads_most = used.gateway_threads_most.max(threads);
        used.gateway_resident_most = used.gateway_resident_most.max(resident);
        used.gateway_waiting_most = used.gateway_waiting_most.max(value("waiting"));
        used.gateway_resident_after = resident;
        Ok(*used)
    }

    /// Looks until it is dropped.
    pub async fn watch(self) {
        loop {
            // A gateway that is busy is asked again.
            let _ = self.look().await;
            sleep(EVERY).await;
        }
    }
}

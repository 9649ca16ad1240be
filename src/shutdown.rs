//! The one request to stop, from wherever it comes: a signal, the `Drain` call, a test. Never stops anything itself.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio_util::sync::CancellationToken;

/// Asks the process to stop, once. Clones ask for, and wait for, the same.
#[derive(Clone, Debug, Default)]
pub struct Shutdown(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    requested: CancellationToken,
    grace: OnceLock<Duration>,
}

impl Shutdown {
    /// Asks to stop. The first to name a grace time decides it; later requests change nothing.
    pub fn request(&self, grace: Option<Duration>) {
        if let (false, Some(grace)) = (self.0.requested.is_cancelled(), grace) {
            let _ = self.0.grace.set(grace);
        }
        self.0.requested.cancel();
    }

    /// Ends when somebody asked.
    pub async fn requested(&self) {
        self.0.requested.cancelled().await;
    }

    /// The grace time that was asked for, if one was.
    pub fn grace(&self) -> Option<Duration> {
        self.0.grace.get().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_request_decides() {
        let shutdown = Shutdown::default();
        let waiting = shutdown.clone();
        shutdown.request(Some(Duration::from_secs(3)));
        shutdown.request(Some(Duration::from_secs(9)));
        waiting.requested().await;
        assert_eq!(waiting.grace(), Some(Duration::from_secs(3)));
    }
}

//! The accept loop: takes connections until it is told to stop, and survives whatever the system says meanwhile.

use std::{io, sync::Arc, time::Duration};

use rustix::net::sockopt::set_tcp_user_timeout;
use tokio::{
    net::{TcpListener, TcpStream},
    time::{Instant, sleep},
};
use tokio_util::task::TaskTracker;

use super::{connection::Connections, counters::Counters};

/// How long to wait after an error that another try would meet again, as having no file left to open.
const BACK_OFF: Duration = Duration::from_millis(100);
/// One line of its kind in the log at most so often.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// Takes connections and hands each to a task of its own.
pub struct Acceptor {
    /// Where they come in.
    pub listener: TcpListener,
    /// What serves them.
    pub connections: Arc<Connections>,
    /// The tasks that serve them.
    pub tasks: TaskTracker,
    /// Counts them.
    pub counters: Arc<Counters>,
    /// Open at the same time.
    pub most: usize,
    /// A connection is closed when its other side has taken nothing of what is sent for so long.
    pub patience: Duration,
}

impl Acceptor {
    /// Takes connections for ever: ends by being dropped, which closes the port.
    pub async fn run(self) {
        let mut refusals = Throttle::default();
        let mut errors = Throttle::default();
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => self.take(stream, &mut refusals),
                Err(error) if is_about_one_connection(&error) => {}
                Err(error) => {
                    if errors.allows() {
                        tracing::error!(%error, "no connections can be taken; trying again. If files ran out, raise their limit");
                    }
                    sleep(BACK_OFF).await;
                }
            }
        }
    }

    fn take(&self, stream: TcpStream, refusals: &mut Throttle) {
        let Some(open) = self.counters.open(self.most) else {
            if refusals.allows() {
                tracing::warn!(limit = self.most, "connections are closed at once: too many are open");
            }
            return;
        };
        // The library's sign of life waits behind what a client that stands still does not take. The system sees that.
        let patience = self.patience.as_millis().try_into().unwrap_or(u32::MAX);
        if let Err(error) = stream.set_nodelay(true).and_then(|()| Ok(set_tcp_user_timeout(&stream, patience)?)) {
            tracing::debug!(%error, "a connection was gone before it began");
            return;
        }
        self.tasks.spawn(Arc::clone(&self.connections).serve(stream, open));
    }
}

/// The connection that was being taken went away; the next one is not concerned.
fn is_about_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

/// Lets a line into the log at most once in a while.
#[derive(Default)]
struct Throttle(Option<Instant>);

impl Throttle {
    fn allows(&mut self) -> bool {
        let allowed = self.0.is_none_or(|last| last.elapsed() >= LOG_INTERVAL);
        if allowed {
            self.0 = Some(Instant::now());
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_errors_is_no_flood_of_lines() {
        let mut throttle = Throttle::default();
        assert!(throttle.allows() && !throttle.allows());
        tokio::time::advance(LOG_INTERVAL).await;
        assert!(throttle.allows() && !throttle.allows());
    }
}

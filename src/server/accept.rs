//! The accept loop: takes connections until it is told to stop, and survives whatever the system says meanwhile.

use std::{io, sync::Arc, time::Duration};

use rustix::net::sockopt::set_tcp_user_timeout;
use tokio::{
    net::{TcpListener, TcpStream},
    time::{Instant, sleep},
};
use tokio_util::task::TaskTracker;

use super::{
    connection::{Connections, Io},
    counters::Counters,
};

/// How long to wait after an error that another try would meet again, as having no file left to open.
const BACK_OFF: Duration = Duration::from_millis(100);
/// One line of its kind in the log at most so often.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// Where connections come in: a port, or what stands for one in a simulation.
pub trait Listen: Send {
    /// One connection.
    type Io: Io;

    /// The next one.
    fn accept(&self) -> impl Future<Output = io::Result<Self::Io>> + Send;

    /// Sets it up. Its other side may take nothing of what is sent for as long as `patience`; then it is to be closed.
    fn set_up(io: &Self::Io, patience: Duration) -> io::Result<()>;
}

impl Listen for TcpListener {
    type Io = TcpStream;

    async fn accept(&self) -> io::Result<TcpStream> {
        Ok(TcpListener::accept(self).await?.0)
    }

    fn set_up(io: &TcpStream, patience: Duration) -> io::Result<()> {
        io.set_nodelay(true)?;
        // The library's sign of life waits behind what a client that stands still does not take. The system sees that.
        Ok(set_tcp_user_timeout(io, patience.as_millis().try_into().unwrap_or(u32::MAX))?)
    }
}

/// Takes connections and hands each to a task of its own.
pub struct Acceptor<L> {
    /// Where they come in.
    pub listener: L,
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

impl<L: Listen> Acceptor<L> {
    /// Takes connections for ever: ends by being dropped, which closes the port.
    pub async fn run(self) {
        let mut refusals = Throttle::default();
        let mut errors = Throttle::default();
        loop {
            match self.listener.accept().await {
                Ok(io) => self.take(io, &mut refusals),
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

    fn take(&self, io: L::Io, refusals: &mut Throttle) {
        let Some(open) = self.counters.open(self.most) else {
            if refusals.allows() {
                tracing::warn!(limit = self.most, "connections are closed at once: too many are open");
            }
            return;
        };
        if let Err(error) = L::set_up(&io, self.patience) {
            tracing::debug!(%error, "a connection was gone before it began");
            return;
        }
        self.tasks.spawn(Arc::clone(&self.connections).serve(io, open));
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

//! Opens the port, and closes it again without hurting anyone.

use std::{convert::Infallible, future::Future, io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use futures_util::future::join_all;
use tokio::{
    net::{TcpListener, TcpSocket},
    time::{Instant, timeout, timeout_at},
};
use tokio_util::task::TaskTracker;

use super::{
    Config,
    accept::{Acceptor, Listen},
    calls::{Calls, Parts},
    connection::Connections,
    counters::Counters,
    front::Front,
    http::{
        Origins, Pages, Plain, Rest,
        profiles::{Profile, schema_registry::SchemaRegistry},
    },
    layer,
    local::Local,
    readiness::{Readiness, State},
    routes::Routes,
    webhook::Webhooks,
};
use crate::{broker::Broker, model::Error, process, shutdown::Shutdown, telemetry::Metrics};

/// Files that the broker opens besides connections: segments, the state, the log of the process.
const OTHER_FILES: u64 = 1_024;
/// How long to wait for what should have ended, and is only late.
const LATE: Duration = Duration::from_secs(1);

/// A port that is open, with nobody behind it yet: connections wait in the system's queue.
#[derive(Debug)]
pub struct Bound<L = TcpListener> {
    listener: L,
    local_addr: SocketAddr,
    config: Config,
    profiles: Vec<(TcpListener, Profile)>,
}

/// How it went.
#[derive(Debug)]
pub struct Ended {
    /// Why the broker stopped by itself; none if it was asked to.
    pub failure: Option<Error>,
    /// Connections that were cut, as they had not ended when the grace time was over.
    pub cut: usize,
}

/// Opens the port. The process may open as many files as the system allows from here on.
pub async fn bind(mut config: Config) -> io::Result<Bound> {
    if let Some(files) = process::raise_open_files() {
        let room = usize::try_from(files.saturating_sub(OTHER_FILES).max(files / 2)).unwrap_or(usize::MAX);
        config.max_connections = config.max_connections.min(room);
    }
    let listener = listen(config.listen, config.backlog)?;
    let opened = config.profiles.drain(..).map(|(at, profile)| Ok((listen(at, config.backlog)?, profile)));
    let profiles = opened.collect::<io::Result<_>>()?;
    Ok(Bound { local_addr: listener.local_addr()?, listener, config, profiles })
}

fn listen(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A port whose last user just left is free.
    socket.set_reuseaddr(true)?;
    let refused = |error: io::Error| io::Error::new(error.kind(), format!("{address}: {error}"));
    socket.bind(address).map_err(refused)?;
    socket.listen(backlog).map_err(refused)
}

/// Opens the port and serves until it is told to stop: [`bind`] and [`Bound::serve`] in one.
pub async fn run(
    config: Config,
    broker: Arc<Broker>,
    metrics: Arc<Metrics>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<Ended> {
    Ok(bind(config).await?.serve(broker, metrics, shutdown).await)
}

impl<L: Listen> Bound<L> {
    /// One whose connections come in elsewhere than at a port of the system.
    pub fn over(listener: L, local_addr: SocketAddr, config: Config) -> Self {
        Bound { listener, local_addr, config, profiles: Vec::new() }
    }

    /// Where it listens: the port that was taken, if any was wanted.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Where the other systems are served.
    pub fn profile_addrs(&self) -> impl Iterator<Item = (&'static str, SocketAddr)> {
        self.profiles.iter().filter_map(|(listener, profile)| Some((profile.name(), listener.local_addr().ok()?)))
    }

    /// Serves a broker, as [`Bound::serve_once_open`] says.
    pub async fn serve(self, broker: Arc<Broker>, metrics: Arc<Metrics>, shutdown: impl Future<Output = ()>) -> Ended {
        let opening = std::future::ready(Ok::<_, Infallible>(broker));
        let Ok(ended) = self.serve_once_open(opening, metrics, shutdown).await;
        ended
    }

    /// Serves until `shutdown` ends, a client asks for a drain, or the engine fails. Then drains: not healthy, no new
    /// connections, live streams are told and end, calls end; what has not ended when the grace time is over is cut.
    /// While the broker is opening it is not healthy, and calls are refused. Fails as the opening fails.
    pub async fn serve_once_open<E>(
        self,
        opening: impl Future<Output = Result<Arc<Broker>, E>>,
        metrics: Arc<Metrics>,
        shutdown: impl Future<Output = ()>,
    ) -> Result<Ended, E> {
        let Bound { listener, local_addr, config, profiles } = self;
        let asked = Shutdown::default();
        let readiness = Readiness::new().await;
        let counters = Arc::new(Counters::default());
        let pages = Pages { metrics, counters: Arc::clone(&counters), readiness: readiness.clone() };
        let front = Front::new(Some(pages.clone()));
        let connections = Arc::new(Connections::new(&config, layer::stack(front.clone(), config.request_timeout)));
        let tasks = TaskTracker::new();
        let beside: Vec<_> = profiles
            .into_iter()
            .map(|(listener, profile)| {
                let is_home = listener.local_addr().is_ok_and(|address| address.ip().is_loopback());
                let origins = Origins::new(&config.allow_origins, is_home);
                let front = Front::new(None);
                let connections = Arc::new(connections.beside(layer::stack(front.clone(), config.request_timeout)));
                ((profile, front, origins), accept(listener, &connections, &tasks, &counters, &config).run())
            })
            .collect();
        let acceptor = accept(listener, &connections, &tasks, &counters, &config);
        let (profiles, others): (Vec<_>, Vec<_>) = beside.into_iter().unzip();
        // Boxed, so that the ports close when the broker begins to drain.
        let mut accepting = Box::pin(async { tokio::join!(acceptor.run(), join_all(others)) });
        let mut shutdown = pin!(shutdown);
        let broker = tokio::select! {
            biased;
            opened = opening => opened?,
            // What is half open is as after a crash, which it must survive anyway.
            () = &mut shutdown => return Ok(Ended { failure: None, cut: 0 }),
            _ = &mut accepting => return Ok(Ended { failure: None, cut: 0 }),
        };
        let webhooks = Arc::new(Webhooks::new(Arc::clone(&broker)));
        let pushing = tokio::spawn({
            let webhooks = Arc::clone(&webhooks);
            async move { webhooks.run().await }
        });
        let calls = Arc::new(Calls::new(Parts {
            broker: broker.clone(),
            webhooks,
            readiness: &readiness,
            shutdown: asked.clone(),
            streams_per_connection: config.max_connection_streams,
        }));
        let rest = Rest::new(broker.clone(), calls.clone());
        let local = Local::new(broker.clone(), calls.clone());
        let origins = Origins::new(&config.allow_origins, local_addr.ip().is_loopback());
        let plain = Plain::new(pages, rest, SchemaRegistry::beside(local.clone()), calls.clone(), origins);
        for (profile, front, origins) in profiles {
            front.open(Routes::Profile(profile.serve(local.clone()), origins));
        }
        front.open(Routes::Contract(calls, plain));
        tracing::info!(listen = %local_addr, "open");

        let failure = tokio::select! {
            // Whoever comes when it is to stop comes too late.
            biased;
            error = broker.engine().failed() => Some(error),
            () = shutdown => None,
            () = asked.requested() => None,
            () = tell(&broker, &readiness) => None,
            _ = accepting => None,
        };
        if let Some(error) = &failure {
            tracing::error!(%error, "the engine failed: the broker stops");
        }
        readiness.set(if failure.is_some() { State::Failed } else { State::Draining }).await;
        let grace = asked.grace().unwrap_or(config.drain_grace);
        let cut = drain(&broker, &readiness, &connections, &tasks, grace).await;
        // Its sessions have ended by now.
        pushing.abort();
        Ok(Ended { failure, cut })
    }
}

/// Takes connections at one port.
fn accept<L: Listen>(
    listener: L,
    connections: &Arc<Connections>,
    tasks: &TaskTracker,
    counters: &Arc<Counters>,
    config: &Config,
) -> Acceptor<L> {
    Acceptor {
        listener,
        connections: connections.clone(),
        tasks: tasks.clone(),
        counters: counters.clone(),
        most: config.max_connections,
        patience: config.keepalive_interval + config.keepalive_timeout,
    }
}

/// Tells whether the broker is ready, as long as it runs.
async fn tell(broker: &Broker, readiness: &Readiness) {
    let Some(mut reach) = broker.engine().reach() else {
        readiness.set(State::Ready).await;
        return std::future::pending().await;
    };
    loop {
        let is_reached = *reach.borrow_and_update();
        readiness.set(if is_reached { State::Ready } else { State::Waiting }).await;
        if reach.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

/// Answers how many connections were cut.
async fn drain(
    broker: &Broker,
    readiness: &Readiness,
    connections: &Connections,
    tasks: &TaskTracker,
    grace: Duration,
) -> usize {
    tracing::info!(connections = tasks.len(), ?grace, "draining");
    let deadline = Instant::now() + grace;
    tasks.close();
    match broker.drain(grace).await {
        0 => {}
        streams => tracing::info!(streams, "the grace time is over: the streams that still deliver are ended"),
    }
    readiness.end_watches().await;
    connections.closing.cancel();
    if timeout_at(deadline + LATE, tasks.wait()).await.is_ok() {
        tracing::info!("drained: every call ended by itself");
        return 0;
    }
    let cut = tasks.len();
    connections.cutting.cancel();
    let gone = timeout(LATE, tasks.wait()).await.is_ok();
    tracing::warn!(connections = cut, gone, "cut what had not ended within the grace time");
    cut
}

//! One namespace as it is served. Never changes what is stored.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

use tokio::{runtime::Handle, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    Shared, Versioned, call::Replies, filters::Filters, rate::Rate, router::Router, schedule::Schedule,
    schemas::Registry,
};
use crate::{
    engine::Log,
    model::{Cursor, Error, LogId, Namespace, NamespaceName, Reason, Result, Sequence},
    telemetry::NamespaceMetrics,
};

/// A namespace with the settings in force. A change of settings makes another one with the same [`Place`], so that
/// whoever publishes finds everything with one look and no further lock.
pub struct Served {
    pub settings: Namespace,
    /// Of the settings, as the engine's state counts it.
    pub version: u64,
    pub rate: Rate,
    pub place: Arc<Place>,
}

/// What of a namespace outlives a change of its settings.
pub struct Place {
    pub name: NamespaceName,
    pub log: Arc<dyn Log>,
    pub log_id: LogId,
    pub router: Arc<Router>,
    pub filters: Arc<Filters>,
    pub schedule: Schedule,
    /// Who waits for replies to calls.
    pub replies: Replies,
    /// What payloads look like.
    pub schemas: Registry,
    pub metrics: Arc<NamespaceMetrics>,
    /// For what must go on by itself.
    pub runtime: Handle,
    streams: AtomicU32,
    deleted: AtomicBool,
    /// Cancelled when its publish streams must end: the broker drains, or the namespace is gone.
    pub closing: CancellationToken,
}

impl Served {
    /// Serves a namespace with these settings from now on.
    pub fn new(settings: Namespace, version: u64, place: Arc<Place>) -> Self {
        Served { rate: Rate::new(&settings, Instant::now()), settings, version, place }
    }

    /// As others see it.
    pub fn versioned(&self) -> Versioned {
        Versioned { namespace: self.settings.clone(), etag: self.version.to_string() }
    }

    /// Lets a stream in if there may be one more.
    pub fn admit(&self, broker: &Arc<Shared>) -> Result<Admission> {
        let most = self.settings.max_streams.unwrap_or(u32::MAX);
        // Whoever finds too many takes his own back: two that come at the same time may both be refused, none too many
        // is let in.
        let before = self.place.streams.fetch_add(1, Ordering::SeqCst);
        broker.streams.fetch_add(1, Ordering::SeqCst);
        self.place.metrics.streams.inc();
        let admission = Admission { broker: broker.clone(), place: self.place.clone(), is_counted: true };
        if before < most {
            return Ok(admission);
        }
        let message = format!(
            "namespace {} has {most} streams open, as many as it may: close one, or raise its max_streams",
            self.settings.name
        );
        Err(Error::new(Reason::TooManyStreams, message).with("limit", most))
    }

    /// Lets in what the broker itself works on: nobody's quota is asked, and a stop waits for it as for any stream.
    pub fn admit_own(&self, broker: &Arc<Shared>) -> Admission {
        broker.streams.fetch_add(1, Ordering::SeqCst);
        Admission { broker: broker.clone(), place: self.place.clone(), is_counted: false }
    }
}

impl Place {
    /// Serves a log: from now on the streams are told of its blocks.
    pub fn new(
        name: NamespaceName,
        log: Arc<dyn Log>,
        schemas: Registry,
        metrics: Arc<NamespaceMetrics>,
        runtime: Handle,
        closing: CancellationToken,
    ) -> Result<Arc<Self>> {
        let router = Arc::new(Router::new(log.tail().committed(), runtime.clone()));
        if !log.tail().follow(router.clone()) {
            let message = format!("namespace {name} is served by another broker of this process already");
            return Err(Error::new(Reason::Internal, message));
        }
        let log_id = log.bounds().id;
        let (schedule, replies, streams, deleted) = Default::default();
        let filters = Arc::new(Filters::new(metrics.clone()));
        Ok(Arc::new(Place {
            name,
            log,
            log_id,
            router,
            filters,
            schedule,
            replies,
            schemas,
            metrics,
            runtime,
            streams,
            deleted,
            closing,
        }))
    }

    /// The cursor of whoever has dealt with everything up to here.
    pub fn cursor(&self, after: Sequence) -> Cursor {
        Cursor { log: self.log_id, after, waits: false }
    }

    /// Ends all streams: the namespace is gone.
    pub fn delete(&self) {
        self.deleted.store(true, Ordering::SeqCst);
        self.closing.cancel();
        self.router.wake_all();
    }

    /// What its streams are told then.
    pub fn gone(&self) -> Error {
        let message = format!("namespace {} was deleted, with all that it held", self.name);
        Error::new(Reason::NamespaceNotFound, message)
    }

    /// Whether the namespace is gone.
    pub fn is_deleted(&self) -> bool {
        self.deleted.load(Ordering::Relaxed)
    }
}

/// A stream that was let in; it goes with this.
pub struct Admission {
    pub broker: Arc<Shared>,
    pub place: Arc<Place>,
    // As one of its namespace's streams.
    is_counted: bool,
}

impl Drop for Admission {
    fn drop(&mut self) {
        if self.is_counted {
            self.place.streams.fetch_sub(1, Ordering::SeqCst);
            self.place.metrics.streams.dec();
        }
        if self.broker.streams.fetch_sub(1, Ordering::SeqCst) == 1 && self.broker.deadline.get().is_some() {
            self.broker.deserted.notify_waiters();
        }
    }
}

//! The only place that decides: who may publish what, who receives what, from where and until when. Never hears of
//! protobuf, HTTP or files.

mod beginning;
pub mod call;
mod filters;
pub mod live;
pub mod namespaces;
mod office;
mod position;
pub mod publish;
pub mod publish_stream;
mod pulse;
mod rate;
mod router;
mod schedule;
pub mod schemas;
mod served;
mod snapshot;
pub mod subscription;
pub mod topics;
pub mod transfer;

use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock, RwLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::{Notify, Semaphore},
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;

pub use call::{Call, Replied};
pub use live::{Closing, Event, Heartbeat, LiveStream, Started, Subscribe};
pub use namespaces::{Change, Versioned};
pub use publish::{Publish, Published};
pub use publish_stream::{Answer, OpenPublishStream, PublishEvent, PublishStream, PublishedRun};
pub use subscription::{Described, PushAttempt, Pushing, Resend, SubscriptionChange};
pub use topics::Purged;

use self::{call::responders::Responders, schemas::Lookup, served::Served, subscription::Entries};
pub use crate::engine::{Holder, TopicStats};
use crate::{
    clock::Clock,
    engine::{Engine, Office},
    model::{Error, NamespaceName, Reason, Result, Targets, Timestamp, limits},
    telemetry::Metrics,
};

/// The broker's own sizes.
#[derive(Clone, Debug)]
pub struct Config {
    /// Bytes that one encoded message may have.
    pub message_bytes: usize,
    /// Bytes of messages that may wait to be stored, over all namespaces. Beyond, publishers wait.
    pub pending_bytes: usize,
    /// Messages and bytes in one response of a live stream, at most (a larger message goes alone). A stream whose client
    /// does not read holds two responses, one in the transport and one that waits for it: the bytes are what a thousand
    /// stuck readers cost, and with the frame around them fit a size class of the allocator.
    pub response_messages: usize,
    /// See `response_messages`.
    pub response_bytes: usize,
    /// Memory for what is left of streams' snapshots, over all namespaces.
    pub snapshot_bytes: usize,
    /// Calls that may wait for their replies, over all namespaces.
    pub calls: usize,
    /// Where webhooks may go.
    pub targets: Targets,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            message_bytes: limits::MESSAGE_BYTES,
            pending_bytes: 64 << 20,
            response_messages: 512,
            response_bytes: (20 << 10) - 512,
            snapshot_bytes: 64 << 20,
            calls: 100_000,
            targets: Targets::default(),
        }
    }
}

/// Publishes, delivers, and keeps the namespaces and the subscriptions. One a process.
pub struct Broker {
    engine: Arc<dyn Engine>,
    metrics: Arc<Metrics>,
    // Where messages go that name no namespace.
    default: NamespaceName,
    shared: Arc<Shared>,
    // One permit a byte.
    pending: Arc<Semaphore>,
    pending_bytes: u32,
    // One permit a call that waits.
    calls: Arc<Semaphore>,
    // What other brokers have registered.
    schema_lookup: Lookup,
    // Wakes streams; the log's own thread is not one of the runtime's.
    runtime: Handle,
    namespaces: RwLock<HashMap<NamespaceName, Arc<Served>>>,
    subscriptions: Entries,
    // Namespaces and subscriptions are changed one after the other.
    changes: tokio::sync::Mutex<()>,
}

/// How long keeping what was settled may take when the grace time is over.
const KEEPING: Duration = Duration::from_secs(5);

/// What streams need of the broker.
struct Shared {
    engine: Arc<dyn Engine>,
    // Whoever holds it works off the subscriptions, if there are several brokers.
    office: Option<Arc<dyn Office>>,
    clock: Arc<dyn Clock>,
    config: Config,
    // Who answers calls.
    responders: Arc<Responders>,
    // Where replies to calls are awaited.
    reply_topic: String,
    // When the last stream must have ended; set once, when the broker drains.
    deadline: OnceLock<Instant>,
    // Cancelled right after that, for whoever is not woken by a router.
    closing: CancellationToken,
    // The broker drains, and all that it had taken is stored: nothing more will come.
    settled: AtomicBool,
    streams: AtomicUsize,
    // One permit a step of a search for a beginning.
    steps: Semaphore,
    // One permit a search that remembers topics.
    topic_searches: Semaphore,
    // One permit a byte.
    snapshots: Arc<Semaphore>,
    // Told when the last stream of a draining broker has gone.
    deserted: Notify,
}

impl Broker {
    /// Opens every namespace that the engine's state knows, and `default`, and their subscriptions.
    pub async fn open(
        engine: Arc<dyn Engine>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        config: Config,
    ) -> Result<Arc<Broker>> {
        // A request takes all of it at most: permits are counted in 32 bits.
        let pending_bytes = u32::try_from(config.pending_bytes).unwrap_or(u32::MAX).max(1);
        let calls = config.calls;
        let shared = Shared {
            engine: engine.clone(),
            office: engine.office(),
            responders: Responders::new(engine.members()),
            reply_topic: call::reply_topic(clock.random()),
            clock,
            steps: Semaphore::new(beginning::STEPS),
            topic_searches: Semaphore::new(beginning::TOPIC_SEARCHES),
            snapshots: Arc::new(Semaphore::new(config.snapshot_bytes)),
            config,
            deadline: OnceLock::new(),
            closing: CancellationToken::new(),
            settled: AtomicBool::new(false),
            streams: AtomicUsize::new(0),
            deserted: Notify::new(),
        };
        let broker = Arc::new(Broker {
            engine,
            metrics,
            default: NamespaceName::default(),
            shared: Arc::new(shared),
            pending: Arc::new(Semaphore::new(pending_bytes as usize)),
            pending_bytes,
            calls: Arc::new(Semaphore::new(calls)),
            schema_lookup: Lookup::default(),
            runtime: Handle::current(),
            namespaces: RwLock::default(),
            subscriptions: Entries::default(),
            changes: tokio::sync::Mutex::default(),
        });
        broker.open_namespaces().await?;
        broker.begin_work().await?;
        broker.watch_idle();
        Ok(broker)
    }

    /// The engine's name and what it can give at most, for `GetServerInfo`.
    pub fn engine(&self) -> &dyn Engine {
        &*self.engine
    }

    /// The broker's wall time.
    pub fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    /// The sizes in force.
    pub fn config(&self) -> &Config {
        &self.shared.config
    }

    /// Tells every live stream that the broker drains (`Closing`, reason DRAINING); refuses new streams and publishes
    /// (`DRAINING`) from the moment that it is called. A stream ends when it has delivered all that was taken, and
    /// when the grace time is over at the latest; this ends when they all have. Answers how many are left.
    pub async fn drain(&self, grace: Duration) -> usize {
        let deadline = *self.shared.deadline.get_or_init(|| Instant::now() + grace);
        self.shared.closing.cancel();
        self.wake_streams();
        if let Some(office) = self.shared.office.as_ref().filter(|office| !office.is_mine()) {
            // Whoever stops does not begin.
            office.leave().await;
        }
        let ended = timeout_at(deadline, async {
            // Their replies are still taken.
            let _ = self.calls.acquire_many(self.shared.config.calls as u32).await;
            // Whatever is on its way to the log holds permits.
            let _ = self.pending.acquire_many(self.pending_bytes).await;
            self.shared.settled.store(true, Ordering::SeqCst);
            self.wake_streams();
            self.deserted().await;
        });
        let _ = ended.await;
        // What cannot be kept now, as the engine cannot be reached, is handed out again.
        let _ = timeout_at(deadline + KEEPING, self.keep_subscriptions()).await;
        if let Some(office) = &self.shared.office {
            // What is kept by now goes on elsewhere.
            office.leave().await;
        }
        self.shared.streams.load(Ordering::SeqCst)
    }

    /// Ends when the broker drains, with what whoever waits is told.
    pub async fn closed(&self) -> Error {
        self.shared.closing.cancelled().await;
        self.shared.draining("the broker is stopping and takes nothing new")
    }

    /// Ends when no stream is left.
    async fn deserted(&self) {
        loop {
            let told = self.shared.deserted.notified();
            if self.shared.streams.load(Ordering::SeqCst) == 0 {
                return;
            }
            told.await;
        }
    }

    fn wake_streams(&self) {
        self.all_served().iter().for_each(|served| served.place.router.wake_all());
        self.wake_consumers();
    }

    /// A namespace to publish to or to read from.
    fn served(&self, name: &NamespaceName) -> Result<Arc<Served>> {
        let namespaces = self.namespaces.read().expect("nobody panics while holding the namespaces");
        namespaces.get(name).cloned().ok_or_else(|| namespaces::not_found(name))
    }

    fn all_served(&self) -> Vec<Arc<Served>> {
        let namespaces = self.namespaces.read().expect("nobody panics while holding the namespaces");
        namespaces.values().cloned().collect()
    }

    fn refuse_while_draining(&self) -> Result<()> {
        match self.shared.deadline.get() {
            Some(_) => Err(self.shared.draining("the broker is stopping and takes nothing new")),
            None => Ok(()),
        }
    }
}

impl Shared {
    /// When a client should come back: not all at once.
    fn reconnect_delay(&self) -> Duration {
        Duration::from_millis(1000 + self.clock.random() % 2000)
    }

    /// What a stream is told that has until then.
    fn closing(&self, deadline: Instant) -> Closing {
        let grace = deadline.saturating_duration_since(Instant::now());
        Closing { grace, reconnect_delay: self.reconnect_delay() }
    }

    fn draining(&self, what: &str) -> Error {
        let message = format!("{what}: connect again, to another broker or when this one is back");
        Error::new(Reason::Draining, message).retry_after(self.reconnect_delay())
    }
}

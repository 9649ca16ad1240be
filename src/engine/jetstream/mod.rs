//! The JetStream engine: any number of brokers over one NATS JetStream cluster, which keeps the messages in a stream a
//! namespace, and the small values in a key-value bucket. Never keeps anything itself.
//!
//! A stream is one log for all brokers: whoever writes puts an entry behind the last one, and NATS refuses it if the last
//! one is another by then. So every broker that has read up to the end knows what it must know to give a record its place
//! (numbers of producers, ids, sequences of topics), and no broker has to ask another. Decision 0011 says why.

mod connection;
mod draft;
mod entry;
mod escape;
mod finder;
mod follower;
mod known;
mod log;
mod members;
mod office;
mod state;
mod stream;
mod subject;
mod turns;
mod writer;

use std::{
    collections::HashMap,
    fmt::Display,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use async_nats::{
    Client,
    jetstream::{
        self, Context,
        context::{CreateStreamError, CreateStreamErrorKind, GetStreamErrorKind},
        stream::DiscardPolicy,
    },
};
use futures_util::TryStreamExt;
use tokio::{
    sync::{Mutex as AsyncMutex, watch},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

pub use self::connection::told;
use self::{
    entry::Entry,
    log::{JetStreamLog, Shared},
    members::Membership,
    office::Candidacy,
    state::KvState,
    stream::Stream,
};
use super::{BoxFuture, Engine, Log, LogSettings, Members, Office, State, marks, refusal, tail::TailBudget};
use crate::{
    clock::Clock,
    model::{Durability, Error, LogId, NamespaceName, Reason, Result},
};

/// Where a stream says which log it holds.
const LOG_ID: &str = "tilde-log";
/// How long a stream remembers the ids of entries. They must outlive nothing but a block that is on its way.
const ENTRY_IDS: Duration = Duration::from_secs(2);
/// What NATS could not do is tried again after this.
const AGAIN: Duration = Duration::from_millis(500);
/// What is said to NATS at the end is said within this, or not at all.
const FAREWELL: Duration = Duration::from_secs(1);
/// What may stand beside the records of an entry.
const HEADERS: usize = 2 << 10;
/// Bytes of an entry's records that are not to be exceeded, unless one record alone has more: what is found by halves is
/// read whole.
const ENTRY_BYTES: usize = 64 << 10;

/// How the engine is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// The servers, as in `nats://127.0.0.1:4222`; any of them will do.
    pub urls: Vec<String>,
    /// A file with a user's credentials, as `nsc` writes it.
    pub credentials: Option<PathBuf>,
    /// Certificates of authorities to trust beside the system's.
    pub root_certificates: Option<PathBuf>,
    /// Servers that keep each message: 1, or 3 or 5 in a cluster.
    pub replicas: usize,
    /// The servers sync before they answer (`sync_interval: always`).
    pub synced: bool,
    /// Where the other brokers reach this one, as in `10.0.0.7:7126`.
    pub address: String,
    /// Memory for the newest blocks of all logs.
    pub tail_bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        let urls = vec!["nats://127.0.0.1:4222".to_owned()];
        let (credentials, root_certificates, address) = Default::default();
        Config { urls, credentials, root_certificates, replicas: 1, synced: false, address, tail_bytes: 64 << 20 }
    }
}

/// Keeps everything in JetStream.
pub struct JetStreamEngine {
    client: Client,
    context: Context,
    config: Config,
    shared: Shared,
    office: Arc<Candidacy>,
    members: Arc<Membership>,
    reach: Arc<watch::Sender<bool>>,
    // One at a time is opened, made, or removed.
    opening: AsyncMutex<()>,
    logs: Mutex<HashMap<NamespaceName, Arc<JetStreamLog>>>,
    found: Vec<NamespaceName>,
}

impl JetStreamEngine {
    /// Connects, and makes what is not there. Waits as long as NATS cannot be asked.
    pub async fn open(config: Config, clock: Arc<dyn Clock>) -> Result<Self> {
        let reach = Arc::new(watch::Sender::new(false));
        let client = connection::open(&config, reach.clone()).await?;
        let mut told = None;
        loop {
            match Self::over(client.clone(), config.clone(), clock.clone(), reach.clone()).await {
                Err(error) if error.reason() == Reason::EngineUnreachable => {
                    if told.as_ref() != Some(&error) {
                        tracing::warn!(%error, "JetStream cannot be used yet: trying again");
                        told = Some(error);
                    }
                    sleep(AGAIN).await;
                }
                opened => return opened,
            }
        }
    }

    async fn over(
        client: Client,
        config: Config,
        clock: Arc<dyn Clock>,
        reach: Arc<watch::Sender<bool>>,
    ) -> Result<Self> {
        connection::check(&client, &config.urls).await?;
        let context = jetstream::new(client.clone());
        // A cluster without a leader says nothing at all. What is asked of one that has just begun is soon asked again.
        let answer = timeout(AGAIN, context.query_account()).await.ok().and_then(Result::ok);
        answer.ok_or_else(|| unreachable("JetStream is not enabled there, or its cluster has no leader"))?;
        // Whoever is given up half-way leaves nobody behind.
        let stop = CancellationToken::new();
        let guard = stop.clone().drop_guard();
        let state = Arc::new(KvState::open(&context, config.replicas, stop.clone()).await?);
        let strongest = match (config.synced, config.replicas) {
            (_, 3..) => Durability::Replicated,
            (true, _) => Durability::Synced,
            (false, _) => Durability::Written,
        };
        let record_bytes = client.server_info().max_payload.saturating_sub(HEADERS);
        let shared = Shared {
            clock,
            tails: TailBudget::new(config.tail_bytes),
            state,
            strongest,
            entry_bytes: record_bytes.min(ENTRY_BYTES),
            record_bytes,
            stop,
        };
        let names: Vec<String> = context.stream_names().try_collect().await.map_err(unreachable)?;
        let found = names.iter().filter_map(|name| subject::namespace(name)).collect();
        let office = Candidacy::open(&context, &config, &shared, reach.clone()).await?;
        let members = Membership::open(&context, &config, &shared).await?;
        guard.disarm();
        let (opening, logs) = Default::default();
        Ok(JetStreamEngine { client, context, config, shared, office, members, reach, opening, logs, found })
    }

    fn lock_logs(&self) -> MutexGuard<'_, HashMap<NamespaceName, Arc<JetStreamLog>>> {
        self.logs.lock().expect("nobody panics while holding the logs")
    }

    /// Lets go of a log that is removed, or will be.
    async fn forget(&self, name: &NamespaceName) {
        let log = self.lock_logs().remove(name);
        if let Some(log) = log {
            log.end(refusal::removed()).await;
        }
    }

    /// Opens a stream, or makes it.
    async fn stream(&self, name: &NamespaceName, settings: LogSettings) -> Result<Stream> {
        loop {
            let mut config = match self.context.get_stream(subject::stream(name)).await {
                Ok(stream) => stream.cached_info().config.clone(),
                Err(error) if is_missing(&error.kind()) => {
                    let id = format!("{:016x}", self.shared.clock.random());
                    let mut config = jetstream::stream::Config {
                        name: subject::stream(name),
                        subjects: vec![subject::all(name)],
                        num_replicas: self.config.replicas,
                        discard: DiscardPolicy::Old,
                        allow_direct: true,
                        allow_atomic_publish: true,
                        duplicate_window: ENTRY_IDS,
                        description: Some(format!("Tilde: the messages of namespace {name}")),
                        metadata: [(LOG_ID.to_owned(), id)].into(),
                        ..Default::default()
                    };
                    apply(&mut config, settings, self.config.replicas);
                    let created = match self.context.create_stream(config.clone()).await {
                        // Nobody has asked for this one, and without it there is no broker.
                        Err(error) if is_full(&error) && *name == NamespaceName::default() => {
                            tracing::warn!(
                                "NATS has no room to set max_bytes of namespace {name} aside: they are not held to"
                            );
                            self.context.create_stream(jetstream::stream::Config { max_bytes: -1, ..config }).await
                        }
                        created => created,
                    };
                    match created {
                        Ok(_) => continue,
                        Err(error) if is_full(&error) => return Err(full(name, settings)),
                        // Another broker has made it meanwhile, with less than this one asked for; the server that is asked
                        // may not know it yet.
                        Err(error) if is_there(&error) => {
                            sleep(AGAIN / 10).await;
                            continue;
                        }
                        Err(error) if matches!(error.kind(), CreateStreamErrorKind::JetStream(_)) => {
                            if self.context.get_stream(subject::stream(name)).await.is_ok() {
                                continue;
                            }
                            return Err(unusable(error));
                        }
                        Err(error) => return Err(unreachable(error)),
                    }
                }
                Err(error) => return Err(unreachable(error)),
            };
            let Some(id) = log_id(&config) else {
                return Err(unusable(format_args!("the stream {} is there and was not made by Tilde", config.name)));
            };
            let replicas = config.num_replicas;
            let kept_by = replicas.max(self.config.replicas);
            if apply(&mut config, settings, self.config.replicas)
                && let Err(error) = self.context.update_stream(config).await
            {
                if replicas < self.config.replicas {
                    return Err(too_few(&subject::stream(name), replicas, self.config.replicas, error));
                }
                if !is_full(&error) {
                    return Err(unreachable(error));
                }
                tracing::warn!("NATS has no room to set max_bytes of namespace {name} aside: they are not held to");
            }
            return Stream::open(self.client.clone(), name.clone(), id, kept_by).await;
        }
    }
}

/// What a namespace wishes, and how many servers are to keep each message at least. Answers whether that is a change.
fn apply(config: &mut jetstream::stream::Config, settings: LogSettings, replicas: usize) -> bool {
    let bytes = i64::try_from(settings.max_bytes).unwrap_or(i64::MAX);
    let wished = (settings.max_age, bytes, config.num_replicas.max(replicas));
    let is_change = (config.max_age, config.max_bytes, config.num_replicas) != wished;
    (config.max_age, config.max_bytes, config.num_replicas) = wished;
    is_change
}

/// Which log a stream holds.
fn log_id(config: &jetstream::stream::Config) -> Option<LogId> {
    config.metadata.get(LOG_ID).and_then(|id| u64::from_str_radix(id, 16).ok()).map(LogId)
}

fn is_there(error: &CreateStreamError) -> bool {
    match error.kind() {
        CreateStreamErrorKind::JetStream(error) => error.error_code() == jetstream::ErrorCode::STREAM_NAME_EXIST,
        _ => false,
    }
}

fn is_missing(kind: &GetStreamErrorKind) -> bool {
    match kind {
        GetStreamErrorKind::JetStream(error) => error.error_code() == jetstream::ErrorCode::STREAM_NOT_FOUND,
        _ => false,
    }
}

impl Engine for JetStreamEngine {
    fn name(&self) -> &'static str {
        "jetstream"
    }

    fn strongest(&self) -> Durability {
        self.shared.strongest
    }

    fn log<'a>(&'a self, name: &'a NamespaceName, settings: LogSettings) -> BoxFuture<'a, Result<Arc<dyn Log>>> {
        Box::pin(async move {
            let _opening = self.opening.lock().await;
            let known = self.lock_logs().get(name).cloned();
            if let Some(log) = known {
                // Another broker may have removed it, and made another one.
                match log.stream.ends().await {
                    Err(error) if error.reason() == Reason::NamespaceNotFound => self.forget(name).await,
                    _ => return Ok(log as Arc<dyn Log>),
                }
            }
            let stream = self.stream(name, settings).await?;
            let log = JetStreamLog::open(stream, name.clone(), settings, &self.shared).await?;
            self.lock_logs().insert(name.clone(), log.clone());
            Ok(log as Arc<dyn Log>)
        })
    }

    /// Those that were there when it was opened, and those of this broker.
    fn logs(&self) -> Result<Vec<NamespaceName>> {
        let opened = self.lock_logs().keys().cloned().collect::<Vec<_>>();
        Ok(self.found.iter().filter(|name| !opened.contains(name)).cloned().chain(opened.iter().cloned()).collect())
    }

    fn remove<'a>(&'a self, name: &'a NamespaceName) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let _opening = self.opening.lock().await;
            self.forget(name).await;
            if let Err(error) = self.context.delete_stream(subject::stream(name)).await {
                let stream = self.context.get_stream(subject::stream(name)).await;
                if !stream.is_err_and(|error| is_missing(&error.kind())) {
                    return Err(unreachable(error));
                }
            }
            marks::forget(&*self.shared.state, name).await
        })
    }

    fn release<'a>(&'a self, name: &'a NamespaceName) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let _opening = self.opening.lock().await;
            self.forget(name).await;
        })
    }

    fn state(&self) -> &dyn State {
        &*self.shared.state
    }

    fn office(&self) -> Option<Arc<dyn Office>> {
        Some(self.office.clone())
    }

    fn members(&self) -> Option<Arc<dyn Members>> {
        Some(self.members.clone())
    }

    fn reach(&self) -> Option<watch::Receiver<bool>> {
        Some(self.reach.subscribe())
    }

    /// What NATS cannot do now it can do later.
    fn failed(&self) -> BoxFuture<'static, Error> {
        Box::pin(std::future::pending())
    }

    fn close(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async {
            self.office.leave().await;
            let logs: Vec<_> = self.lock_logs().values().cloned().collect();
            for log in logs {
                log.end(refusal::closed()).await;
            }
            self.shared.stop.cancel();
            drop(timeout(FAREWELL, self.client.flush()).await);
            Ok(())
        })
    }
}

/// Whether NATS has no room to set aside what a stream may grow to.
fn is_full(error: &CreateStreamError) -> bool {
    let full = [jetstream::ErrorCode::STORAGE_RESOURCES_EXCEEDED, jetstream::ErrorCode::INSUFFICIENT_RESOURCES];
    match error.kind() {
        // A cluster says that no server is suited, and for each of them why.
        CreateStreamErrorKind::JetStream(said) => {
            full.contains(&said.error_code()) || said.to_string().contains("insufficient storage")
        }
        _ => false,
    }
}

fn full(name: &NamespaceName, settings: LogSettings) -> Error {
    let message = format!(
        "NATS sets aside what a namespace may take and has no room for the {} bytes of {name}: give it a smaller max_bytes, \
         or the servers a larger max_file_store",
        settings.max_bytes
    );
    Error::new(Reason::StorageFull, message)
}

/// An answer would promise more than is there.
fn too_few(stream: &str, replicas: usize, wished: usize, error: impl Display) -> Error {
    unusable(format_args!(
        "the stream {stream} was made with jetstream.replicas = {replicas}, and NATS does not give it {wished}: {error}"
    ))
}

/// NATS cannot be asked just now.
fn unreachable(error: impl Display) -> Error {
    let message = format!("NATS could not be asked: {error}; try again");
    Error::new(Reason::EngineUnreachable, message).retry_after(Duration::from_secs(1))
}

/// NATS is there, and cannot be used so.
fn unusable(error: impl Display) -> Error {
    Error::new(Reason::Internal, format!("NATS cannot be used as it is: {error}"))
}

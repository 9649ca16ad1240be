//! The embedded engine: every namespace has a log of its own on this machine's disk. `docs/architecture.md` tells how
//! the parts play together; in reading order: how a block lies on disk ([`frame`]), how blocks lie in a file
//! ([`segment`]), what lies where ([`index`], [`segments`]), how they get there ([`draft`], [`writer`]), how they are
//! read ([`reader`], [`look_back`]), how a log opens ([`recovery`]) and what puts it all together ([`stored`]). While no broker runs,
//! a person may look at the files ([`survey`], [`examine`]) and give up what is damaged in them ([`repair`]).

pub mod cache;
pub mod draft;
pub mod examine;
pub mod finding;
pub mod frame;
pub mod index;
pub mod io;
pub mod look_back;
pub mod pool;
pub mod preparation;
pub mod reader;
pub mod recovery;
pub mod repair;
pub mod retention;
pub mod segment;
pub mod segments;
pub mod state;
pub mod stored;
pub mod survey;
pub mod writer;

use std::{
    collections::HashMap,
    fs::File,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use self::{
    cache::Cache,
    io::{Disk, LogIo},
    pool::Pool,
    segments::{IndexCache, Segments, SpanCache},
    state::FileState,
    stored::{Driver, Shared, StoredLog},
};
use super::{BoxFuture, Engine, Log, LogSettings, State, dedup::IdHasher, marks, tail::TailBudget};
use crate::{
    clock::Clock,
    model::{Durability, Error, NamespaceName, Reason, Result},
};

/// The engine's own sizes.
#[derive(Clone, Debug)]
pub struct Config {
    /// The first segment of a log; later ones double.
    pub segment_min: u64,
    /// No segment is made larger, unless one block needs it.
    pub segment_max: u64,
    /// A block takes no more records beyond this.
    pub block_bytes: usize,
    /// Memory for the newest blocks of all logs together.
    pub tail_bytes: usize,
    /// Memory for what was read from segments.
    pub span_cache_bytes: usize,
    /// Memory for indexes that were read.
    pub index_cache_bytes: usize,
    /// Threads that write.
    pub writers: usize,
    /// A log to which nothing was published for so long is put to rest.
    pub idle: Duration,
    /// How often retention and rest are looked after.
    pub tend: Duration,
    /// How much is read at opening.
    pub verify: Verify,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            segment_min: 256 << 10,
            segment_max: 128 << 20,
            block_bytes: 1 << 20,
            tail_bytes: 64 << 20,
            span_cache_bytes: 16 << 20,
            index_cache_bytes: 16 << 20,
            writers: 2,
            idle: Duration::from_secs(10),
            tend: Duration::from_secs(2),
            verify: Verify::All,
        }
    }
}

/// How much is read at opening.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    /// Everything: damage is found before anybody is served. Takes about a second for every few gigabytes.
    All,
    /// The last segment of each log; damage in the others is found when they are read.
    Tail,
}

/// All logs in one directory, which belongs to this process alone.
pub struct LogEngine {
    dir: PathBuf,
    io: Arc<dyn LogIo>,
    shared: Arc<Shared>,
    spans: Arc<SpanCache>,
    indexes: Arc<IndexCache>,
    pool: Arc<Pool>,
    logs: Arc<Mutex<HashMap<NamespaceName, Arc<StoredLog>>>>,
    // Opening and removing happen one after the other.
    door: tokio::sync::Mutex<()>,
    // The lock goes with the file.
    _lock: File,
}

const LOCK: &str = "LOCK";
const LOGS: &str = "logs";
const REMOVED: &str = "removed";

impl LogEngine {
    /// Opens the directory, or makes it. Its logs open when they are asked for.
    pub fn open(dir: &Path, config: Config, clock: Arc<dyn Clock>) -> Result<Self> {
        let failed = |error: std::io::Error| {
            let message = format!("the data directory {} could not be opened: {error}", dir.display());
            Error::new(io::reason(&error), message)
        };
        let io: Arc<dyn LogIo> = Arc::new(Disk);
        io.create_dir(&dir.join(LOGS)).map_err(failed)?;
        let lock = lock(dir).map_err(failed)??;
        match io.remove_dir(&dir.join(REMOVED)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let pool = Pool::new();
        let logs = Arc::<Mutex<HashMap<NamespaceName, Arc<StoredLog>>>>::default();
        let open = logs.clone();
        let all = Box::new(move || open.lock().expect("nobody panics while holding it").values().cloned().collect());
        pool.start(config.writers, config.tend, all).map_err(failed)?;
        let driver = pool.clone();
        let file = dir.join(state::FILE);
        if !file.exists() && has_logs(&*io, dir).map_err(failed)? {
            let missing = std::io::Error::from(std::io::ErrorKind::NotFound);
            return Err(state::unreadable(&file, &redb::Error::Io(missing)));
        }
        let state = FileState::open(&file, Box::new(move |error| driver.failed(error)))?;
        Ok(LogEngine {
            dir: dir.to_owned(),
            io,
            spans: Arc::new(Cache::new(config.span_cache_bytes)),
            indexes: Arc::new(Cache::new(config.index_cache_bytes)),
            shared: Arc::new(Shared {
                tails: TailBudget::new(config.tail_bytes),
                clock,
                hasher: IdHasher::default(),
                driver: pool.clone() as Arc<dyn Driver>,
                state: Arc::new(state),
                config,
            }),
            pool,
            logs,
            door: tokio::sync::Mutex::new(()),
            _lock: lock,
        })
    }

    fn lock_logs(&self) -> std::sync::MutexGuard<'_, HashMap<NamespaceName, Arc<StoredLog>>> {
        self.logs.lock().expect("nobody panics while holding it")
    }

    fn log_dir(&self, name: &NamespaceName) -> PathBuf {
        self.dir.join(LOGS).join(name.as_str())
    }
}

/// The namespaces that have a log in a data directory.
fn logs(io: &dyn LogIo, dir: &Path) -> std::io::Result<Vec<NamespaceName>> {
    let names = io.list(&dir.join(LOGS))?;
    Ok(names.iter().filter_map(|name| NamespaceName::parse(name).ok()).collect())
}

/// Whether any of them has a file.
fn has_logs(io: &dyn LogIo, dir: &Path) -> std::io::Result<bool> {
    for name in logs(io, dir)? {
        if !segment::list(io, &dir.join(LOGS).join(name.as_str()))?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// One process per directory. The inner error says who is in the way.
fn lock(dir: &Path) -> std::io::Result<Result<File>> {
    take_lock(File::options().create(true).truncate(false).read(true).write(true).open(dir.join(LOCK))?, dir)
}

/// Takes the lock with an open file.
fn take_lock(file: File, dir: &Path) -> std::io::Result<Result<File>> {
    Ok(match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => {
            let message = format!(
                "the data directory {} is in use by another process: stop that one, or choose another directory with \
                 --data",
                dir.display()
            );
            Err(Error::new(Reason::StorageFailed, message))
        }
        Err(std::fs::TryLockError::Error(error)) => return Err(error),
    })
}

/// Runs what may block where that is allowed.
async fn blocking<T: Send + 'static>(run: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let ended = tokio::task::spawn_blocking(run).await;
    ended.unwrap_or_else(|_| Err(Error::new(Reason::Internal, "opening a log ended unexpectedly: see the log")))
}

impl Engine for LogEngine {
    fn name(&self) -> &'static str {
        "embedded"
    }

    fn strongest(&self) -> Durability {
        Durability::Synced
    }

    fn log<'a>(&'a self, name: &'a NamespaceName, settings: LogSettings) -> BoxFuture<'a, Result<Arc<dyn Log>>> {
        Box::pin(async move {
            let _door = self.door.lock().await;
            if let Some(log) = self.lock_logs().get(name) {
                return Ok(log.clone() as Arc<dyn Log>);
            }
            let (spans, indexes) = (self.spans.clone(), self.indexes.clone());
            let segments = Segments::new(self.io.clone(), self.log_dir(name), name.clone(), spans, indexes);
            let shared = self.shared.clone();
            let log = blocking(move || StoredLog::open(segments, settings, shared)).await?;
            self.lock_logs().insert(name.clone(), log.clone());
            Ok(log as Arc<dyn Log>)
        })
    }

    fn logs(&self) -> Result<Vec<NamespaceName>> {
        logs(&*self.io, &self.dir).map_err(|error| {
            tracing::error!(%error, "the directory of logs could not be read");
            Error::new(io::reason(&error), "the broker could not list its logs: see its log")
        })
    }

    fn remove<'a>(&'a self, name: &'a NamespaceName) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let _door = self.door.lock().await;
            let log = self.lock_logs().remove(name);
            let (io, from) = (self.io.clone(), self.log_dir(name));
            let (to, logs) = (self.dir.join(REMOVED), self.dir.join(LOGS));
            let removed = blocking(move || {
                if let Some(log) = log {
                    log.close()?;
                }
                // Out of sight in one step; a crash while the files go leaves nothing that looks like a log.
                let remove = || match io.rename(&from, &to) {
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
                    Err(error) => Err(error),
                    Ok(()) => io.sync_dir(&logs).and_then(|()| io.remove_dir(&to)),
                };
                remove().map_err(|error| {
                    tracing::error!(%error, "a namespace's log could not be removed");
                    Error::new(io::reason(&error), "the namespace's log could not be removed: see the broker's log")
                })
            });
            removed.await?;
            marks::forget(&*self.shared.state, name).await
        })
    }

    fn state(&self) -> &dyn State {
        &*self.shared.state
    }

    fn failed(&self) -> BoxFuture<'static, Error> {
        let mut failure = self.pool.failure();
        Box::pin(async move {
            let error = failure.wait_for(Option::is_some).await.ok().and_then(|error| error.clone());
            match error {
                Some(error) => error,
                // The engine is gone, and cannot fail any more.
                None => std::future::pending().await,
            }
        })
    }

    fn close(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let _door = self.door.lock().await;
            let logs: Vec<_> = self.lock_logs().drain().map(|(_, log)| log).collect();
            let closed = blocking(move || {
                // All are closed, also if one fails.
                let results: Vec<_> = logs.iter().map(|log| log.close()).collect();
                results.into_iter().collect::<Result<Vec<()>>>()
            });
            let closed = closed.await;
            self.pool.stop();
            closed.map(drop)
        })
    }
}

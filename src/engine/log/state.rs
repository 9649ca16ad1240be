//! The small values, in a redb file beside the logs. One thread writes: what waits is committed together, and answered
//! when it is durable. Never holds messages.
//!
//! Version 1: table `values`, key to version (eight bytes, little endian) and value.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, RwLock},
    thread,
};

use redb::{Database, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition, backends::InMemoryBackend};
use tokio::sync::{mpsc, oneshot};

use super::io::{Disk, LogIo, is_full};
use crate::{
    engine::{BoxFuture, State, Value},
    model::{Error, Reason, Result},
};

/// The name of the file.
pub const FILE: &str = "state.redb";

const VALUES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("values");
/// Bytes of the file that stay in memory.
const CACHE: usize = 8 << 20;
/// Changes that may wait.
const WAITING: usize = 1024;

/// Hears that the disk failed: nothing can be taken any more.
pub type OnFailure = Box<dyn Fn(Error) + Send>;

/// The values of one directory.
pub struct FileState {
    file: Arc<StateFile>,
    changes: mpsc::Sender<Change>,
}

struct Change {
    key: String,
    expected: u64,
    // None removes it.
    bytes: Option<Vec<u8>>,
    answer: oneshot::Sender<Result<Option<u64>>>,
}

impl FileState {
    /// Opens the file, or makes it. `failure` hears of a disk that failed; one that is full is a refusal.
    pub fn open(path: &Path, failure: OnFailure) -> Result<Self> {
        let file = Arc::new(StateFile::open(path).map_err(|error| unreadable(path, &error))?);
        let (changes, waiting) = mpsc::channel(WAITING);
        let writer = file.clone();
        let spawned = thread::Builder::new().name("tilde-state".into()).spawn(move || write(&writer, waiting, failure));
        spawned.map_err(|error| {
            tracing::error!(%error, "no thread could be started for the state");
            Error::new(Reason::Internal, "the broker could not start a thread for its state")
        })?;
        Ok(FileState { file, changes })
    }

    async fn change(&self, key: &str, expected: u64, bytes: Option<Vec<u8>>) -> Result<Option<u64>> {
        let (answer, answered) = oneshot::channel();
        let gone = |_| Error::new(Reason::Draining, "the broker is stopping: try again when it is back");
        let change = Change { key: key.into(), expected, bytes, answer };
        self.changes.send(change).await.map_err(|_| gone(()))?;
        answered.await.map_err(|_| gone(()))?
    }
}

impl State for FileState {
    fn get(&self, key: &str) -> Result<Option<Value>> {
        let get = |database: &Database| -> Result<_, redb::Error> {
            let table = database.begin_read()?.open_table(VALUES)?;
            Ok(table.get(key)?.map(|stored| decode(stored.value())))
        };
        self.file.with(get).map_err(failed)
    }

    fn list(&self, prefix: &str) -> Result<Vec<(String, Value)>> {
        let list = |database: &Database| -> Result<_, redb::Error> {
            let table = database.begin_read()?.open_table(VALUES)?;
            let mut found = Vec::new();
            for row in table.range(prefix..)? {
                let (key, stored) = row?;
                if !key.value().starts_with(prefix) {
                    break;
                }
                found.push((key.value().to_owned(), decode(stored.value())));
            }
            Ok(found)
        };
        self.file.with(list).map_err(failed)
    }

    fn put<'a>(&'a self, key: &'a str, bytes: Vec<u8>, expected: u64) -> BoxFuture<'a, Result<Option<u64>>> {
        Box::pin(self.change(key, expected, Some(bytes)))
    }

    fn delete<'a>(&'a self, key: &'a str, expected: u64) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move { Ok(self.change(key, expected, None).await?.is_some()) })
    }
}

/// The open file. The library refuses everything after any error, so that a full disk would end it: then it is opened
/// anew.
struct StateFile {
    path: PathBuf,
    // None when there was no room to open it anew.
    database: RwLock<Option<Database>>,
}

impl StateFile {
    fn open(path: &Path) -> Result<Self, redb::Error> {
        if !fs::exists(path)? {
            make(path)?;
        }
        Ok(StateFile { path: path.to_owned(), database: RwLock::new(Some(database(path)?)) })
    }

    fn with<T>(&self, run: impl FnOnce(&Database) -> Result<T, redb::Error>) -> Result<T, redb::Error> {
        match &*self.database.read().expect("nobody panics while holding the state") {
            Some(database) => run(database),
            None => Err(redb::Error::Io(io::ErrorKind::StorageFull.into())),
        }
    }

    fn commit(&self, changes: &[Change]) -> Result<Vec<Option<u64>>, redb::Error> {
        if self.database.read().expect("nobody panics while holding the state").is_none() {
            self.reopen()?;
        }
        let committed = self.with(|database| commit(database, changes));
        if let Err(redb::Error::Io(error)) = &committed
            && is_full(error)
            && let Err(error) = self.reopen()
        {
            tracing::warn!(%error, "the state waits for room on the disk");
        }
        committed
    }

    fn reopen(&self) -> Result<(), redb::Error> {
        let mut open = self.database.write().expect("nobody panics while holding the state");
        // The old one holds a lock on the file.
        *open = None;
        *open = Some(database(&self.path)?);
        Ok(())
    }
}

fn database(path: &Path) -> Result<Database, redb::Error> {
    Ok(Database::builder().set_cache_size(CACHE).open(path)?)
}

/// Looks whether the values of a file can be read; the error says why not. Works on a copy in memory, as opening a file
/// after a crash would change it.
pub fn check(path: &Path) -> Result<(), redb::Error> {
    let bytes = fs::read(path)?;
    if bytes.is_empty() {
        return Err(redb::Error::Io(io::Error::new(io::ErrorKind::InvalidData, "it is empty")));
    }
    let copy = InMemoryBackend::new();
    copy.set_len(bytes.len() as u64)?;
    copy.write(0, &bytes)?;
    let database = Database::builder().create_with_backend(copy)?;
    for row in database.begin_read()?.open_table(VALUES)?.iter()? {
        row?;
    }
    Ok(())
}

/// Makes the file under a name that does not count: one that is half made could never be opened.
pub fn make(path: &Path) -> Result<(), redb::Error> {
    let unfinished = path.with_extension("tmp");
    if fs::exists(&unfinished)? {
        fs::remove_file(&unfinished)?;
    }
    let database = Database::builder().create(&unfinished)?;
    let transaction = database.begin_write()?;
    transaction.open_table(VALUES)?;
    transaction.commit()?;
    drop(database);
    fs::rename(&unfinished, path)?;
    Disk.sync_dir(path.parent().expect("the file lies in a directory"))?;
    Ok(())
}

/// Commits what waits, all of it at once, until nobody can send any more.
fn write(file: &StateFile, mut waiting: mpsc::Receiver<Change>, failure: OnFailure) {
    while let Some(first) = waiting.blocking_recv() {
        let mut changes = vec![first];
        while let Ok(change) = waiting.try_recv() {
            changes.push(change);
        }
        let results = file.commit(&changes).map_err(failed);
        if let Err(error) = &results
            && error.reason() != Reason::StorageFull
        {
            failure(error.clone());
        }
        for (at, change) in changes.into_iter().enumerate() {
            let result = match &results {
                Ok(versions) => Ok(versions[at]),
                Err(error) => Err(error.clone()),
            };
            // Whoever asked may have gone; the change is made all the same.
            let _ = change.answer.send(result);
        }
    }
}

fn commit(database: &Database, changes: &[Change]) -> Result<Vec<Option<u64>>, redb::Error> {
    let transaction = database.begin_write()?;
    let mut versions = Vec::with_capacity(changes.len());
    {
        let mut table = transaction.open_table(VALUES)?;
        for change in changes {
            let current = table.get(&*change.key)?.map_or(0, |stored| decode(stored.value()).version);
            if current != change.expected {
                versions.push(None);
                continue;
            }
            // Never the version of an earlier life of the key: etags would pass for one another.
            let version = current.max(generation(&table)?) + 1;
            match &change.bytes {
                Some(bytes) => drop(table.insert(&*change.key, &*encode(version, bytes))?),
                None => {
                    table.remove(&*change.key)?;
                    table.insert(GENERATION, &*encode(version, &[]))?;
                }
            }
            versions.push(Some(version));
        }
    }
    transaction.commit()?;
    Ok(versions)
}

/// The key whose version is the highest that any removed key had.
const GENERATION: &str = "\u{0}generation";

fn generation(table: &impl ReadableTable<&'static str, &'static [u8]>) -> Result<u64, redb::Error> {
    Ok(table.get(GENERATION)?.map_or(0, |stored| decode(stored.value()).version))
}

fn encode(version: u64, bytes: &[u8]) -> Vec<u8> {
    [&version.to_le_bytes(), bytes].concat()
}

fn decode(stored: &[u8]) -> Value {
    match stored.split_first_chunk() {
        Some((version, bytes)) => Value { version: u64::from_le_bytes(*version), bytes: bytes.to_vec() },
        None => Value { version: 0, bytes: Vec::new() },
    }
}

/// The refusal to open a file that is missing or cannot be read.
pub fn unreadable(path: &Path, error: &redb::Error) -> Error {
    let (reason, advice) = match error {
        redb::Error::Io(io) if is_full(io) => (Reason::StorageFull, "make room on the disk"),
        error if is_damage(error) => (
            Reason::StorageCorrupt,
            "restore it from a copy, or give it up with `tilde log repair`, which keeps all messages",
        ),
        _ => (Reason::StorageFailed, "look at the disk, and at who may read and write the file"),
    };
    let message = format!(
        "{} cannot be opened: {error}. It holds the namespaces, their settings and what was purged: {advice}",
        path.display()
    );
    Error::new(reason, message)
}

/// Whether a file is not there.
pub fn is_missing(error: &redb::Error) -> bool {
    matches!(error, redb::Error::Io(io) if io.kind() == io::ErrorKind::NotFound)
}

/// Whether an error is about what a file holds, or that there is none, and not about reaching it.
pub fn is_damage(error: &redb::Error) -> bool {
    use io::ErrorKind::{InvalidData, NotFound, UnexpectedEof};
    match error {
        redb::Error::Io(io) => matches!(io.kind(), InvalidData | NotFound | UnexpectedEof),
        redb::Error::DatabaseAlreadyOpen => false,
        _ => true,
    }
}

/// What the caller sees of a failure; the rest goes to the log.
fn failed(error: impl Into<redb::Error>) -> Error {
    let error = error.into();
    if let redb::Error::Io(io) = &error
        && is_full(io)
    {
        return Error::new(Reason::StorageFull, "the broker's disk is full: try again when there is room");
    }
    tracing::error!(%error, "the state could not be read or written");
    Error::new(Reason::StorageFailed, "the broker could not read or write its state: see its log")
}

//! What was last published of each file, and what is still to be published: in one redb file, or in memory, so that both
//! change together. Never looks at the files themselves.
//!
//! Version 1: `facts` (the version, who this watcher is, the next change's number), `roots` (directories whose first scan is
//! over), `files` (path to [`Known`]), `contents` (path to text), `outbox` (number to a `PublishRequest`).

use std::{
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use prost::Message as _;
use redb::{
    Builder, Database, DatabaseError, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition,
    WriteTransaction, backends::InMemoryBackend,
};

use crate::{
    apps::failure::Failure,
    clock::{Clock as _, SystemClock},
    pb::v1::PublishRequest,
};

const VERSION: u64 = 1;
const FACTS: TableDefinition<'_, &str, u64> = TableDefinition::new("facts");
const ROOTS: TableDefinition<'_, &[u8], ()> = TableDefinition::new("roots");
const FILES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("files");
const CONTENTS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("contents");
const OUTBOX: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("outbox");

/// How long a file that another process holds is waited for, and how often it is tried.
const PATIENCE: Duration = Duration::from_secs(2);
const AGAIN: Duration = Duration::from_millis(50);
/// Bytes of the file that stay in memory.
const CACHE: usize = 16 << 20;

/// What is known of a file.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Known {
    /// In bytes.
    #[prost(uint64, tag = "1")]
    pub size: u64,
    /// When it was written, in nanoseconds since 1970.
    #[prost(int64, tag = "2")]
    pub modified: i64,
    /// When anything of it changed, in nanoseconds since 1970.
    #[prost(int64, tag = "3")]
    pub changed: i64,
    /// Of the file system.
    #[prost(uint64, tag = "4")]
    pub device: u64,
    /// Within the file system.
    #[prost(uint64, tag = "5")]
    pub inode: u64,
    /// SHA-256 of what it holds; empty if it could never be read.
    #[prost(bytes = "vec", tag = "6")]
    pub hash: Vec<u8>,
    /// What it is.
    #[prost(enumeration = "Form", tag = "7")]
    pub form: i32,
    /// It was written so shortly before it was read that it may have been written again without looking different.
    #[prost(bool, tag = "8")]
    pub fresh: bool,
}

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum Form {
    /// Text, which is kept.
    Text = 0,
    /// It has a NUL.
    Binary = 1,
    /// Too much to be kept.
    Huge = 2,
}

/// All that is known.
#[derive(Debug)]
pub struct Store {
    database: Database,
    file: String,
    identity: String,
}

/// Changes that are made together, or not at all.
pub struct Changes<'a> {
    transaction: WriteTransaction,
    store: &'a Store,
}

/// What is to be published, by number.
pub type Entry = (u64, PublishRequest);

impl Store {
    /// Opens the file, or makes it; without one everything is in memory.
    pub fn open(file: Option<&Path>) -> Result<Self, Failure> {
        let name = file.map_or_else(|| "memory".to_owned(), |file| file.display().to_string());
        let mut builder = Builder::new();
        builder.set_cache_size(CACHE);
        let database = match file {
            Some(file) => patiently(|| builder.create(file)),
            None => builder.create_with_backend(InMemoryBackend::new()),
        };
        let database = database.map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => Failure::new(format!("{name} is used by another process"))
                .hint("every `tilde watch` needs a --state of its own"),
            error => Failure::new(format!("the state {name} cannot be opened: {error}")),
        })?;
        let mut store = Store { database, file: name, identity: String::new() };
        let (version, identity) = store.begin_to_use().map_err(|error| store.failed(error))?;
        if version != VERSION {
            let message = format!("the state {} has version {version}, and this is for {VERSION}", store.file);
            return Err(Failure::new(message).hint("use the release that wrote it, or begin with another file"));
        }
        store.identity = format!("{identity:016x}");
        Ok(store)
    }

    fn begin_to_use(&self) -> Result<(u64, u64), redb::Error> {
        let transaction = self.database.begin_write()?;
        let found = {
            let mut facts = transaction.open_table(FACTS)?;
            let mut fact = |name: &str, new: u64| -> Result<u64, redb::Error> {
                let known = facts.get(name)?.map(|fact| fact.value());
                if known.is_none() {
                    facts.insert(name, new)?;
                }
                Ok(known.unwrap_or(new))
            };
            (fact("version", VERSION)?, fact("identity", SystemClock.random())?)
        };
        transaction.open_table(ROOTS)?;
        transaction.open_table(FILES)?;
        transaction.open_table(CONTENTS)?;
        transaction.open_table(OUTBOX)?;
        transaction.commit()?;
        Ok(found)
    }

    /// Changes from now on. Whoever else wants to change something waits meanwhile.
    pub fn change(&self) -> Result<Changes<'_>, Failure> {
        let transaction = self.database.begin_write().map_err(|error| self.failed(error))?;
        Ok(Changes { transaction, store: self })
    }

    /// Whether a directory's first scan is over.
    pub fn has_root(&self, path: &Path) -> Result<bool, Failure> {
        let get = || -> Result<bool, redb::Error> {
            let table = self.database.begin_read()?.open_table(ROOTS)?;
            Ok(table.get(key(path))?.is_some())
        };
        get().map_err(|error| self.failed(error))
    }

    /// Hands out each file that is known at this path and below it.
    pub fn below(&self, path: &Path, mut each: impl FnMut(PathBuf, Known)) -> Result<(), Failure> {
        let mut list = || -> Result<(), redb::Error> {
            let table = self.database.begin_read()?.open_table(FILES)?;
            if let Some(known) = table.get(key(path))? {
                each(path.to_owned(), decoded(known.value()));
            }
            let start = [key(path).strip_suffix(b"/").unwrap_or(key(path)), b"/"].concat();
            for row in table.range(start.as_slice()..)? {
                let (found, known) = row?;
                if !found.value().starts_with(&start) {
                    break;
                }
                each(PathBuf::from(std::ffi::OsStr::from_bytes(found.value())), decoded(known.value()));
            }
            Ok(())
        };
        list().map_err(|error| self.failed(error))
    }

    /// How much is to be published: entries, and their bytes.
    pub fn waiting(&self) -> Result<(u64, u64), Failure> {
        let count = || -> Result<_, redb::Error> {
            let table = self.database.begin_read()?.open_table(OUTBOX)?;
            let mut bytes = 0;
            for row in table.iter()? {
                bytes += row?.1.value().len() as u64;
            }
            Ok((table.len()?, bytes))
        };
        count().map_err(|error| self.failed(error))
    }

    /// The first entries to be published: at most so many, of at most so many bytes, but one in any case.
    pub fn first(&self, count: usize, bytes: usize) -> Result<Vec<Entry>, Failure> {
        let list = || -> Result<_, redb::Error> {
            let table = self.database.begin_read()?.open_table(OUTBOX)?;
            let (mut entries, mut total) = (Vec::new(), 0);
            for row in table.iter()?.take(count) {
                let (number, entry) = row?;
                total += entry.value().len();
                if total > bytes && !entries.is_empty() {
                    break;
                }
                let request = PublishRequest::decode(entry.value()).map_err(|error| corrupted(&error))?;
                entries.push((number.value(), request));
            }
            Ok(entries)
        };
        list().map_err(|error| self.failed(error))
    }

    fn failed(&self, error: impl Into<redb::Error>) -> Failure {
        Failure::new(format!("the state {} cannot be used: {}", self.file, error.into()))
            .hint("what was not published is in it still: start again when the disk is well")
    }
}

/// Opens a file that a process which was killed a moment ago may still hold.
fn patiently(open: impl Fn() -> Result<Database, DatabaseError>) -> Result<Database, DatabaseError> {
    let begun = Instant::now();
    loop {
        match open() {
            Err(DatabaseError::DatabaseAlreadyOpen) if begun.elapsed() < PATIENCE => thread::sleep(AGAIN),
            opened => return opened,
        }
    }
}

impl Changes<'_> {
    /// What is known of a file.
    pub fn get(&self, path: &Path) -> Result<Option<Known>, Failure> {
        let get = || -> Result<_, redb::Error> {
            let table = self.transaction.open_table(FILES)?;
            let known = table.get(key(path))?.map(|known| decoded(known.value()));
            Ok(known)
        };
        get().map_err(|error| self.store.failed(error))
    }

    /// The text that was last published of a file.
    pub fn content(&self, path: &Path) -> Result<Option<Vec<u8>>, Failure> {
        let get = || -> Result<_, redb::Error> {
            let table = self.transaction.open_table(CONTENTS)?;
            let content = table.get(key(path))?.map(|content| content.value().to_vec());
            Ok(content)
        };
        get().map_err(|error| self.store.failed(error))
    }

    /// A file is known so from now on. None if what it holds is as it was.
    pub fn put(&self, path: &Path, known: &Known, content: Option<&[u8]>) -> Result<(), Failure> {
        let put = || -> Result<(), redb::Error> {
            self.transaction.open_table(FILES)?.insert(key(path), known.encode_to_vec().as_slice())?;
            let mut contents = self.transaction.open_table(CONTENTS)?;
            match content {
                Some(content) if known.form() == Form::Text => drop(contents.insert(key(path), content)?),
                Some(_) => drop(contents.remove(key(path))?),
                None => {}
            }
            Ok(())
        };
        put().map_err(|error| self.store.failed(error))
    }

    /// A file is not known any more.
    pub fn remove(&self, path: &Path) -> Result<(), Failure> {
        let remove = || -> Result<(), redb::Error> {
            self.transaction.open_table(FILES)?.remove(key(path))?;
            self.transaction.open_table(CONTENTS)?.remove(key(path))?;
            Ok(())
        };
        remove().map_err(|error| self.store.failed(error))
    }

    /// A directory's first scan is over.
    pub fn put_root(&self, path: &Path) -> Result<(), Failure> {
        let put = || -> Result<(), redb::Error> {
            self.transaction.open_table(ROOTS)?.insert(key(path), ())?;
            Ok(())
        };
        put().map_err(|error| self.store.failed(error))
    }

    /// Something is to be published, and gets the id by which it is known again. Answers with its bytes.
    pub fn publish(&self, mut request: PublishRequest) -> Result<u64, Failure> {
        let mut put = || -> Result<u64, redb::Error> {
            let mut facts = self.transaction.open_table(FACTS)?;
            let number = facts.get("number")?.map_or(1, |number| number.value());
            facts.insert("number", number + 1)?;
            request.message_id = format!("{}-{number}", self.store.identity);
            let entry = request.encode_to_vec();
            self.transaction.open_table(OUTBOX)?.insert(number, entry.as_slice())?;
            Ok(entry.len() as u64)
        };
        put().map_err(|error| self.store.failed(error))
    }

    /// These are published. Answers with the bytes that they had.
    pub fn published(&self, numbers: impl IntoIterator<Item = u64>) -> Result<u64, Failure> {
        let remove = || -> Result<u64, redb::Error> {
            let mut outbox = self.transaction.open_table(OUTBOX)?;
            let mut bytes = 0;
            for number in numbers {
                bytes += outbox.remove(number)?.map_or(0, |entry| entry.value().len() as u64);
            }
            Ok(bytes)
        };
        remove().map_err(|error| self.store.failed(error))
    }

    /// Another request takes the place of one that the broker refuses.
    pub fn replace(&self, number: u64, request: &PublishRequest) -> Result<(), Failure> {
        let put = || -> Result<(), redb::Error> {
            self.transaction.open_table(OUTBOX)?.insert(number, request.encode_to_vec().as_slice())?;
            Ok(())
        };
        put().map_err(|error| self.store.failed(error))
    }

    /// Makes the changes. They survive the process, and with a file also the machine.
    pub fn commit(self) -> Result<(), Failure> {
        let Changes { transaction, store } = self;
        transaction.commit().map_err(|error| store.failed(error))
    }
}

fn key(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

/// What cannot be read is as good as never read: the file is looked at anew.
fn decoded(bytes: &[u8]) -> Known {
    Known::decode(bytes).unwrap_or_default()
}

fn corrupted(error: &prost::DecodeError) -> redb::Error {
    redb::Error::Corrupted(error.to_string())
}

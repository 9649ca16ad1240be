//! What is registered in one namespace, over the engine's small values: ids, subjects, rules. What others register is found
//! when it is asked for. Never decides what may be registered.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{
    Rules,
    demand::{Demand, Seen},
    draft::{Draft, Needed, Reference},
    ready::{Cache, Ready},
    stored::{self, StoredSchema, StoredSubject},
};
use crate::{
    engine::{Engine, State},
    model::{Error, NamespaceName, Reason, Result, limits},
    schema::Schema,
};

/// Where the state keeps them: this and the namespace, and then one of three.
pub(super) const PREFIX: &str = "schema/";
/// A schema by its id, in ten digits.
const IDS: &str = "id/";
/// A subject by its name.
const SUBJECTS: &str = "subject/";
/// The rules of subjects that have none of their own.
const RULES: &str = "rules";
/// Subjects that are kept as publishes look at them.
const DEMANDS: usize = 1_000;

/// What is registered in a namespace.
pub struct Registry {
    engine: Arc<dyn Engine>,
    prefix: String,
    ready: Mutex<Cache>,
    known: Mutex<Known>,
    demands: Mutex<HashMap<Box<str>, Arc<Demand>>>,
    // Counts the changes that were made here.
    changes: AtomicU64,
}

/// Which schemas have which ids: all up to the last that was seen, as ids are given one after the other.
#[derive(Default)]
struct Known {
    last: u32,
    by_digest: HashMap<String, u32>,
}

/// A change that is being made: whoever publishes after it was dropped asks the state again.
struct Changing<'a>(&'a Registry);

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        self.0.changes.fetch_add(1, Ordering::Release);
    }
}

/// Something and the state's version of it; 0 if there is none yet.
pub struct Versioned<T> {
    pub value: T,
    pub state: u64,
}

impl Registry {
    /// Of a namespace.
    pub fn new(engine: Arc<dyn Engine>, namespace: &NamespaceName) -> Self {
        let prefix = format!("{PREFIX}{namespace}/");
        let (ready, known, demands, changes) = Default::default();
        Registry { engine, prefix, ready, known, demands, changes }
    }

    /// Whether others may register something too.
    pub fn is_shared(&self) -> bool {
        self.engine.members().is_some()
    }

    /// Waits until what others had registered before is known here.
    pub async fn catch_up(&self) -> Result<()> {
        self.state().catch_up().await
    }

    /// A subject; an empty one if there is none.
    pub fn subject(&self, name: &str) -> Result<Versioned<StoredSubject>> {
        self.get(&format!("{SUBJECTS}{name}"))
    }

    /// Keeps a subject if nobody has changed it since. Answers whether it did.
    pub async fn put_subject(&self, name: &str, subject: Versioned<StoredSubject>) -> Result<bool> {
        let key = format!("{}{SUBJECTS}{name}", self.prefix);
        let Versioned { value, state } = subject;
        let _changing = Changing(self);
        if value == StoredSubject::default() {
            return if state == 0 { Ok(true) } else { self.state().delete(&key, state).await };
        }
        Ok(self.state().put(&key, stored::bytes(&value), state).await?.is_some())
    }

    /// A subject as publishes look at it: with all that was changed here, and with what was heard of others longer than
    /// `behind` ago.
    pub fn demand(&self, subject: &str, behind: Duration) -> Result<Arc<Demand>> {
        // Asked before the state is read: what changes meanwhile is seen next time.
        let seen = Seen { here: self.changes.load(Ordering::Acquire), elsewhere: self.state().heard() };
        let known = lock(&self.demands).get(subject).cloned();
        if let Some(known) = known.as_ref().filter(|known| !known.is_old(seen, behind)) {
            return Ok(known.clone());
        }
        let demand = Arc::new(Demand::read(self, subject, seen, known.as_deref())?);
        let mut all = lock(&self.demands);
        if all.len() >= DEMANDS {
            all.clear();
        }
        all.insert(subject.into(), demand.clone());
        Ok(demand)
    }

    /// All subjects, by name.
    pub fn subjects(&self) -> Result<Vec<(String, StoredSubject)>> {
        let prefix = format!("{}{SUBJECTS}", self.prefix);
        let found = self.state().list(&prefix)?.into_iter();
        found.map(|(key, value)| Ok((key[prefix.len()..].to_owned(), stored::parse(&key, &value.bytes)?))).collect()
    }

    /// The rules of subjects that have none of their own.
    pub fn rules(&self) -> Result<Versioned<Option<Rules>>> {
        self.get(RULES)
    }

    /// Keeps them if nobody has changed them since. Answers whether it did.
    pub async fn put_rules(&self, rules: Versioned<Option<Rules>>) -> Result<bool> {
        let key = format!("{}{RULES}", self.prefix);
        Ok(self.state().put(&key, stored::bytes(&rules.value), rules.state).await?.is_some())
    }

    /// A schema as it is stored.
    pub fn stored(&self, id: u32) -> Result<Option<StoredSchema>> {
        let key = format!("{}{}", self.prefix, id_key(id));
        self.state().get(&key)?.map(|value| stored::parse(&key, &value.bytes)).transpose()
    }

    /// Keeps a schema under an id that none has. Answers whether it did.
    pub async fn put_stored(&self, id: u32, schema: &StoredSchema) -> Result<bool> {
        let key = format!("{}{}", self.prefix, id_key(id));
        Ok(self.state().put(&key, stored::bytes(schema), 0).await?.is_some())
    }

    /// A schema as it was brought.
    pub fn draft(&self, id: u32) -> Result<Option<Draft>> {
        let Some(stored) = self.stored(id)? else { return Ok(None) };
        Ok(Some(Draft { kind: stored.kind()?, text: stored.text, references: stored.references }))
    }

    /// A schema, ready.
    pub fn ready(&self, id: u32) -> Result<Option<Arc<Ready>>> {
        if let Some(ready) = lock(&self.ready).get(id) {
            return Ok(Some(ready));
        }
        let Some(draft) = self.draft(id)? else { return Ok(None) };
        let mut needed = Needed::default();
        self.gather(&draft.references, &mut needed, 0)?;
        let schema = draft.read(&needed)?;
        let ready = Arc::new(Ready { id, schema });
        lock(&self.ready).keep(ready.clone());
        Ok(Some(ready))
    }

    /// Makes sense of a draft: what it refers to is found, and named by versions that are there.
    pub fn read(&self, draft: &mut Draft) -> Result<Schema> {
        draft.check()?;
        for reference in &mut draft.references {
            let subject = self.subject(&reference.subject)?.value;
            let found = subject.version(reference.version, false).ok_or_else(|| missing(reference))?;
            reference.version = found.version;
        }
        let mut needed = Needed::default();
        self.gather(&draft.references, &mut needed, 0)?;
        draft.read(&needed)
    }

    /// The id of a schema: the one it has, or a new one.
    pub async fn id(&self, draft: &Draft, digest: &str) -> Result<u32> {
        loop {
            self.learn()?;
            let next = {
                let known = lock(&self.known);
                if let Some(id) = known.by_digest.get(digest) {
                    return Ok(*id);
                }
                known.last + 1
            };
            if next > limits::SCHEMAS {
                let most = limits::SCHEMAS;
                let message = format!("the namespace has {most} schemas, as many as it may: use another namespace");
                return Err(Error::new(Reason::QuotaExceeded, message).with("limit", most));
            }
            let Draft { kind, text, references } = draft.clone();
            // Somebody else may take this number first.
            self.put_stored(next, &StoredSchema::new(kind, text, references, digest.to_owned())).await?;
            self.catch_up().await?;
        }
    }

    /// The id that a schema has already.
    pub fn known_id(&self, digest: &str) -> Result<Option<u32>> {
        self.learn()?;
        Ok(lock(&self.known).by_digest.get(digest).copied())
    }

    /// Learns of ids that were given since.
    fn learn(&self) -> Result<()> {
        loop {
            let next = lock(&self.known).last + 1;
            let Some(stored) = self.stored(next)? else { return Ok(()) };
            let mut known = lock(&self.known);
            known.by_digest.entry(stored.digest).or_insert(next);
            known.last = known.last.max(next);
        }
    }

    /// Adds what references lead to, each after what it itself needs.
    fn gather(&self, references: &[Reference], needed: &mut Needed, depth: usize) -> Result<()> {
        if depth > limits::SCHEMA_REFERENCES {
            return Err(Error::new(Reason::SchemaInvalid, "its references lead too deep: refer to fewer others"));
        }
        for reference in references {
            if needed.has(&reference.name) {
                continue;
            }
            // What others refer to may be deleted later, and they still need it.
            let subject = self.subject(&reference.subject)?.value;
            let found = subject.version(reference.version, true).ok_or_else(|| missing(reference))?;
            let stored = self.stored(found.id)?.ok_or_else(|| missing(reference))?;
            self.gather(&stored.references, needed, depth + 1)?;
            needed.add(&reference.name, stored.kind()?, &stored.text);
            if needed.len() > limits::SCHEMA_REFERENCES * 4 {
                return Err(Error::new(
                    Reason::SchemaInvalid,
                    "its references lead to too many others: refer to fewer",
                ));
            }
        }
        Ok(())
    }

    fn get<T: serde::de::DeserializeOwned + Default>(&self, key: &str) -> Result<Versioned<T>> {
        let key = format!("{}{key}", self.prefix);
        Ok(match self.state().get(&key)? {
            Some(value) => Versioned { value: stored::parse(&key, &value.bytes)?, state: value.version },
            None => Versioned { value: T::default(), state: 0 },
        })
    }

    fn state(&self) -> &dyn State {
        self.engine.state()
    }
}

fn id_key(id: u32) -> String {
    format!("{IDS}{id:010}")
}

fn missing(reference: &Reference) -> Error {
    let Reference { name, subject, version } = reference;
    let message =
        format!("{name:?} refers to version {version} of subject {subject:?}, which is not there: register it first");
    Error::new(Reason::SchemaInvalid, message).field("schema.references")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody panics while holding it")
}

//! Bugs that this code could have, planted between the broker and what it keeps, to see that `check` finds them. Nothing
//! of them is in the broker.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use tilde::{
    engine::{
        Batch, Bounds, BoxFuture, Engine, Log, LogSettings, LookBack, Page, Query, Receipt, Session, State, Tail,
        TopicStats, Value,
    },
    model::{Durability, Error, NamespaceName, Pattern, Records, Result, Sequence, Timestamp},
};
use tokio::time::sleep;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// What is settled is confirmed before the ledger is stored, and stored a while later.
    EarlyAnswer,
    /// Whoever reads the log misses the last message of a page.
    ShortPage,
    /// A subscription that is opened again no longer knows that it keeps keys in order.
    ForgottenOrder,
    /// Nor what it is filtered by.
    ForgottenFilter,
    /// Nobody looks whether another broker serves the same data already.
    SecondBroker,
}

/// An engine with a bug.
pub fn plant(bug: Option<Bug>, engine: Arc<dyn Engine>) -> Arc<dyn Engine> {
    match bug {
        None | Some(Bug::SecondBroker) => engine,
        Some(bug) => {
            Arc::new(Flawed { state: FlawedState { bug, engine: engine.clone(), late: Arc::default() }, bug, engine })
        }
    }
}

struct Flawed {
    bug: Bug,
    engine: Arc<dyn Engine>,
    state: FlawedState,
}

impl Engine for Flawed {
    fn name(&self) -> &'static str {
        self.engine.name()
    }

    fn strongest(&self) -> Durability {
        self.engine.strongest()
    }

    fn log<'a>(&'a self, name: &'a NamespaceName, settings: LogSettings) -> BoxFuture<'a, Result<Arc<dyn Log>>> {
        Box::pin(async move {
            let log = self.engine.log(name, settings).await?;
            Ok(if self.bug == Bug::ShortPage { Arc::new(ShortPages(log)) } else { log })
        })
    }

    fn logs(&self) -> Result<Vec<NamespaceName>> {
        self.engine.logs()
    }

    fn remove<'a>(&'a self, name: &'a NamespaceName) -> BoxFuture<'a, Result<()>> {
        self.engine.remove(name)
    }

    fn state(&self) -> &dyn State {
        &self.state
    }

    fn failed(&self) -> BoxFuture<'static, Error> {
        self.engine.failed()
    }

    fn close(&self) -> BoxFuture<'_, Result<()>> {
        self.engine.close()
    }
}

struct FlawedState {
    bug: Bug,
    engine: Arc<dyn Engine>,
    // Ledgers that were answered, and are not stored yet.
    late: Arc<Mutex<HashMap<String, Vec<u8>>>>,
}

impl FlawedState {
    /// Stores it some time.
    fn store_late(&self, key: &str, bytes: Vec<u8>) {
        let is_first = self.late.lock().unwrap().insert(key.to_owned(), bytes).is_none();
        if !is_first {
            return;
        }
        let (engine, late, key) = (self.engine.clone(), self.late.clone(), key.to_owned());
        tokio::spawn(async move {
            sleep(Duration::from_millis(500)).await;
            let bytes = late.lock().unwrap().remove(&key).unwrap_or_default();
            let version = engine.state().get(&key).unwrap().map_or(0, |value| value.version);
            let _ = engine.state().put(&key, bytes, version).await;
        });
    }
}

impl State for FlawedState {
    fn get(&self, key: &str) -> Result<Option<Value>> {
        self.engine.state().get(key)
    }

    fn list(&self, prefix: &str) -> Result<Vec<(String, Value)>> {
        let mut all = self.engine.state().list(prefix)?;
        let forgotten = match self.bug {
            Bug::ForgottenOrder => ("order", "shared"),
            Bug::ForgottenFilter => ("filter", ""),
            _ => return Ok(all),
        };
        for (_, value) in all.iter_mut().filter(|(key, _)| key.starts_with("subscription/")) {
            let mut stored: serde_json::Value = serde_json::from_slice(&value.bytes).unwrap();
            stored[forgotten.0] = forgotten.1.into();
            value.bytes = serde_json::to_vec(&stored).unwrap();
        }
        Ok(all)
    }

    fn put<'a>(&'a self, key: &'a str, bytes: Vec<u8>, expected: u64) -> BoxFuture<'a, Result<Option<u64>>> {
        if self.bug == Bug::EarlyAnswer && key.starts_with("ledger/") {
            self.store_late(key, bytes);
            return Box::pin(std::future::ready(Ok(Some(expected + 1))));
        }
        self.engine.state().put(key, bytes, expected)
    }

    fn delete<'a>(&'a self, key: &'a str, expected: u64) -> BoxFuture<'a, Result<bool>> {
        self.engine.state().delete(key, expected)
    }
}

struct ShortPages(Arc<dyn Log>);

impl Log for ShortPages {
    fn append(&self, batch: Batch) -> Receipt {
        self.0.append(batch)
    }

    fn attach<'a>(&'a self, session: Arc<Session>) -> BoxFuture<'a, Result<u64>> {
        self.0.attach(session)
    }

    fn read<'a>(&'a self, query: Query<'a>) -> BoxFuture<'a, Result<Page>> {
        Box::pin(async move {
            let mut page = self.0.read(query).await?;
            if let Some(run) = page.runs.last_mut().filter(|_| page.messages > 1) {
                let last = Records::new(run).map_while(Result::ok).last().map_or(0, |last| last.framed().len());
                run.truncate(run.len() - last);
                page.messages -= 1;
            }
            Ok(page)
        })
    }

    fn look_back(&self, search: LookBack) -> BoxFuture<'_, Result<LookBack>> {
        self.0.look_back(search)
    }

    fn at_time(&self, time: Timestamp) -> BoxFuture<'_, Result<Sequence>> {
        self.0.at_time(time)
    }

    fn tail(&self) -> &Tail {
        self.0.tail()
    }

    fn bounds(&self) -> Bounds {
        self.0.bounds()
    }

    fn topics<'a>(
        &'a self,
        pattern: &'a Pattern,
        after: &'a str,
        most: usize,
    ) -> BoxFuture<'a, Result<Vec<TopicStats>>> {
        self.0.topics(pattern, after, most)
    }

    fn purge<'a>(
        &'a self,
        pattern: &'a Pattern,
        before: Option<Timestamp>,
        dry_run: bool,
    ) -> BoxFuture<'a, Result<u64>> {
        self.0.purge(pattern, before, dry_run)
    }

    fn configure(&self, settings: LogSettings) {
        self.0.configure(settings);
    }
}

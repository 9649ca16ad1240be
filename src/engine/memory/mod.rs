//! The memory engine: simple and obviously right, the reference that the others are held against. It serves tests, and
//! `--engine memory`, where nothing survives the process. Never touches a disk.

mod log;
mod state;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
};

use self::{log::MemoryLog, state::MemoryState};
use super::{BoxFuture, Engine, Log, LogSettings, State, refusal, tail::TailBudget};
use crate::{
    clock::Clock,
    model::{Durability, Error, NamespaceName, Result},
};

/// Memory for the newest blocks. The logs hold the same blocks, so it costs nothing besides.
const TAIL_BYTES: usize = 64 << 20;

/// Keeps everything in memory.
pub struct MemoryEngine {
    clock: Arc<dyn Clock>,
    strongest: Durability,
    tails: Arc<TailBudget>,
    logs: Mutex<HashMap<NamespaceName, Arc<MemoryLog>>>,
    state: MemoryState,
}

impl MemoryEngine {
    /// An empty one. Its answers are worth [`Durability::Memory`].
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        MemoryEngine::pretending(clock, Durability::Memory)
    }

    /// One that answers as if it kept up to `strongest`, to stand in for another engine in tests.
    pub fn pretending(clock: Arc<dyn Clock>, strongest: Durability) -> Self {
        MemoryEngine {
            clock,
            strongest,
            tails: TailBudget::new(TAIL_BYTES),
            logs: Mutex::default(),
            state: MemoryState::default(),
        }
    }

    /// With so many bytes for the newest blocks: for tests in which readers fall behind.
    pub fn with_tail_bytes(mut self, most: usize) -> Self {
        self.tails = TailBudget::new(most);
        self
    }

    fn lock_logs(&self) -> MutexGuard<'_, HashMap<NamespaceName, Arc<MemoryLog>>> {
        self.logs.lock().expect("nobody panics while holding the logs")
    }
}

impl Engine for MemoryEngine {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn strongest(&self) -> Durability {
        self.strongest
    }

    fn log<'a>(&'a self, name: &'a NamespaceName, settings: LogSettings) -> BoxFuture<'a, Result<Arc<dyn Log>>> {
        Box::pin(async move {
            let mut logs = self.lock_logs();
            let made = || Arc::new(MemoryLog::new(self.clock.clone(), self.strongest, self.tails.clone(), settings));
            Ok(logs.entry(name.clone()).or_insert_with(made).clone() as Arc<dyn Log>)
        })
    }

    fn logs(&self) -> Result<Vec<NamespaceName>> {
        Ok(self.lock_logs().keys().cloned().collect())
    }

    fn remove<'a>(&'a self, name: &'a NamespaceName) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            if let Some(log) = self.lock_logs().remove(name) {
                log.refuse(refusal::removed());
            }
            Ok(())
        })
    }

    fn state(&self) -> &dyn State {
        &self.state
    }

    /// Memory does not fail.
    fn failed(&self) -> BoxFuture<'static, Error> {
        Box::pin(std::future::pending())
    }

    fn close(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async {
            for log in self.lock_logs().values() {
                log.refuse(refusal::closed());
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::ManualClock,
        engine::Batch,
        model::{Message, Namespace, Payload, Reason, Timestamp, Topic, limits},
    };

    #[tokio::test]
    async fn an_answer_is_worth_no_more_than_it_is() {
        let clock = Arc::new(ManualClock::new(Timestamp::from_nanos(1), 1));
        let answer = async |engine: MemoryEngine| {
            let name = NamespaceName::default();
            let log = engine.log(&name, LogSettings::from(&Namespace::new(name.clone()))).await.unwrap();
            let mut batch = Batch::new(Durability::Synced);
            let message = Message::new(Topic::parse("t").unwrap(), Payload::None);
            batch.push(&message, limits::MESSAGE_BYTES, None).unwrap();
            log.append(batch).await.unwrap().iter().next().unwrap().unwrap().durability
        };
        assert_eq!(answer(MemoryEngine::new(clock.clone())).await, Durability::Memory);
        assert_eq!(answer(MemoryEngine::pretending(clock, Durability::Synced)).await, Durability::Synced);
    }

    #[tokio::test]
    async fn nothing_is_taken_after_the_end() {
        let clock = Arc::new(ManualClock::new(Timestamp::from_nanos(1), 1));
        let engine = MemoryEngine::new(clock);
        let name = NamespaceName::default();
        let log = engine.log(&name, LogSettings::from(&Namespace::new(name.clone()))).await.unwrap();
        engine.close().await.unwrap();
        assert_eq!(log.append(Batch::new(Durability::Memory)).await.unwrap_err().reason(), Reason::Draining);
    }
}

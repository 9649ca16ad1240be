//! How events are read, by the id of the schema that they were written with. A schema is fetched when the first event
//! names it. What an id is never changes, so it is kept; that there is none is kept for a while only.

use std::{collections::HashMap, fmt, time::Duration};

use tokio::time::{Instant, timeout};

use super::event::INPUT;
use crate::{
    apps::{
        journal::Journal,
        registry::{Refusal, Registry},
    },
    schema::RecordReader,
};

/// Schemas that are kept. A source that names more has other troubles.
const KEPT: usize = 1_000;
/// How long it is believed that an id is of no use.
const USELESS_FOR: Duration = Duration::from_secs(10);
/// How long the registry may take: everything waits meanwhile.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a registry that could not be reached is left alone.
const REST: Duration = Duration::from_secs(1);

/// Readers by the ids of schemas.
#[derive(Debug)]
pub struct Readers {
    registry: Registry,
    journal: Journal,
    known: HashMap<u32, Known>,
    /// The registry could not be reached when it was asked last, and is not asked before.
    asks_again: Option<Instant>,
}

#[derive(Debug)]
enum Known {
    Reader(RecordReader),
    Useless { why: String, until: Instant },
}

/// Why events of a schema cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unread {
    /// The schema is not there, or is of no use.
    Useless(String),
    /// The registry cannot be reached: another try makes sense after so much time.
    Later(Duration),
}

impl Readers {
    /// Asks this registry for all but one that is known.
    pub fn new(registry: Registry, journal: Journal, (id, reader): (u32, RecordReader)) -> Self {
        let known = HashMap::from([(id, Known::Reader(reader))]);
        Readers { registry, journal, known, asks_again: None }
    }

    /// The reader of a schema.
    pub async fn of(&mut self, id: u32) -> Result<&RecordReader, Unread> {
        let is_known = match self.known.get(&id) {
            Some(Known::Reader(_)) => true,
            Some(Known::Useless { until, .. }) => Instant::now() < *until,
            None => false,
        };
        if !is_known {
            let known = self.fetch(id).await?;
            if self.known.len() >= KEPT {
                self.known.clear();
            }
            self.known.insert(id, known);
        }
        match &self.known[&id] {
            Known::Reader(reader) => Ok(reader),
            Known::Useless { why, .. } => Err(Unread::Useless(why.clone())),
        }
    }

    async fn fetch(&mut self, id: u32) -> Result<Known, Unread> {
        let now = Instant::now();
        if let Some(at) = self.asks_again.filter(|at| now < *at) {
            return Err(Unread::Later(at - now));
        }
        let why = match timeout(PATIENCE, self.registry.by_id(id)).await {
            Err(_) => return Err(self.away(now, &format!("it does not answer within {PATIENCE:?}"))),
            Ok(Err(Refusal::Passing(why))) => return Err(self.away(now, &why)),
            Ok(answer) => {
                if self.asks_again.take().is_some() {
                    self.journal.info("the registry can be reached again");
                }
                match answer.map(|registered| registered.schema.reader(&INPUT)) {
                    Ok(Ok(reader)) => return Ok(Known::Reader(reader)),
                    Ok(Err(broken)) => format!("the schema with the id {id} is not that of such events: {broken}"),
                    Err(refusal) => refusal.to_string(),
                }
            }
        };
        Ok(Known::Useless { why, until: now + USELESS_FOR })
    }

    fn away(&mut self, now: Instant, why: &str) -> Unread {
        if self.asks_again.replace(now + REST).is_none() {
            self.journal.warn(&format!(
                "the registry cannot be reached: {why}; events whose schema is not known yet wait at the source"
            ));
        }
        Unread::Later(REST)
    }
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unread::Useless(why) => f.write_str(why),
            Unread::Later(_) => f.write_str("the registry cannot be reached"),
        }
    }
}

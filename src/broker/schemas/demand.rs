//! What a topic demands of a payload, on the way of every publish: which rule, which schema, and whether the payload is as it
//! says. Asks the engine's state where something has changed, and never waits.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    super::served::Served,
    no_subject,
    ready::Ready,
    registry::Registry,
    stored::{StoredSubject, StoredVersion},
};
use crate::{
    model::{Enforcement, Error, Message, Reason, Result},
    schema::Frame,
};

/// The attribute that names a payload's schema by its id.
pub const SCHEMA_ID: &str = "schema_id";
/// How long what is known of a subject is good, whatever is heard.
const FRESH: Duration = Duration::from_secs(1);
/// How long it is good when others have changed something: who is busy with something else must not make every publish ask.
const MOMENT: Duration = Duration::from_millis(10);

/// A subject as publishes look at it.
pub struct Demand {
    /// As the state counts it.
    state: u64,
    seen: Seen,
    asked: Instant,
    /// The ids of its versions, none of them deleted.
    ids: Vec<u32>,
    newest: Option<Newest>,
}

/// A subject's newest version. Here it takes no room: it is kept with all the others, and may have gone.
#[derive(Clone)]
struct Newest {
    id: u32,
    ready: Weak<Ready>,
}

/// How many changes had been seen, of any subject: those made here, and what was heard of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    pub here: u64,
    pub elsewhere: u64,
}

impl Demand {
    /// Whether it is time to ask the state again.
    pub fn is_old(&self, seen: Seen, behind: Duration) -> bool {
        let age = self.asked.elapsed();
        age > FRESH || seen.here != self.seen.here || (seen != self.seen && age >= behind)
    }

    /// As the state has it now.
    pub fn read(registry: &Registry, subject: &str, seen: Seen, before: Option<&Demand>) -> Result<Self> {
        let asked = Instant::now();
        let kept = registry.subject(subject)?;
        if let Some(Demand { state, ids, newest, .. }) = before.filter(|before| before.state == kept.state) {
            return Ok(Demand { state: *state, seen, asked, ids: ids.clone(), newest: newest.clone() });
        }
        let versions: &StoredSubject = &kept.value;
        let newest = match versions.version(0, false) {
            Some(StoredVersion { id, .. }) => {
                let ready = registry.ready(*id)?.as_ref().map(Arc::downgrade);
                ready.map(|ready| Newest { id: *id, ready })
            }
            None => None,
        };
        let ids = versions.versions(false).map(|version| version.id).collect();
        Ok(Demand { state: kept.state, seen, asked, ids, newest })
    }
}

impl Served {
    /// Refuses a message whose payload is not as its topic demands, or says so. Answers false instead if another broker may
    /// have registered what it is a moment ago: to be asked again when that was `looked` for.
    pub fn check_schema(&self, message: &Message<'_>, looked: bool) -> Result<bool> {
        let topic = message.topic.as_str();
        let rule = self.settings.topic_schemas.iter().find(|rule| rule.pattern.matches(topic));
        let Some(rule) = rule.filter(|rule| rule.enforcement != Enforcement::Off) else { return Ok(true) };
        let subject = rule.subject_of(topic);
        let behind = if looked { Duration::ZERO } else { MOMENT };
        let Err(error) = self.place.schemas.check(&subject, message, behind) else { return Ok(true) };
        if error.reason() == Reason::SchemaViolation {
            if rule.enforcement == Enforcement::Enforce && !looked && self.place.schemas.is_shared() {
                return Ok(false);
            }
            self.place.metrics.schema_violations.inc();
        }
        match rule.enforcement {
            Enforcement::Enforce => Err(error),
            _ => {
                let namespace = &self.place.name;
                tracing::warn!(%namespace, topic, error = error.message(), "taken, though not as its schema says");
                Ok(true)
            }
        }
    }
}

impl Registry {
    /// Whether a payload is as a version of a subject says: the one that it names, or else the newest.
    fn check(&self, subject: &str, message: &Message<'_>, behind: Duration) -> Result<()> {
        let demand = self.demand(subject, behind)?;
        let payload = message.payload.bytes();
        let named = match message.attributes.get(SCHEMA_ID) {
            Some(id) => Some(id.parse().map_err(|_| violation(format!("its attribute {SCHEMA_ID} is no number")))?),
            None => None,
        };
        let frame = Frame::of(payload);
        let wanted = named.or(frame.map(|frame| frame.id));
        let ready = match wanted.filter(|id| demand.ids.contains(id)) {
            Some(id) => self.ready(id)?,
            None if named.is_some() => {
                let id = named.unwrap_or_default();
                return Err(violation(format!(
                    "it says that its schema is {id}, which is no version of subject {subject:?}"
                )));
            }
            // A payload may begin with a zero byte and be no frame.
            None => match &demand.newest {
                Some(Newest { id, ready }) => {
                    ready.upgrade().map_or_else(|| self.ready(*id), |ready| Ok(Some(ready)))?
                }
                None => None,
            },
        };
        let ready = ready.ok_or_else(|| violation(no_subject(subject).message().to_owned()))?;
        ready.check(payload, frame).map_err(|error| match wanted {
            Some(id) if id != ready.id => error.so(format_args!(
                "or, if it names its schema by its first bytes, {id} is no version of subject {subject:?}"
            )),
            _ => error,
        })
    }
}

fn violation(what: String) -> Error {
    Error::new(Reason::SchemaViolation, format!("the payload is not as its topic demands: {what}")).field("payload")
}

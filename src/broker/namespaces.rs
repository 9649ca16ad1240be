//! The namespaces: created, changed, deleted, and remembered in the engine's state.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    Broker,
    schedule::Schedule,
    schemas::Registry,
    served::{Place, Served},
};
use crate::{
    engine::LogSettings,
    model::{Durability, Enforcement, Error, Namespace, NamespaceName, Reason, Result, TopicSchema, limits},
};

/// A namespace and the version of its settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Versioned {
    /// The settings.
    pub namespace: Namespace,
    /// Changes with every change.
    pub etag: String,
}

/// A change of settings.
pub type Change = Box<dyn FnOnce(&mut Namespace) -> Result<()> + Send>;

/// Where the state keeps them: this and the name.
const PREFIX: &str = "namespace/";
/// And those whose deletion has begun: this and the name.
const DELETED: &str = "deleted/";

impl Broker {
    /// Creates a namespace. The same again is no error; with other settings it is NAMESPACE_MISMATCH and says what
    /// differs. Answers whether it was created now.
    pub async fn create_namespace(&self, namespace: Namespace) -> Result<(Versioned, bool)> {
        self.validate(&namespace)?;
        let _alone = self.changes.lock().await;
        if let Ok(known) = self.served(&namespace.name) {
            let differences = differences(&known.settings, &namespace);
            if differences.is_empty() {
                return Ok((known.versioned(), false));
            }
            let message = format!(
                "namespace {} exists with other settings: {}; update it, or choose another name",
                namespace.name,
                differences.join(", ")
            );
            return Err(Error::new(Reason::NamespaceExists, message).field("namespace"));
        }
        // A deletion that was cut short may have left a log: what was deleted does not come back.
        self.forget_subscriptions(&namespace.name).await?;
        self.forget_schemas(&namespace.name).await?;
        self.engine.remove(&namespace.name).await?;
        // The log first: a namespace whose log finds no room is not remembered either, and can be tried again.
        self.engine.log(&namespace.name, LogSettings::from(&namespace)).await?;
        let version = self.store(&namespace, 0).await?;
        tracing::info!(namespace = %namespace.name, "the namespace was created");
        Ok((self.serve(namespace, version).await?.versioned(), true))
    }

    /// One namespace; NAMESPACE_NOT_FOUND if there is none.
    pub async fn get_namespace(&self, name: &NamespaceName) -> Result<Versioned> {
        Ok(self.served(name)?.versioned())
    }

    /// Namespaces that come after `after`, by name, at most `most`.
    pub async fn list_namespaces(&self, after: &str, most: usize) -> Result<Vec<Versioned>> {
        let mut all = self.all_served();
        all.retain(|served| served.settings.name.as_str() > after);
        all.sort_by(|a, b| a.settings.name.cmp(&b.settings.name));
        Ok(all.iter().take(most).map(|served| served.versioned()).collect())
    }

    /// Changes settings; ETAG_MISMATCH if `etag` is given and not the one in force.
    pub async fn update_namespace(&self, name: &NamespaceName, etag: &str, change: Change) -> Result<Versioned> {
        let _alone = self.changes.lock().await;
        let known = self.served(name)?;
        if !etag.is_empty() && etag != known.version.to_string() {
            return Err(changed_meanwhile(name));
        }
        let mut settings = known.settings.clone();
        change(&mut settings)?;
        settings.name = name.clone();
        if settings == known.settings {
            return Ok(known.versioned());
        }
        self.validate(&settings)?;
        let version = self.store(&settings, known.version).await?;
        known.place.log.configure(LogSettings::from(&settings));
        let served = Arc::new(Served::new(settings, version, known.place.clone()));
        self.put(served.clone());
        tracing::info!(namespace = %name, "the namespace's settings were changed");
        Ok(served.versioned())
    }

    /// Deletes a namespace with all its messages and subscriptions; its streams end. `default` cannot be deleted.
    pub async fn delete_namespace(&self, name: &NamespaceName) -> Result<()> {
        let _alone = self.changes.lock().await;
        if name.as_str() == NamespaceName::DEFAULT {
            let message = "the namespace default cannot be deleted: purge its topics with the pattern ~ instead";
            return Err(Error::new(Reason::RequestInvalid, message).field("name"));
        }
        let known = self.served(name)?;
        // A crash from here on leaves a log that nobody may take for one whose settings were lost.
        let mark = format!("{DELETED}{name}");
        let marked = self.engine.state().get(&mark)?.map_or(0, |value| value.version);
        let marked = self.engine.state().put(&mark, Vec::new(), marked).await?;
        if !self.engine.state().delete(&format!("{PREFIX}{name}"), known.version).await? {
            return Err(changed_meanwhile(name));
        }
        self.let_go(&known);
        tracing::info!(namespace = %name, "the namespace was deleted");
        self.forget_subscriptions(name).await?;
        self.forget_schemas(name).await?;
        self.engine.remove(name).await?;
        self.engine.state().delete(&mark, marked.unwrap_or_default()).await?;
        Ok(())
    }

    /// Serves what the state knows, what it has forgotten, and `default`, which exists unasked.
    pub(super) async fn open_namespaces(&self) -> Result<()> {
        for (key, value) in self.engine.state().list(PREFIX)? {
            let name = NamespaceName::parse(&key[PREFIX.len()..])?;
            self.serve(Stored::parse(name, &value.bytes)?, value.version).await?;
        }
        // Where others may be in the middle of making or deleting one, whoever holds the office finishes that.
        if self.shared.office.is_none() {
            self.finish_deletions().await?;
            self.adopt().await?;
        }
        let name = NamespaceName::default();
        if self.served(&name).is_err() {
            let namespace = Namespace::new(name);
            match self.store(&namespace, 0).await {
                Ok(version) => drop(self.serve(namespace, version).await?),
                // Another broker was faster.
                Err(_) if self.shared.office.is_some() => self.open_others().await?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Knows from now on what another broker had done to namespaces before.
    pub async fn hear_of_namespaces(&self) -> Result<()> {
        self.engine.state().catch_up().await?;
        self.open_others().await
    }

    /// Serves what another broker has made or changed since, and ends what it has deleted.
    pub(super) async fn open_others(&self) -> Result<()> {
        let _alone = self.changes.lock().await;
        let stored = self.engine.state().list(PREFIX)?;
        for (key, value) in &stored {
            let name = NamespaceName::parse(&key[PREFIX.len()..])?;
            let settings = Stored::parse(name.clone(), &value.bytes)?;
            match self.served(&name) {
                Ok(served) if served.version == value.version => continue,
                Ok(served) => {
                    let log = self.engine.log(&name, LogSettings::from(&settings)).await?;
                    if log.bounds().id == served.place.log_id {
                        log.configure(LogSettings::from(&settings));
                        self.put(Arc::new(Served::new(settings, value.version, served.place.clone())));
                        continue;
                    }
                    // It was deleted and made again.
                    self.let_go(&served);
                }
                Err(_) => {}
            }
            self.serve(settings, value.version).await?;
        }
        for served in self.all_served() {
            let name = &served.settings.name;
            if stored.iter().any(|(key, _)| &key[PREFIX.len()..] == name.as_str()) {
                continue;
            }
            self.let_go(&served);
            self.engine.release(name).await;
        }
        Ok(())
    }

    /// Serves a namespace no more: it is gone.
    fn let_go(&self, served: &Served) {
        let name = &served.settings.name;
        self.namespaces.write().expect("nobody panics while holding the namespaces").remove(name);
        served.place.delete();
        self.metrics.forget(name);
    }

    /// Deletions that were cut short.
    pub(super) async fn finish_deletions(&self) -> Result<()> {
        for (key, value) in self.engine.state().list(DELETED)? {
            let name = NamespaceName::parse(&key[DELETED.len()..])?;
            if self.served(&name).is_err() {
                self.forget_subscriptions(&name).await?;
                self.forget_schemas(&name).await?;
                self.engine.remove(&name).await?;
            }
            self.engine.state().delete(&key, value.version).await?;
        }
        Ok(())
    }

    /// A log of which the state knows nothing: the state is damaged, or older than the log. Its messages are served
    /// with settings that keep them, until somebody says which.
    async fn adopt(&self) -> Result<()> {
        for name in self.engine.logs()? {
            if self.served(&name).is_ok() {
                continue;
            }
            let settings = Namespace { max_age: FOREVER, max_bytes: u64::MAX, ..Namespace::new(name.clone()) };
            let bounds = self.engine.log(&name, LogSettings::from(&settings)).await?.bounds();
            if bounds.end < bounds.first {
                // Nothing goes with it: its creation was cut short, or retention took everything.
                self.engine.remove(&name).await?;
                continue;
            }
            tracing::warn!(
                namespace = %name,
                "there is a log of a namespace that the state knows nothing of: its settings are lost, and what was \
                 purged is back. It keeps everything until `tilde namespace update` says otherwise"
            );
            let version = self.store(&settings, 0).await?;
            self.serve(settings, version).await?;
        }
        Ok(())
    }

    async fn serve(&self, settings: Namespace, version: u64) -> Result<Arc<Served>> {
        let name = settings.name.clone();
        let log = self.engine.log(&name, LogSettings::from(&settings)).await?;
        let closing = self.shared.closing.child_token();
        let schemas = Registry::new(self.engine.clone(), &name);
        let place =
            Place::new(name.clone(), log, schemas, self.metrics.namespace(&name), self.runtime.clone(), closing)?;
        Schedule::open(&self.shared, &place);
        let served = Arc::new(Served::new(settings, version, place));
        self.put(served.clone());
        Ok(served)
    }

    fn put(&self, served: Arc<Served>) {
        let mut namespaces = self.namespaces.write().expect("nobody panics while holding the namespaces");
        namespaces.insert(served.settings.name.clone(), served);
    }

    async fn store(&self, namespace: &Namespace, expected: u64) -> Result<u64> {
        let bytes = Stored::from(namespace).bytes();
        let put = self.engine.state().put(&format!("{PREFIX}{}", namespace.name), bytes, expected).await?;
        put.ok_or_else(|| changed_meanwhile(&namespace.name))
    }

    fn validate(&self, namespace: &Namespace) -> Result<()> {
        let invalid = |field: &str, message: String| {
            Err(Error::new(Reason::NamespaceInvalid, message).field(format!("namespace.{field}")))
        };
        if namespace.max_age < MAX_AGE_LEAST {
            return invalid("max_age", format!("max_age is {:?}: it takes 1 s or more", namespace.max_age));
        }
        if namespace.max_bytes < MAX_BYTES_LEAST {
            return invalid(
                "max_bytes",
                format!("max_bytes is {}: it takes {MAX_BYTES_LEAST} or more", namespace.max_bytes),
            );
        }
        if namespace.deduplication_window > WINDOW_MOST {
            let window = namespace.deduplication_window;
            return invalid(
                "deduplication_window",
                format!("deduplication_window is {window:?}: it takes a day at most"),
            );
        }
        let rates = [
            ("max_messages_per_second", namespace.max_messages_per_second),
            ("max_bytes_per_second", namespace.max_bytes_per_second),
        ];
        if let Some((field, _)) = rates.iter().find(|(_, most)| *most == Some(0)) {
            return invalid(field, format!("{field} is 0, so nothing could be published: leave it out for no limit"));
        }
        if namespace.topic_schemas.len() > limits::TOPIC_SCHEMAS {
            let (rules, most) = (namespace.topic_schemas.len(), limits::TOPIC_SCHEMAS);
            return invalid(
                "topic_schemas",
                format!("there are {rules} rules about schemas: at most {most} are allowed"),
            );
        }
        // SYNCED is what nobody chose: an engine that gives less takes it and gives what it can.
        if namespace.durability > self.engine.strongest().max(Durability::Synced) {
            let message = format!(
                "the {} engine gives no durability {}: choose {} at most",
                self.engine.name(),
                namespace.durability,
                self.engine.strongest()
            );
            return Err(Error::new(Reason::DurabilityUnavailable, message).field("namespace.durability"));
        }
        Ok(())
    }
}

/// What keeps messages for good: a hundred years.
const FOREVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
const MAX_AGE_LEAST: Duration = Duration::from_secs(1);
const MAX_BYTES_LEAST: u64 = 1 << 20;
const WINDOW_MOST: Duration = Duration::from_secs(24 * 3600);

/// The refusal of whoever names a namespace that is not there.
pub(super) fn not_found(name: &NamespaceName) -> Error {
    let message = format!("there is no namespace {name}: create it first, with `tilde namespace create {name}`");
    Error::new(Reason::NamespaceNotFound, message).field("namespace")
}

fn changed_meanwhile(name: &NamespaceName) -> Error {
    let message = format!("namespace {name} was changed since it was read: read it again, then decide anew");
    Error::new(Reason::EtagMismatch, message).field("etag")
}

/// What differs, a phrase each.
fn differences(known: &Namespace, asked: &Namespace) -> Vec<String> {
    let rows = [
        ("max_age", format!("{:?}", known.max_age), format!("{:?}", asked.max_age)),
        ("max_bytes", known.max_bytes.to_string(), asked.max_bytes.to_string()),
        ("durability", known.durability.to_string(), asked.durability.to_string()),
        (
            "deduplication_window",
            format!("{:?}", known.deduplication_window),
            format!("{:?}", asked.deduplication_window),
        ),
        ("max_messages_per_second", limit(known.max_messages_per_second), limit(asked.max_messages_per_second)),
        ("max_bytes_per_second", limit(known.max_bytes_per_second), limit(asked.max_bytes_per_second)),
        ("max_streams", limit(known.max_streams), limit(asked.max_streams)),
        ("max_subscriptions", limit(known.max_subscriptions), limit(asked.max_subscriptions)),
        ("topic_schemas", all(&known.topic_schemas), all(&asked.topic_schemas)),
    ];
    let differing = rows.into_iter().filter(|(_, known, asked)| known != asked);
    differing.map(|(what, known, asked)| format!("{what} is {known}, not {asked}")).collect()
}

fn limit<T: ToString>(limit: Option<T>) -> String {
    limit.map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string())
}

fn all(rules: &[TopicSchema]) -> String {
    match rules.is_empty() {
        true => "none".to_owned(),
        false => rules.iter().map(TopicSchema::to_string).collect::<Vec<_>>().join(" "),
    }
}

/// The stored form of a namespace's settings: JSON.
#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    max_age_ns: u64,
    max_bytes: u64,
    durability: String,
    deduplication_window_ns: u64,
    max_messages_per_second: Option<u64>,
    max_bytes_per_second: Option<u64>,
    max_streams: Option<u32>,
    max_subscriptions: Option<u32>,
    // What follows came later: it is left out where there is nothing to say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    topic_schemas: Vec<StoredTopicSchema>,
}

/// One rule about the schemas of topics.
#[derive(Serialize, Deserialize)]
struct StoredTopicSchema {
    pattern: String,
    enforcement: String,
    subject: String,
}

/// Of [`Stored`]. Another form takes another number, and this one must still be read.
const VERSION: u32 = 1;

const DURABILITIES: [(Durability, &str); 4] = [
    (Durability::Memory, "memory"),
    (Durability::Written, "written"),
    (Durability::Synced, "synced"),
    (Durability::Replicated, "replicated"),
];

impl Stored {
    fn from(namespace: &Namespace) -> Self {
        let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let durability = DURABILITIES.iter().find(|(durability, _)| *durability == namespace.durability);
        Stored {
            version: VERSION,
            max_age_ns: nanos(namespace.max_age),
            max_bytes: namespace.max_bytes,
            durability: durability.expect("all are listed").1.to_owned(),
            deduplication_window_ns: nanos(namespace.deduplication_window),
            max_messages_per_second: namespace.max_messages_per_second,
            max_bytes_per_second: namespace.max_bytes_per_second,
            max_streams: namespace.max_streams,
            max_subscriptions: namespace.max_subscriptions,
            topic_schemas: namespace.topic_schemas.iter().map(StoredTopicSchema::from).collect(),
        }
    }

    fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("numbers and texts become JSON")
    }

    fn parse(name: NamespaceName, bytes: &[u8]) -> Result<Namespace> {
        let unreadable = |detail: String| {
            tracing::error!(namespace = %name, detail, "the settings in the state cannot be read");
            let message = format!("the settings of namespace {name} cannot be read: {detail}");
            Error::new(Reason::StorageCorrupt, message)
        };
        let stored: Stored = serde_json::from_slice(bytes).map_err(|error| unreadable(error.to_string()))?;
        if stored.version != VERSION {
            let version = stored.version;
            return Err(unreadable(format!("their form {version} is not known to this version of Tilde")));
        }
        let durability = DURABILITIES.iter().find(|(_, word)| *word == stored.durability);
        let Some(&(durability, _)) = durability else {
            return Err(unreadable(format!("there is no durability {:?}", stored.durability)));
        };
        let topic_schemas = stored.topic_schemas.iter().map(StoredTopicSchema::parse);
        let topic_schemas = topic_schemas.collect::<Result<_, _>>().map_err(unreadable)?;
        Ok(Namespace {
            name: name.clone(),
            max_age: Duration::from_nanos(stored.max_age_ns),
            max_bytes: stored.max_bytes,
            durability,
            deduplication_window: Duration::from_nanos(stored.deduplication_window_ns),
            max_messages_per_second: stored.max_messages_per_second,
            max_bytes_per_second: stored.max_bytes_per_second,
            max_streams: stored.max_streams,
            max_subscriptions: stored.max_subscriptions,
            topic_schemas,
        })
    }
}

impl StoredTopicSchema {
    fn from(rule: &TopicSchema) -> Self {
        StoredTopicSchema {
            pattern: rule.pattern.to_string(),
            enforcement: rule.enforcement.as_str().to_owned(),
            subject: rule.subject.to_string(),
        }
    }

    fn parse(&self) -> Result<TopicSchema, String> {
        let enforcement = Enforcement::ALL.iter().find(|(_, word)| *word == self.enforcement);
        let (enforcement, _) = enforcement.ok_or_else(|| format!("there is no enforcement {:?}", self.enforcement))?;
        TopicSchema::parse(&self.pattern, *enforcement, &self.subject).map_err(|error| error.message().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As version 1 wrote it. Later versions must still read it.
    const FIXTURE: &str = r#"{"version":1,"max_age_ns":3600000000000,"max_bytes":1048576,"durability":"written",
        "deduplication_window_ns":0,"max_messages_per_second":5,"max_bytes_per_second":null,"max_streams":7,
        "max_subscriptions":null}"#;

    #[test]
    fn the_stored_form_comes_back_as_it_went() {
        let name = NamespaceName::parse("team").unwrap();
        let stored = Stored::parse(name.clone(), FIXTURE.as_bytes()).unwrap();
        let expected = Namespace {
            max_age: Duration::from_secs(3600),
            max_bytes: 1 << 20,
            durability: Durability::Written,
            deduplication_window: Duration::ZERO,
            max_messages_per_second: Some(5),
            max_streams: Some(7),
            ..Namespace::new(name.clone())
        };
        assert_eq!(stored, expected);
        let rules = vec![TopicSchema::parse("orders/~", Enforcement::Warn, "orders").unwrap()];
        let ruled = Namespace { topic_schemas: rules, ..expected };
        assert_eq!(Stored::parse(name.clone(), &Stored::from(&ruled).bytes()).unwrap(), ruled);
        assert_eq!(Stored::parse(name.clone(), &Stored::from(&stored).bytes()).unwrap(), stored);
        for damaged in ["", "{}", &FIXTURE.replace(":1,", ":2,"), &FIXTURE.replace("written", "golden")] {
            let refusal = Stored::parse(name.clone(), damaged.as_bytes()).unwrap_err();
            assert_eq!(refusal.reason(), Reason::StorageCorrupt, "{damaged}");
        }
    }
}

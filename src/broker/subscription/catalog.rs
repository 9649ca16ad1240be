//! The subscriptions there are: created, changed, deleted, and remembered in the engine's state. Never delivers, and
//! never hears what was settled: that is for each one's hub.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::{
    super::{Broker, beginning, namespaces, served::Place, served::Served},
    entries::Entry,
    hub::{Hub, Pause},
    stored::Kept,
};
use crate::{
    engine::Value,
    model::{
        Error, NamespaceName, Position, Reason, Result, Sequence, Subscription, SubscriptionName, SubscriptionState,
        SubscriptionStats, Timestamp, Topic,
    },
};

/// A subscription as others see it.
#[derive(Clone, Debug, PartialEq)]
pub struct Described {
    /// What it is to do.
    pub subscription: Arc<Subscription>,
    /// Changes with every change, also when it is paused or resumed.
    pub etag: String,
    /// What it does at the moment.
    pub state: SubscriptionState,
    /// Why the broker paused it by itself; empty if somebody else did.
    pub state_reason: String,
    /// When it goes on by itself, if it is paused for a time.
    pub paused_until: Option<Timestamp>,
    /// Where it stands.
    pub stats: SubscriptionStats,
}

/// A change of a specification.
pub type SubscriptionChange = Box<dyn FnOnce(&mut Subscription) -> Result<()> + Send>;

/// Where the state keeps them: this, the namespace, `/` and the name.
pub(super) const SPECIFICATIONS: &str = "subscription/";
/// And what each has settled, in the same way.
pub(super) const LEDGERS: &str = "ledger/";

impl Broker {
    /// Creates a subscription. The same again is no error; with another specification it is SUBSCRIPTION_MISMATCH and
    /// says what differs. Answers whether it was created now.
    pub async fn create_subscription(&self, asked: Subscription) -> Result<(Described, bool)> {
        asked.check()?;
        self.check_target(&asked)?;
        let place = self.served(&asked.namespace)?.place.clone();
        if let Some(known) = self.known(&asked).await? {
            return Ok((known, false));
        }
        // It may take a search, during which others can make their changes.
        let first = self.first_of(&asked, asked.start, &place).await?;
        let _alone = self.changes.lock().await;
        if let Some(known) = self.known(&asked).await? {
            return Ok((known, false));
        }
        let served = self.served(&asked.namespace)?;
        if !Arc::ptr_eq(&served.place, &place) {
            return Err(place.gone());
        }
        self.check_quota(&served)?;
        // One of the same name may have left it, if its deletion was cut short.
        self.remove_key(&key(LEDGERS, &asked.namespace, &asked.name)).await?;
        let (id, specification) = (self.shared.clock.random(), Arc::new(asked));
        let kept = Kept { id, first, pause: Pause::No, reason: None, specification };
        let version = self.store_subscription(&kept, 0).await?;
        let entry = self.serve_subscription(kept, version, place)?;
        let Subscription { namespace, name, .. } = &*entry.kept.specification;
        tracing::info!(%namespace, subscription = %name, %first, "the subscription was created");
        Ok((entry.describe().await?, true))
    }

    /// One subscription; SUBSCRIPTION_NOT_FOUND if there is none.
    pub async fn get_subscription(&self, namespace: &NamespaceName, name: &SubscriptionName) -> Result<Described> {
        self.entry(namespace, name)?.describe().await
    }

    /// Subscriptions that come after `after`, by name, at most `most`; only those with a pattern for `topic`, if one is
    /// given.
    pub async fn list_subscriptions(
        &self,
        namespace: &NamespaceName,
        topic: Option<&Topic<'_>>,
        after: &str,
        most: usize,
    ) -> Result<Vec<Described>> {
        self.served(namespace)?;
        let mut found = self.subscriptions.after(namespace, after);
        if let Some(topic) = topic {
            found.retain(|entry| entry.kept.specification.pattern_set().matches(topic.as_str()));
        }
        let mut described = Vec::new();
        for entry in found.iter().take(most) {
            described.push(entry.describe().await?);
        }
        Ok(described)
    }

    /// Changes a specification; ETAG_MISMATCH if `etag` is given and not the one in force.
    pub async fn update_subscription(
        &self,
        namespace: &NamespaceName,
        name: &SubscriptionName,
        etag: &str,
        change: SubscriptionChange,
    ) -> Result<Described> {
        let _alone = self.changes.lock().await;
        let known = self.entry(namespace, name)?;
        if !etag.is_empty() && etag != known.version.to_string() {
            return Err(changed_meanwhile(name));
        }
        let before = &known.kept.specification;
        let mut asked = Subscription::clone(before);
        change(&mut asked)?;
        (asked.namespace, asked.name) = (namespace.clone(), name.clone());
        if asked == **before {
            return known.describe().await;
        }
        check_start(before, &asked)?;
        asked.check()?;
        if asked.push != before.push {
            self.check_target(&asked)?;
        }
        let changed = self.change(Kept { specification: Arc::new(asked), ..known.kept.clone() }, &known).await?;
        changed.hub.configure(changed.kept.specification.clone());
        tracing::info!(%namespace, subscription = %name, "the subscription was changed");
        changed.describe().await
    }

    /// Deletes a subscription with all that it remembers; its consumers end. Messages and dead letters stay.
    pub async fn delete_subscription(&self, namespace: &NamespaceName, name: &SubscriptionName) -> Result<()> {
        let _alone = self.changes.lock().await;
        let known = self.entry(namespace, name)?;
        self.delete_entry(&known).await
    }

    /// The same, for whoever changes nothing else meanwhile.
    pub(super) async fn delete_entry(&self, known: &Entry) -> Result<()> {
        let Subscription { namespace, name, .. } = &*known.kept.specification;
        if !self.engine.state().delete(&key(SPECIFICATIONS, namespace, name), known.version).await? {
            return Err(changed_meanwhile(name));
        }
        self.subscriptions.remove(namespace, name);
        known.hub.delete().await;
        tracing::info!(%namespace, subscription = %name, "the subscription was deleted");
        self.remove_key(&key(LEDGERS, namespace, name)).await
    }

    /// Begins anew at another position, or with `dry_run` only counts. Answers the backlog from there on.
    pub async fn seek_subscription(
        &self,
        namespace: &NamespaceName,
        name: &SubscriptionName,
        position: Position,
        dry_run: bool,
    ) -> Result<u64> {
        if position == Position::LastPerTopic {
            let message = "a subscription cannot go on with the newest message of each topic: name another position";
            return Err(Error::new(Reason::SubscriptionInvalid, message).field("position"));
        }
        let hub = self.adopted(namespace, name).await?;
        let place = self.served(namespace)?.place.clone();
        let first = self.first_of(&hub.specification(), position, &place).await?;
        let backlog = hub.seek(first, dry_run).await?;
        if !dry_run {
            tracing::info!(%namespace, subscription = %name, %first, "the subscription was moved");
        }
        Ok(backlog)
    }

    /// Delivers nothing until then, or until it is resumed.
    pub async fn pause_subscription(
        &self,
        namespace: &NamespaceName,
        name: &SubscriptionName,
        until: Option<Timestamp>,
    ) -> Result<()> {
        if until.is_some_and(|until| until <= self.shared.clock.now()) {
            let message = "until has passed already: name a time that is to come, or none to pause until resumed";
            return Err(Error::new(Reason::RequestInvalid, message).field("until"));
        }
        self.set_pause(namespace, name, until.map_or(Pause::Forever, Pause::Until), None).await
    }

    /// Delivers again.
    pub async fn resume_subscription(&self, namespace: &NamespaceName, name: &SubscriptionName) -> Result<()> {
        self.set_pause(namespace, name, Pause::No, None).await
    }

    /// Settles all that waits. Answers how many messages.
    pub async fn purge_subscription(&self, namespace: &NamespaceName, name: &SubscriptionName) -> Result<u64> {
        let purged = self.adopted(namespace, name).await?.purge().await?;
        tracing::info!(%namespace, subscription = %name, purged, "what waited for the subscription was purged");
        Ok(purged)
    }

    /// What serves a subscription, with one look; SUBSCRIPTION_NOT_FOUND if there is none.
    pub(in crate::broker) fn hub(&self, namespace: &NamespaceName, name: &SubscriptionName) -> Result<Arc<Hub>> {
        let found = self.subscriptions.look(namespace, name, |entry| entry.hub.clone());
        found.ok_or_else(|| self.not_found(namespace, name))
    }

    /// The same, for whoever hands out or settles: what another broker had of it is kept, and cannot be changed by it any
    /// more.
    pub(in crate::broker) async fn adopted(
        &self,
        namespace: &NamespaceName,
        name: &SubscriptionName,
    ) -> Result<Arc<Hub>> {
        loop {
            let entry = self.entry(namespace, name)?;
            if self.shared.office.is_none() || entry.hub.adopt().await? {
                return Ok(entry.hub);
            }
            // Its last word came after it was read here.
            let _alone = self.changes.lock().await;
            if self.hub(namespace, name).is_ok_and(|hub| Arc::ptr_eq(&hub, &entry.hub)) {
                entry.hub.hand_over();
                self.serve_subscription(entry.kept, entry.version, entry.hub.place.clone())?;
            }
        }
    }

    /// Serves what the state knows. To be called when the namespaces are served.
    pub(in crate::broker) async fn open_subscriptions(&self) -> Result<()> {
        for (key, value) in self.engine.state().list(SPECIFICATIONS)? {
            let (namespace, name) = parse_key(&key)?;
            let Ok(served) = self.served(&namespace) else {
                tracing::warn!(%namespace, subscription = %name, "there is no namespace for a subscription in the state");
                continue;
            };
            let kept = Kept::parse(namespace, name, &value.bytes)?;
            self.serve_subscription(kept, value.version, served.place.clone())?;
        }
        Ok(())
    }

    /// Serves none any more: another broker does. What was not kept comes again there.
    pub(in crate::broker) fn close_subscriptions(&self) {
        for hub in self.subscriptions.clear() {
            hub.hand_over();
        }
    }

    /// Keeps what was settled and is not kept yet: the broker stops.
    pub(in crate::broker) async fn keep_subscriptions(&self) {
        for hub in self.subscriptions.hubs() {
            hub.save_all().await;
        }
    }

    /// Wakes every consumer, also those that have no room for anything.
    pub(in crate::broker) fn wake_consumers(&self) {
        self.subscriptions.hubs().into_iter().for_each(|hub| hub.lock().wake_all());
    }

    /// Deletes the subscriptions of a namespace that is gone, with all that they remember.
    pub(in crate::broker) async fn forget_subscriptions(&self, namespace: &NamespaceName) -> Result<()> {
        for hub in self.subscriptions.remove_all(namespace) {
            hub.delete().await;
        }
        let mut removing = JoinSet::new();
        for prefix in [SPECIFICATIONS, LEDGERS] {
            for (key, value) in self.engine.state().list(&format!("{prefix}{namespace}/"))? {
                let engine = self.engine.clone();
                removing.spawn(async move { engine.state().delete(&key, value.version).await });
            }
        }
        while let Some(removed) = removing.join_next().await {
            removed.expect("a deletion does not panic, and nobody ends it")?;
        }
        Ok(())
    }

    /// The subscription of that name, if it is there and the same.
    async fn known(&self, asked: &Subscription) -> Result<Option<Described>> {
        let known = self.subscriptions.look(&asked.namespace, &asked.name, Entry::clone);
        let Some(known) = known else { return Ok(None) };
        let differences = known.kept.specification.differences(asked);
        if differences.is_empty() {
            return known.describe().await.map(Some);
        }
        let message = format!(
            "subscription {} exists with another specification: {}; update it, or choose another name",
            asked.name,
            differences.join(", ")
        );
        Err(Error::new(Reason::SubscriptionMismatch, message).field("name"))
    }

    /// The first position that belongs to it, if it begins there now.
    async fn first_of(&self, subscription: &Subscription, position: Position, place: &Place) -> Result<Sequence> {
        // What another broker has answered comes before.
        place.log.hear_all().await?;
        let patterns = Arc::new(subscription.pattern_set());
        let filter = subscription.filter().map(|filter| place.filters.register(filter));
        let filter = filter.as_ref().map(|filter| filter.alone.clone());
        let request = beginning::Request { position, strict: false, patterns: &patterns, filter };
        Ok(request.resolve(place, &place.log.bounds(), &self.shared).await?.start.next)
    }

    fn check_quota(&self, served: &Served) -> Result<()> {
        let namespace = &served.settings.name;
        match served.settings.max_subscriptions {
            Some(most) if self.subscriptions.count(namespace) >= most as usize => {
                let message = format!(
                    "namespace {namespace} has {most} subscriptions, as many as it may: delete one, or raise its \
                     max_subscriptions"
                );
                Err(Error::new(Reason::QuotaExceeded, message).with("limit", most))
            }
            _ => Ok(()),
        }
    }

    /// Refuses to push where no webhook may go, as far as the URL tells.
    fn check_target(&self, asked: &Subscription) -> Result<()> {
        let Some(push) = &asked.push else { return Ok(()) };
        self.shared.config.targets.check(&push.target()).map_err(|error| error.within("subscription"))
    }

    /// With the reason if the broker does it by itself.
    pub(super) async fn set_pause(
        &self,
        namespace: &NamespaceName,
        name: &SubscriptionName,
        pause: Pause,
        reason: Option<String>,
    ) -> Result<()> {
        let _alone = self.changes.lock().await;
        let mut known = self.entry(namespace, name)?;
        if known.kept.pause != pause || known.kept.reason != reason {
            known = self.change(Kept { pause, reason: reason.clone(), ..known.kept.clone() }, &known).await?;
        }
        known.hub.pause(pause);
        tracing::info!(%namespace, subscription = %name, ?pause, reason, "the subscription was paused or resumed");
        Ok(())
    }

    /// Stores what another one is to be, and puts it in the place of the one that is known.
    async fn change(&self, kept: Kept, known: &Entry) -> Result<Entry> {
        let version = self.store_subscription(&kept, known.version).await?;
        let entry = Entry { kept, version, hub: known.hub.clone() };
        self.subscriptions.put(entry.clone());
        Ok(entry)
    }

    pub(super) async fn store_subscription(&self, kept: &Kept, expected: u64) -> Result<u64> {
        let Subscription { namespace, name, .. } = &*kept.specification;
        let put = self.engine.state().put(&key(SPECIFICATIONS, namespace, name), kept.bytes(), expected).await?;
        put.ok_or_else(|| changed_meanwhile(name))
    }

    fn serve_subscription(&self, kept: Kept, version: u64, place: Arc<Place>) -> Result<Entry> {
        let Subscription { namespace, name, .. } = &*kept.specification;
        let ledger = self.engine.state().get(&key(LEDGERS, namespace, name))?;
        self.serve_from(kept, version, place, ledger)
    }

    /// The same, with what it has settled.
    pub(super) fn serve_from(
        &self,
        kept: Kept,
        version: u64,
        place: Arc<Place>,
        ledger: Option<Value>,
    ) -> Result<Entry> {
        let (shared, specification) = (self.shared.clone(), kept.specification.clone());
        let hub = Hub::open(shared, place, kept.id, kept.first, specification, kept.pause, ledger)?;
        let entry = Entry { kept, version, hub };
        self.subscriptions.put(entry.clone());
        Ok(entry)
    }

    /// Removes a key from the state, whatever its version.
    pub(super) async fn remove_key(&self, key: &str) -> Result<()> {
        while let Some(value) = self.engine.state().get(key)? {
            if self.engine.state().delete(key, value.version).await? {
                break;
            }
        }
        Ok(())
    }

    pub(super) fn entry(&self, namespace: &NamespaceName, name: &SubscriptionName) -> Result<Entry> {
        if !self.shared.works() {
            return Err(self.shared.does_not_work());
        }
        self.subscriptions.look(namespace, name, Entry::clone).ok_or_else(|| self.not_found(namespace, name))
    }

    fn not_found(&self, namespace: &NamespaceName, name: &SubscriptionName) -> Error {
        if self.served(namespace).is_err() {
            return namespaces::not_found(namespace);
        }
        let message = format!(
            "there is no subscription {name} in namespace {namespace}: create it first, with `tilde subscription create {name} PATTERN`"
        );
        Error::new(Reason::SubscriptionNotFound, message).field("name")
    }
}

/// A part of the state, for one subscription. A namespace's name holds no `/`.
pub(super) fn key(prefix: &str, namespace: &NamespaceName, name: &SubscriptionName) -> String {
    format!("{prefix}{namespace}/{name}")
}

fn parse_key(key: &str) -> Result<(NamespaceName, SubscriptionName)> {
    let (namespace, name) = key[SPECIFICATIONS.len()..].split_once('/').unwrap_or_default();
    Ok((NamespaceName::parse(namespace)?, SubscriptionName::parse(name)?))
}

fn check_start(before: &Subscription, asked: &Subscription) -> Result<()> {
    if before.start == asked.start {
        return Ok(());
    }
    let message = "start was fixed when the subscription was created: leave it out, and move the subscription with \
                   SeekSubscription";
    Err(Error::new(Reason::SubscriptionInvalid, message).field("subscription.start"))
}

pub(super) fn changed_meanwhile(name: &SubscriptionName) -> Error {
    let message = format!("subscription {name} was changed since it was read: read it again, then decide anew");
    Error::new(Reason::EtagMismatch, message).field("etag")
}

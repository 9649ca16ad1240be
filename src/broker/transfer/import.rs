//! A namespace on its way in: its messages are appended in their order and get new places; then its subscriptions go on
//! where they were, in those places. Nobody else may write there meanwhile: what he wrote would lie before the position of
//! subscriptions that have never seen it.

use std::{mem, sync::Arc};

use super::{Carried, Moved, MovedSchemas, Progress, Totals, everything, places::Places};
use crate::{
    broker::{
        Broker,
        schedule::{Hold, MARKS, PREFIX},
        served::Place,
        subscription::letter,
    },
    engine::Batch,
    model::{Durability, Error, Message, Namespace, NamespaceName, Reason, Result, Sequence, Topic},
};

/// A namespace that moves in.
pub struct Import {
    broker: Arc<Broker>,
    place: Arc<Place>,
    places: Places,
    /// Where the next message of it comes to lie, unless somebody else writes.
    next: Sequence,
    carried: Vec<Carried>,
    imported: Imported,
    // What of it came, also what was left out.
    came: Totals,
    is_whole: bool,
    // What is scheduled waits until all is in.
    _hold: Hold,
}

/// What is in by now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// How much.
    pub totals: Totals,
    /// Left out, as they have expired.
    pub expired: u64,
    /// The namespace was made for it.
    pub created: bool,
}

/// Messages that are about to be appended.
struct Draft {
    batch: Batch,
    /// What places they had.
    old: Vec<Sequence>,
}

impl Broker {
    /// Begins to take a namespace in, under the name that the settings have. If there is none of that name it is made by
    /// these settings; one that is there keeps its own, and must be empty.
    pub async fn import(self: &Arc<Self>, mut settings: Namespace) -> Result<Import> {
        self.refuse_while_draining()?;
        if !self.shared.works() {
            return Err(self.shared.does_not_work());
        }
        let name = settings.name.clone();
        let created = self.served(&name).is_err();
        if created {
            // What another engine could give this one may not.
            settings.durability = settings.durability.min(self.engine.strongest().max(Durability::Synced));
            self.create_namespace(settings).await?;
        }
        let place = self.served(&name)?.place.clone();
        let Some(hold) = Hold::take(&place) else {
            return Err(not_empty(format!("another import into namespace {name} is under way: wait for its end")));
        };
        place.log.hear_all().await?;
        let bounds = place.log.bounds();
        if everything::is_there_any(&*place.log, bounds.first, bounds.end, self.shared.clock.now()).await? {
            return Err(not_empty(format!("namespace {name} holds messages; {}", make_room(&name))));
        }
        if self.subscriptions.count(&name) > 0 {
            let message = format!(
                "namespace {name} has subscriptions, which would get all that is imported: delete them, or name another \
                 namespace"
            );
            return Err(not_empty(message));
        }
        tracing::info!(namespace = %name, created, "a namespace is imported");
        Ok(Import {
            broker: self.clone(),
            next: bounds.end.next(),
            place,
            places: Places::default(),
            carried: Vec::new(),
            imported: Imported { created, ..Imported::default() },
            came: Totals::default(),
            is_whole: false,
            _hold: hold,
        })
    }
}

impl Import {
    /// What is in by now.
    pub fn imported(&self) -> Imported {
        self.imported
    }

    /// Where to.
    pub fn namespace(&self) -> &NamespaceName {
        &self.place.name
    }

    /// Takes what is registered. What the namespace has already must be the same.
    pub async fn schemas(&mut self, moved: MovedSchemas) -> Result<()> {
        self.check()?;
        moved.check(self.came.schemas)?;
        let (schemas, subjects) = (moved.schemas.len() as u64, moved.subjects.len() as u64);
        self.came.schemas += schemas;
        self.came.subjects += subjects;
        self.place.schemas.take_in(moved).await?;
        self.imported.totals.schemas += schemas;
        self.imported.totals.subjects += subjects;
        Ok(())
    }

    /// Takes messages, whose places rise. They are stored when this ends.
    pub async fn messages(&mut self, messages: Vec<Moved<'_>>) -> Result<()> {
        let mut draft = self.draft();
        let mut last = self.places.last_old();
        for (at, Moved { sequence, message }) in messages.into_iter().enumerate() {
            let of_schedule = message.topic.as_str() == MARKS || message.topic.as_str().starts_with(PREFIX);
            if sequence <= last || of_schedule {
                let message = format!("message {sequence} does not belong behind message {last}");
                return Err(Error::new(Reason::RequestInvalid, message).field(format!("messages[{at}]")));
            }
            last = sequence;
            self.came.messages += 1;
            if self.has_expired(&message) {
                continue;
            }
            // What a dead letter names may be about to get its place.
            if letter::names(&message).iter().flatten().any(|name| draft.old.first().is_some_and(|first| first <= name))
            {
                let full = mem::replace(&mut draft, self.draft());
                self.append(full).await?;
            }
            let message = letter::moved(message, |old| self.places.of(old));
            self.push(&mut draft, sequence, &message)?;
        }
        self.append(draft).await
    }

    /// Takes messages that wait for their time.
    pub async fn scheduled(&mut self, messages: Vec<Moved<'_>>) -> Result<()> {
        self.place.schedule.tend(&self.broker.shared, &self.place);
        let mut draft = self.draft();
        for (at, Moved { sequence, message }) in messages.into_iter().enumerate() {
            let topic = message.topic.as_str().strip_prefix(PREFIX).map(Topic::parse_writable);
            if !matches!(topic, Some(Ok(_))) || message.deliver_time.is_none() {
                let message =
                    format!("message {sequence} is not scheduled: it needs a topic under {PREFIX} and a time");
                return Err(Error::new(Reason::RequestInvalid, message).field(format!("scheduled[{at}]")));
            }
            self.came.scheduled += 1;
            if !self.has_expired(&message) {
                self.push(&mut draft, sequence, &message)?;
            }
        }
        let Draft { batch, .. } = draft;
        // Where they lay matters to nobody.
        self.append(Draft { batch, old: Vec::new() }).await
    }

    /// Takes a subscription, which is made in the end.
    pub fn subscription(&mut self, carried: Carried) -> Result<()> {
        let name = &carried.subscription.name;
        if !carried.progress.is_sound() {
            let message = format!("what subscription {name} has settled makes no sense");
            return Err(Error::new(Reason::RequestInvalid, message).field("subscription"));
        }
        if self.carried.iter().any(|other| other.subscription.name == *name) {
            let message = format!("there are two subscriptions {name}");
            return Err(Error::new(Reason::RequestInvalid, message).field("subscription"));
        }
        carried.subscription.check()?;
        self.came.subscriptions += 1;
        self.carried.push(carried);
        Ok(())
    }

    /// Everything came, if it is as much as was sent: makes the subscriptions.
    pub async fn finish(&mut self, sent: Totals) -> Result<()> {
        if sent != self.came {
            let Totals { messages, scheduled, subscriptions, schemas, subjects } = self.came;
            let message = format!(
                "{} messages, {} scheduled ones, {} subscriptions, {} schemas and {} subjects were announced, and \
                 {messages}, {scheduled}, {subscriptions}, {schemas} and {subjects} came",
                sent.messages, sent.scheduled, sent.subscriptions, sent.schemas, sent.subjects
            );
            return Err(Error::new(Reason::RequestInvalid, message).field("end"));
        }
        self.check()?;
        for carried in mem::take(&mut self.carried) {
            let progress = self.carry(&carried.progress);
            self.broker.settle_down(Carried { progress, ..carried }, &self.place).await?;
            self.imported.totals.subscriptions += 1;
        }
        self.is_whole = true;
        let Imported { totals, expired, .. } = self.imported;
        tracing::info!(
            namespace = %self.place.name, messages = totals.messages, scheduled = totals.scheduled, expired,
            subscriptions = totals.subscriptions, schemas = totals.schemas, "the namespace was imported"
        );
        Ok(())
    }

    /// An error that ends the import, with what follows from it.
    pub fn broken_off(&self, error: Error) -> Error {
        let Totals { messages, scheduled, subscriptions, schemas, .. } = self.imported.totals;
        let name = &self.place.name;
        match (messages + scheduled + subscriptions, schemas) {
            (0, 0) => error.so("nothing was imported"),
            // Those that come again are the same.
            (0, _) => error.so(format_args!("only {schemas} schemas were imported into namespace {name}: they may stay")),
            _ => error.so(format_args!(
                "{messages} messages, {scheduled} scheduled ones, {subscriptions} subscriptions and {schemas} schemas were \
                 imported into namespace {name}: {}, and import all of it again",
                make_room(name)
            )),
        }
    }

    /// Whether anything more may be taken.
    fn check(&self) -> Result<()> {
        self.broker.refuse_while_draining()?;
        match () {
            () if self.place.is_deleted() => Err(self.place.gone()),
            () if !self.broker.shared.works() => Err(self.broker.shared.does_not_work()),
            () => Ok(()),
        }
    }

    /// Where a subscription stands here.
    fn carry(&self, progress: &Progress) -> Progress {
        match self.places.is_empty() {
            // Nothing came along: all that follows is new.
            true => Progress { read: self.next, counts: progress.counts, ..Default::default() },
            false => self.places.carry(progress),
        }
    }

    fn has_expired(&mut self, message: &Message<'_>) -> bool {
        let now = self.broker.shared.clock.now();
        let expired = message.expire_time.is_some_and(|time| time <= now);
        self.imported.expired += u64::from(expired);
        expired
    }

    fn draft(&self) -> Draft {
        Draft { batch: Batch::new(Durability::Synced.min(self.broker.engine.strongest())), old: Vec::new() }
    }

    fn push(&self, draft: &mut Draft, sequence: Sequence, message: &Message<'_>) -> Result<()> {
        // A dead letter may be larger than what was published.
        let most = self.broker.shared.config.message_bytes + letter::BEYOND;
        let pushed = draft.batch.push_moved(message, most);
        pushed.map_err(|error| error.so(format_args!("that was message {sequence} of the export")))?;
        draft.old.push(sequence);
        Ok(())
    }

    /// Stores messages, and learns of their places.
    async fn append(&mut self, draft: Draft) -> Result<()> {
        self.check()?;
        let Draft { mut batch, old } = draft;
        if batch.is_empty() {
            return Ok(());
        }
        let bytes = batch.bytes();
        batch.reserve(self.broker.permit(bytes).await?);
        let outcomes = self.place.log.append(batch).await?;
        let mut old = old.into_iter();
        for outcome in outcomes.iter() {
            let new = outcome?.sequence;
            if new > self.next {
                self.refuse_others(new.previous()).await?;
            }
            self.next = new.next();
            match old.next() {
                Some(old) => {
                    self.places.add(old, new);
                    self.imported.totals.messages += 1;
                }
                None => self.imported.totals.scheduled += 1,
            }
        }
        self.place.metrics.published_messages.inc_by(outcomes.len() as u64);
        self.place.metrics.published_bytes.inc_by(bytes as u64);
        Ok(())
    }

    /// Sequences may skip; but what lies there was written by somebody else.
    async fn refuse_others(&self, through: Sequence) -> Result<()> {
        let now = self.broker.shared.clock.now();
        if !everything::is_there_any(&*self.place.log, self.next, through, now).await? {
            return Ok(());
        }
        let message = format!("somebody else publishes to namespace {}: stop that first", self.place.name);
        Err(not_empty(message))
    }
}

impl Drop for Import {
    fn drop(&mut self) {
        if !self.is_whole {
            let Totals { messages, subscriptions, .. } = self.imported.totals;
            tracing::warn!(
                namespace = %self.place.name, messages, subscriptions,
                "an import broke off: the namespace holds a part of what was to come"
            );
        }
    }
}

fn not_empty(message: String) -> Error {
    Error::new(Reason::NamespaceNotEmpty, message).field("namespace")
}

/// How a namespace becomes empty.
fn make_room(name: &NamespaceName) -> String {
    match name.as_str() {
        NamespaceName::DEFAULT => "remove them, with `tilde topics purge '~'` and `tilde topics purge '$~'` and by \
                                   deleting the subscriptions, or name another namespace"
            .into(),
        name => format!("delete it, with `tilde namespace delete {name}`, or name another one"),
    }
}

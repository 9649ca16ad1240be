//! Messages that are to be delivered later: they lie in the log under a topic of the broker's, and are published to their
//! own when they are due. One task a namespace that has any. Never holds a message, only when which is due.
//!
//! A message is published in one block with a mark that says how far publishing has come, so that a crash leaves both or
//! none: it is published once.

mod agenda;
mod moving;

use std::{
    collections::{BTreeMap, BTreeSet},
    future::poll_fn,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use self::agenda::{Agenda, Due, Found, Mark};
pub(super) use self::moving::{Hold, Waiting};
use super::{
    Broker, Publish, Shared,
    router::{Call, Registration},
    served::{Place, Served},
};
use crate::{
    engine::{Batch, Page, Query},
    model::{
        Durability, Error, Message, Pattern, PatternSet, Payload, Reason, Record, Records, Result, Sequence, Timestamp,
        Topic, limits,
    },
};

/// What is scheduled lies under this and its own topic.
pub(super) const PREFIX: &str = "$scheduled/";
/// Where the marks lie.
pub(super) const MARKS: &str = "$scheduled";
/// What is held of what waits, at some 40 bytes each.
const HELD: usize = 1 << 18;
/// Messages and bytes that are read and published at a time.
const MESSAGES: usize = 500;
const BYTES: usize = 512 << 10;
/// Messages that are read at a time to find one of them.
const AROUND: usize = 64;
/// The wall clock may be moved: it is looked at so often while anything waits.
const LOOK: Duration = Duration::from_secs(1);
/// What failed is tried again after this.
const AGAIN: Duration = Duration::from_secs(1);

/// What of a namespace is to be delivered later.
#[derive(Default)]
pub struct Schedule {
    is_tended: AtomicBool,
    /// Nothing is published, as a namespace moves in.
    is_held: AtomicBool,
    /// None until the log was asked how far publishing has come.
    agenda: Mutex<Option<Agenda>>,
}

/// A mark as it lies in the log: JSON.
#[derive(Serialize, Deserialize)]
struct StoredMark {
    read: u64,
    published_ns: i64,
    published_sequence: u64,
}

impl Broker {
    /// Sees to it that a message whose time lies ahead waits for it.
    pub(super) fn schedule(&self, served: &Served, publish: &mut Publish<'_>) -> Result<()> {
        let now = self.shared.clock.now();
        let Some(time) = publish.message.deliver_time.filter(|time| *time > now) else { return Ok(()) };
        let refused = |field: &str, message: String| Err(Error::new(Reason::MessageInvalid, message).field(field));
        let days = |span: Duration| format!("{} days", span.as_secs_f64() / 86_400.0);
        if time.since(now) > limits::DELIVER_AHEAD {
            let most = days(limits::DELIVER_AHEAD);
            return refused("deliver_time", format!("the deliver_time lies more than {most} ahead: that is the most"));
        }
        if time.since(now) >= served.settings.max_age {
            let (name, kept) = (&served.settings.name, days(served.settings.max_age));
            let message = format!(
                "the deliver_time lies further ahead than namespace {name} keeps messages, {kept}: the message would be \
                 removed before it is due; raise the namespace's max_age, or deliver it earlier"
            );
            return refused("deliver_time", message);
        }
        if publish.expected_last_sequence.is_some() {
            let message = "expected_last_sequence holds for the moment of publishing, and the deliver_time lies ahead: \
                           leave out one of them";
            return refused("expected_last_sequence", message.into());
        }
        let Ok(topic) = Topic::parse(format!("{PREFIX}{}", publish.message.topic)) else {
            let (has, most) = (publish.message.topic.as_str().len(), limits::TOPIC_BYTES - PREFIX.len());
            return refused(
                "topic",
                format!("the topic has {has} bytes: with a deliver_time ahead at most {most} are allowed"),
            );
        };
        publish.message.topic = topic;
        // Its time to live begins when it is delivered.
        publish.message.expire_time = publish.message.expire_time.map(|expires| time.plus(expires.since(now)));
        served.place.schedule.tend(&self.shared, &served.place);
        Ok(())
    }
}

impl Schedule {
    /// Goes on with what was scheduled before the broker started, if there is anything.
    pub(super) fn open(shared: &Arc<Shared>, place: &Arc<Place>) {
        let (shared, place) = (shared.clone(), place.clone());
        place.runtime.clone().spawn(async move {
            let scheduled = Pattern::Prefix(PREFIX.into());
            // What other brokers schedule is published by whoever works off the subscriptions.
            let of_others = shared.office.is_some();
            // What cannot be told is looked for.
            if of_others || place.log.topics(&scheduled, "", 1).await.map_or(true, |topics| !topics.is_empty()) {
                place.schedule.tend(&shared, &place);
            }
        });
    }

    /// From now on somebody publishes what is due.
    pub(super) fn tend(&self, shared: &Arc<Shared>, place: &Arc<Place>) {
        if self.is_tended.load(Ordering::Relaxed) || self.is_tended.swap(true, Ordering::Relaxed) {
            return;
        }
        let patterns = Arc::new(PatternSet::new(vec![Pattern::Prefix(PREFIX.into())]));
        // Before anything is appended: it is told of all that comes.
        let seat = place.router.register(patterns.clone());
        let marked = Mutex::default();
        let task = Task { shared: shared.clone(), place: place.clone(), patterns, seat, marked };
        place.runtime.spawn(async move {
            let closing = task.place.closing.clone();
            closing.run_until_cancelled(task.run()).await
        });
    }

    /// To which topic a record of the log is to be published, and when, if it is one that waits for its time.
    pub(super) fn waits<'a>(&self, record: &Record<'a>) -> Option<(&'a str, Timestamp)> {
        let topic = scheduled_topic(record)?;
        let due = due(record)?;
        let agenda = self.agenda.lock().expect(UNHARMED);
        let waits = agenda.as_ref().is_none_or(|agenda| agenda.waits(due));
        waits.then_some((topic, due.0))
    }
}

/// The topic to which a record of a scheduled message is to be published; None of any other record.
pub(super) fn scheduled_topic<'a>(record: &Record<'a>) -> Option<&'a str> {
    record.topic().strip_prefix(PREFIX)
}

fn due(record: &Record<'_>) -> Option<Due> {
    Some((record.deliver_time()?, record.sequence()))
}

const UNHARMED: &str = "nobody panics while holding the agenda";

/// Publishes what is due.
struct Task {
    shared: Arc<Shared>,
    place: Arc<Place>,
    patterns: Arc<PatternSet>,
    seat: Registration,
    /// The last mark; zero if there is none.
    marked: Mutex<Sequence>,
}

impl Task {
    async fn run(self) {
        loop {
            if !self.shared.works() {
                // Another broker goes on from its own marks.
                *self.place.schedule.agenda.lock().expect(UNHARMED) = None;
                sleep(AGAIN).await;
                continue;
            }
            if self.place.schedule.is_held.load(Ordering::SeqCst) {
                sleep(AGAIN).await;
                continue;
            }
            match self.step().await {
                Ok(None) => {}
                Ok(Some(wait)) => {
                    tokio::select! {
                        () = self.called() => {}
                        () = sleep(wait) => {}
                    }
                }
                Err(error) => {
                    tracing::warn!(namespace = %self.place.name, %error, "what is scheduled cannot be published yet");
                    // Another broker may have gone on meanwhile: the marks tell how far.
                    *self.place.schedule.agenda.lock().expect(UNHARMED) = None;
                    sleep(AGAIN).await;
                }
            }
        }
    }

    /// Does what is to be done. Answers how long there is nothing more; None if there may be more at once.
    async fn step(&self) -> Result<Option<Duration>> {
        if self.place.schedule.agenda.lock().expect(UNHARMED).is_none() {
            let mark = self.last_mark().await?;
            *self.place.schedule.agenda.lock().expect(UNHARMED) = Some(Agenda::new(mark, HELD));
        }
        self.read().await?;
        if self.agenda(|agenda| agenda.is_exhausted()) {
            self.read_again().await?;
        }
        let now = self.shared.clock.now();
        let due = self.agenda(|agenda| agenda.due(now, MESSAGES, BYTES));
        if let Some(&last) = due.last() {
            let records = self.fetch(&due).await?;
            self.publish(&records, |agenda, last| agenda.mark_after(last)).await?;
            self.agenda(|agenda| agenda.published(last));
            return Ok(None);
        }
        Ok(Some(self.agenda(|agenda| agenda.next()).map_or(Duration::MAX, |next| next.since(now).min(LOOK))))
    }

    /// Looks at all that has come.
    async fn read(&self) -> Result<()> {
        loop {
            let Some(from) = self.unread() else { return Ok(()) };
            let page = self.page(from, Sequence::MAX, MESSAGES).await?;
            let late: Vec<_> = self.agenda(|agenda| {
                let found = scheduled(&page);
                found.filter(|(due, record)| agenda.find(*due, record.len() as u32) == Found::Late).collect()
            });
            self.publish(&late, |agenda, last| agenda.mark_at(last.1.next())).await?;
            self.agenda(|agenda| agenda.passed(page.next));
            if page.end {
                return Ok(());
            }
        }
    }

    /// Looks once more at all that found no room.
    async fn read_again(&self) -> Result<()> {
        let mut from = self.place.log.bounds().first;
        let seen = self.agenda(|agenda| {
            agenda.begin_again();
            agenda.seen()
        });
        while from < seen {
            let page = self.page(from, seen.previous(), MESSAGES).await?;
            self.agenda(|agenda| {
                scheduled(&page).for_each(|(due, record)| agenda.find_again(due, record.len() as u32));
            });
            from = page.next;
            if page.end {
                break;
            }
        }
        Ok(())
    }

    /// The messages that are due, as far as they are still kept.
    async fn fetch(&self, due: &[Due]) -> Result<Vec<(Due, Bytes)>> {
        let mut wanted: BTreeSet<_> = due.iter().map(|(_, sequence)| *sequence).collect();
        let mut found = BTreeMap::new();
        let Some(&last) = wanted.last() else { return Ok(Vec::new()) };
        while let Some(&from) = wanted.first() {
            let page = self.page(from, last, AROUND).await?;
            for ((_, sequence), record) in scheduled(&page) {
                if wanted.remove(&sequence) {
                    found.insert(sequence, record);
                }
            }
            wanted = wanted.split_off(&page.next);
        }
        let gone = due.len() - found.len();
        if gone > 0 && due.iter().any(|(_, sequence)| *sequence < self.place.log.bounds().first) {
            tracing::warn!(
                namespace = %self.place.name, messages = gone,
                "messages were removed by retention before they were due: raise the namespace's max_bytes"
            );
        }
        Ok(due.iter().filter_map(|due| Some((*due, found.remove(&due.1)?))).collect())
    }

    async fn page(&self, from: Sequence, through: Sequence, max_messages: usize) -> Result<Page> {
        let query = Query {
            from,
            through: through.min(self.place.log.tail().committed()),
            patterns: &self.patterns,
            guide: None,
            filter: None,
            max_messages,
            max_bytes: BYTES,
            // What has expired is left out when it is published.
            now: Timestamp::EPOCH,
        };
        self.place.log.read(query).await
    }

    /// Publishes messages, in order, with a mark for the last of them.
    async fn publish(&self, records: &[(Due, Bytes)], mark: impl Fn(&Agenda, Due) -> Mark) -> Result<()> {
        match self.append(records, &mark).await {
            Err(error) if error.reason() == Reason::MessageIdReused => {}
            result => return result,
        }
        for record in records.chunks(1) {
            match self.append(record, &mark).await {
                Err(error) if error.reason() == Reason::MessageIdReused => {
                    let sequence = record[0].0.1;
                    tracing::warn!(namespace = %self.place.name, %sequence, %error, "a scheduled message is left out");
                }
                result => result?,
            }
        }
        Ok(())
    }

    /// Publishes all or none.
    async fn append(&self, records: &[(Due, Bytes)], mark: impl Fn(&Agenda, Due) -> Mark) -> Result<()> {
        let Some(&(last, _)) = records.last() else { return Ok(()) };
        let now = self.shared.clock.now();
        let mut batch = Batch::new(Durability::Synced.min(self.shared.engine.strongest())).atomic(true);
        for (_, bytes) in records {
            let record = Records::new(bytes).next().and_then(Result::ok);
            let Some(record) = record.filter(|record| record.expire_time().is_none_or(|time| time > now)) else {
                continue;
            };
            let (Some(topic), Some(message)) = (scheduled_topic(&record), Message::decode(&record)) else { continue };
            let message = Message { topic: Topic::parse(topic)?, ..message };
            batch.push(&message, usize::MAX, None)?;
        }
        let mark = StoredMark::from(self.agenda(|agenda| mark(agenda, last)));
        let mark = serde_json::to_string(&mark).expect("numbers become JSON");
        // Where another broker may have published meanwhile.
        let expected = self.shared.office.as_ref().map(|_| *self.marked.lock().expect(UNHARMED));
        batch.push(&Message::new(Topic::parse(MARKS)?, Payload::Text(mark.into())), usize::MAX, expected)?;
        let outcomes = self.place.log.append(batch).await?;
        for outcome in outcomes.iter() {
            *self.marked.lock().expect(UNHARMED) = outcome?.sequence;
        }
        Ok(())
    }

    /// How far publishing had come when the broker stopped.
    async fn last_mark(&self) -> Result<Mark> {
        let marks = Pattern::Exact(MARKS.into());
        let topics = self.place.log.topics(&marks, "", 1).await?;
        let last = topics.first().map_or(Sequence::ZERO, |topic| topic.last);
        *self.marked.lock().expect(UNHARMED) = last;
        if last == Sequence::ZERO {
            return Ok(Mark::NONE);
        }
        if self.place.log.tail().committed() < last {
            let message = "the last mark was made by another broker a moment ago";
            return Err(Error::new(Reason::EngineUnreachable, message).retry_after(AGAIN));
        }
        let patterns = Arc::new(PatternSet::new(vec![marks]));
        let (through, now) = (last, Timestamp::EPOCH);
        let query = Query {
            from: last,
            through,
            patterns: &patterns,
            guide: None,
            filter: None,
            max_messages: 1,
            max_bytes: BYTES,
            now,
        };
        let page = self.place.log.read(query).await?;
        // If it is gone by now, so is all that it told of.
        let Some(record) = page.runs.first().and_then(|run| Records::new(run).next()?.ok()) else {
            return Ok(Mark::NONE);
        };
        let stored = serde_json::from_slice::<StoredMark>(record.payload());
        stored.map(Mark::from).map_err(|error| {
            let message = format!("message {last} of namespace {} is no mark of {MARKS}: {error}", self.place.name);
            Error::new(Reason::StorageCorrupt, message)
        })
    }

    /// Ends when something has come that was not looked at.
    async fn called(&self) {
        poll_fn(|cx| {
            self.seat.listen(cx.waker());
            match self.seat.answer() {
                Call::Parked(_) => return Poll::Pending,
                Call::Called(first) => {
                    self.agenda(|agenda| agenda.passed(first));
                    return Poll::Ready(());
                }
                Call::Awake => {}
            }
            self.seat.park();
            if self.unread().is_none() {
                return Poll::Pending;
            }
            self.seat.unpark();
            Poll::Ready(())
        })
        .await;
    }

    /// From where on there is something that was not looked at.
    fn unread(&self) -> Option<Sequence> {
        let from = self.agenda(|agenda| agenda.seen()).max(self.place.log.bounds().first);
        (from <= self.place.log.tail().committed()).then_some(from)
    }

    fn agenda<T>(&self, use_it: impl FnOnce(&mut Agenda) -> T) -> T {
        let mut agenda = self.place.schedule.agenda.lock().expect(UNHARMED);
        use_it(agenda.as_mut().expect("the first step makes it"))
    }
}

/// The scheduled messages of a page.
fn scheduled(page: &Page) -> impl Iterator<Item = (Due, Bytes)> {
    page.runs.iter().flat_map(|run| {
        let records = Records::new(run).map_while(Result::ok);
        records.filter_map(|record| Some((due(&record)?, run.slice_ref(record.framed()))))
    })
}

impl From<Mark> for StoredMark {
    fn from(mark: Mark) -> Self {
        let (time, sequence) = mark.published;
        StoredMark { read: mark.read.0, published_ns: time.nanos(), published_sequence: sequence.0 }
    }
}

impl From<StoredMark> for Mark {
    fn from(stored: StoredMark) -> Self {
        let published = (Timestamp::from_nanos(stored.published_ns), Sequence(stored.published_sequence));
        Mark { read: Sequence(stored.read), published }
    }
}

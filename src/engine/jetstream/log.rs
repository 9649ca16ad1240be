//! One namespace's messages in a stream of NATS: what is known of it, its live edge, and who asks what. Writing is the
//! writer's (`writer`), learning what others have written the follower's (`follower`), finding old entries the finder's
//! (`finder`).

use std::{
    sync::{
        Arc, Mutex, MutexGuard, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt;
use tokio::{
    sync::{Mutex as AsyncMutex, Notify, mpsc, oneshot},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    draft::{Append, Frame},
    finder::Places,
    known::Known,
    state::KvState,
    stream::{Ends, Stream},
    turns::Turns,
    writer::{Submission, Writer},
};
use crate::{
    clock::Clock,
    engine::{
        Batch, Bounds, BoxFuture, Log, LogSettings, LookBack, Outcomes, Page, Query, Receipt, Session, Tail,
        TopicStats, marks, placing, refusal, tail::TailBudget,
    },
    model::{Durability, Error, NamespaceName, Pattern, Reason, Result, Sequence, Timestamp},
};

/// What is fetched at a time: entries and bytes.
pub const PAGE_ENTRIES: usize = 256;
pub const PAGE_BYTES: usize = 1 << 20;
/// What is kept is looked at as often as this.
const LOOK: Duration = Duration::from_secs(1);

/// One namespace's messages.
pub struct JetStreamLog {
    /// Whose.
    pub namespace: NamespaceName,
    /// Time and chance.
    pub clock: Arc<dyn Clock>,
    /// Where they are.
    pub stream: Stream,
    /// The live edge.
    pub tail: Tail,
    /// Held by whoever learns: entries are learned in their order, and none while a block is on its way.
    pub writing: AsyncMutex<()>,
    /// Where entries were found.
    pub places: Mutex<Places>,
    /// Who writes after whom.
    pub turns: Turns,
    /// Tells this broker's entries from those of others.
    pub writer: u64,
    state: Arc<KvState>,
    // What NATS takes of one record.
    record_bytes: usize,
    known: Mutex<Known>,
    /// The bytes of all.
    pub bytes: AtomicU64,
    // The first sequence that is kept, or would be.
    first: AtomicU64,
    submissions: Mutex<Option<mpsc::UnboundedSender<Submission>>>,
    refusal: OnceLock<Error>,
    // The stream has other settings than are wished.
    reconfigure: Notify,
    stop: CancellationToken,
}

/// What all logs of an engine share.
pub struct Shared {
    /// Time and chance.
    pub clock: Arc<dyn Clock>,
    /// Bounds the memory of all tails.
    pub tails: Arc<TailBudget>,
    /// The small values.
    pub state: Arc<KvState>,
    /// What answers are worth at most.
    pub strongest: Durability,
    /// Bytes of an entry's records, unless one alone has more.
    pub entry_bytes: usize,
    /// Bytes that NATS takes of one record.
    pub record_bytes: usize,
    /// Ends what runs by itself.
    pub stop: CancellationToken,
}

impl JetStreamLog {
    /// Learns what must be known of a stream, and begins to follow and to write it.
    pub async fn open(
        stream: Stream,
        namespace: NamespaceName,
        settings: LogSettings,
        shared: &Shared,
    ) -> Result<Arc<Self>> {
        let ends = stream.ends().await?;
        // Marks of a log that was removed are gone with it.
        let marks = marks::load(&*shared.state, &namespace)?;
        let (sender, waiting) = mpsc::unbounded_channel();
        let writer = shared.clock.random();
        let mut log = JetStreamLog {
            namespace,
            clock: shared.clock.clone(),
            tail: Tail::new(Sequence::ZERO, shared.tails.clone()),
            writing: AsyncMutex::new(()),
            places: Mutex::default(),
            state: shared.state.clone(),
            record_bytes: shared.record_bytes,
            writer,
            known: Mutex::new(Known::new(ends.last, settings)),
            turns: Turns::default(),
            first: AtomicU64::new(Sequence::FIRST.0),
            bytes: AtomicU64::new(ends.bytes),
            submissions: Mutex::new(Some(sender)),
            refusal: OnceLock::new(),
            reconfigure: Notify::new(),
            stop: shared.stop.child_token(),
            stream,
        };
        log.remember(ends, &shared.tails).await?;
        log.tail.change_marks(|known| *known = marks);
        let log = Arc::new(log);
        log.look(ends).await?;
        let frame = Frame { writer, block: 0, strongest: shared.strongest, entry_bytes: shared.entry_bytes };
        let writer = Writer { log: log.clone(), waiting, frame, is_unsure: true };
        tokio::spawn(writer.run());
        let (follow, look, hear) = (log.clone().follow(), log.clone().keep_looking(), log.clone().hear_turns());
        for task in [follow.boxed(), look.boxed(), hear.boxed()] {
            let stop = log.stop.clone();
            tokio::spawn(async move { stop.run_until_cancelled(task).await });
        }
        Ok(log)
    }

    /// Learns of what was published within the deduplication window, up to the end.
    async fn remember(&mut self, ends: Ends, tails: &Arc<TailBudget>) -> Result<()> {
        if ends.messages == 0 {
            let next = self.known().next;
            self.tail = Tail::new(next.previous(), tails.clone());
            return Ok(());
        }
        let (since, settings) = {
            let known = self.known();
            (self.clock.now().minus(known.settings.deduplication_window), known.settings)
        };
        let mut position = self.position_at(since, ends).await?;
        // The last one tells where numbering goes on, however old it is.
        position = position.min(ends.last);
        let mut known = Known::new(ends.last, settings);
        let mut end = Sequence::ZERO;
        loop {
            let found = self.stream.read(position, None, PAGE_ENTRIES, PAGE_BYTES).await?;
            for entry in &found.entries {
                known.learn(entry, self.writer);
                end = entry.last();
            }
            position = found.next;
            if found.end {
                break;
            }
        }
        known.passed(position.saturating_sub(1));
        if end == Sequence::ZERO {
            end = known.next.previous();
        }
        self.tail = Tail::new(end, tails.clone());
        *self.known.get_mut().expect("nobody panics while holding what is known") = known;
        Ok(())
    }

    /// What is known.
    pub fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().expect("nobody panics while holding what is known")
    }

    /// The first sequence that is kept, or would be.
    pub fn first(&self) -> Sequence {
        Sequence(self.first.load(Ordering::Relaxed))
    }

    /// Whether anything is still taken.
    pub fn check(&self) -> Result<()> {
        self.refusal.get().map_or(Ok(()), |refusal| Err(refusal.clone()))
    }

    /// Takes nothing any more, and answers with this. What was taken is put first.
    pub async fn end(&self, refusal: Error) {
        drop(self.refusal.set(refusal));
        drop(self.submissions.lock().expect("nobody panics while holding it").take());
        drop(self.writing.lock().await);
        self.stop.cancel();
    }

    async fn keep_looking(self: Arc<Self>) {
        loop {
            if timeout(LOOK, self.reconfigure.notified()).await.is_ok() {
                let settings = self.known().settings;
                if let Err(error) = self.stream.configure(settings).await {
                    tracing::warn!(namespace = %self.namespace, %error, "the stream has its old settings still");
                    self.reconfigure.notify_one();
                    sleep(LOOK).await;
                }
            }
            let looked = async { self.look(self.stream.ends().await?).await };
            if let Err(error) = looked.await {
                tracing::debug!(namespace = %self.namespace, %error, "what is kept cannot be looked at");
            }
            match marks::load(&*self.state, &self.namespace) {
                Ok(marks) => self.tail.change_marks(|known| *known = marks),
                Err(error) => tracing::warn!(namespace = %self.namespace, %error, "what was purged is not known"),
            }
        }
    }

    /// Looks what is kept.
    async fn look(&self, ends: Ends) -> Result<()> {
        self.bytes.store(ends.bytes, Ordering::Relaxed);
        let first = match ends.messages {
            0 if ends.last == 0 => Sequence::FIRST,
            0 => self.tail.committed().next(),
            _ if ends.first == 1 => Sequence::FIRST,
            _ => match self.stream.next(ends.first, ">").await? {
                Some(entry) => entry.first,
                None => return Ok(()),
            },
        };
        self.first.fetch_max(first.0, Ordering::Relaxed);
        Ok(())
    }

    fn submit(&self, submission: Submission) -> Result<()> {
        self.check()?;
        let submissions = self.submissions.lock().expect("nobody panics while holding it");
        let taken = submissions.as_ref().is_some_and(|submissions| submissions.send(submission).is_ok());
        if taken { Ok(()) } else { Err(refusal::closed()) }
    }
}

impl Log for JetStreamLog {
    fn append(&self, batch: Batch) -> Receipt {
        if let Some(bytes) = (0..batch.len()).map(|at| batch.range(at).len()).find(|bytes| *bytes > self.record_bytes) {
            let message = format!(
                "the message takes {bytes} bytes, and NATS takes {} at most: send less, or raise max_payload of the NATS \
                 servers",
                self.record_bytes
            );
            return Receipt::ready(Err(Error::new(Reason::MessageTooLarge, message)));
        }
        let hasher = self.known().hasher.clone();
        let ids = placing::fingerprints(&batch, &hasher);
        let (answer, receipt) = Receipt::waiting();
        match self.submit(Submission::Append(Append { batch, ids, done: Outcomes::default(), answer })) {
            Ok(()) => receipt,
            Err(error) => Receipt::ready(Err(error)),
        }
    }

    fn attach<'a>(&'a self, session: Arc<Session>) -> BoxFuture<'a, Result<u64>> {
        Box::pin(async move {
            let (answer, next) = oneshot::channel();
            self.submit(Submission::Attach(session, answer))?;
            next.await.unwrap_or_else(|_| Err(refusal::closed()))
        })
    }

    fn read<'a>(&'a self, query: Query<'a>) -> BoxFuture<'a, Result<Page>> {
        Box::pin(async move {
            match self.tail.read(&query) {
                Some(page) => Ok(page),
                None => self.read_stored(&query).await,
            }
        })
    }

    fn look_back(&self, search: LookBack) -> BoxFuture<'_, Result<LookBack>> {
        Box::pin(self.look_further_back(search))
    }

    fn at_time(&self, time: Timestamp) -> BoxFuture<'_, Result<Sequence>> {
        Box::pin(self.sequence_at(time))
    }

    fn tail(&self) -> &Tail {
        &self.tail
    }

    fn hear_all(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let _writing = self.writing.lock().await;
            self.catch_up().await
        })
    }

    fn bounds(&self) -> Bounds {
        Bounds {
            id: self.stream.id,
            first: self.first(),
            end: self.tail.committed(),
            cuts: Vec::new(),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }

    fn topics<'a>(
        &'a self,
        pattern: &'a Pattern,
        after: &'a str,
        most: usize,
    ) -> BoxFuture<'a, Result<Vec<TopicStats>>> {
        Box::pin(self.list_topics(pattern, after, most))
    }

    fn purge<'a>(
        &'a self,
        pattern: &'a Pattern,
        before: Option<Timestamp>,
        dry_run: bool,
    ) -> BoxFuture<'a, Result<u64>> {
        Box::pin(async move {
            let through = match before {
                Some(before) => self.sequence_at(before).await?.previous(),
                None => self.tail.committed(),
            };
            let purged = self.count(pattern, through).await?;
            if purged > 0 && !dry_run {
                let marked = marks::add(&*self.state, &self.namespace, self.first(), pattern, through).await?;
                self.tail.change_marks(|known| *known = marked);
            }
            Ok(purged)
        })
    }

    fn configure(&self, settings: LogSettings) {
        self.known().settings = settings;
        self.reconfigure.notify_one();
    }
}

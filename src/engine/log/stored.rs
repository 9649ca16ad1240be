//! One namespace's log on disk: what the seam asks for, put together from the writer, the segments and the tail.

use std::sync::{
    Arc, Mutex, OnceLock, Weak,
    atomic::{AtomicBool, AtomicI64, Ordering},
};

use tokio::sync::oneshot;

use super::{
    Config,
    draft::{Append, Attach, Submission},
    preparation::Preparation,
    recovery::Recovery,
    segments::Segments,
    writer::Writer,
};
use crate::{
    clock::Clock,
    engine::{
        Batch, BoxFuture, Log, LogSettings, LookBack, Page, Query, Receipt, Session, State, Tail, TopicStats,
        dedup::IdHasher, log::retention, marks, refusal, tail::TailBudget,
    },
    model::{Error, LogId, Pattern, Reason, Result, Sequence, Timestamp},
};

/// Blocks that one log may write before others get their turn.
const ROUNDS: usize = 16;

/// What all logs of one engine share.
pub struct Shared {
    /// The sizes in force.
    pub config: Config,
    /// Time and chance.
    pub clock: Arc<dyn Clock>,
    /// Bounds the memory of all tails.
    pub tails: Arc<TailBudget>,
    /// For the fingerprints of message ids.
    pub hasher: IdHasher,
    /// Who drives the writers.
    pub driver: Arc<dyn Driver>,
    /// Where purge marks are kept.
    pub state: Arc<dyn State>,
}

/// Who drives the writers, and does the work that can wait.
pub trait Driver: Send + Sync {
    /// Calls [`StoredLog::drive`] soon, on a thread where blocking is allowed.
    fn drive(&self, log: Arc<StoredLog>);

    /// Calls [`StoredLog::tend`] soon.
    fn tend(&self, log: Arc<StoredLog>);

    /// Hears that the disk failed: nothing can be taken any more.
    fn failed(&self, error: Error);
}

/// The log.
pub struct StoredLog {
    me: Weak<StoredLog>,
    shared: Arc<Shared>,
    id: LogId,
    segments: Arc<Segments>,
    tail: Arc<Tail>,
    pending: Mutex<Vec<Submission>>,
    // Somebody drives the writer, or will.
    driven: AtomicBool,
    writer: Mutex<Writer>,
    preparation: Arc<Preparation>,
    settings: Mutex<LogSettings>,
    // Set once, when nothing is taken any more.
    closed: OnceLock<Error>,
    // Held by whoever does what can wait: a log that is closed is left alone, as its files may be another's by then.
    tending: Mutex<()>,
    // Held while purge marks change, so that none is lost.
    marking: tokio::sync::Mutex<()>,
    // When the writer last had something to do; wall time, in nanoseconds.
    used: AtomicI64,
}

impl StoredLog {
    /// Opens the log, or makes it.
    pub fn open(segments: Segments, settings: LogSettings, shared: Arc<Shared>) -> Result<Arc<Self>> {
        let now = shared.clock.now();
        let recovered = Recovery {
            segments: &segments,
            clock: &*shared.clock,
            segment_min: shared.config.segment_min,
            verify: shared.config.verify,
            hasher: &shared.hasher,
            ids_since: now.minus(settings.deduplication_window),
        }
        .run()?;
        let origin = recovered.origin;
        let segments = Arc::new(segments);
        let tail = Arc::new(Tail::new(origin.last, shared.tails.clone()));
        let marked = marks::load(&*shared.state, &segments.name)?;
        tail.change_marks(|marks| *marks = marked);
        let writer = Writer::new(segments.clone(), tail.clone(), shared.clone(), settings, recovered);
        let preparation = writer.preparation();
        Ok(Arc::new_cyclic(|me| StoredLog {
            me: me.clone(),
            id: origin.log,
            segments,
            tail,
            pending: Mutex::default(),
            driven: AtomicBool::new(false),
            writer: Mutex::new(writer),
            preparation,
            settings: Mutex::new(settings),
            closed: OnceLock::new(),
            tending: Mutex::default(),
            marking: tokio::sync::Mutex::default(),
            used: AtomicI64::new(now.nanos()),
            shared,
        }))
    }

    /// Writes what waits. Called by the driver; answers whether there is more, and the driver should come again.
    pub fn drive(&self) -> bool {
        let mut writer = self.writer.lock().expect("the writer does not panic");
        self.used.store(self.shared.clock.now().nanos(), Ordering::Relaxed);
        writer.configure(&self.settings());
        let mut left = writer.is_behind();
        for _ in 0..ROUNDS {
            let submissions = std::mem::take(&mut *self.lock_pending());
            if submissions.is_empty() && !left {
                self.driven.store(false, Ordering::SeqCst);
                // Whatever came in before that was seen by nobody else.
                if self.lock_pending().is_empty() || self.driven.swap(true, Ordering::SeqCst) {
                    return false;
                }
                continue;
            }
            match writer.step(submissions) {
                Ok(more) => left = more,
                Err(error) => {
                    self.fail(error);
                    return false;
                }
            }
            if self.preparation.is_wanted() {
                self.shared.driver.tend(self.arc());
            }
        }
        true
    }

    /// Does what can wait: zeroes the next segment, stores indexes, removes what retention lets go, puts an idle log to
    /// rest. Called by the driver, on a thread where blocking is allowed.
    pub fn tend(&self) {
        let _tending = self.lock_tending();
        if self.closed.get().is_some() {
            return;
        }
        self.prepare();
        self.store_indexes();
        if let Err(error) = self.retain().and_then(|()| self.rest_if_idle()) {
            self.fail(error);
        }
    }

    /// A clean stop: what waits is written, synced and closed. Nothing touches its files afterwards.
    pub fn close(&self) -> Result<()> {
        let message = "the broker is stopping: publish again when it is back";
        {
            // Whoever appends looks while it holds this: so nothing comes in behind.
            let _pending = self.lock_pending();
            let _ = self.closed.set(Error::new(Reason::Draining, message));
        }
        let _tending = self.lock_tending();
        while self.drive() {}
        let rests = self.writer.lock().expect("the writer does not panic").rest()?;
        self.store_indexes();
        // Beside a segment that was not closed, an index says that another one follows.
        if rests && let Err(error) = self.segments.store_live_index() {
            tracing::warn!(namespace = %self.segments.name, %error, "an index could not be stored");
        }
        Ok(())
    }

    /// Where it lies.
    pub fn segments(&self) -> &Segments {
        &self.segments
    }

    /// Reads a page, going to the disk if it must.
    pub fn read_now(&self, query: &Query<'_>) -> Result<Page> {
        if let Some(page) = self.tail.read(query) {
            return Ok(page);
        }
        let page = self.segments.read(query, self.tail.committed(), &self.tail.marks(), false)?;
        Ok(page.unwrap_or_else(|| Page::new(query.from)))
    }

    /// Hands something to the writer, and sees to it that it is driven.
    fn submit(&self, submission: Submission) -> Result<()> {
        {
            let mut pending = self.lock_pending();
            if let Some(error) = self.closed.get() {
                return Err(error.clone());
            }
            pending.push(submission);
        }
        if !self.driven.swap(true, Ordering::SeqCst) {
            self.shared.driver.drive(self.arc());
        }
        Ok(())
    }

    fn prepare(&self) {
        if let Err(error) = self.preparation.make(&*self.segments.io, &self.segments.dir) {
            // The writer tries by itself when it needs one, and says so if it cannot.
            tracing::warn!(namespace = %self.segments.name, %error, "no segment could be zeroed ahead");
        }
    }

    fn store_indexes(&self) {
        for segment in self.segments.list().iter() {
            if let Err(error) = self.segments.store_index(segment) {
                // It is built anew when it is needed.
                tracing::warn!(namespace = %self.segments.name, %error, "an index could not be stored");
            }
        }
    }

    /// Removes the segments that are too old or too many.
    fn retain(&self) -> Result<()> {
        let settings = self.settings();
        let now = self.shared.clock.now();
        let list = self.segments.list();
        if retention::is_stale(&list, &settings, now) {
            self.writer.lock().expect("the writer does not panic").turn()?;
        }
        let keep_from = retention::first_kept(&self.segments.list(), &settings, now);
        let removed = self.segments.remove(|segment| segment.header.first < keep_from, true);
        if let Err(error) = removed {
            tracing::warn!(namespace = %self.segments.name, %error, "a segment could not be removed");
        }
        Ok(())
    }

    fn rest_if_idle(&self) -> Result<()> {
        let used = Timestamp::from_nanos(self.used.load(Ordering::Relaxed));
        if self.shared.clock.now().since(used) < self.shared.config.idle {
            return Ok(());
        }
        // Whoever drives it at this moment is not idle.
        match self.writer.try_lock() {
            Ok(mut writer) => writer.rest().map(drop),
            Err(_) => Ok(()),
        }
    }

    /// Takes nothing any more, and tells everybody.
    fn fail(&self, error: Error) {
        let _ = self.closed.set(error.clone());
        self.shared.driver.failed(error.clone());
        for submission in self.lock_pending().drain(..) {
            submission.refuse(&error);
        }
    }

    fn settings(&self) -> LogSettings {
        *self.settings.lock().expect("nobody panics while holding it")
    }

    fn lock_pending(&self) -> std::sync::MutexGuard<'_, Vec<Submission>> {
        self.pending.lock().expect("nobody panics while holding what is pending")
    }

    fn lock_tending(&self) -> std::sync::MutexGuard<'_, ()> {
        self.tending.lock().expect("nobody panics while tending")
    }

    fn arc(&self) -> Arc<StoredLog> {
        self.me.upgrade().expect("whoever calls holds it")
    }

    /// Runs what may block where that is allowed.
    async fn blocking<T: Send + 'static>(
        &self,
        run: impl FnOnce(&StoredLog) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let log = self.arc();
        let ended = tokio::task::spawn_blocking(move || run(&log)).await;
        ended.unwrap_or_else(|_| Err(Error::new(Reason::Internal, "reading the log ended unexpectedly: try again")))
    }
}

impl Log for StoredLog {
    fn append(&self, batch: Batch) -> Receipt {
        let mut ids = Vec::new();
        let with_id = |&at: &usize| batch.picky && batch.entries[at].has_id;
        for at in (0..batch.len()).filter(with_id) {
            let record = batch.record(at);
            let hasher = &self.shared.hasher;
            ids.push((hasher.id(record.topic(), record.message_id()), hasher.payload(record.payload())));
        }
        let (answer, receipt) = Receipt::waiting();
        match self.submit(Submission::Append(Append { batch, ids, answer })) {
            Ok(()) => receipt,
            Err(error) => Receipt::ready(Err(error)),
        }
    }

    fn attach<'a>(&'a self, session: Arc<Session>) -> BoxFuture<'a, Result<u64>> {
        Box::pin(async move {
            let (answer, next) = oneshot::channel();
            self.submit(Submission::Attach(Attach { session, answer }))?;
            next.await.unwrap_or_else(|_| Err(refusal::closed()))
        })
    }

    fn read<'a>(&'a self, query: Query<'a>) -> BoxFuture<'a, Result<Page>> {
        Box::pin(async move {
            if let Some(page) = self.tail.read(&query) {
                return Ok(page);
            }
            let marks = self.tail.marks();
            if let Some(page) = self.segments.read(&query, self.tail.committed(), &marks, true)? {
                return Ok(page);
            }
            let (patterns, filter) = (query.patterns.clone(), query.filter.cloned());
            let (from, through, now) = (query.from, query.through, query.now);
            let (max_messages, max_bytes) = (query.max_messages, query.max_bytes);
            self.blocking(move |log| {
                let (patterns, filter) = (&patterns, filter.as_ref());
                log.read_now(&Query { from, through, patterns, guide: None, filter, max_messages, max_bytes, now })
            })
            .await
        })
    }

    fn look_back(&self, mut search: LookBack) -> BoxFuture<'_, Result<LookBack>> {
        Box::pin(self.blocking(move |log| {
            log.segments.look_back(&mut search, &log.tail.marks())?;
            Ok(search)
        }))
    }

    fn at_time(&self, time: Timestamp) -> BoxFuture<'_, Result<Sequence>> {
        Box::pin(self.blocking(move |log| log.segments.at_time(time, log.tail.committed())))
    }

    fn tail(&self) -> &Tail {
        &self.tail
    }

    fn bounds(&self) -> crate::engine::Bounds {
        let list = self.segments.list();
        let cut = |pair: &[Arc<super::segments::Segment>]| {
            let (before, after) = (&pair[0], &pair[1]);
            let last = after.header.previous.max(before.summary().last);
            (last.next() < after.header.first).then(|| (last.next(), after.header.first.previous()))
        };
        crate::engine::Bounds {
            id: self.id,
            first: self.segments.first(),
            end: self.tail.committed(),
            cuts: list.windows(2).filter_map(cut).collect(),
            bytes: list.iter().map(|segment| segment.summary().end).sum(),
        }
    }

    fn topics<'a>(
        &'a self,
        pattern: &'a Pattern,
        after: &'a str,
        most: usize,
    ) -> BoxFuture<'a, Result<Vec<TopicStats>>> {
        let (pattern, after) = (pattern.clone(), after.to_owned());
        Box::pin(self.blocking(move |log| log.segments.topics(&pattern, &after, most, &log.tail.marks())))
    }

    fn purge<'a>(
        &'a self,
        pattern: &'a Pattern,
        before: Option<Timestamp>,
        dry_run: bool,
    ) -> BoxFuture<'a, Result<u64>> {
        Box::pin(async move {
            let purged = pattern.clone();
            let (through, count) = self
                .blocking(move |log| {
                    let end = log.tail.committed();
                    let through = match before {
                        Some(time) => log.segments.at_time(time, end)?.previous(),
                        None => end,
                    };
                    Ok((through, log.segments.count(&purged, through, &log.tail.marks())?))
                })
                .await?;
            if !dry_run && count > 0 {
                self.mark(pattern.clone(), through).await?;
            }
            Ok(count)
        })
    }

    fn configure(&self, settings: LogSettings) {
        // The writer looks before it writes: it may be waiting for the disk just now.
        *self.settings.lock().expect("nobody panics while holding it") = settings;
    }
}

impl StoredLog {
    /// Hides what matches, durably.
    async fn mark(&self, pattern: Pattern, through: Sequence) -> Result<()> {
        let _marking = self.marking.lock().await;
        let (state, first) = (&*self.shared.state, self.segments.first());
        let added = marks::add(state, &self.segments.name, first, &pattern, through).await?;
        self.tail.change_marks(|known| *known = added);
        Ok(())
    }
}

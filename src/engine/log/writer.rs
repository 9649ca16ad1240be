//! The one writer of a log: gives records their places, writes them as blocks, syncs when anyone asked for it, makes
//! them visible and answers. A step function: a thread of the pool drives it, or a simulation. Never waits for more to
//! come, and never syncs again after a sync that failed: the next one can answer success though the data is gone.

use std::{collections::VecDeque, io, sync::Arc, time::Duration};

use bytes::Bytes;

use super::{
    draft::{Attach, Draft, Known, Submission},
    frame::{self, Frame},
    index::Builder,
    io::{LogFile, is_full, is_out_of_files},
    preparation::Preparation,
    recovery::Recovered,
    segment::{self, Header},
    segments::{Body, Segment, Segments},
    stored::Shared,
};
use crate::{
    engine::{
        Block, LogSettings, Tail,
        dedup::{self, Dedup},
        producers::{Most, Producers},
    },
    model::{Durability, Error, LogId, Reason, Sequence, Timestamp},
};

/// A segment with more topics than this takes no more blocks, so that its index stays small in memory.
const TOPICS: usize = 100_000;
/// Up to this size a segment that nobody prepared is zeroed by the writer itself; beyond, that would take too long.
const ZEROED_HERE: u64 = 1 << 20;

/// The writer of one log.
pub struct Writer {
    segments: Arc<Segments>,
    tail: Arc<Tail>,
    shared: Arc<Shared>,
    log: LogId,
    dedup: Dedup,
    producers: Producers,
    settings: LogSettings,
    backlog: VecDeque<Submission>,
    // The sequence of the next record, the last one written, and the last one on stable storage.
    next: Sequence,
    last: Sequence,
    synced: Sequence,
    last_time: Timestamp,
    active: Option<Active>,
    // The last synced block is a closing one.
    waking: bool,
    // Set once, when the disk failed.
    poisoned: Option<Error>,
    preparation: Arc<Preparation>,
}

/// Where the next block goes.
struct Active {
    segment: Arc<Segment>,
    // None while the log rests.
    file: Option<Box<dyn LogFile>>,
    // None where it takes no more blocks.
    offset: Option<u64>,
}

/// Where a writer begins: what recovery found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The log's identity.
    pub log: LogId,
    /// The sequence of the next record.
    pub next: Sequence,
    /// The last record there is.
    pub last: Sequence,
    /// Its publish time.
    pub last_time: Timestamp,
    /// Where the last segment takes its next block; None: nowhere, it needs a new one.
    pub resume: Option<u64>,
}

/// Why a step did not do what it should.
enum Trouble {
    /// Those who wait are refused; the log goes on.
    Refused(Error),
    /// Nothing can be taken any more.
    Poisoned(Error),
}

impl Writer {
    /// Goes on where recovery says.
    pub fn new(
        segments: Arc<Segments>,
        tail: Arc<Tail>,
        shared: Arc<Shared>,
        settings: LogSettings,
        recovered: Recovered,
    ) -> Self {
        let Recovered { origin, ids, runs } = recovered;
        let mut dedup = Dedup::new(dedup::MOST);
        ids.into_iter().for_each(|(id, seen)| dedup.insert(id, seen));
        let mut producers = Producers::new(Most::default());
        runs.iter().for_each(|(time, producer, run)| producers.restore(producer, *run, *time));
        let last = segments.list().last().cloned();
        Writer {
            active: last.map(|segment| Active { segment, file: None, offset: origin.resume }),
            segments,
            tail,
            shared,
            log: origin.log,
            dedup,
            producers,
            settings,
            backlog: VecDeque::new(),
            next: origin.next,
            last: origin.last,
            synced: origin.last,
            last_time: origin.last_time,
            waking: false,
            poisoned: None,
            preparation: Arc::default(),
        }
    }

    /// Where another thread leaves the segment that comes next.
    pub fn preparation(&self) -> Arc<Preparation> {
        self.preparation.clone()
    }

    /// Changes the settings, from now on.
    pub fn configure(&mut self, settings: &LogSettings) {
        self.settings = *settings;
    }

    /// Takes what waits behind what earlier steps left, and writes one block of it. Answers whether more is left. An
    /// error means that nothing can be taken any more; all who waited have been told.
    pub fn step(&mut self, submissions: Vec<Submission>) -> Result<bool, Error> {
        self.backlog.extend(submissions);
        if let Some(error) = self.poisoned.clone() {
            self.refuse_backlog(&error);
            return Err(error);
        }
        let now = self.shared.clock.now();
        self.dedup.expire(now, self.settings.deduplication_window);
        self.producers.expire(now, self.settings.deduplication_window);
        self.attach(now);
        if self.backlog.is_empty() {
            return Ok(false);
        }
        let taken = self.take();
        let room = taken.iter().map(Submission::bytes).sum();
        let mut draft = Draft::new(room, self.next, self.last_time.max(now));
        let marks = self.tail.marks();
        let known = Known { dedup: &self.dedup, producers: &self.producers, segments: &self.segments, marks: &marks };
        for submission in taken {
            if let Submission::Append(append) = submission {
                draft.place(append, &known);
            }
        }
        match self.write(draft) {
            Ok(()) => Ok(!self.backlog.is_empty()),
            Err(error) => {
                self.refuse_backlog(&error);
                Err(error)
            }
        }
    }

    /// Whether an earlier step left something to be written.
    pub fn is_behind(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// Begins the sessions whose turn it is: all that was appended before them is written.
    fn attach(&mut self, now: Timestamp) {
        while let Some(Submission::Attach(_)) = self.backlog.front() {
            if let Some(Submission::Attach(Attach { session, answer })) = self.backlog.pop_front() {
                let _ = answer.send(self.producers.attach(session, now));
            }
        }
    }

    /// As many submissions as make a block, up to the next session.
    fn take(&mut self) -> Vec<Submission> {
        let mut bytes = 0;
        let fits = |submission: &&Submission| {
            let first = bytes == 0;
            bytes += submission.bytes();
            matches!(submission, Submission::Append(_)) && (first || bytes <= self.shared.config.block_bytes)
        };
        let count = self.backlog.iter().take_while(fits).count();
        self.backlog.drain(..count).collect()
    }

    /// Writes a block, syncs if anyone asked for it, makes it visible, and answers.
    fn write(&mut self, mut draft: Draft) -> Result<(), Error> {
        let written = match self.store(&mut draft) {
            Ok(written) => written,
            Err(Trouble::Refused(error)) => {
                draft.refuse(&error);
                return Ok(());
            }
            Err(Trouble::Poisoned(error)) => {
                draft.refuse(&error);
                return Err(error);
            }
        };
        let worth = match draft.wants_sync() || self.waking {
            true => {
                // Whoever did not ask for the sync does not wait for it; but as long as the log could still pass for
                // one at rest, its numbering could begin again after a crash.
                if !self.waking {
                    draft.answer_below(Durability::Synced, Durability::Written);
                }
                if let Err(error) = self.sync() {
                    draft.refuse(&error);
                    return Err(error);
                }
                Durability::Synced
            }
            false => Durability::Written,
        };
        self.producers.apply(draft.additions(), self.last_time);
        if let Some((frame, block)) = written {
            self.show(&frame, block);
        }
        draft.answer(worth);
        self.want_next();
        Ok(())
    }

    /// Writes the block's bytes to the end of the log. None if there are none.
    fn store(&mut self, draft: &mut Draft) -> Result<Option<(Frame, Arc<Block>)>, Trouble> {
        if draft.is_empty() {
            return Ok(None);
        }
        draft.add_runs();
        // Room for a closing block is always left.
        self.make_room((draft.size() + frame::HEADER) as u64)?;
        let segment = self.active.as_ref().expect("room was made in it").segment.clone();
        let (frame, bytes) = draft.seal(segment.header.seed(), self.synced);
        let bytes = Bytes::from(bytes);
        let block = Block::index(bytes.slice(frame.records()), frame.first, frame.has_expiring)
            .expect("the records were encoded by this program");
        let block = Arc::new(block);
        // Else there is no time to wait for.
        if draft.wants_sync() {
            self.tail.foresee(&block);
        }
        self.put(&bytes)?;
        for (id, seen) in draft.fresh() {
            self.dedup.insert(id, seen);
        }
        self.next = frame.last().next();
        self.last = frame.last();
        self.last_time = frame.time;
        Ok(Some((frame, block)))
    }

    /// Writes bytes where the next block goes.
    fn put(&mut self, bytes: &[u8]) -> Result<(), Trouble> {
        let (file, offset, size) = self.place()?;
        if let Err(error) = file.write_at(bytes, offset) {
            // What a full disk took in part must never pass for a block, nor for damage behind the last one.
            let erase = || file.set_len(offset).and_then(|()| file.set_len(size)).and_then(|()| file.sync());
            let erased = if is_full(&error) { erase() } else { Ok(()) };
            return Err(match erased {
                Ok(()) => self.trouble("write", &error),
                Err(error) => Trouble::Poisoned(self.poison("erase what was written in part", &error)),
            });
        }
        let active = self.active.as_mut().expect("it has a place");
        active.offset = Some(offset + bytes.len() as u64);
        Ok(())
    }

    /// Where the next block goes, opened again if the log rested: file, offset, and the size of the file.
    fn place(&mut self) -> Result<(&dyn LogFile, u64, u64), Trouble> {
        let opened = match self.active.as_ref() {
            Some(active) if active.file.is_none() => {
                Some(self.segments.io.open(&active.segment.path(&self.segments.dir)))
            }
            _ => None,
        };
        match opened {
            Some(Ok(file)) => {
                self.active.as_mut().expect("it was just looked at").file = Some(file);
                self.waking = true;
            }
            Some(Err(error)) => return Err(self.trouble("open", &error)),
            None => {}
        }
        let active = self.active.as_ref().expect("only asked for where there is room");
        let file = active.file.as_deref().expect("opened above");
        Ok((file, active.offset.expect("only asked for where there is room"), active.segment.header.size))
    }

    /// Makes the records that were written durable, if they are not yet.
    fn sync(&mut self) -> Result<(), Error> {
        if self.synced < self.last { self.force() } else { Ok(()) }
    }

    /// Makes all that was written durable. After an error the log is poisoned.
    fn force(&mut self) -> Result<(), Error> {
        let file = self.active.as_ref().and_then(|active| active.file.as_ref());
        if let Err(error) = file.map_or(Ok(()), |file| file.sync()) {
            return Err(self.poison("sync", &error));
        }
        self.synced = self.last;
        self.waking = false;
        Ok(())
    }

    /// Makes a stored block visible.
    fn show(&mut self, frame: &Frame, block: Arc<Block>) {
        let active = self.active.as_ref().expect("the block lies in it");
        let end = active.offset.expect("the block lies in it");
        active.segment.grow(|builder| builder.add(frame, &block, end));
        self.tail.commit(block);
    }

    /// Makes sure that a block of so many bytes fits, in a new segment if it must be.
    fn make_room(&mut self, bytes: u64) -> Result<(), Trouble> {
        if let Some(active) = &self.active {
            let fits = active.offset.is_some_and(|offset| offset + bytes <= active.segment.header.size);
            let topics = match &*active.segment.body() {
                Body::Live(builder) => builder.topics(),
                _ => 0,
            };
            if fits && topics < TOPICS {
                return Ok(());
            }
        }
        // A segment is on stable storage before the next takes a block.
        self.sync().map_err(Trouble::Poisoned)?;
        self.begin_segment(segment::BLOCKS + bytes)
    }

    /// Goes on in a new segment of at least so many bytes.
    fn begin_segment(&mut self, least: u64) -> Result<(), Trouble> {
        let (file, unfinished, size) = self.new_file(least).map_err(|error| self.trouble("allocate", &error))?;
        let header = Header {
            version: segment::VERSION,
            log: self.log,
            identity: self.shared.clock.random(),
            first: self.next,
            size,
            previous: self.last,
        };
        let established = segment::establish(&*self.segments.io, &self.segments.dir, unfinished, &*file, &header);
        established.map_err(|error| self.trouble("establish", &error))?;
        let segment = Arc::new(Segment::new(header, Body::Live(Builder::new(segment::BLOCKS))));
        self.segments.push(segment.clone());
        let before = self.active.replace(Active { segment, file: Some(file), offset: Some(segment::BLOCKS) });
        match before {
            Some(before) if before.segment.summary().messages == 0 => self.discard(&before.segment, &header),
            Some(before) => self.seal(before),
            None => {}
        }
        Ok(())
    }

    /// Takes out a segment that never held anything. If it began where its successor does, its file is replaced.
    fn discard(&self, empty: &Segment, successor: &Header) {
        let identity = empty.header.identity;
        let replaced = empty.header.first == successor.first;
        if let Err(error) = self.segments.remove(|segment| segment.header.identity == identity, !replaced) {
            tracing::warn!(namespace = %self.segments.name, %error, "an empty segment could not be removed");
        }
    }

    /// A file for a new segment: the one that was prepared if it is large enough, else one made now.
    fn new_file(&mut self, least: u64) -> io::Result<(Box<dyn LogFile>, &'static str, u64)> {
        let (io, dir) = (&*self.segments.io, &*self.segments.dir);
        if let Some((file, size)) = self.preparation.take(io, dir, least)? {
            return Ok((file, segment::PREPARED, size));
        }
        let size = self.next_size().max(least.next_power_of_two());
        let file = match size <= ZEROED_HERE {
            true => segment::prepare(io, dir, segment::UNFINISHED, size, size as usize)?,
            false => segment::reserve(io, dir, segment::UNFINISHED, size)?,
        };
        Ok((file, segment::UNFINISHED, size))
    }

    /// What the next segment should have: twice what the last one has, as the log earns it.
    fn next_size(&self) -> u64 {
        // One that a crash or retention ended early earns nothing.
        let earned = |active: &&Active| active.segment.summary().end > active.segment.header.size / 4;
        let last = self.active.as_ref().filter(earned);
        let grown = last.map_or(self.shared.config.segment_min, |active| active.segment.header.size.saturating_mul(2));
        // Retention removes whole segments: with fewer than about eight it would be coarse.
        let most = self.shared.config.segment_max.min(self.settings.max_bytes / 8);
        grown.min(most).max(self.shared.config.segment_min)
    }

    /// Takes a segment out of use: it is cut to what it holds, and its index no longer grows.
    fn seal(&self, active: Active) {
        let summary = active.segment.summary();
        if let Some(file) = &active.file
            && let Err(error) = file.set_len(summary.end)
        {
            tracing::warn!(namespace = %self.segments.name, %error, "a sealed segment could not be cut to its size");
        }
        let index = match &*active.segment.body() {
            Body::Live(builder) => Arc::new(builder.finish()),
            _ => return,
        };
        active.segment.set_body(Body::Sealed(index));
    }

    /// Asks for the next segment in time.
    fn want_next(&self) {
        let Some(active) = &self.active else { return };
        let size = active.segment.header.size;
        if active.offset.is_some_and(|offset| offset > size / 4) {
            self.preparation.want(|| self.next_size());
        }
    }

    /// Seals the segment that is written, if it holds anything, so that retention may take it.
    pub fn turn(&mut self) -> Result<(), Error> {
        let holds = self.active.as_ref().is_some_and(|active| active.segment.summary().messages > 0);
        if !holds || self.poisoned.is_some() {
            return Ok(());
        }
        self.sync()?;
        match self.begin_segment(self.shared.config.segment_min) {
            Err(Trouble::Poisoned(error)) => Err(error),
            Ok(()) | Err(Trouble::Refused(_)) => Ok(()),
        }
    }

    /// Puts the log to rest: everything on stable storage, a closing block that says so, no open file. Answers whether
    /// it rests; if not, it opens as after a crash, and nothing is lost.
    pub fn rest(&mut self) -> Result<bool, Error> {
        let segment = match &self.active {
            Some(Active { segment, file: Some(_), .. }) if self.poisoned.is_none() => segment.clone(),
            // It rests already, unless a crash left it without a place for the next block.
            active => {
                return Ok(active.as_ref().is_some_and(|active| active.offset.is_some()) && self.poisoned.is_none());
            }
        };
        self.sync()?;
        let bytes = Frame::closing(self.next, self.last, self.last_time).encode(segment.header.seed());
        match self.put(&bytes) {
            Ok(()) => {}
            Err(Trouble::Refused(_)) => return Ok(false),
            Err(Trouble::Poisoned(error)) => return Err(error),
        }
        self.force()?;
        let active = self.active.as_mut().expect("a block was just put into it");
        active.file = None;
        let end = active.offset.expect("a block was just put there");
        segment.grow(|builder| builder.skip(end));
        Ok(true)
    }

    /// Tells everybody who is left that nothing can be taken.
    fn refuse_backlog(&mut self, error: &Error) {
        for submission in self.backlog.drain(..) {
            submission.refuse(error);
        }
    }

    /// What an error of the disk means. What can pass is a refusal; everything else ends the log.
    fn trouble(&mut self, what: &'static str, error: &io::Error) -> Trouble {
        if is_full(error) {
            tracing::warn!(namespace = %self.segments.name, what, "the disk is full: publishes are refused");
            let message = "the broker's disk is full: nothing was taken; try again when there is room";
            return Trouble::Refused(Error::new(Reason::StorageFull, message).retry_after(Duration::from_secs(5)));
        }
        if is_out_of_files(error) {
            tracing::warn!(namespace = %self.segments.name, what, %error, "publishes are refused until files are closed");
            let message = "the broker has as many files open as it may: nothing was taken; try again soon, and raise \
                           its limit of open files";
            return Trouble::Refused(Error::new(Reason::EngineUnreachable, message));
        }
        Trouble::Poisoned(self.poison(what, error))
    }

    fn poison(&mut self, what: &'static str, error: &io::Error) -> Error {
        tracing::error!(
            namespace = %self.segments.name, what, %error,
            "the disk failed: the broker takes nothing more and stops. What was answered is safe as far as the disk \
             keeps it; look at the disk before starting again"
        );
        let message = "the broker's disk failed: whether this was stored is not known; try again at another broker or \
                       when this one is back";
        let error = Error::new(Reason::StorageFailed, message);
        self.poisoned = Some(error.clone());
        error
    }
}

//! Opens a log: tells a torn tail, which a crash may leave, from damage to what was synced, which nothing may. Cuts the
//! first, refuses to go on with the second. Never takes a record.

use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;

use super::{
    Verify,
    frame::Frame,
    index::{Builder, Index, Summary},
    io::LogFile,
    segment::{self, Header, Walk},
    segments::{Body, Segment, Segments, corrupt},
    writer::Origin,
};
use crate::{
    clock::Clock,
    engine::{
        Block,
        dedup::{IdHasher, Seen},
        producers::Run,
        runs,
    },
    model::{Error, LogId, ProducerName, Reason, Records, Result, Sequence, Timestamp},
};

/// Bytes that are read at a time: they stay in the processor's cache until they are checked.
const CHUNK: usize = 256 << 10;

/// What opening found.
pub struct Recovered {
    /// Where the writer begins.
    pub origin: Origin,
    /// Message ids that were published since the time that was asked for, oldest first.
    pub ids: Vec<(u128, Seen)>,
    /// Runs of producer numbers since then, oldest first, with their publish times.
    pub runs: Vec<NumberRun>,
}

/// A run of producer numbers in the log.
pub type NumberRun = (Timestamp, ProducerName, Run);

/// How to open.
pub struct Recovery<'a> {
    /// The log's segments, none of them known yet.
    pub segments: &'a Segments,
    /// For the identity of a new log.
    pub clock: &'a dyn Clock,
    /// The size of a new log's first segment.
    pub segment_min: u64,
    /// How much to read.
    pub verify: Verify,
    /// For the fingerprints of message ids.
    pub hasher: &'a IdHasher,
    /// Ids and numbers that were published before are not needed.
    pub ids_since: Timestamp,
}

impl Recovery<'_> {
    /// Opens the log, or makes it.
    pub fn run(&self) -> Result<Recovered> {
        let headers = self.headers().map_err(|error| self.failed(&error))??;
        let Some((&last, sealed)) = headers.split_last() else {
            return self.create().map_err(|error| self.failed(&error));
        };
        let mut found = self.open_sealed(sealed, &headers)?;
        let origin = self.open_last(last, &mut found)?;
        Ok(Recovered { origin, ids: found.ids, runs: found.runs })
    }

    /// The headers of all segments, oldest first; what was left unfinished is removed.
    fn headers(&self) -> io::Result<Result<Vec<Header>>> {
        let (io, dir) = (&*self.segments.io, &*self.segments.dir);
        io.create_dir(dir)?;
        for name in io.list(dir)?.iter().filter(|name| name.ends_with(".tmp")) {
            io.remove(&dir.join(name))?;
        }
        let firsts = segment::list(io, dir)?;
        for name in io.list(dir)?.iter().filter(|name| name.ends_with(".idx")) {
            // Its segment was removed, and a crash came in between.
            if !firsts.iter().any(|&first| segment::path(dir, first).with_extension("idx").ends_with(name)) {
                io.remove(&dir.join(name))?;
            }
        }
        let mut headers: Vec<Header> = Vec::new();
        for first in firsts {
            let file = io.open(&segment::path(dir, first))?;
            let header = match Header::read(&*file)? {
                Ok(header) if header.first == first => header,
                Ok(_) => return Ok(Err(self.refuse(first, "its header belongs to another file".into()))),
                Err(why) => return Ok(Err(self.refuse(first, why))),
            };
            if headers.first().is_some_and(|known| known.log != header.log) {
                return Ok(Err(self.refuse(first, "it belongs to another log".into())));
            }
            headers.push(header);
        }
        Ok(Ok(headers))
    }

    fn create(&self) -> io::Result<Recovered> {
        let (io, dir) = (&*self.segments.io, &*self.segments.dir);
        let header = Header {
            version: segment::VERSION,
            log: LogId(self.clock.random()),
            identity: self.clock.random(),
            first: Sequence::FIRST,
            size: self.segment_min,
            previous: Sequence::ZERO,
        };
        let file = segment::prepare(io, dir, segment::UNFINISHED, header.size, header.size as usize)?;
        let closing = Frame::closing(Sequence::FIRST, Sequence::ZERO, Timestamp::EPOCH).encode(header.seed());
        file.write_at(&closing, segment::BLOCKS)?;
        segment::establish(io, dir, segment::UNFINISHED, &*file, &header)?;
        let end = segment::BLOCKS + closing.len() as u64;
        self.segments.push(Arc::new(Segment::new(header, Body::Live(Builder::new(end)))));
        let origin = Origin {
            log: header.log,
            next: Sequence::FIRST,
            last: Sequence::ZERO,
            last_time: Timestamp::EPOCH,
            resume: Some(end),
        };
        Ok(Recovered { origin, ids: Vec::new(), runs: Vec::new() })
    }

    /// Opens the segments that take no more blocks, as many at a time as there are processors.
    fn open_sealed(&self, sealed: &[Header], all: &[Header]) -> Result<Found> {
        let results: Vec<_> = sealed.iter().map(|_| Mutex::new(None)).collect();
        let next = AtomicUsize::new(0);
        let work = || {
            while let Some(at) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|&at| at < sealed.len()) {
                let result = self.open_one(sealed[at], all[at + 1].previous);
                *results[at].lock().expect("only this thread holds it") = Some(result);
            }
        };
        let helpers = std::thread::available_parallelism().map_or(1, usize::from).min(sealed.len()).saturating_sub(1);
        std::thread::scope(|scope| {
            (0..helpers).for_each(|_| drop(scope.spawn(work)));
            work();
        });
        let mut all = Found::default();
        for result in results {
            let opened = result.into_inner().expect("the threads have ended").expect("each was opened");
            let (segment, found) = opened?;
            self.segments.push(Arc::new(segment));
            all.append(found);
        }
        Ok(all)
    }

    /// Opens one sealed segment, whose last sequence its successor knows.
    fn open_one(&self, header: Header, last: Sequence) -> Result<(Segment, Found)> {
        let probe = Segment::new(header, Body::Stored(Default::default()));
        let stored = self.segments.load_index(&probe).filter(|index| index.summary().last == last);
        let recent = stored.as_ref().is_none_or(|index| index.summary().last_time >= self.ids_since);
        if let Some(index) = &stored
            && self.verify == Verify::Tail
            && !recent
        {
            return Ok((Segment::new(header, Body::Stored(index.summary())), Found::default()));
        }
        let file = self.segments.io.open(&probe.path(&self.segments.dir)).map_err(|error| self.failed(&error))?;
        let mut scan = Scan::new(self, header, &*file, stored.is_none());
        scan.run().map_err(|error| self.failed(&error))??;
        let whole = scan.walk.rest_is_zero().map_err(|error| self.failed(&error))?;
        // An empty one is left behind by a crash just after its successor was made.
        let found = if scan.last == Sequence::ZERO { header.previous } else { scan.last };
        if !whole || found != last {
            return Err(corrupt(&self.segments.name, header.first, scan.end));
        }
        let body = match stored {
            Some(index) => Body::Stored(index.summary()),
            None => Body::Sealed(Arc::new(scan.builder.finish())),
        };
        Ok((Segment::new(header, body), scan.found))
    }

    /// Opens the segment that was written last.
    fn open_last(&self, header: Header, found: &mut Found) -> Result<Origin> {
        let path = segment::path(&self.segments.dir, header.first);
        let file = self.segments.io.open(&path).map_err(|error| self.failed(&error))?;
        // A clean stop leaves an index; it counts if nothing was written since.
        let stored = self.segments.load_index(&Segment::new(header, Body::Stored(Default::default())));
        let known = stored.as_ref().map(Index::summary);
        let mut scan = Scan::new(self, header, &*file, stored.is_none());
        scan.run().map_err(|error| self.failed(&error))??;
        if let Some(index) = stored {
            if index.summary().end == scan.end && index.summary().last == scan.last {
                scan.builder = Builder::resume(index);
            } else {
                scan = Scan::new(self, header, &*file, true);
                scan.run().map_err(|error| self.failed(&error))??;
            }
        }
        let end = scan.end;
        if let Some(known) = known {
            self.check_end(&known, &scan)?;
        }
        let untouched = scan.walk.rest_is_zero().map_err(|error| self.failed(&error))?;
        let clean = untouched && scan.closed.is_some();
        if !untouched {
            self.check_tail(&*file, header, end, scan.last)?;
        }
        if !clean {
            // A torn tail goes. And it takes no more blocks: what was zeroed ahead goes too, or every crash would leave
            // a file of full size.
            file.set_len(end).map_err(|error| self.failed(&error))?;
            tracing::info!(
                namespace = %self.segments.name, segment = %header.first, last = %scan.last, cut = !untouched,
                "the log was not closed cleanly: numbering goes on further up"
            );
        }
        // What a dead process wrote, be it a closing block, may not have reached the disk yet: nothing is built on it
        // before it has.
        file.sync().map_err(|error| self.failed(&error))?;
        let last = if scan.last == Sequence::ZERO { header.previous } else { scan.last };
        let last_time = self.last_time(&scan);
        found.append(std::mem::take(&mut scan.found));
        let next = match clean {
            true => scan.closed.unwrap_or(header.first),
            false => header.ceiling(),
        };
        self.segments.push(Arc::new(Segment::new(header, Body::Live(std::mem::take(&mut scan.builder)))));
        // A file of an earlier version takes no blocks of this one.
        let resume = (clean && header.version == segment::VERSION).then_some(end);
        Ok(Origin { log: header.log, next, last, last_time, resume })
    }

    /// Holds the segment that was written last against the index beside it, which knows nothing but what was on stable
    /// storage: it is stored when the log is closed, or when another segment follows.
    fn check_end(&self, known: &Summary, scan: &Scan<'_>) -> Result<()> {
        if known.last > scan.last {
            return Err(corrupt(&self.segments.name, scan.header.first, scan.end));
        }
        if known.last == scan.last && known.end == scan.end && scan.closed.is_none() {
            return Err(
                self.refuse(scan.header.first, "it was sealed because another file followed, which is missing".into())
            );
        }
        Ok(())
    }

    /// Makes sure that what follows is a torn tail: no later block may say that what is missing was synced.
    fn check_tail(&self, file: &dyn LogFile, header: Header, end: u64, last: Sequence) -> Result<()> {
        // No crash takes anything from a file's length, which was there before its first block.
        if file.len().map_err(|error| self.failed(&error))? < header.size {
            return Err(corrupt(&self.segments.name, header.first, end));
        }
        let mut walk = Walk::new(file, header.seed(), end, CHUNK);
        let missing = last.max(header.previous).next();
        if walk.find_witness(missing).map_err(|error| self.failed(&error))?.is_some() {
            return Err(corrupt(&self.segments.name, header.first, end));
        }
        tracing::warn!(
            namespace = %self.segments.name, segment = %header.first, offset = end,
            "the end is not whole, as after a crash, and nothing behind it says that it was synced: cut off"
        );
        Ok(())
    }

    /// The publish time of the last record, in this segment or before.
    fn last_time(&self, scan: &Scan<'_>) -> Timestamp {
        let before = self.segments.list().last().map_or(Timestamp::EPOCH, |segment| segment.summary().last_time);
        scan.last_time.max(before)
    }

    fn failed(&self, error: &io::Error) -> Error {
        tracing::error!(namespace = %self.segments.name, %error, "the log could not be opened");
        let message = format!("namespace {}: its log could not be opened: {error}", self.segments.name);
        Error::new(super::io::reason(error), message)
    }

    fn refuse(&self, first: Sequence, why: String) -> Error {
        let file = segment::path("".as_ref(), first);
        let name = &self.segments.name;
        let message = format!(
            "namespace {name}: {}: {why}. Look at it with `tilde log verify`, restore the file from a copy, or give up \
             what is lost with `tilde log repair`",
            file.display()
        );
        Error::new(Reason::StorageCorrupt, message)
    }
}

/// What opening must remember of what was published lately.
#[derive(Default)]
struct Found {
    ids: Vec<(u128, Seen)>,
    runs: Vec<NumberRun>,
}

impl Found {
    fn append(&mut self, mut later: Found) {
        self.ids.append(&mut later.ids);
        self.runs.append(&mut later.runs);
    }
}

/// A walk over one segment that gathers what opening needs.
struct Scan<'a> {
    recovery: &'a Recovery<'a>,
    walk: Walk<'a>,
    header: Header,
    build: bool,
    builder: Builder,
    found: Found,
    // Where the last whole block ends, the last record, and what the closing block says if it comes last.
    end: u64,
    last: Sequence,
    closed: Option<Sequence>,
    // Publish time of the last record; a closing block tells it also where retention took the record.
    last_time: Timestamp,
}

impl<'a> Scan<'a> {
    fn new(recovery: &'a Recovery<'a>, header: Header, file: &'a dyn LogFile, build: bool) -> Self {
        Scan {
            recovery,
            walk: Walk::new(file, header.seed(), segment::BLOCKS, CHUNK),
            header,
            build,
            builder: Builder::new(segment::BLOCKS),
            found: Found::default(),
            end: segment::BLOCKS,
            last: Sequence::ZERO,
            closed: None,
            last_time: Timestamp::EPOCH,
        }
    }

    /// Walks until something is not a block.
    fn run(&mut self) -> io::Result<Result<()>> {
        let name = &self.recovery.segments.name;
        let mut offset = self.walk.offset();
        while let Some((frame, block)) = self.walk.next_block()? {
            let records = &block[frame.records()];
            self.end = offset + frame.size() as u64;
            if frame.first < self.header.first || frame.first <= self.last {
                return Ok(Err(corrupt(name, self.header.first, offset)));
            }
            self.closed = frame.closing.then_some(frame.first);
            self.last_time = self.last_time.max(frame.time);
            if frame.closing {
                self.builder.skip(self.end);
                offset = self.end;
                continue;
            }
            self.last = frame.last();
            if frame.has_ids && frame.time >= self.recovery.ids_since {
                let with_id = Records::new(records).flatten().filter(|record| !record.message_id().is_empty());
                let hasher = self.recovery.hasher;
                self.found.ids.extend(with_id.map(|record| hasher.seen(&record)));
            }
            if frame.runs > 0 && frame.time >= self.recovery.ids_since {
                let Some(runs) = runs::decode(&block[frame.records().end..], frame.first) else {
                    return Ok(Err(corrupt(name, self.header.first, offset)));
                };
                self.found.runs.extend(runs.into_iter().map(|(producer, run)| (frame.time, producer, run)));
            }
            if self.build {
                match Block::index(Bytes::copy_from_slice(records), frame.first, frame.has_expiring) {
                    Ok(block) => self.builder.add(&frame, &block, self.end),
                    Err(_) => return Ok(Err(corrupt(name, self.header.first, offset))),
                }
            }
            offset = self.end;
        }
        Ok(Ok(()))
    }
}

//! The segments of one log, shared by its one writer and its many readers. Knows what lies where; never writes blocks.

use std::{
    io,
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, RwLock},
};

use super::{
    cache::Cache,
    index::{Builder, Entry, Index, Span, Summary},
    io::LogIo,
    segment::{self, Header},
};
use crate::{
    engine::Block,
    model::{Error, NamespaceName, Pattern, PatternSet, Reason, Result, Sequence, Timestamp},
};

/// Spans of blocks that were read, by segment and span.
pub type SpanCache = Cache<(u64, u32), [Block]>;
/// Indexes that were read, by segment.
pub type IndexCache = Cache<u64, Index>;

/// Where a log's segments lie, and what is remembered of reading them.
pub struct Segments {
    pub(super) io: Arc<dyn LogIo>,
    pub(super) dir: PathBuf,
    pub(super) name: NamespaceName,
    pub(super) spans: Arc<SpanCache>,
    pub(super) indexes: Arc<IndexCache>,
    // Replaced whole, so that readers work on one picture.
    list: RwLock<Arc<Vec<Arc<Segment>>>>,
}

impl Segments {
    /// None yet, in this directory.
    pub fn new(
        io: Arc<dyn LogIo>,
        dir: PathBuf,
        name: NamespaceName,
        spans: Arc<SpanCache>,
        indexes: Arc<IndexCache>,
    ) -> Self {
        Segments { io, dir, name, spans, indexes, list: RwLock::default() }
    }

    /// All segments, oldest first. Never empty once the log is open; the last is the one that takes blocks.
    pub fn list(&self) -> Arc<Vec<Arc<Segment>>> {
        self.list.read().expect("nobody panics while holding the list").clone()
    }

    /// Adds the newest.
    pub fn push(&self, segment: Arc<Segment>) {
        self.change(|list| list.push(segment));
    }

    /// Takes out those that `gone` names, and with `files` removes their files too.
    pub fn remove(&self, gone: impl Fn(&Segment) -> bool, files: bool) -> io::Result<()> {
        let removed: Vec<_> = self.list().iter().filter(|segment| gone(segment)).cloned().collect();
        self.change(|list| list.retain(|segment| !gone(segment)));
        if !files || removed.is_empty() {
            return Ok(());
        }
        for segment in &removed {
            self.io.remove(&segment.path(&self.dir))?;
            // It may not have been stored yet.
            let _ = self.io.remove(&segment.index_path(&self.dir));
        }
        self.io.sync_dir(&self.dir)
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Arc<Segment>>)) {
        let mut list = self.list.write().expect("nobody panics while holding the list");
        let mut changed = Vec::clone(&list);
        change(&mut changed);
        *list = Arc::new(changed);
    }

    /// Whether a segment's index is in memory.
    pub fn has_index(&self, segment: &Segment) -> bool {
        match &*segment.body() {
            Body::Live(_) | Body::Sealed(_) => true,
            Body::Stored(_) => self.indexes.get(segment.header.identity).is_some(),
        }
    }

    /// A segment's index, from memory or from disk; built anew where the stored one is missing or wrong. None of the
    /// segment that is being written.
    pub fn index(&self, segment: &Segment) -> Result<Option<Arc<Index>>> {
        match &*segment.body() {
            Body::Live(_) => return Ok(None),
            Body::Sealed(index) => return Ok(Some(index.clone())),
            Body::Stored(_) => {}
        }
        let identity = segment.header.identity;
        if let Some(index) = self.indexes.get(identity) {
            return Ok(Some(index));
        }
        let index = match self.load_index(segment) {
            Some(index) => Arc::new(index),
            None => Arc::new(self.rebuild_index(segment)?),
        };
        self.indexes.put(identity, index.clone(), index.footprint());
        Ok(Some(index))
    }

    /// The stored index, if it is there and whole.
    pub fn load_index(&self, segment: &Segment) -> Option<Index> {
        let file = self.io.open(&segment.index_path(&self.dir)).ok()?;
        let mut bytes = vec![0; usize::try_from(file.len().ok()?).ok()?];
        let read = file.read_at(&mut bytes, 0).ok()?;
        Index::decode(&bytes[..read], segment.header.identity)
    }

    fn rebuild_index(&self, segment: &Segment) -> Result<Index> {
        tracing::warn!(namespace = %self.name, segment = %segment.header.first, "its index is missing or wrong: built anew");
        let file = self.io.open(&segment.path(&self.dir)).map_err(|error| self.failed(segment, &error))?;
        let mut walk = segment::Walk::new(&*file, segment.header.seed(), segment::BLOCKS, 256 << 10);
        let mut builder = Builder::new(segment::BLOCKS);
        while let Some((frame, block)) = walk.next_block().map_err(|error| self.failed(segment, &error))? {
            let end = builder.summary().end + frame.size() as u64;
            if frame.closing {
                builder.skip(end);
                continue;
            }
            let records = bytes::Bytes::copy_from_slice(&block[frame.records()]);
            let block = Block::index(records, frame.first, frame.has_expiring)
                .map_err(|_| self.corrupt(segment, end - frame.size() as u64))?;
            builder.add(&frame, &block, end);
        }
        Ok(builder.finish())
    }

    /// Stores the index of a sealed segment beside it, and frees its memory.
    pub fn store_index(&self, segment: &Segment) -> io::Result<()> {
        let index = match &*segment.body() {
            Body::Sealed(index) => index.clone(),
            Body::Live(_) | Body::Stored(_) => return Ok(()),
        };
        self.write_index(segment, &index)?;
        segment.set_body(Body::Stored(index.summary()));
        Ok(())
    }

    /// Stores the index of the segment that is written, as it is now: a log that was closed opens faster with it.
    pub fn store_live_index(&self) -> io::Result<()> {
        let Some(segment) = self.list().last().cloned() else { return Ok(()) };
        let index = match &*segment.body() {
            Body::Live(builder) => builder.finish(),
            Body::Sealed(_) | Body::Stored(_) => return Ok(()),
        };
        self.write_index(&segment, &index)
    }

    fn write_index(&self, segment: &Segment, index: &Index) -> io::Result<()> {
        let unfinished = self.dir.join(format!("{}.tmp", segment.header.first));
        let file = self.io.create(&unfinished)?;
        file.write_at(&index.encode(segment.header.identity), 0)?;
        file.sync()?;
        self.io.rename(&unfinished, &segment.index_path(&self.dir))?;
        self.io.sync_dir(&self.dir)
    }

    /// What the caller sees when a segment cannot be read; the rest goes to the log.
    pub fn failed(&self, segment: &Segment, error: &io::Error) -> Error {
        if self.first() <= segment.header.first {
            // Otherwise retention took it while it was read.
            self.log_failure(segment, error);
        }
        Error::new(super::io::reason(error), "the broker could not read what it stored: see its log")
    }

    fn log_failure(&self, segment: &Segment, error: &io::Error) {
        tracing::error!(namespace = %self.name, segment = %segment.header.first, %error, "a segment could not be read");
    }

    /// What the caller sees when a segment's bytes are not what was written; the rest goes to the log.
    pub fn corrupt(&self, segment: &Segment, offset: u64) -> Error {
        corrupt(&self.name, segment.header.first, offset)
    }
}

/// The refusal to go on with stored bytes that are not what was written. Names namespace, file and offset.
pub fn corrupt(name: &NamespaceName, first: Sequence, offset: u64) -> Error {
    let file = segment::path(Path::new(""), first);
    let message = format!(
        "namespace {name}: {} is damaged at offset {offset}: what was written there and synced does not match its \
         checksum. Look at it with `tilde log verify`, restore the file from a copy, or give up what is damaged with \
         `tilde log repair`",
        file.display()
    );
    tracing::error!(namespace = %name, file = %file.display(), offset, "a segment is damaged");
    Error::new(Reason::StorageCorrupt, message)
}

/// One segment.
pub struct Segment {
    /// What its file begins with.
    pub header: Header,
    body: RwLock<Body>,
}

/// What is in memory of a segment's index.
pub enum Body {
    /// It takes blocks: the index grows with each.
    Live(Builder),
    /// It takes no more; its index is not stored yet.
    Sealed(Arc<Index>),
    /// Its index lies beside it.
    Stored(Summary),
}

impl Segment {
    /// A segment and its index.
    pub fn new(header: Header, body: Body) -> Self {
        Segment { header, body: RwLock::new(body) }
    }

    /// What is in memory of its index.
    pub fn body(&self) -> std::sync::RwLockReadGuard<'_, Body> {
        self.body.read().expect("nobody panics while holding an index")
    }

    /// Replaces what is in memory.
    pub fn set_body(&self, body: Body) {
        *self.body.write().expect("nobody panics while holding an index") = body;
    }

    /// Adds to the index, which must be live.
    pub fn grow(&self, grow: impl FnOnce(&mut Builder)) {
        match &mut *self.body.write().expect("nobody panics while holding an index") {
            Body::Live(builder) => grow(builder),
            Body::Sealed(_) | Body::Stored(_) => unreachable!("only the last segment takes blocks"),
        }
    }

    /// What it holds, in short.
    pub fn summary(&self) -> Summary {
        match &*self.body() {
            Body::Live(builder) => builder.summary(),
            Body::Sealed(index) => index.summary(),
            Body::Stored(summary) => *summary,
        }
    }

    /// Its file.
    pub fn path(&self, dir: &Path) -> PathBuf {
        segment::path(dir, self.header.first)
    }

    fn index_path(&self, dir: &Path) -> PathBuf {
        self.path(dir).with_extension("idx")
    }
}

/// A run of blocks to read: its number, where it lies, and whether it is complete (the last of a live segment grows).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Which span of the segment.
    pub span: u32,
    /// The sequence of its first record.
    pub first: Sequence,
    /// The publish time of its first record.
    pub time: Timestamp,
    /// Where its blocks lie.
    pub range: Range<u64>,
    /// Nothing is added any more.
    pub complete: bool,
}

impl Segments {
    /// The next spans of a segment that may hold what the patterns want, from a position on and not before span
    /// `least`; at most `most`.
    pub fn stretches(
        &self,
        segment: &Segment,
        from: Sequence,
        least: u32,
        patterns: &PatternSet,
        most: usize,
    ) -> Result<Vec<Stretch>> {
        if let Body::Live(builder) = &*segment.body() {
            let end = builder.summary().end;
            return Ok(stretches(builder.spans(), end, true, None, from, least, most));
        }
        let Some(index) = self.index(segment)? else { return Ok(Vec::new()) };
        let wanted = index.spans_of(patterns);
        Ok(stretches(index.spans(), index.summary().end, false, wanted, from, least, most))
    }

    /// What the segments hold of one topic: the last of its sequences; zero if none is kept.
    pub fn last_of(&self, topic: &str) -> Result<Sequence> {
        for segment in self.list().iter().rev() {
            if let Some(last) = self.with_topic(segment, topic, |entry| entry.last)? {
                return Ok(last);
            }
        }
        Ok(Sequence::ZERO)
    }

    fn with_topic<T>(&self, segment: &Segment, topic: &str, take: impl Fn(&Entry) -> T) -> Result<Option<T>> {
        if let Body::Live(builder) = &*segment.body() {
            return Ok(builder.topic(topic).map(take));
        }
        Ok(self.index(segment)?.and_then(|index| index.topic(topic).map(take)))
    }

    /// What a segment holds of the topics that match.
    pub fn matching(&self, segment: &Segment, pattern: &Pattern) -> Result<Vec<(String, Entry)>> {
        let owned = |(name, entry): (&str, &Entry)| (name.to_owned(), entry.clone());
        if let Body::Live(builder) = &*segment.body() {
            return Ok(builder.matching(pattern).map(owned).collect());
        }
        Ok(self.index(segment)?.map(|index| index.matching(pattern).map(owned).collect()).unwrap_or_default())
    }
}

/// One of a segment's spans. `end` is where the last one ends.
fn stretch(spans: &[Span], end: u64, grows: bool, span: u32) -> Stretch {
    let Span { offset, first, time } = spans[span as usize];
    let next = spans.get(span as usize + 1);
    let range = offset..next.map_or(end, |next| next.offset);
    Stretch { span, first, time, range, complete: !grows || next.is_some() }
}

/// See [`Segments::stretches`]. `wanted` names the spans that count, None all; `end` is where the last one ends.
fn stretches(
    spans: &[Span],
    end: u64,
    grows: bool,
    wanted: Option<Vec<u32>>,
    from: Sequence,
    least: u32,
    most: usize,
) -> Vec<Stretch> {
    let begin = spans.partition_point(|span| span.first <= from).saturating_sub(1).max(least as usize) as u32;
    let stretch = |span: u32| stretch(spans, end, grows, span);
    match wanted {
        Some(wanted) => {
            let skip = wanted.partition_point(|&span| span < begin);
            wanted[skip..].iter().take(most).map(|&span| stretch(span)).collect()
        }
        None => (begin..spans.len() as u32).take(most).map(stretch).collect(),
    }
}

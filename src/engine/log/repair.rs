//! Gives up what is damaged in a log and keeps all else. What must be written anew is written beside the damaged file
//! and takes its place when it is on stable storage; the damaged file stays under another name. Whenever that is
//! interrupted, the log can be examined and repaired again.
//!
//! Where messages were lost, one file ends and another begins: so the log tells those who hold a cursor into the gap.
//! Their blocks get checksums of the new file's own identity, and numbering never goes back.

use std::{
    fmt, io,
    ops::Range,
    path::{Path, PathBuf},
};

use super::{
    examine::{Directory, Examination, Examined, IndexState, SIZE_MOST, file_name},
    frame::Frame,
    io::{Disk, LogFile, LogIo},
    segment::{self, Header},
    state,
    survey::{self, Patient},
};
use crate::{
    clock::Clock,
    model::{Error, LogId, NamespaceName, Result, Sequence, Timestamp},
};

/// Where files with the highest sequences are missing, nobody knows how many there were: numbering goes on so much
/// higher, more than any disk could have held.
const LEAP: u64 = 1 << 40;
/// The size of an empty segment.
const EMPTY: u64 = 256 << 10;
/// Bytes that are written at a time.
const WRITE: usize = 1 << 20;

/// What is to be done, from the oldest segment to the newest.
pub struct Plan<'a> {
    examination: &'a Examination,
    steps: Vec<Step>,
}

/// One change of the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The whole blocks of a segment are written anew, a file for each piece; the file is set aside.
    Rewrite {
        /// Which segment, by its file's name.
        first: Sequence,
        /// What replaces it. One without blocks keeps the place of the last segment.
        pieces: Vec<Piece>,
    },
    /// Nothing of a segment can be kept.
    SetAside {
        /// Which segment, by its file's name.
        first: Sequence,
    },
    /// The header tells anew where the segment before ends.
    Relink {
        /// The header as it will be.
        header: Header,
    },
    /// An index that says something else than its segment goes; it is built anew at opening.
    RemoveIndex {
        /// Which segment.
        first: Sequence,
    },
    /// An empty segment keeps numbering above everything that is missing.
    Begin {
        /// Its header.
        header: Header,
    },
}

/// A part of a segment without a gap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The header of its file.
    pub header: Header,
    /// Where its blocks lie in the file that it comes from.
    pub ranges: Vec<Range<u64>>,
    /// How many messages they have.
    pub messages: u64,
}

impl<'a> Plan<'a> {
    /// What helps against what was found.
    pub fn new(examination: &'a Examination, clock: &dyn Clock) -> Self {
        let segments = &examination.segments;
        let told = segments.iter().find_map(|segment| segment.header).map(|header| header.log);
        let log = examination.log.or(told).unwrap_or_else(|| LogId(clock.random()));
        let mut planner = Planner { log, clock, previous: None, steps: Vec::new() };
        for (at, segment) in segments.iter().enumerate() {
            planner.plan(segment, at + 1 == segments.len());
        }
        Plan { examination, steps: planner.steps }
    }

    /// The changes.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Makes the changes.
    pub fn run(&self, io: &dyn LogIo, dir: &Path) -> Result<()> {
        let name: &NamespaceName = &self.examination.name;
        // The newest first: what an interrupted repair left of a segment lies behind it, and makes room for the new.
        for step in self.steps.iter().rev() {
            Changes { io, dir }.make(step, self.examination).map_err(|error| {
                let message = format!(
                    "namespace {name}: the repair was interrupted: {error}. No message was given up that could be \
                     kept: when the cause is gone, run it again"
                );
                Error::new(super::io::reason(&error), message)
            })?;
        }
        Ok(())
    }
}

impl Step {
    /// The file that it changes.
    pub fn file(&self) -> String {
        match self {
            Step::Rewrite { first, .. } | Step::SetAside { first } => file_name(*first),
            Step::Relink { header } | Step::Begin { header } => file_name(header.first),
            Step::RemoveIndex { first } => file_name(*first).replace(".log", ".idx"),
        }
    }

    /// The word for it.
    pub fn word(&self) -> &'static str {
        match self {
            Step::Rewrite { .. } => "rewrite",
            Step::SetAside { .. } => "set-aside",
            Step::Relink { .. } => "relink",
            Step::RemoveIndex { .. } => "remove-index",
            Step::Begin { .. } => "begin",
        }
    }
}

/// What is done, as a sentence without its end.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Rewrite { pieces, .. } => {
                let kept: u64 = pieces.iter().map(|piece| piece.messages).sum();
                if kept == 0 {
                    return write!(f, "set aside as .damaged, and put an empty file in its place");
                }
                let files: Vec<_> = pieces.iter().map(|piece| file_name(piece.header.first)).collect();
                write!(f, "keep {kept} messages in {}, and set the file aside as .damaged", files.join(", "))
            }
            Step::SetAside { .. } => write!(f, "set aside as .damaged: nothing of it can be kept"),
            Step::Relink { header } => write!(f, "write into its header that {} comes before it", header.previous),
            Step::RemoveIndex { .. } => write!(f, "remove; the broker builds it anew"),
            Step::Begin { header } => write!(f, "begin an empty file, so that numbering goes on at {}", header.first),
        }
    }
}

/// Makes a plan, segment by segment.
struct Planner<'a> {
    log: LogId,
    clock: &'a dyn Clock,
    // The last sequence that is kept so far; None before the first segment.
    previous: Option<Sequence>,
    steps: Vec<Step>,
}

impl Planner<'_> {
    fn plan(&mut self, segment: &Examined, newest: bool) {
        match segment.header.filter(|_| !segment.needs_rewrite()) {
            Some(header) => self.keep(segment, header),
            None => self.rewrite(segment, newest),
        }
        if newest && segment.was_sealed() {
            let last = self.previous.unwrap_or_default();
            let identity = self.clock.random();
            let header = Header {
                version: segment::VERSION,
                log: self.log,
                identity,
                first: last.plus(LEAP),
                size: EMPTY,
                previous: last,
            };
            self.steps.push(Step::Begin { header });
        }
    }

    /// The blocks stay as they are.
    fn keep(&mut self, segment: &Examined, header: Header) {
        let previous = self.previous.unwrap_or(header.previous);
        if header.previous != previous {
            self.steps.push(Step::Relink { header: Header { previous, ..header } });
        }
        if matches!(segment.index, IndexState::Wrong | IndexState::Ahead) {
            self.steps.push(Step::RemoveIndex { first: segment.first });
        }
        let last = segment.runs().iter().map(|run| run.last).max().unwrap_or_default();
        self.previous = Some(previous.max(last));
    }

    fn rewrite(&mut self, segment: &Examined, newest: bool) {
        let first = segment.first;
        let mut pieces: Vec<Piece> = Vec::new();
        for run in segment.runs().iter().filter(|run| run.messages > 0) {
            match pieces.last_mut() {
                // Nothing is lost between them.
                Some(piece) if self.previous == Some(run.first.previous()) => {
                    piece.ranges.push(run.range.clone());
                    piece.messages += run.messages;
                }
                _ => {
                    let header = self.header(segment, run.first);
                    pieces.push(Piece { header, ranges: vec![run.range.clone()], messages: run.messages });
                }
            }
            self.previous = Some(run.last);
        }
        if pieces.is_empty() && newest {
            // Its place is kept, so that numbering goes on above whatever it held.
            let first = self.previous.map_or(first, |previous| first.max(previous.next()));
            let header = self.header(segment, first);
            self.previous = Some(header.previous);
            pieces.push(Piece { header, ranges: Vec::new(), messages: 0 });
        }
        self.steps.push(match pieces.is_empty() {
            true => Step::SetAside { first },
            false => Step::Rewrite { first, pieces },
        });
    }

    /// The header of what replaces a segment, or a part of it. Numbering goes on above all that the segment had room
    /// for.
    fn header(&self, segment: &Examined, first: Sequence) -> Header {
        let known = segment.header.filter(|_| segment.fault.is_none());
        Header {
            version: segment::VERSION,
            log: self.log,
            identity: self.clock.random(),
            first,
            size: known.map_or(segment.length.max(SIZE_MOST), |header| header.size),
            previous: self.previous.unwrap_or(known.map_or(first.previous(), |header| header.previous)),
        }
    }
}

/// Changes the files of one log.
struct Changes<'a> {
    io: &'a dyn LogIo,
    dir: &'a Path,
}

impl Changes<'_> {
    fn make(&self, step: &Step, examination: &Examination) -> io::Result<()> {
        match step {
            Step::Rewrite { first, pieces } => {
                let segment = examination.segments.iter().find(|segment| segment.first == *first);
                self.rewrite(segment.expect("the plan was made for these segments"), pieces)
            }
            Step::SetAside { first } => {
                let aside = self.aside(*first)?;
                self.io.rename(&segment::path(self.dir, *first), &aside)?;
                self.remove_index(*first)
            }
            Step::Relink { header } => {
                let file = self.io.open(&segment::path(self.dir, header.first))?;
                file.write_at(&header.encode(), 0)?;
                file.sync()
            }
            Step::RemoveIndex { first } => self.remove_index(*first),
            Step::Begin { header } => {
                let file = segment::prepare(self.io, self.dir, segment::UNFINISHED, header.size, header.size as usize)?;
                let closing = Frame::closing(header.first, header.previous, Timestamp::EPOCH);
                file.write_at(&closing.encode(header.seed()), segment::BLOCKS)?;
                segment::establish(self.io, self.dir, segment::UNFINISHED, &*file, header)
            }
        }
    }

    fn rewrite(&self, segment: &Examined, pieces: &[Piece]) -> io::Result<()> {
        let path = segment::path(self.dir, segment.first);
        let source = Patient::new(self.io.open(&path)?);
        for piece in pieces {
            self.write(&source, segment, piece)?;
        }
        let aside = self.aside(segment.first)?;
        // With two names the file is never gone; not all file systems have that.
        let linked = self.io.link(&path, &aside);
        if linked.is_err() {
            self.io.rename(&path, &aside)?;
        }
        self.io.sync_dir(self.dir)?;
        // The one that takes the file's own name comes last.
        for piece in pieces.iter().rev() {
            self.io.rename(&self.unfinished(piece), &segment::path(self.dir, piece.header.first))?;
        }
        if linked.is_ok() && pieces.iter().all(|piece| piece.header.first != segment.first) {
            self.io.remove(&path)?;
        }
        self.remove_index(segment.first)
    }

    /// Writes a piece under a name that does not count yet.
    fn write(&self, source: &dyn LogFile, segment: &Examined, piece: &Piece) -> io::Result<()> {
        let file = self.io.create(&self.unfinished(piece))?;
        let seed = piece.header.seed();
        let mut waiting: Vec<u8> = Vec::with_capacity(WRITE);
        let mut at = segment::BLOCKS;
        file.set_len(at)?;
        for range in &piece.ranges {
            let old = segment.header.expect("it has blocks").seed();
            survey::visit(source, old, range, |_, frame, block| {
                // A closing block says nothing about the file that this becomes.
                if frame.closing {
                    return Ok(());
                }
                let begin = waiting.len();
                waiting.extend_from_slice(block);
                frame.seal(seed, &mut waiting[begin..]);
                if waiting.len() >= WRITE {
                    file.write_at(&waiting, at)?;
                    at += waiting.len() as u64;
                    waiting.clear();
                }
                Ok(())
            })?;
        }
        file.write_at(&waiting, at)?;
        file.write_at(&piece.header.encode(), 0)?;
        file.sync()
    }

    fn unfinished(&self, piece: &Piece) -> PathBuf {
        self.dir.join(format!("repair-{}.tmp", piece.header.first))
    }

    /// A name under which a damaged file stays. Those of earlier repairs keep theirs.
    fn aside(&self, first: Sequence) -> io::Result<PathBuf> {
        free_name(self.io, self.dir, &file_name(first))
    }

    fn remove_index(&self, first: Sequence) -> io::Result<()> {
        match self.io.remove(&segment::path(self.dir, first).with_extension("idx")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => self.io.sync_dir(self.dir),
        }
    }
}

/// Gives up the state of a directory: a new one begins, and the old one is set aside.
pub fn renew_state(directory: &Directory) -> Result<()> {
    let path = directory.state();
    let renew = || {
        if path.exists() {
            let dir = path.parent().expect("the file lies in a directory");
            Disk.rename(&path, &free_name(&Disk, dir, state::FILE)?)?;
        }
        state::make(&path)
    };
    renew().map_err(|error| state::unreadable(&path, &error))
}

/// A name for a damaged file that nothing has yet.
fn free_name(io: &dyn LogIo, dir: &Path, file: &str) -> io::Result<PathBuf> {
    let taken = io.list(dir)?;
    let name = |number| match number {
        1 => format!("{file}.damaged"),
        _ => format!("{file}.damaged.{number}"),
    };
    let free = (1..).map(name).find(|name| !taken.contains(name)).expect("names do not run out");
    Ok(dir.join(free))
}

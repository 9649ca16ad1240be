//! Looks at a log's files while no broker runs, and tells what is wrong with them: a torn tail, which a crash may leave
//! and opening cuts off, from damage, with which no broker opens the log. Never writes.

use std::{
    collections::HashMap,
    fs::File,
    io,
    path::{Path, PathBuf},
};

use super::{
    LOCK, LOGS,
    finding::{self, Finding, Kind},
    frame::Frame,
    index::Index,
    io::{LogFile, LogIo, ReadOnly},
    segment::{self, Header},
    state,
    survey::{self, Patient, Survey},
    take_lock,
};
use crate::model::{Error, LogId, NamespaceName, Reason, Result, Sequence};

/// No segment was ever made larger: the largest that can be configured. Where a segment's own size is lost, numbering
/// goes on as if it had been this.
pub const SIZE_MOST: u64 = 1 << 30;

/// A data directory that no broker uses, and none will as long as this is held.
pub struct Directory {
    dir: PathBuf,
    // None where there is no lock file, and no broker ever ran. The lock goes with the file.
    _lock: Option<File>,
}

impl Directory {
    /// Takes the directory, unless a broker has it.
    pub fn open(dir: &Path) -> Result<Self> {
        let failed = |error: io::Error| {
            let message = format!("the data directory {} could not be opened: {error}", dir.display());
            Error::new(Reason::StorageFailed, message)
        };
        if !dir.join(LOGS).is_dir() {
            let message = format!("{} is no data directory of a broker: name one with --data", dir.display());
            return Err(Error::new(Reason::StorageFailed, message));
        }
        let lock = match File::open(dir.join(LOCK)) {
            Ok(file) => Some(take_lock(file, dir).map_err(failed)??),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed(error)),
        };
        Ok(Directory { dir: dir.to_owned(), _lock: lock })
    }

    /// The namespaces that have a log here, by name.
    pub fn namespaces(&self, io: &dyn LogIo) -> Result<Vec<NamespaceName>> {
        let mut names = super::logs(io, &self.dir).map_err(|error| {
            let message = format!("the directory {} could not be read: {error}", self.dir.join(LOGS).display());
            Error::new(Reason::StorageFailed, message)
        })?;
        names.sort_unstable();
        Ok(names)
    }

    /// What is wrong with the state, if anything is. The error says that nobody can tell.
    pub fn state_fault(&self) -> Result<Option<String>> {
        let path = self.state();
        // Without logs there is nothing to know of.
        let needed = super::has_logs(&ReadOnly, &self.dir).unwrap_or(true);
        match state::check(&path) {
            Ok(()) => Ok(None),
            Err(error) if state::is_missing(&error) => Ok(needed.then(|| "it is missing".to_owned())),
            Err(error) if state::is_damage(&error) => Ok(Some(format!("it cannot be read: {error}"))),
            Err(error) => Err(state::unreadable(&path, &error)),
        }
    }

    /// Where the state lies.
    pub fn state(&self) -> PathBuf {
        self.dir.join(state::FILE)
    }

    /// Where a namespace's log lies.
    pub fn log(&self, name: &NamespaceName) -> PathBuf {
        self.dir.join(LOGS).join(name.as_str())
    }
}

/// What was found in one log.
pub struct Examination {
    /// Whose log it is.
    pub name: NamespaceName,
    /// Its identity, if a header still tells it.
    pub log: Option<LogId>,
    /// Its segments, oldest first.
    pub segments: Vec<Examined>,
    /// What is to be said about them, from the oldest to the newest.
    pub findings: Vec<Finding>,
}

/// One segment as it lies on the disk.
pub struct Examined {
    /// The first sequence, as the file's name says.
    pub first: Sequence,
    /// Bytes of the file.
    pub length: u64,
    /// What its header says, or what it must have said. None if nothing tells whose blocks those are.
    pub header: Option<Header>,
    /// What is wrong with the header.
    pub fault: Option<String>,
    /// What lies behind the header; None where nothing tells whose blocks those are.
    pub survey: Option<Survey>,
    /// How it ends.
    pub state: State,
    /// What lies beside it.
    pub index: IndexState,
}

/// How a segment ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Another one follows.
    Sealed,
    /// It is the last, and was closed in order.
    Closed,
    /// It is the last, and the broker ended without closing it.
    Open,
    /// It is the last, and a crash tore its end.
    Torn,
    /// It is not as it was written.
    Damaged,
}

/// An index that lies beside a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexState {
    /// It says what the segment holds.
    Right,
    /// There is none: it is built anew at opening.
    Missing,
    /// It says what the last segment held when it was closed once: it is built anew at opening.
    Stale,
    /// It knows of messages that the last segment no longer holds: the end of the file is gone.
    Ahead,
    /// It does not say what the segment holds, or cannot be read.
    Wrong,
}

impl Examination {
    /// Looks at all files of a log.
    pub fn new(io: &dyn LogIo, dir: &Path, name: &NamespaceName) -> Result<Self> {
        let failed = |error: io::Error| {
            let message = format!("namespace {name}: its log could not be read: {error}");
            Error::new(Reason::StorageFailed, message)
        };
        let mut heads = Vec::new();
        for first in segment::list(io, dir).map_err(failed)? {
            heads.push(Head::read(io, dir, first).map_err(failed)?);
        }
        if let Some(later) = heads.iter().find(|head| head.later) {
            let message = format!(
                "namespace {name}: {} was written by a later version of tilde: use that one, the file is not damaged",
                file_name(later.first)
            );
            return Err(Error::new(Reason::StorageCorrupt, message));
        }
        let log = most_common(&heads);
        let mut examination = Examination { name: name.clone(), log, segments: Vec::new(), findings: Vec::new() };
        let mut last = Sequence::ZERO;
        for (at, head) in heads.iter().enumerate() {
            let next = heads.get(at + 1).map(|next| next.first);
            let examined = head.examine(io, dir, log, last, next).map_err(failed)?;
            last = examined.last().max(last);
            examination.segments.push(examined);
        }
        examination.findings = finding::judge(&examination.segments);
        examination.findings.extend(finding::leftovers(io.list(dir).map_err(failed)?));
        examination.segments.iter_mut().filter(|segment| segment.needs_rewrite()).for_each(|segment| {
            segment.state = State::Damaged;
        });
        Ok(examination)
    }

    /// Whether a broker would refuse to open the log, or serve something wrong.
    pub fn is_damaged(&self) -> bool {
        self.findings.iter().any(|finding| finding.kind == Kind::Damage)
    }

    /// How many messages can be read.
    pub fn messages(&self) -> u64 {
        self.segments.iter().map(Examined::messages).sum()
    }

    /// Gives each block that can be read to `each`, with its segment and its offset.
    pub fn visit(
        &self,
        io: &dyn LogIo,
        dir: &Path,
        mut each: impl FnMut(&Examined, u64, &Frame, &[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        for segment in &self.segments {
            let Some(header) = &segment.header else { continue };
            let file = io.open(&segment::path(dir, segment.first))?;
            for run in segment.runs() {
                let each = |offset, frame: &Frame, block: &[u8]| each(segment, offset, frame, block);
                survey::visit(&*file, header.seed(), &run.range, each)?;
            }
        }
        Ok(())
    }
}

impl Examined {
    /// The name of its file.
    pub fn file(&self) -> String {
        file_name(self.first)
    }

    /// The last sequence up to its end: its own, or that of the segment before if it holds none.
    pub fn last(&self) -> Sequence {
        let own = self.runs().iter().map(|run| run.last).max().unwrap_or_default();
        own.max(self.header.map_or(Sequence::ZERO, |header| header.previous))
    }

    /// The blocks that can be read and that opening keeps.
    pub fn runs(&self) -> &[survey::Run] {
        let Some(survey) = &self.survey else { return &[] };
        match self.state {
            // What lies behind the first tear goes with it.
            State::Torn => {
                let tear = survey.holes.first().map_or(u64::MAX, |hole| hole.range.start);
                &survey.runs[..survey.runs.partition_point(|run| run.range.start < tear)]
            }
            _ => &survey.runs,
        }
    }

    /// How many messages can be read.
    pub fn messages(&self) -> u64 {
        self.runs().iter().map(|run| run.messages).sum()
    }

    /// Of the newest segment: whether another one followed it. Its index is stored when that happens, or when the log is
    /// closed.
    pub fn was_sealed(&self) -> bool {
        self.state == State::Open && self.index == IndexState::Right
    }

    /// Whether its blocks must be written anew for a broker to open it.
    pub fn needs_rewrite(&self) -> bool {
        let torn = self.state == State::Torn;
        let broken = |survey: &Survey| survey.unreadable || !torn && (survey.junk || !survey.holes.is_empty());
        self.fault.is_some() || self.survey.as_ref().is_none_or(broken)
    }
}

/// The name of the file of the segment that begins at `first`.
pub fn file_name(first: Sequence) -> String {
    segment::path(Path::new(""), first).display().to_string()
}

/// What a file begins with.
struct Head {
    first: Sequence,
    length: u64,
    // The error says what is wrong with it.
    header: Result<Header, String>,
    // What stands there all the same.
    guess: Header,
    later: bool,
}

impl Head {
    fn read(io: &dyn LogIo, dir: &Path, first: Sequence) -> io::Result<Head> {
        let file = Patient::new(io.open(&segment::path(dir, first))?);
        let header = Header::read(&file)?.and_then(|header| match header.first == first {
            true => Ok(header),
            false => Err(format!("its header says that it begins at {}", header.first)),
        });
        Ok(Head { first, length: file.len()?, header, guess: Header::guess(&file)?, later: Header::is_later(&file)? })
    }

    /// Looks at the blocks. `before` is the last sequence so far, `next` where the next segment begins.
    fn examine(
        &self,
        io: &dyn LogIo,
        dir: &Path,
        log: Option<LogId>,
        before: Sequence,
        next: Option<Sequence>,
    ) -> io::Result<Examined> {
        let file = Patient::new(io.open(&segment::path(dir, self.first))?);
        let stored = read_index(io, dir, self.first);
        let start = self.first.max(before.next());
        let (header, fault, survey) = match &self.header {
            Ok(header) if Some(header.log) == log => {
                (Some(*header), None, Some(Survey::new(&file, header.seed(), start..=Sequence::MAX)?))
            }
            Ok(_) => (None, Some("it belongs to another log".to_owned()), None),
            Err(why) => {
                // Blocks that match their checksums under an identity prove that it is the segment's.
                let most = next.map_or(Sequence::MAX, Sequence::previous);
                let indexed = stored.as_deref().and_then(Index::identity);
                let mut proven = None;
                for identity in [Some(self.guess.identity), indexed].into_iter().flatten() {
                    let header = self.rebuilt(identity, log, before);
                    let survey = Survey::new(&file, header.seed(), start..=most)?;
                    if !survey.runs.is_empty() {
                        proven = Some((header, survey));
                        break;
                    }
                }
                let (header, survey) = proven.unzip();
                (header, Some(why.clone()), survey)
            }
        };
        let index = match (&stored, &header, &survey) {
            (None, ..) => IndexState::Missing,
            (Some(bytes), Some(header), Some(survey)) => match Index::decode(bytes, header.identity) {
                Some(index) if index == survey.index || !survey.holes.is_empty() => IndexState::Right,
                Some(index) if next.is_none() && index.summary().last > survey.index.summary().last => {
                    IndexState::Ahead
                }
                Some(index) if next.is_none() && index.summary().end != survey.end => IndexState::Stale,
                _ => IndexState::Wrong,
            },
            (Some(_), ..) => IndexState::Wrong,
        };
        let state = match next {
            Some(_) => State::Sealed,
            None => survey
                .as_ref()
                .zip(header.as_ref())
                .map_or(State::Damaged, |(survey, header)| end(survey, header, self.length, index)),
        };
        Ok(Examined { first: self.first, length: self.length, header, fault, survey, state, index })
    }

    /// The header as it must have been, as far as that matters.
    fn rebuilt(&self, identity: u64, log: Option<LogId>, before: Sequence) -> Header {
        let lowest = if before == Sequence::ZERO { self.first.previous() } else { before };
        Header {
            version: segment::VERSION,
            log: log.unwrap_or(self.guess.log),
            identity,
            first: self.first,
            size: self.length.max(SIZE_MOST),
            // Believed if it can be true: it tells whether files before this one are missing. If not, they may be.
            previous: Some(self.guess.previous)
                .filter(|told| (lowest..self.first).contains(told))
                .unwrap_or(self.first.previous()),
        }
    }
}

/// How the last segment ends. A crash takes nothing from its file's length, which was there before its first block.
fn end(survey: &Survey, header: &Header, length: u64, index: IndexState) -> State {
    if survey.unreadable || survey.junk && length < header.size {
        return State::Damaged;
    }
    let tear = survey.holes.first().map(|hole| hole.range.start);
    if tear.is_none() && !survey.junk {
        return match index {
            IndexState::Ahead => State::Damaged,
            _ if survey.closed => State::Closed,
            _ => State::Open,
        };
    }
    let (before, behind) = survey.runs.split_at(match tear {
        Some(tear) => survey.runs.partition_point(|run| run.range.start < tear),
        None => survey.runs.len(),
    });
    let last = before.iter().map(|run| run.last).max().unwrap_or_default().max(header.previous);
    // A later block, or the index, says whether what is missing was on stable storage: then no crash took it.
    match index == IndexState::Ahead || behind.iter().any(|run| run.synced_through > last) {
        true => State::Damaged,
        false => State::Torn,
    }
}

/// The identity that most headers agree on; of two that as many have the later one.
fn most_common(heads: &[Head]) -> Option<LogId> {
    let mut counts: HashMap<LogId, (usize, usize)> = HashMap::new();
    for (at, header) in heads.iter().enumerate().filter_map(|(at, head)| Some((at, head.header.as_ref().ok()?))) {
        let count = counts.entry(header.log).or_default();
        *count = (count.0 + 1, at);
    }
    counts.into_iter().max_by_key(|(_, count)| *count).map(|(log, _)| log)
}

fn read_index(io: &dyn LogIo, dir: &Path, first: Sequence) -> Option<Vec<u8>> {
    let file = io.open(&segment::path(dir, first).with_extension("idx")).ok()?;
    let mut bytes = vec![0; usize::try_from(file.len().ok()?).ok()?];
    // What cannot be read does not match its checksum.
    let _ = file.read_at(&mut bytes, 0);
    Some(bytes)
}

//! Goes through one segment's file past whatever is damaged, and tells which blocks are whole. Never writes, and never
//! decides what damage means.

use std::{
    io,
    ops::{Range, RangeInclusive},
    sync::atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;

use super::{
    frame::{self, Frame, Seed},
    index::{Builder, Index},
    io::LogFile,
    segment::{self, Walk},
};
use crate::{
    engine::Block,
    model::{Sequence, Timestamp},
};

/// Bytes that are read at a time.
const CHUNK: usize = 256 << 10;

/// What was found in a file.
#[derive(Debug)]
pub struct Survey {
    /// Whole blocks, one after the other, up to the next hole or the end.
    pub runs: Vec<Run>,
    /// What lies between whole blocks, or before the first, and is none.
    pub holes: Vec<Hole>,
    /// Where the last whole block ends.
    pub end: u64,
    /// Behind the end lies something that is no block and not empty either.
    pub junk: bool,
    /// The last whole block is a closing one.
    pub closed: bool,
    /// When the first record was published.
    pub first_time: Timestamp,
    /// The disk could not read all of it.
    pub unreadable: bool,
    /// What the whole blocks hold.
    pub index: Index,
    /// How many topics that are.
    pub topics: usize,
}

/// Whole blocks without anything between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Where they lie.
    pub range: Range<u64>,
    /// How many.
    pub blocks: u64,
    /// How many records they have.
    pub messages: u64,
    /// The first record; zero if there is none.
    pub first: Sequence,
    /// The last record; zero if there is none.
    pub last: Sequence,
    /// What one of them says was on stable storage when it was written.
    pub synced_through: Sequence,
}

/// Bytes that should be blocks, and are not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hole {
    /// Where they lie.
    pub range: Range<u64>,
    /// The last sequence before.
    pub before: Sequence,
    /// The first sequence behind.
    pub behind: Sequence,
}

impl Survey {
    /// Goes through a file whose blocks have this seed and sequences `within` these.
    pub fn new(file: &Patient, seed: Seed, within: RangeInclusive<Sequence>) -> io::Result<Survey> {
        let mut surveyor = Surveyor {
            runs: Vec::new(),
            holes: Vec::new(),
            closed: false,
            first_time: Timestamp::EPOCH,
            builder: Builder::new(segment::BLOCKS),
            last: within.start().previous(),
            most: *within.end(),
        };
        let junk = surveyor.run(file, seed)?;
        let index = surveyor.builder.finish();
        Ok(Survey {
            end: surveyor.runs.last().map_or(segment::BLOCKS, |run| run.range.end),
            runs: surveyor.runs,
            holes: surveyor.holes,
            junk,
            closed: surveyor.closed,
            first_time: surveyor.first_time,
            unreadable: file.unreadable.load(Ordering::Relaxed),
            index,
            topics: surveyor.builder.topics(),
        })
    }

    /// The last record; zero if there is none.
    pub fn last(&self) -> Sequence {
        self.index.summary().last
    }
}

impl Hole {
    /// The sequences that must have been there.
    pub fn lost(&self) -> Option<(Sequence, Sequence)> {
        (self.before.next() < self.behind).then(|| (self.before.next(), self.behind.previous()))
    }
}

/// What is known on the way.
struct Surveyor {
    runs: Vec<Run>,
    holes: Vec<Hole>,
    closed: bool,
    first_time: Timestamp,
    builder: Builder,
    // The last sequence so far, and the last that there may be.
    last: Sequence,
    most: Sequence,
}

impl Surveyor {
    /// Answers whether anything but zeroes lies behind the last whole block.
    fn run(&mut self, file: &Patient, seed: Seed) -> io::Result<bool> {
        let mut begin = segment::BLOCKS;
        loop {
            let end = self.walk(Walk::new(file, seed, begin, CHUNK))?;
            if Walk::new(file, seed, end, CHUNK).rest_is_zero()? {
                return Ok(false);
            }
            // A block whose records make no sense belongs to the hole before it.
            let before = self.holes.pop_if(|hole| hole.range.end == end);
            let bad = before.map_or(end, |hole| hole.range.start);
            let Some((next, frame)) = self.find(file, seed, end + 1)? else { return Ok(true) };
            self.holes.push(Hole { range: bad..next, before: self.last, behind: frame.first });
            begin = next;
        }
    }

    /// Takes whole blocks as far as they go. Answers where something else begins.
    fn walk(&mut self, mut walk: Walk<'_>) -> io::Result<u64> {
        let begin = walk.offset();
        let mut run = Run {
            range: begin..begin,
            blocks: 0,
            messages: 0,
            first: Sequence::ZERO,
            last: Sequence::ZERO,
            synced_through: Sequence::ZERO,
        };
        while let Some((frame, block)) = walk.next_block()? {
            let end = run.range.end + frame.size() as u64;
            if !self.fits(&frame) || !self.take(&frame, block, end) {
                break;
            }
            run.range.end = end;
            run.blocks += 1;
            run.messages += u64::from(frame.count);
            run.synced_through = run.synced_through.max(frame.synced_through);
            if !frame.closing {
                run.first = if run.first == Sequence::ZERO { frame.first } else { run.first };
                run.last = frame.last();
            }
        }
        let end = run.range.end;
        if run.blocks > 0 {
            self.runs.push(run);
        }
        Ok(end)
    }

    /// Whether a block can follow what was found.
    fn fits(&self, frame: &Frame) -> bool {
        frame.first > self.last && (frame.closing || frame.last() <= self.most)
    }

    /// Adds a block. Answers false if its records are none.
    fn take(&mut self, frame: &Frame, block: &[u8], end: u64) -> bool {
        if frame.closing {
            self.builder.skip(end);
            self.closed = true;
            return true;
        }
        let records = Bytes::copy_from_slice(&block[frame.records()]);
        let Ok(block) = Block::index(records, frame.first, frame.has_expiring) else { return false };
        if self.builder.summary().messages == 0 {
            self.first_time = frame.time;
        }
        self.builder.add(frame, &block, end);
        self.closed = false;
        self.last = frame.last();
        true
    }

    /// The next whole block that can follow, wherever it begins.
    fn find(&self, file: &Patient, seed: Seed, from: u64) -> io::Result<Option<(u64, Frame)>> {
        let mut window = vec![0; CHUNK];
        let mut base = from;
        loop {
            let read = file.read_at(&mut window, base)?;
            let Some(starts) = (read + 1).checked_sub(frame::HEADER) else { return Ok(None) };
            for at in 0..starts {
                let Some(frame) = Frame::parse(&window[at..read]) else { continue };
                let offset = base + at as u64;
                // Looked at only where it may be the one: its checksum covers all its records.
                if frame.first > self.last
                    && let Some((frame, _)) = Walk::new(file, seed, offset, frame.size()).next_block()?
                    && self.fits(&frame)
                {
                    return Ok(Some((offset, frame)));
                }
            }
            base += starts as u64;
            if read < window.len() {
                return Ok(None);
            }
        }
    }
}

/// Gives each whole block of a range to `each`, with its offset. The range must be a run of a survey, or a part.
pub fn visit(
    file: &dyn LogFile,
    seed: Seed,
    range: &Range<u64>,
    mut each: impl FnMut(u64, &Frame, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut walk = Walk::new(file, seed, range.start, CHUNK);
    while walk.offset() < range.end {
        let offset = walk.offset();
        let Some((frame, block)) = walk.next_block()? else {
            return Err(io::Error::other(format!("what lies at offset {offset} changed while it was read")));
        };
        each(offset, &frame, block)?;
    }
    Ok(())
}

/// A file that is read around what its disk cannot read: that part becomes bytes which are no block.
pub struct Patient {
    file: Box<dyn LogFile>,
    unreadable: AtomicBool,
}

/// What is given up at a time where the disk cannot read.
const PIECE: usize = 4096;

impl Patient {
    /// Reads this file.
    pub fn new(file: Box<dyn LogFile>) -> Self {
        Patient { file, unreadable: AtomicBool::new(false) }
    }
}

impl LogFile for Patient {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        if let Ok(read) = self.file.read_at(buffer, offset) {
            return Ok(read);
        }
        let mut done = 0;
        for piece in buffer.chunks_mut(PIECE) {
            let read = self.file.read_at(piece, offset + done as u64).unwrap_or_else(|_| {
                self.unreadable.store(true, Ordering::Relaxed);
                // Not zeroes: they would pass for what was never written.
                piece.fill(0xff);
                piece.len()
            });
            done += read;
            if read < piece.len() {
                break;
            }
        }
        Ok(done)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}

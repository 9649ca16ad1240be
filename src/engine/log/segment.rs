//! A segment file: its name, its header, and walking over its blocks. Never decides what a broken one means.
//!
//! Version 2 of the header, little endian, in the first 4,096 bytes (a page that no block shares, so that writing
//! blocks never rewrites it): `TILDESEG`, version, crc32c of the version and of what follows, then log, identity, first
//! sequence, size, last sequence of the segment before, each eight bytes. In every version the first 56 bytes have this
//! checksum, so that a later one is told from a damaged one. (Version 1 knew no runs of producer numbers in its blocks.)

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{
    frame::{self, Frame, Seed},
    io::{LogFile, LogIo},
};
use crate::model::{LogId, Sequence, record};

/// Where the first block lies.
pub const BLOCKS: u64 = 4096;
/// The name of a file that the writer makes and that does not count yet.
pub const UNFINISHED: &str = "new.tmp";
/// The name of a file that is zeroed ahead and does not count yet.
pub const PREPARED: &str = "next.tmp";

const MAGIC: [u8; 8] = *b"TILDESEG";
/// The version that is written; those since 1 are read.
pub const VERSION: u32 = 2;
const HEADER: usize = 56;

/// What a segment's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Of the format of the header and of the blocks.
    pub version: u32,
    /// The log that it belongs to.
    pub log: LogId,
    /// Random; no other segment has it.
    pub identity: u64,
    /// No record has a lower sequence.
    pub first: Sequence,
    /// Bytes that it was made for, this header included.
    pub size: u64,
    /// The last sequence of the segment before; zero if there was none.
    pub previous: Sequence,
}

impl Header {
    /// The bytes of the header.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; HEADER];
        bytes[0..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&self.version.to_le_bytes());
        let numbers = [self.log.0, self.identity, self.first.0, self.size, self.previous.0];
        for (at, number) in numbers.into_iter().enumerate() {
            bytes[16 + 8 * at..24 + 8 * at].copy_from_slice(&number.to_le_bytes());
        }
        let crc = checksum(&bytes);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads the header of an open file. The error is a sentence about what is wrong with it.
    pub fn read(file: &dyn LogFile) -> io::Result<Result<Header, String>> {
        let mut bytes = [0; HEADER];
        let read = file.read_at(&mut bytes, 0)?;
        if read < HEADER || bytes[0..8] != MAGIC {
            return Ok(Err("it does not begin as a segment does".into()));
        }
        let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        if u32_at(12) != checksum(&bytes) {
            return Ok(Err("its header does not match its checksum".into()));
        }
        if !(1..=VERSION).contains(&u32_at(8)) {
            return Ok(Err(format!("it has version {}, this program reads 1 to {VERSION}", u32_at(8))));
        }
        Ok(Ok(Header::fields(&bytes)))
    }

    /// What stands in the header's place, although it may not match its checksum: for whoever can prove by other means
    /// that a part of it is right.
    pub fn guess(file: &dyn LogFile) -> io::Result<Header> {
        let mut bytes = [0; HEADER];
        file.read_at(&mut bytes, 0)?;
        Ok(Header::fields(&bytes))
    }

    /// Whether a later version of this program wrote the file: then it is not damaged, but nothing for this one.
    pub fn is_later(file: &dyn LogFile) -> io::Result<bool> {
        let mut bytes = [0; HEADER];
        file.read_at(&mut bytes, 0)?;
        let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        Ok(bytes[0..8] == MAGIC && u32_at(12) == checksum(&bytes) && u32_at(8) > VERSION)
    }

    fn fields(bytes: &[u8; HEADER]) -> Header {
        let number = |at: usize| u64::from_le_bytes(bytes[16 + 8 * at..24 + 8 * at].try_into().expect("eight bytes"));
        Header {
            version: u32::from_le_bytes(bytes[8..12].try_into().expect("four bytes")),
            log: LogId(number(0)),
            identity: number(1),
            first: Sequence(number(2)),
            size: number(3),
            previous: Sequence(number(4)),
        }
    }

    /// With what the checksums of its blocks begin.
    pub fn seed(&self) -> Seed {
        Seed::new(self.identity)
    }

    /// No record that this segment ever held can have this sequence or a higher one, whatever a crash took away: it
    /// has no room for so many. Numbering goes on here after an unclean stop.
    pub fn ceiling(&self) -> Sequence {
        self.first.plus(self.size / record::LEAST as u64 + 1)
    }
}

/// Of a header's version, and of what follows the checksum.
fn checksum(header: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&header[8..12]), &header[16..HEADER])
}

/// The file of the segment that begins at `first`.
pub fn path(dir: &Path, first: Sequence) -> PathBuf {
    dir.join(format!("{:020}.log", first.0))
}

/// The first sequences of all segments in a directory, in order.
pub fn list(io: &dyn LogIo, dir: &Path) -> io::Result<Vec<Sequence>> {
    let names = io.list(dir)?;
    let number = |name: &String| name.strip_suffix(".log").filter(|digits| digits.len() == 20)?.parse().ok();
    let mut firsts: Vec<_> = names.iter().filter_map(number).map(Sequence).collect();
    firsts.sort_unstable();
    Ok(firsts)
}

/// Makes a segment's file under a name that does not count yet, with zeroes already on stable storage, so that
/// writing blocks later changes nothing but their own bytes: that halves what a sync costs. `step` bytes at a time,
/// each step synced, so that syncs elsewhere never wait long behind it.
pub fn prepare(io: &dyn LogIo, dir: &Path, name: &str, size: u64, step: usize) -> io::Result<Box<dyn LogFile>> {
    let path = dir.join(name);
    let fill = || {
        let file = io.create(&path)?;
        let zeroes = vec![0; step.min(size as usize)];
        let mut at = 0;
        while at < size {
            let bytes = zeroes.len().min((size - at) as usize);
            file.write_at(&zeroes[..bytes], at)?;
            file.sync()?;
            at += bytes as u64;
        }
        Ok(file)
    };
    fill().inspect_err(|_| drop(io.remove(&path)))
}

/// Makes a segment's file of this size without zeroes of its own: quick, but each sync of new bytes costs more.
pub fn reserve(io: &dyn LogIo, dir: &Path, name: &str, size: u64) -> io::Result<Box<dyn LogFile>> {
    let file = io.create(&dir.join(name))?;
    file.set_len(size)?;
    Ok(file)
}

/// Gives a new file its header and its name. It counts from then on.
pub fn establish(io: &dyn LogIo, dir: &Path, name: &str, file: &dyn LogFile, header: &Header) -> io::Result<()> {
    let unfinished = dir.join(name);
    let establish = || {
        file.write_at(&header.encode(), 0)?;
        file.sync()?;
        io.rename(&unfinished, &path(dir, header.first))
    };
    establish().inspect_err(|_| drop(io.remove(&unfinished)))?;
    io.sync_dir(dir)
}

/// Walks over the blocks of a segment, each checked, until something is not a block.
pub struct Walk<'a> {
    file: &'a dyn LogFile,
    seed: Seed,
    offset: u64,
    buffer: Vec<u8>,
    // The part of `buffer` that holds what lies at `offset`.
    filled: std::ops::Range<usize>,
    chunk: usize,
}

impl<'a> Walk<'a> {
    /// Begins at `offset`, reading `chunk` bytes at a time.
    pub fn new(file: &'a dyn LogFile, seed: Seed, offset: u64, chunk: usize) -> Self {
        Walk { file, seed, offset, buffer: Vec::new(), filled: 0..0, chunk }
    }

    /// Where the next block begins.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The next block with its header, or None where there is no whole one.
    pub fn next_block(&mut self) -> io::Result<Option<(Frame, &[u8])>> {
        let Some(frame) = Frame::parse(self.fill(frame::HEADER)?) else { return Ok(None) };
        let size = frame.size();
        let seed = self.seed;
        let block = self.fill(size)?;
        if block.len() < size || !Frame::verify(seed, &block[..size]) {
            return Ok(None);
        }
        let start = self.filled.start;
        self.filled.start += size;
        self.offset += size as u64;
        Ok(Some((frame, &self.buffer[start..start + size])))
    }

    /// Whether nothing but zeroes lies from here to the end of the file.
    pub fn rest_is_zero(&mut self) -> io::Result<bool> {
        loop {
            let rest = self.fill(1)?;
            if rest.is_empty() {
                return Ok(true);
            }
            if rest.iter().any(|&byte| byte != 0) {
                return Ok(false);
            }
            self.offset += rest.len() as u64;
            self.filled = 0..0;
        }
    }

    /// The first whole block behind the present place, wherever it begins, whose `synced_through` reaches `sequence`:
    /// it says that what should lie here was on stable storage. Answers where it begins.
    pub fn find_witness(&mut self, sequence: Sequence) -> io::Result<Option<u64>> {
        let length = self.file.len()?;
        let mut bytes = vec![0; length.saturating_sub(self.offset) as usize];
        let read = self.file.read_at(&mut bytes, self.offset)?;
        bytes.truncate(read);
        for at in 1..bytes.len() {
            let Some(frame) = Frame::parse(&bytes[at..]) else { continue };
            let says_so = frame.synced_through >= sequence;
            let whole = || bytes.get(at..at + frame.size()).is_some_and(|block| Frame::verify(self.seed, block));
            if says_so && whole() {
                return Ok(Some(self.offset + at as u64));
            }
        }
        Ok(None)
    }

    /// Makes sure that at least `least` bytes from the present place on are in the buffer, if the file has them, and
    /// answers all that are.
    fn fill(&mut self, least: usize) -> io::Result<&[u8]> {
        if self.filled.len() < least {
            self.buffer.copy_within(self.filled.clone(), 0);
            let kept = self.filled.len();
            let wanted = least.max(self.chunk);
            if self.buffer.len() < wanted {
                self.buffer.resize(wanted, 0);
            }
            let read = self.file.read_at(&mut self.buffer[kept..wanted], self.offset + kept as u64)?;
            self.filled = 0..kept + read;
        }
        Ok(&self.buffer[self.filled.clone()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_comes_back_and_a_broken_one_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let io = super::super::io::Disk;
        let header = Header {
            version: VERSION,
            log: LogId(1),
            identity: 2,
            first: Sequence(3),
            size: 1 << 18,
            previous: Sequence(2),
        };
        let file = prepare(&io, dir.path(), UNFINISHED, header.size, 1 << 16).unwrap();
        establish(&io, dir.path(), UNFINISHED, &*file, &header).unwrap();
        assert_eq!(list(&io, dir.path()).unwrap(), [Sequence(3)]);
        assert_eq!(Header::read(&*file).unwrap(), Ok(header));
        file.write_at(&[9], 30).unwrap();
        assert!(Header::read(&*file).unwrap().is_err());
    }
}

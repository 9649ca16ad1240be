//! The segment that comes next, zeroed ahead by another thread. The writer wants it and takes it; the keeper makes it.

use std::{
    io,
    path::Path,
    sync::{Mutex, MutexGuard},
};

use super::{
    io::{LogFile, LogIo},
    segment,
};

/// Bytes that are zeroed and synced at a time, so that no sync of the log waits long behind them.
const STEP: usize = 1 << 20;

/// How far it is.
#[derive(Default)]
pub struct Preparation(Mutex<State>);

#[derive(Clone, Copy, Default)]
enum State {
    /// Nobody needs one.
    #[default]
    Idle,
    /// One of so many bytes is wanted.
    Wanted(u64),
    /// It is being made.
    Making,
    /// It is ready, under its name that does not count yet.
    Ready(u64),
}

impl Preparation {
    /// Asks for one of this size, unless one was asked for already.
    pub fn want(&self, size: impl FnOnce() -> u64) {
        let mut state = self.lock();
        if let State::Idle = *state {
            *state = State::Wanted(size());
        }
    }

    /// Whether one is to be made.
    pub fn is_wanted(&self) -> bool {
        matches!(*self.lock(), State::Wanted(_))
    }

    /// Makes the one that is wanted, if one is. After an error none is.
    pub fn make(&self, io: &dyn LogIo, dir: &Path) -> io::Result<()> {
        let size = {
            let mut state = self.lock();
            let State::Wanted(size) = *state else { return Ok(()) };
            *state = State::Making;
            size
        };
        let made = segment::prepare(io, dir, segment::PREPARED, size, STEP);
        *self.lock() = if made.is_ok() { State::Ready(size) } else { State::Idle };
        made.map(drop)
    }

    /// Takes the one that is ready, if it has at least so many bytes: the file, and its size.
    pub fn take(&self, io: &dyn LogIo, dir: &Path, least: u64) -> io::Result<Option<(Box<dyn LogFile>, u64)>> {
        let mut state = self.lock();
        let State::Ready(size) = *state else { return Ok(None) };
        if size < least {
            return Ok(None);
        }
        let file = io.open(&dir.join(segment::PREPARED))?;
        *state = State::Idle;
        Ok(Some((file, size)))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nobody panics while holding it")
    }
}

//! A disk that forgets what was not synced. A crash keeps any part of it: writes in any order, torn at sectors, and
//! any beginning of what was done to names. Power can be cut at any operation.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
};

use tilde::engine::log::io::{LogFile, LogIo};

const SECTOR: usize = 512;
/// EMFILE.
const TOO_MANY_FILES: i32 = 24;

/// The disk. Clones are the same disk.
#[derive(Clone, Default)]
pub struct SimDisk(Arc<Mutex<State>>);

#[derive(Clone, Default)]
struct State {
    // What the names mean now, and what they meant when the directory was last synced, with what came after.
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    name_changes: Vec<NameChange>,
    files: Vec<File>,
    operations: u64,
    cut_at: Option<u64>,
    // Syncs from this operation on answer an error.
    broken_sync_from: Option<u64>,
    // Bytes that files may have together.
    room: Option<usize>,
    // No write finds room, wherever it goes: as on a disk that never writes in place.
    full: bool,
    // No file can be opened, as the process has too many open.
    crowded: bool,
}

#[derive(Clone)]
enum NameChange {
    Set(PathBuf, usize),
    // Whole or not at all.
    Move(PathBuf, PathBuf, usize),
    Remove(PathBuf),
}

#[derive(Clone, Default)]
struct File {
    now: Vec<u8>,
    durable: Vec<u8>,
    changes: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Write(u64, Vec<u8>),
    Length(u64),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Change::Length(length) => bytes.resize(*length as usize, 0),
            Change::Write(offset, written) => {
                let end = *offset as usize + written.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[*offset as usize..end].copy_from_slice(written);
            }
        }
    }
}

/// What an operation finds.
enum Power {
    On,
    /// It goes out now: the operation may have happened in part.
    GoesOut,
}

impl State {
    fn operate(&mut self) -> io::Result<Power> {
        self.operations += 1;
        match self.cut_at {
            Some(cut) if self.operations > cut => Err(io::Error::other("the power is out")),
            Some(cut) if self.operations == cut => Ok(Power::GoesOut),
            _ => Ok(Power::On),
        }
    }

    fn check_crowd(&self) -> io::Result<()> {
        if self.crowded { Err(io::Error::from_raw_os_error(TOO_MANY_FILES)) } else { Ok(()) }
    }

    fn change_names(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.name_changes.push(change);
    }

    fn find(&self, path: &Path) -> io::Result<usize> {
        self.names.get(path).copied().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    fn used(&self) -> usize {
        self.names.values().map(|&file| self.files[file].now.len()).sum()
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            NameChange::Set(path, file) => drop(names.insert(path.clone(), *file)),
            NameChange::Move(from, to, file) => {
                names.remove(from);
                names.insert(to.clone(), *file);
            }
            NameChange::Remove(path) => drop(names.remove(path)),
        }
    }
}

fn out<T>() -> io::Result<T> {
    Err(io::Error::other("the power went out"))
}

impl SimDisk {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Operations so far.
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// The power goes out at this operation, counted from the disk's beginning.
    pub fn cut_at(&self, operation: u64) {
        self.lock().cut_at = Some(operation);
    }

    /// Syncs answer an error from this operation on.
    pub fn break_syncs_from(&self, operation: u64) {
        self.lock().broken_sync_from = Some(operation);
    }

    /// Files may have so many bytes together.
    pub fn limit(&self, bytes: Option<usize>) {
        self.lock().room = bytes;
    }

    /// No write finds room from now on, or all do. A part of each is written all the same.
    pub fn fill(&self, full: bool) {
        self.lock().full = full;
    }

    /// No file can be opened from now on, or all can.
    pub fn crowd(&self, crowded: bool) {
        self.lock().crowded = crowded;
    }

    /// Cuts a file off.
    pub fn truncate(&self, path: &Path, length: usize) {
        let mut state = self.lock();
        let file = state.find(path).unwrap();
        state.files[file].now.truncate(length);
        state.files[file].durable.truncate(length);
    }

    /// What a machine finds after the power was out: `chance` decides what of the unsynced was kept.
    pub fn after_crash(&self, mut chance: impl FnMut() -> u64) -> SimDisk {
        let state = self.lock();
        let mut names = state.durable_names.clone();
        let kept = chance() as usize % (state.name_changes.len() + 1);
        state.name_changes[..kept].iter().for_each(|change| change.apply(&mut names));
        let files = state.files.iter().map(|file| file.after_crash(&mut chance)).collect();
        SimDisk(Arc::new(Mutex::new(State { durable_names: names.clone(), names, files, ..State::default() })))
    }

    /// What the next process finds after this one was killed: all that was written, and nothing more durable than before.
    pub fn after_kill(&self) -> SimDisk {
        let state = State { cut_at: None, ..self.lock().clone() };
        SimDisk(Arc::new(Mutex::new(state)))
    }

    /// Flips a bit of a file.
    pub fn flip(&self, path: &Path, bit: usize) {
        let mut state = self.lock();
        let file = state.find(path).unwrap();
        let file = &mut state.files[file];
        file.now[bit / 8] ^= 1 << (bit % 8);
        file.durable[bit / 8] ^= 1 << (bit % 8);
    }

    /// The files, with their lengths.
    pub fn files(&self) -> Vec<(PathBuf, usize)> {
        let state = self.lock();
        state.names.iter().map(|(path, &file)| (path.clone(), state.files[file].now.len())).collect()
    }
}

impl File {
    fn after_crash(&self, chance: &mut impl FnMut() -> u64) -> File {
        let mut bytes = self.durable.clone();
        let mut left: Vec<&Change> = self.changes.iter().collect();
        // In any order, each with even odds, and some of them torn.
        while !left.is_empty() {
            let change = left.swap_remove(chance() as usize % left.len());
            match (chance() % 4, change) {
                (0 | 1, _) => change.apply(&mut bytes),
                (2, Change::Write(offset, written)) => {
                    for (at, sector) in written.chunks(SECTOR).enumerate() {
                        if chance().is_multiple_of(2) {
                            Change::Write(offset + (at * SECTOR) as u64, sector.to_vec()).apply(&mut bytes);
                        }
                    }
                }
                _ => {}
            }
        }
        File { now: bytes.clone(), durable: bytes, changes: Vec::new() }
    }
}

impl LogIo for SimDisk {
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.lock();
        let inside = state.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside.map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect())
    }

    fn create_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn remove_dir(&self, _: &Path) -> io::Result<()> {
        unreachable!("a log never removes its directory")
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn LogFile>> {
        let mut state = self.lock();
        state.check_crowd()?;
        state.operate()?;
        let file = state.files.len();
        state.files.push(File::default());
        state.change_names(NameChange::Set(path.to_owned(), file));
        Ok(Box::new(SimFile { disk: self.clone(), file }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn LogFile>> {
        let state = self.lock();
        state.check_crowd()?;
        let file = state.find(path)?;
        Ok(Box::new(SimFile { disk: self.clone(), file }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.lock();
        let power = state.operate()?;
        let file = state.find(from)?;
        state.change_names(NameChange::Move(from.to_owned(), to.to_owned(), file));
        if matches!(power, Power::GoesOut) { out() } else { Ok(()) }
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.lock();
        let power = state.operate()?;
        let file = state.find(from)?;
        state.change_names(NameChange::Set(to.to_owned(), file));
        if matches!(power, Power::GoesOut) { out() } else { Ok(()) }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.operate()?;
        state.find(path)?;
        state.change_names(NameChange::Remove(path.to_owned()));
        Ok(())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        let mut state = self.lock();
        if matches!(state.operate()?, Power::GoesOut) {
            return out();
        }
        state.durable_names = state.names.clone();
        state.name_changes.clear();
        Ok(())
    }
}

struct SimFile {
    disk: SimDisk,
    file: usize,
}

impl SimFile {
    fn change(&self, change: Change) -> io::Result<()> {
        let mut state = self.disk.lock();
        let power = state.operate()?;
        let before = state.files[self.file].now.len();
        let grows = match &change {
            Change::Write(offset, bytes) => (*offset as usize + bytes.len()).saturating_sub(before),
            Change::Length(length) => (*length as usize).saturating_sub(before),
        };
        if grows > 0 && state.room.is_some_and(|room| state.used() + grows > room) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if state.full
            && let Change::Write(offset, mut bytes) = change
        {
            bytes.truncate(bytes.len() / 2);
            let change = Change::Write(offset, bytes);
            let file = &mut state.files[self.file];
            change.apply(&mut file.now);
            file.changes.push(change);
            return Err(io::ErrorKind::StorageFull.into());
        }
        let change = match (power, change) {
            (Power::GoesOut, Change::Write(offset, mut bytes)) => {
                bytes.truncate(bytes.len() / 2);
                Change::Write(offset, bytes)
            }
            (_, change) => change,
        };
        let file = &mut state.files[self.file];
        change.apply(&mut file.now);
        file.changes.push(change);
        if state.cut_at == Some(state.operations) { out() } else { Ok(()) }
    }
}

impl LogFile for SimFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.disk.lock();
        let bytes = state.files[self.file].now.get(offset as usize..).unwrap_or_default();
        let read = bytes.len().min(buffer.len());
        buffer[..read].copy_from_slice(&bytes[..read]);
        Ok(read)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.change(Change::Write(offset, bytes.to_vec()))
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.lock();
        if matches!(state.operate()?, Power::GoesOut) {
            return out();
        }
        if state.broken_sync_from.is_some_and(|from| state.operations >= from) {
            // As Linux does: the error is told once, and what was dirty is clean and gone.
            state.broken_sync_from = None;
            state.files[self.file].changes.clear();
            return Err(io::Error::other("the device failed"));
        }
        let file = &mut state.files[self.file];
        file.durable = file.now.clone();
        file.changes.clear();
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.change(Change::Length(length))
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.lock().files[self.file].now.len() as u64)
    }
}

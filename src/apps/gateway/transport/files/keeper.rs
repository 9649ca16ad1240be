//! A thread that keeps an eye on the directory: tells the clerks what changes, looks at all of it every so often, as what the
//! system tells may get lost, and notices when it vanishes and when it is back. Never touches a file.

use std::{
    ffi::OsStr,
    fs::File,
    io,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use tokio::sync::mpsc::Sender;

use super::{
    clerk::Job,
    directory::{Directory, Kind, parse},
    notices::{Notices, TAKEN},
};
use crate::apps::gateway::{
    ear::{Ear, Heard},
    key::FileKey,
};

/// How often the whole directory is looked at.
const EVERY: Duration = Duration::from_secs(1);
/// The same while the system tells nothing, or the directory is not there.
const BLIND: Duration = Duration::from_millis(100);

/// The clerks, each with its share of the keys.
#[derive(Clone, Debug)]
pub struct Clerks(Vec<Sender<Job>>);

/// Keeps an eye on the directory.
pub struct Keeper {
    directory: Directory,
    clerks: Clerks,
    notices: Arc<Notices>,
    /// Which directory was seen last, and what hears of it.
    seen: Option<(u64, u64)>,
    ear: Option<Ear>,
    /// Keeps other gateways out of it.
    claim: Option<File>,
    /// It was removed: what is there now may look the same, and is another.
    was_removed: bool,
}

impl Clerks {
    /// Behind these doors.
    pub fn new(doors: Vec<Sender<Job>>) -> Self {
        Clerks(doors)
    }

    /// The one who has this key.
    pub fn of(&self, key: FileKey) -> &Sender<Job> {
        &self.0[key.part(self.0.len())]
    }

    /// Tells the one who has this key, and waits until he can hear it.
    fn tell(&self, key: FileKey, job: Job) {
        // They work as long as the process lives.
        let _ = self.of(key).blocking_send(job);
    }

    fn tell_all(&self, job: fn() -> Job) {
        self.0.iter().for_each(|clerk| drop(clerk.blocking_send(job())));
    }
}

impl Keeper {
    /// Watches the directory from now on, and keeps others out of it, if it is there.
    pub fn new(directory: Directory, clerks: Clerks, notices: Arc<Notices>) -> Self {
        let mut keeper = Keeper { directory, clerks, notices, seen: None, ear: None, claim: None, was_removed: false };
        keeper.settle();
        keeper
    }

    /// Listens, and looks every so often, as long as the process lives.
    pub fn run(mut self) {
        loop {
            self.settle();
            self.clerks.tell_all(|| Job::Tidy);
            if self.seen.is_some() {
                // What cannot be listed just now is listed the next time.
                let _ = self.scan();
            }
            self.listen();
        }
    }

    /// Tells what is heard, until it is time to look.
    fn listen(&mut self) {
        let Keeper { ear: Some(ear), clerks, was_removed, .. } = self else { return thread::sleep(BLIND) };
        let (begin, mut is_whole) = (Instant::now(), true);
        while is_whole && begin.elapsed() < EVERY {
            let heard = ear.hear(EVERY.saturating_sub(begin.elapsed()), |heard| match heard {
                Heard::Made(name) => answer(name).into_iter().for_each(|key| clerks.tell(key, Job::Opened(key))),
                Heard::Closed(name) | Heard::Moved(name) => {
                    answer(name).into_iter().for_each(|key| clerks.tell(key, Job::Closed(key)));
                }
                Heard::Gone => (*was_removed, is_whole) = (true, false),
                Heard::Lost => is_whole = false,
            });
            if let Err(error) = heard {
                self.notices.blind(&error);
                self.ear = None;
                return;
            }
        }
    }

    /// Notices whether the directory is still the one it was.
    fn settle(&mut self) {
        let found = self.directory.identity();
        let was_removed = std::mem::take(&mut self.was_removed);
        if self.seen.is_some() && found.as_ref().ok().copied() == self.seen && !was_removed {
            return;
        }
        if self.seen.take().is_some() {
            (self.ear, self.claim) = (None, None);
            self.clerks.tell_all(|| Job::Lost);
        }
        match (found, self.directory.claim()) {
            (Ok(identity), Ok(Some(claim))) => {
                (self.seen, self.claim) = (Some(identity), Some(claim));
                self.ear = Ear::new(self.directory.path()).inspect_err(|error| self.notices.blind(error)).ok();
            }
            (_, Ok(None)) => self.notices.refused(TAKEN),
            (Err(error), _) | (_, Err(error)) => self.notices.failed(&error),
        }
    }

    fn scan(&self) -> io::Result<()> {
        for (key, kind) in self.directory.list()? {
            if kind == Kind::Answer {
                self.clerks.tell(key, Job::Found(key));
            }
        }
        Ok(())
    }
}

/// Which request a file of this name answers, if it answers one.
fn answer(name: &OsStr) -> Option<FileKey> {
    parse(name.to_str()?).filter(|(_, kind)| *kind == Kind::Answer).map(|(key, _)| key)
}

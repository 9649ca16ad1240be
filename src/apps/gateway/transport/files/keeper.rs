//! A thread that keeps an eye on the directory: tells the clerks what changes, looks at all of it every so often, as what the
//! system tells may get lost, and notices when it vanishes and when it is back. Never touches a file.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc::{self, RecvTimeoutError, SyncSender, TrySendError},
    },
    time::Duration,
};

use notify::{
    Config, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _,
    event::{AccessKind, AccessMode, CreateKind, ModifyKind, RenameMode},
};
use tokio::sync::mpsc::Sender;

use super::{
    clerk::Job,
    directory::{Directory, Kind, parse},
    notices::Notices,
};
use crate::apps::gateway::key::FileKey;

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
    pokes: mpsc::Receiver<()>,
    poke: SyncSender<()>,
    /// Which directory was seen last, and who watches it.
    seen: Option<(u64, u64)>,
    /// It was removed: what is there now may look the same, and is another.
    was_removed: Arc<AtomicBool>,
    watcher: Option<RecommendedWatcher>,
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
    /// Watches the directory from now on, if it is there.
    pub fn new(directory: Directory, clerks: Clerks, notices: Arc<Notices>) -> Self {
        let (poke, pokes) = mpsc::sync_channel(1);
        let mut keeper =
            Keeper { directory, clerks, notices, pokes, poke, seen: None, was_removed: Arc::default(), watcher: None };
        keeper.settle();
        keeper
    }

    /// Looks every so often, as long as the process lives.
    pub fn run(mut self) {
        nudge(&self.poke);
        loop {
            let pause = if self.watcher.is_some() { EVERY } else { BLIND };
            if self.pokes.recv_timeout(pause) == Err(RecvTimeoutError::Disconnected) {
                return;
            }
            self.settle();
            self.clerks.tell_all(|| Job::Tidy);
            // What cannot be listed just now is listed the next time.
            let _ = self.scan();
        }
    }

    /// Notices whether the directory is still the one it was.
    fn settle(&mut self) {
        let found = self.directory.identity();
        let was_removed = self.was_removed.swap(false, Relaxed);
        if self.seen.is_some() && found.as_ref().ok().copied() == self.seen && !was_removed {
            return;
        }
        if self.seen.take().is_some() {
            self.watcher = None;
            self.clerks.tell_all(|| Job::Lost);
        }
        match found {
            Ok(identity) => {
                self.seen = Some(identity);
                self.watcher = self.watch().inspect_err(|error| self.notices.blind(error)).ok();
            }
            Err(error) => self.notices.failed(&error),
        }
    }

    fn watch(&self) -> notify::Result<RecommendedWatcher> {
        let (clerks, poke, path) = (self.clerks.clone(), self.poke.clone(), self.directory.path().to_owned());
        let was_removed = Arc::clone(&self.was_removed);
        let tell = move |event: notify::Result<Event>| match event {
            Ok(event) if event.kind.is_remove() => {
                if event.paths.contains(&path) {
                    was_removed.store(true, Relaxed);
                    nudge(&poke);
                }
            }
            Ok(event) if !event.need_rescan() => {
                if let Some(job) = sight(&event) {
                    names(&event).for_each(|key| clerks.tell(key, job(key)));
                }
            }
            // Some of what happened was not told.
            _ => nudge(&poke),
        };
        let mut watcher = RecommendedWatcher::new(tell, Config::default())?;
        watcher.watch(self.directory.path(), RecursiveMode::NonRecursive)?;
        Ok(watcher)
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

/// What an event says of the answers that it names.
fn sight(event: &Event) -> Option<fn(FileKey) -> Job> {
    match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => Some(Job::Closed),
        EventKind::Modify(ModifyKind::Name(RenameMode::To)) => Some(Job::Closed),
        // Where nobody is told of files that are closed, it counts when they change no more.
        EventKind::Create(CreateKind::File) if cfg!(target_os = "linux") => Some(Job::Opened),
        EventKind::Create(_) | EventKind::Modify(ModifyKind::Name(_)) => Some(Job::Found),
        _ => None,
    }
}

/// The answers that an event names.
fn names(event: &Event) -> impl Iterator<Item = FileKey> {
    let named = event.paths.iter().filter_map(|path| parse(path.file_name()?.to_str()?));
    named.filter(|(_, kind)| *kind == Kind::Answer).map(|(key, _)| key)
}

/// He looks soon anyway if he was nudged already.
fn nudge(poke: &SyncSender<()>) {
    match poke.try_send(()) {
        Ok(()) | Err(TrySendError::Full(()) | TrySendError::Disconnected(())) => {}
    }
}

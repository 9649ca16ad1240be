//! Finds out what became of the files, and records it: what is known of a file, and the change that is to be published,
//! in one step. Runs on a thread of its own, where it may block. Never talks to the broker.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{
    batch::Batch,
    change::{Change, Kind, Side},
    known::{Known, Store},
    notices::{Deaf, Ear, Hints, Next},
    room::Room,
    tree::{self, Contents, Sight, Tree},
};
use crate::{
    apps::{failure::Failure, message::on_its_line},
    clock::{Clock as _, SystemClock},
    units::Span,
};

/// How often everything is looked at, whatever is heard.
const RESCAN: Duration = Duration::from_secs(30);
/// How often where nothing is heard, unless told otherwise.
pub const POLL: Duration = Duration::from_secs(2);
/// How soon a directory is looked for that is gone.
const RETURN: Duration = Duration::from_secs(1);
/// A file that was written so shortly before it was come upon is probably still being written.
const UNFINISHED_NANOS: i64 = 50_000_000;
/// Files and directories that the person was told of, and need not be told of again.
const TOLD: usize = 1_000;

/// What is to be published.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Events {
    /// Changes of files that were there at the first scan
    Modified,
    /// Also files that are created, deleted and renamed, and changes of new ones
    All,
}

/// Looks.
pub struct Looker {
    tree: Tree,
    events: Events,
    prefix: String,
    store: Arc<Store>,
    room: Arc<Room>,
    hints: Arc<Hints>,
    /// None if nothing can be heard, or is to be.
    ear: Option<Ear>,
    pause: Duration,
    /// Files that were come upon.
    looked: Arc<AtomicU64>,
    /// What could not be read, as the person was told.
    closed: BTreeSet<PathBuf>,
    /// Directories that are gone, as the person was told.
    away: BTreeSet<PathBuf>,
    /// What was left for later in the last scan, and is not once more.
    deferred: HashSet<PathBuf>,
}

/// What was seen of files, compared with what is known.
#[derive(Default)]
struct Seen {
    new: Vec<(PathBuf, Known)>,
    different: Vec<PathBuf>,
    missing: Vec<(PathBuf, Known)>,
}

impl Looker {
    /// Publishes what is asked for, under `prefix`. With `poll` it hears nothing, and looks that often.
    pub fn new(
        tree: Tree,
        (events, prefix): (Events, String),
        poll: Option<Duration>,
        (store, room, hints): (Arc<Store>, Arc<Room>, Arc<Hints>),
    ) -> Self {
        let mut looker = Looker {
            tree,
            events,
            prefix,
            store,
            room,
            hints,
            ear: None,
            pause: poll.unwrap_or(RESCAN),
            looked: Arc::default(),
            closed: BTreeSet::new(),
            away: BTreeSet::new(),
            deferred: HashSet::new(),
        };
        if poll.is_none() {
            match Ear::new(looker.hints.clone()) {
                Ok(ear) => looker.ear = Some(ear),
                Err(deaf) => looker.give_up_hearing(deaf),
            }
        }
        looker
    }

    /// Grows with every file that is come upon.
    pub fn looked(&self) -> Arc<AtomicU64> {
        self.looked.clone()
    }

    /// Looks at everything once, now. Answers with how many files there are.
    pub fn scan(&mut self) -> Result<u64, Failure> {
        self.look_at_everything(false)
    }

    /// The same. What is being written just now is left for `later`, if there is one.
    fn look_at_everything(&mut self, later: bool) -> Result<u64, Failure> {
        let before = self.looked.load(Ordering::Relaxed);
        let mut deferred = HashSet::new();
        for root in self.tree.roots().to_vec() {
            if self.is_away(&root) {
                continue;
            }
            let first = !self.store.has_root(&root)?;
            let mut seen = Seen::default();
            self.look(&root, &mut seen)?;
            if later && !first {
                self.defer(&mut seen, &mut deferred);
            }
            self.record(&root, seen, first)?;
        }
        self.deferred = deferred;
        Ok(self.looked.load(Ordering::Relaxed) - before)
    }

    /// Goes on looking until it is stopped.
    pub fn run(mut self) -> Result<(), Failure> {
        loop {
            let pause = if self.away.is_empty() { self.pause } else { self.pause.min(RETURN) };
            match self.hints.next(pause) {
                Next::Everything => drop(self.look_at_everything(true)?),
                Next::Paths(paths) => self.look_at(paths)?,
                Next::Stop => return Ok(()),
            }
        }
    }

    fn look_at(&mut self, paths: BTreeSet<PathBuf>) -> Result<(), Failure> {
        for root in self.tree.roots().to_vec() {
            let (mut seen, mut outer) = (Seen::default(), None);
            for path in paths.iter().filter(|path| path.starts_with(&root)) {
                // It is seen with the one above.
                if outer.is_some_and(|outer| path.starts_with(outer)) {
                    continue;
                }
                outer = Some(path);
                if self.is_away(&root) {
                    break;
                }
                self.look(path, &mut seen)?;
            }
            if self.store.has_root(&root)? {
                self.record(&root, seen, false)?;
            }
        }
        Ok(())
    }

    /// Compares what is at `path` and below it with what is known.
    fn look(&mut self, path: &Path, seen: &mut Seen) -> Result<(), Failure> {
        let (mut found, mut closed, mut deaf) = (Vec::new(), Vec::new(), None);
        let Looker { tree, ear, looked, .. } = self;
        tree.walk(path, &mut |sight| {
            match sight {
                // Before it is read, so that nothing is missed in between.
                Sight::Directory(directory) => {
                    let listened = ear
                        .as_mut()
                        .map(|ear| ear.listen(directory, tree.roots().iter().any(|root| root == directory)));
                    if let Some(Err(error)) = listened {
                        deaf.get_or_insert(error);
                    }
                }
                Sight::File(path, now) => {
                    looked.fetch_add(1, Ordering::Relaxed);
                    found.push((path, now));
                }
                Sight::Closed(path, error) => closed.push((path, error)),
            }
            Ok(())
        })?;
        if let Some(deaf) = deaf {
            self.give_up_hearing(deaf);
        }
        let mut known = HashMap::new();
        self.store.below(path, |path, file| drop(known.insert(path, file)))?;
        for (path, now) in found {
            match known.remove(&path) {
                Some(known) if tree::looks_alike(&known, &now) => {}
                Some(_) => seen.different.push(path),
                None => seen.new.push((path, now)),
            }
        }
        // What lies where nobody can look is not missing.
        known.retain(|path, _| {
            self.tree.root_of(path).is_some() && !closed.iter().any(|(closed, _)| path.starts_with(closed))
        });
        seen.missing.extend(known);
        closed.into_iter().for_each(|(path, error)| self.tell_closed(path, &error));
        Ok(())
    }

    /// Leaves for later what is probably being written just now, but not for ever.
    fn defer(&mut self, seen: &mut Seen, deferred: &mut HashSet<PathBuf>) {
        let now = SystemClock.now().nanos();
        let unfinished = |path: &Path| {
            let modified = std::fs::symlink_metadata(path).and_then(|metadata| metadata.modified());
            let modified = modified.ok().and_then(|time| jiff::Timestamp::try_from(time).ok());
            modified.is_some_and(|time| (0..UNFINISHED_NANOS).contains(&(now - time.as_nanosecond() as i64)))
        };
        seen.different.retain(|path| {
            let later = !self.deferred.contains(path) && unfinished(path);
            if later {
                self.hints.hint([path.clone()]);
                deferred.insert(path.clone());
            }
            !later
        });
    }

    /// Records what was seen. In a first scan everything that is new is taken as it is.
    fn record(&mut self, root: &Path, mut seen: Seen, first: bool) -> Result<(), Failure> {
        let (store, room) = (self.store.clone(), self.room.clone());
        let mut batch = Batch::new(&store, &room);
        let all = self.events == Events::All;
        if all && !first {
            self.record_missing(&mut batch, root, &mut seen)?;
        }
        let new = seen.new.iter().map(|(path, _)| path).filter(|_| all || first);
        for path in seen.different.iter().chain(new) {
            if !batch.has_room()? {
                return Ok(());
            }
            match tree::read(path) {
                Ok(Some(contents)) => self.record_file(&mut batch, root, path, &contents, first)?,
                // It went away in between, which the next look sees.
                Ok(None) => {}
                Err(error) => {
                    self.tell_closed(path.clone(), &error);
                    if first {
                        batch.changes()?.put(path, &Known { fresh: true, ..Known::default() }, None)?;
                    }
                }
            }
        }
        if first && !self.hints.is_stopped() {
            batch.changes()?.put_root(root)?;
        }
        batch.commit()
    }

    fn record_file(
        &mut self,
        batch: &mut Batch<'_>,
        root: &Path,
        path: &Path,
        contents: &Contents,
        first: bool,
    ) -> Result<(), Failure> {
        self.closed.remove(path);
        let now = &contents.known;
        let new = Side { path, known: now, text: &contents.text };
        let change = Change { kind: Kind::Modified, root, old: None, new: Some(new), time: now.modified };
        match batch.changes()?.get(path)? {
            Some(known) if known.hash == now.hash => return batch.changes()?.put(path, now, None),
            Some(known) if !known.hash.is_empty() => {
                let text = batch.changes()?.content(path)?.unwrap_or_default();
                let old = Side { path, known: &known, text: &text };
                batch.publish(Change { old: Some(old), ..change }.request(&self.prefix))?;
            }
            // It could never be read before, and is taken as it is.
            Some(_) => {}
            None if first => {}
            None => batch.publish(Change { kind: Kind::Created, ..change }.request(&self.prefix))?,
        }
        batch.keep(path, contents)
    }

    /// Records files that are gone, and those that have another name now. What is neither stays in `seen`.
    fn record_missing(&mut self, batch: &mut Batch<'_>, root: &Path, seen: &mut Seen) -> Result<(), Failure> {
        let names: HashMap<(u64, u64), PathBuf> =
            seen.new.iter().map(|(path, now)| ((now.device, now.inode), path.clone())).collect();
        let gone: HashSet<&Path> = seen.missing.iter().map(|(path, _)| path.as_path()).collect();
        // Nothing can lie below a file that the one who follows the changes still has.
        let free = |path: &Path| !path.ancestors().skip(1).any(|above| gone.contains(above));
        let renamed = |known: &Known| names.get(&(known.device, known.inode)).filter(|path| free(path)).cloned();
        let (mut renames, mut deletions) = (Vec::new(), Vec::new());
        for (path, known) in &seen.missing {
            match renamed(known) {
                Some(name) => renames.push((path, known, name)),
                None => deletions.push((path, known)),
            }
        }
        let mut done = HashSet::new();
        let mut late = Vec::new();
        for (path, known) in deletions {
            self.record_deleted(batch, root, path, known)?;
        }
        for (path, known, name) in renames {
            match tree::read(&name) {
                Ok(Some(contents)) if contents.known.hash == known.hash && !is_file(path) && !done.contains(&name) => {
                    self.record_renamed(batch, root, (path, known), (&name, &contents))?;
                    done.insert(name);
                }
                _ => late.push((path, known)),
            }
        }
        for (path, known) in late {
            self.record_deleted(batch, root, path, known)?;
        }
        seen.new.retain(|(path, _)| !done.contains(path));
        Ok(())
    }

    fn record_deleted(&self, batch: &mut Batch<'_>, root: &Path, path: &Path, known: &Known) -> Result<(), Failure> {
        if is_file(path) || !batch.has_room()? {
            return Ok(());
        }
        if !known.hash.is_empty() {
            let text = batch.changes()?.content(path)?.unwrap_or_default();
            let old = Some(Side { path, known, text: &text });
            let change = Change { kind: Kind::Deleted, root, old, new: None, time: SystemClock.now().nanos() };
            batch.publish(change.request(&self.prefix))?;
        }
        batch.changes()?.remove(path)
    }

    fn record_renamed(
        &self,
        batch: &mut Batch<'_>,
        root: &Path,
        (path, known): (&Path, &Known),
        (name, contents): (&Path, &Contents),
    ) -> Result<(), Failure> {
        if !batch.has_room()? {
            return Ok(());
        }
        let old = Some(Side { path, known, text: &contents.text });
        let new = Some(Side { path: name, known: &contents.known, text: &contents.text });
        let change = Change { kind: Kind::Renamed, root, old, new, time: SystemClock.now().nanos() };
        batch.publish(change.request(&self.prefix))?;
        batch.changes()?.remove(path)?;
        batch.keep(name, contents)
    }

    /// Whether a watched directory is gone. Says so, and when it is back.
    fn is_away(&mut self, root: &Path) -> bool {
        let away = !root.is_dir();
        if away && self.away.insert(root.to_owned()) {
            eprintln!("{} is gone: waiting for it to come back", root.display());
        }
        if !away && self.away.remove(root) {
            eprintln!("{} is back", root.display());
        }
        away
    }

    fn tell_closed(&mut self, path: PathBuf, error: &io::Error) {
        if self.closed.len() >= TOLD {
            self.closed.clear();
        }
        if !self.closed.contains(&path) {
            let shown = on_its_line(&path.to_string_lossy());
            eprintln!("{shown} cannot be read, and is tried again later: {error}");
            self.closed.insert(path);
        }
    }

    fn give_up_hearing(&mut self, deaf: Deaf) {
        self.ear = None;
        self.pause = POLL;
        let every = Span(POLL);
        match deaf {
            Deaf::Full => eprintln!(
                "the kernel tells of no more directories, so all are looked at every {every}: raise \
                 fs.inotify.max_user_watches and fs.inotify.max_user_instances and start again, or --exclude what need not \
                 be watched"
            ),
            Deaf::Other(error) => {
                eprintln!("the kernel does not tell of changes, so all are looked at every {every}: {error}")
            }
        }
    }
}

fn is_file(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file())
}

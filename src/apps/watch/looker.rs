//! Looks at files when there is a hint, and at everything every now and then, and has recorded what is not as it is known.
//! Runs on a thread of its own, where it may block. Never talks to the broker.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{
    closed::Closed,
    ear::{Deaf, Ear},
    hints::{Hints, Next},
    recorder::{Recorder, Seen},
    tree::{self, Sight, Tree},
};
use crate::{
    apps::failure::Failure,
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
/// Looks.
pub struct Looker {
    tree: Tree,
    recorder: Recorder,
    hints: Arc<Hints>,
    /// None if nothing can be heard, or is to be.
    ear: Option<Ear>,
    pause: Duration,
    /// Files that were come upon.
    looked: Arc<AtomicU64>,
    closed: Closed,
    /// Directories that are gone, as the person was told.
    away: BTreeSet<PathBuf>,
    /// What was left for later in the last scan, and is not once more.
    deferred: HashSet<PathBuf>,
}

impl Looker {
    /// With `poll` it hears nothing, and looks at everything that often.
    pub fn new(tree: Tree, recorder: Recorder, poll: Option<Duration>, hints: Arc<Hints>) -> Self {
        let mut looker = Looker {
            tree,
            recorder,
            hints,
            ear: None,
            pause: poll.unwrap_or(RESCAN),
            looked: Arc::default(),
            closed: Closed::default(),
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
            let first = !self.recorder.store.has_root(&root)?;
            let mut seen = Seen::default();
            self.look(&root, &mut seen)?;
            if later && !first {
                self.defer(&mut seen, &mut deferred);
            }
            self.recorder.record(&root, seen, first, &mut self.closed)?;
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
            if self.recorder.store.has_root(&root)? {
                self.recorder.record(&root, seen, false, &mut self.closed)?;
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
        self.recorder.store.below(path, |path, file| drop(known.insert(path, file)))?;
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
        closed.iter().for_each(|(path, error)| self.closed.tell(path, error));
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

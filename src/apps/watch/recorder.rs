//! Decides what became of each file, and records it: what is known of the file from now on, and the change that is to be
//! published, in one step. Never looks for files: it is told where something is new, different or missing.

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    batch::Batch,
    change::{Change, Kind, Side},
    closed::Closed,
    known::{Known, Store},
    room::Room,
    tree::{self, Contents},
};
use crate::{
    apps::failure::Failure,
    clock::{Clock as _, SystemClock},
};

/// What is to be published.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Events {
    /// Changes of files that were there at the first scan
    Modified,
    /// Also files that are created, deleted and renamed, and changes of new ones
    All,
}

/// What was seen of files, compared with what is known.
#[derive(Debug, Default)]
pub struct Seen {
    /// Files of which nothing is known, and what they look like.
    pub new: Vec<(PathBuf, Known)>,
    /// Files that do not look as they did.
    pub different: Vec<PathBuf>,
    /// Files that are known and not there.
    pub missing: Vec<(PathBuf, Known)>,
}

/// Records.
#[derive(Debug)]
pub struct Recorder {
    /// What is to be published.
    pub events: Events,
    /// Stands before each topic.
    pub prefix: String,
    /// What is known.
    pub store: Arc<Store>,
    /// What waits to be published.
    pub room: Arc<Room>,
}

impl Recorder {
    /// Records what was seen below a watched directory. In a first look everything that is new is taken as it is. Ends
    /// early if there is no room and the program stops.
    pub fn record(&self, root: &Path, mut seen: Seen, first: bool, closed: &mut Closed) -> Result<(), Failure> {
        let mut batch = Batch::new(&self.store, &self.room);
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
                Ok(Some(contents)) => {
                    closed.forget(path);
                    self.record_file(&mut batch, root, path, &contents, first)?;
                }
                // It went away in between, which the next look sees.
                Ok(None) => {}
                Err(error) => {
                    closed.tell(path, &error);
                    if first {
                        batch.changes()?.put(path, &Known { fresh: true, ..Known::default() }, None)?;
                    }
                }
            }
        }
        if first {
            batch.changes()?.put_root(root)?;
        }
        batch.commit()
    }

    fn record_file(
        &self,
        batch: &mut Batch<'_>,
        root: &Path,
        path: &Path,
        contents: &Contents,
        first: bool,
    ) -> Result<(), Failure> {
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
    fn record_missing(&self, batch: &mut Batch<'_>, root: &Path, seen: &mut Seen) -> Result<(), Failure> {
        let names: HashMap<(u64, u64), PathBuf> =
            seen.new.iter().map(|(path, now)| ((now.device, now.inode), path.clone())).collect();
        let gone: HashSet<&Path> = seen.missing.iter().map(|(path, _)| path.as_path()).collect();
        // Nothing can lie below a file that the one who follows the changes still has.
        let free = |path: &Path| !path.ancestors().skip(1).any(|above| gone.contains(above));
        let renamed = |path: &Path, known: &Known| {
            let name = names.get(&(known.device, known.inode)).filter(|name| free(name) && !is_file(path))?;
            tree::read(name).ok().flatten().filter(|now| now.known.hash == known.hash).map(|_| name)
        };
        let (mut renames, mut deletions) = (Vec::new(), Vec::new());
        for (path, known) in &seen.missing {
            match renamed(path, known) {
                Some(name) => renames.push((path, known, name)),
                None => deletions.push((path, known)),
            }
        }
        // So that nothing is in the way of the new names.
        for (path, known) in deletions {
            self.record_deleted(batch, root, path, known)?;
        }
        let mut done = HashSet::new();
        for (path, known, name) in renames {
            match tree::read(name) {
                Ok(Some(now)) if now.known.hash == known.hash && !is_file(path) && done.insert(name.clone()) => {
                    self.record_renamed(batch, root, (path, known), (name, &now))?;
                }
                // It was changed in between, or has two names of which both are gone.
                _ => self.record_deleted(batch, root, path, known)?,
            }
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
}

fn is_file(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file())
}

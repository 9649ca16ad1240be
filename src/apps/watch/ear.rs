//! What the kernel tells of changes, as hints. It may tell too little, and never says what became of a file.

use std::{path::Path, sync::Arc};

use notify::{
    ErrorKind, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode},
};

use super::hints::Hints;

/// Hears from the kernel what happens in directories.
#[derive(Debug)]
pub struct Ear(RecommendedWatcher);

/// Why a directory cannot be listened to.
#[derive(Debug)]
pub enum Deaf {
    /// The kernel takes no more.
    Full,
    /// Something else.
    Other(String),
}

impl Ear {
    /// Tells the hints of whatever it hears.
    pub fn new(hints: Arc<Hints>) -> Result<Ear, Deaf> {
        let heard = move |event: notify::Result<Event>| match event {
            Ok(event) if event.need_rescan() => {
                eprintln!("more happened than the kernel could tell: looking at everything");
                hints.everything();
            }
            Ok(event) if concerns(&event.kind) => hints.hint(event.paths),
            Ok(_) => {}
            Err(_) => hints.everything(),
        };
        notify::recommended_watcher(heard).map(Ear).map_err(Deaf::from)
    }

    /// Listens to a directory. Again is no error: it may be another one of that name.
    pub fn listen(&mut self, directory: &Path, is_root: bool) -> Result<(), Deaf> {
        // Linux listens to each directory by itself, so that none is that is left out; others to a tree at once.
        let mode = match cfg!(target_os = "linux") {
            true => RecursiveMode::NonRecursive,
            false if is_root => RecursiveMode::Recursive,
            false => return Ok(()),
        };
        match self.0.watch(directory, mode) {
            // It went away, which the walk will see.
            Err(error) if matches!(error.kind, ErrorKind::PathNotFound) => Ok(()),
            result => result.map_err(Deaf::from),
        }
    }
}

impl From<notify::Error> for Deaf {
    fn from(error: notify::Error) -> Self {
        match error.kind {
            ErrorKind::MaxFilesWatch => Deaf::Full,
            // What this process, or this user, may open.
            ErrorKind::Io(error) if error.raw_os_error() == Some(rustix::io::Errno::MFILE.raw_os_error()) => Deaf::Full,
            kind => Deaf::Other(notify::Error::new(kind).to_string()),
        }
    }
}

/// Whether it can be a change: looks are not, and this program looks often.
fn concerns(kind: &EventKind) -> bool {
    !matches!(kind, EventKind::Access(access) if *access != AccessKind::Close(AccessMode::Write))
}

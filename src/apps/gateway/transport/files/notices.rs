//! What an operator is told of the directory: one clear line when something begins, and one when it is over. Never the same
//! twice in a row.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use crate::apps::{gateway::key::FileKey, journal::Journal, output};

/// Why nothing can be written into a directory of another.
pub const TAKEN: &str = "another gateway works in it";

/// What was told last.
#[derive(Debug)]
pub struct Notices {
    journal: Journal,
    directory: PathBuf,
    /// What is wrong; none if all is well.
    trouble: Mutex<Option<String>>,
    // The same, for those who only ask whether.
    is_in_trouble: AtomicBool,
}

impl Notices {
    /// All is well.
    pub fn new(journal: Journal, directory: &Path) -> Self {
        let directory = directory.to_owned();
        Notices { journal, directory, trouble: Mutex::default(), is_in_trouble: AtomicBool::new(false) }
    }

    /// What an earlier run left.
    pub fn backlog(&self, requests: u64, answers: u64) {
        if requests + answers == 0 {
            return;
        }
        self.journal.warn(&format!(
            "{} holds {} and {} of an earlier run: the requests stay, and an equal one joins them; the answers are \
             removed, as nobody waits for them",
            self.directory.display(),
            output::count(requests, "request"),
            output::count(answers, "answer"),
        ));
    }

    /// A request could not be written.
    pub fn failed(&self, error: &io::Error) {
        let why = match error.kind() {
            io::ErrorKind::NotFound => "it is not there".to_owned(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "it is full".to_owned(),
            io::ErrorKind::ReadOnlyFilesystem => "it is read-only".to_owned(),
            _ => error.to_string(),
        };
        self.refused(&why);
    }

    /// No request can be written, and why.
    pub fn refused(&self, why: &str) {
        let mut trouble = self.trouble.lock().expect("nobody panics while telling");
        if trouble.as_deref() != Some(why) {
            let directory = self.directory.display();
            self.journal.warn(&format!("{directory}: {why}: callers are told 503 until requests can be written there"));
            *trouble = Some(why.to_owned());
            self.is_in_trouble.store(true, Relaxed);
        }
    }

    /// A request was written.
    pub fn written(&self) {
        if self.is_in_trouble.load(Relaxed) && self.is_in_trouble.swap(false, Relaxed) {
            *self.trouble.lock().expect("nobody panics while telling") = None;
            self.journal.info(&format!("{}: requests can be written again", self.directory.display()));
        }
    }

    /// A file could not be removed.
    pub fn stuck(&self, file: &Path, error: &io::Error) {
        self.journal.warn(&format!(
            "{} cannot be removed: {error}; as it is now it answers nobody, and it stays until somebody removes it",
            file.display()
        ));
    }

    /// A request lay there already, as it would be written.
    pub fn joined(&self, key: FileKey) {
        self.journal.info(&format!("{key} was asked before, and not answered: the request is left as it is"));
    }

    /// An answer came that nobody waits for.
    pub fn late(&self, key: FileKey) {
        self.journal.info(&format!("{key} was answered when nobody waited for it: the answer is removed"));
    }

    /// Changes are not told by the system.
    pub fn blind(&self, error: &io::Error) {
        self.journal.warn(&format!(
            "changes in {} are not told by the system: {error}; it is looked at every so often instead",
            self.directory.display()
        ));
    }
}

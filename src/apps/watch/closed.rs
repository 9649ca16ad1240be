//! What cannot be read: a person is told of each once.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
};

use crate::apps::message::on_its_line;

/// So many are remembered. Beyond that they may be told again.
const TOLD: usize = 1_000;

/// Files and directories of which the person was told.
#[derive(Debug, Default)]
pub struct Closed(BTreeSet<PathBuf>);

impl Closed {
    /// This one cannot be read.
    pub fn tell(&mut self, path: &Path, error: &io::Error) {
        if self.0.contains(path) {
            return;
        }
        if self.0.len() >= TOLD {
            self.0.clear();
        }
        self.0.insert(path.to_owned());
        let shown = on_its_line(&path.to_string_lossy());
        eprintln!("{shown} cannot be read, and is tried again later: {error}");
    }

    /// This one can be read.
    pub fn forget(&mut self, path: &Path) {
        self.0.remove(path);
    }
}

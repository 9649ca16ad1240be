//! The watched directories as they are on disk: which files there are, and what one holds. Remembers nothing.
//!
//! Only regular files count. Symbolic links are not followed; pipes, sockets and devices are never opened.

use std::{
    fs::{self, File, Metadata, OpenOptions},
    io::{self, Read},
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, OpenOptionsExt},
    },
    path::{Component, Path, PathBuf},
};

use rustix::fs::OFlags;
use sha2::{Digest, Sha256};

use super::known::{Form, Known};
use crate::{
    apps::failure::Failure,
    clock::{Clock as _, SystemClock},
};

/// Bytes of a file whose text is kept, so that the next change has a diff.
pub const TEXT_BYTES: u64 = 4 << 20;
/// How much younger than a look a file must be for a second change to look the same: what the coarsest clock of a file
/// system in use, that of FAT, cannot tell apart.
const FRESH_NANOS: i64 = 2_000_000_000;

/// The watched directories.
#[derive(Debug)]
pub struct Tree {
    roots: Vec<PathBuf>,
    exclude: Vec<Vec<u8>>,
    /// Files of this program.
    own: Vec<PathBuf>,
}

/// What a walk comes upon.
pub enum Sight<'a> {
    /// A directory, before it is read.
    Directory(&'a Path),
    /// A file, and what is known of it without opening it.
    File(PathBuf, Known),
    /// A directory or a file that cannot be looked at.
    Closed(PathBuf, io::Error),
}

/// What a file holds.
#[derive(Debug)]
pub struct Contents {
    /// What is known of it now.
    pub known: Known,
    /// Its text; empty if it is none, or too much.
    pub text: Vec<u8>,
}

impl Tree {
    /// The directories must be there, and none within another. `exclude` are patterns for paths below them, `state` is a
    /// file that is never watched.
    pub fn new(directories: &[PathBuf], exclude: &[String], state: Option<&Path>) -> Result<Self, Failure> {
        let mut roots = directories.iter().map(|path| root(path)).collect::<Result<Vec<_>, _>>()?;
        roots.sort();
        roots.dedup();
        for (at, path) in roots.iter().enumerate() {
            if let Some(outer) = roots[..at].iter().find(|outer| path.starts_with(outer)) {
                let (path, outer) = (path.display(), outer.display());
                return Err(Failure::usage(format!(
                    "{path} lies in {outer}, which is watched as a whole: leave it out"
                )));
            }
        }
        let own = state.and_then(|state| absolute(state).ok()).into_iter().collect();
        Ok(Tree { roots, exclude: exclude.iter().map(|pattern| pattern.clone().into_bytes()).collect(), own })
    }

    /// The directories, sorted.
    pub fn roots(&self) -> &[PathBuf] {
        &self.roots
    }

    /// In which of them a path lies, if it is watched at all.
    pub fn root_of(&self, path: &Path) -> Option<&Path> {
        let root = self.roots.iter().find(|root| path.starts_with(root))?;
        (!self.is_left_out(root, path)).then_some(root)
    }

    /// Hands out what is at `path` and below it, in the order of names. Nothing if nothing is there.
    pub fn walk(&self, path: &Path, each: &mut dyn FnMut(Sight<'_>) -> Result<(), Failure>) -> Result<(), Failure> {
        let Some(root) = self.root_of(path) else { return Ok(()) };
        let mut open = vec![path.to_owned()];
        while let Some(path) = open.pop() {
            match at(&path, path == root) {
                Ok(Some(metadata)) if metadata.is_dir() => {
                    each(Sight::Directory(&path))?;
                    match entries(&path) {
                        Ok(entries) => open.extend(entries.into_iter().filter(|path| !self.is_left_out(root, path))),
                        // It went away in between.
                        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                        Err(error) => each(Sight::Closed(path, error))?,
                    }
                }
                Ok(Some(metadata)) if metadata.is_file() => each(Sight::File(path, outside(&metadata)))?,
                Ok(_) => {}
                Err(error) => each(Sight::Closed(path, error))?,
            }
        }
        Ok(())
    }

    fn is_left_out(&self, root: &Path, path: &Path) -> bool {
        let Ok(relative) = path.strip_prefix(root) else { return true };
        let relative = relative.as_os_str().as_bytes();
        let below = [relative, b"/"].concat();
        let matches = |pattern: &Vec<u8>| matches(pattern, relative) || matches(pattern, &below);
        self.exclude.iter().any(matches) || self.own.iter().any(|own| own == path)
    }
}

/// What a file holds now. None if there is no regular file.
pub fn read(path: &Path) -> io::Result<Option<Contents>> {
    let began = SystemClock.now().nanos();
    // A pipe that has taken the file's place must neither be waited for nor followed to.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = match OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path) {
        Ok(file) => file,
        Err(error) if is_gone(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Ok(None);
    }
    let mut known = outside(&metadata);
    known.fresh = known.modified.max(known.changed) > began - FRESH_NANOS;
    let mut text = Vec::new();
    let mut hash = Sha256::new();
    (&file).take(TEXT_BYTES + 1).read_to_end(&mut text)?;
    hash.update(&text);
    known.size = text.len() as u64;
    let mut form = if text.contains(&0) { Form::Binary } else { Form::Text };
    if text.len() as u64 > TEXT_BYTES {
        known.size += rest(&file, &mut hash)?;
        form = Form::Huge;
    }
    if form != Form::Text {
        text.clear();
    }
    known.set_form(form);
    known.hash = hash.finalize().to_vec();
    Ok(Some(Contents { known, text }))
}

/// Whether a file looks as it did when it was read.
pub fn looks_alike(known: &Known, now: &Known) -> bool {
    let parts = |known: &Known| (known.size, known.modified, known.changed, known.device, known.inode);
    !known.fresh && parts(known) == parts(now)
}

/// What is seen of a file without opening it.
fn outside(metadata: &Metadata) -> Known {
    let nanos = |seconds: i64, nanos: i64| seconds.saturating_mul(1_000_000_000).saturating_add(nanos);
    Known {
        size: metadata.len(),
        modified: nanos(metadata.mtime(), metadata.mtime_nsec()),
        changed: nanos(metadata.ctime(), metadata.ctime_nsec()),
        device: metadata.dev(),
        inode: metadata.ino(),
        ..Known::default()
    }
}

/// Reads on, and says how much there was.
fn rest(mut file: &File, hash: &mut Sha256) -> io::Result<u64> {
    let (mut buffer, mut bytes) = (vec![0; 256 << 10], 0);
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(bytes);
        }
        hash.update(&buffer[..read]);
        bytes += read as u64;
    }
}

fn at(path: &Path, is_root: bool) -> io::Result<Option<Metadata>> {
    let found = if is_root { fs::metadata(path) } else { fs::symlink_metadata(path) };
    match found {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if is_gone(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Nothing is there, or a link, or a socket.
fn is_gone(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let gone = [Errno::NOENT, Errno::NOTDIR, Errno::LOOP, Errno::NXIO, Errno::NODEV];
    gone.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// What lies in a directory, the last name first.
fn entries(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort_unstable_by(|one, other| other.cmp(one));
    Ok(paths)
}

fn root(path: &Path) -> Result<PathBuf, Failure> {
    let wrong = |error: &dyn std::fmt::Display| Failure::new(format!("{} cannot be watched: {error}", path.display()));
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => absolute(path).map_err(|error| wrong(&error)),
        Ok(_) => Err(wrong(&"it is no directory").hint("name the directory that it lies in")),
        Err(error) => Err(wrong(&error).hint("name a directory that is there")),
    }
}

/// The path from the top on. Links on the way stay as they were named, unless `..` stands behind one.
fn absolute(path: &Path) -> io::Result<PathBuf> {
    match path.components().any(|part| part == Component::ParentDir) {
        true => fs::canonicalize(path),
        false => std::path::absolute(path),
    }
}

/// Tilde's rule: at its first `~` a pattern matches, whatever follows.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    match pattern.iter().position(|byte| *byte == b'~') {
        Some(end) => name.starts_with(&pattern[..end]),
        None => name == pattern,
    }
}

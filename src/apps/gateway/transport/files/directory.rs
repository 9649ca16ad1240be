//! The directory that is the broker: what lies in it by which name, and the few things that are done there. Never decides
//! when. Every call blocks.

use std::{
    fs::{self, File, Metadata},
    io::{self, Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use rustix::{
    fs::{FlockOperation, OFlags, flock},
    io::Errno,
};

use crate::apps::gateway::key::FileKey;

/// The largest answer that is taken.
pub const ANSWER_BYTES: u64 = 16 << 20;
/// Begins the names of files that are not written in full yet.
const UNFINISHED: &str = ".gateway-";

/// A directory, whether it is there or not.
#[derive(Clone, Debug)]
pub struct Directory {
    path: PathBuf,
    /// Another gateway works in it.
    is_taken: Arc<AtomicBool>,
}

/// Which of the two files of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// What is asked.
    Request,
    /// What is answered.
    Answer,
}

/// Which file it is, and in which state. A file that was written anew is another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// What lies there under a name.
#[derive(Debug)]
pub struct Found {
    /// Which file.
    pub identity: Identity,
    /// It has another name as well: it was written under that one.
    pub is_linked: bool,
    /// What is in it.
    pub bytes: Bytes,
}

impl Directory {
    /// At this path.
    pub fn new(path: PathBuf) -> Self {
        Directory { path, is_taken: Arc::default() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Claims it for this gateway, as long as what is answered lives. None if another has it: what lies there is none of this
    /// one's business then. Where the system knows no locks of directories, nobody is kept out.
    pub fn claim(&self) -> io::Result<Option<File>> {
        let opened = File::options().read(true).custom_flags(flags(OFlags::DIRECTORY)).open(&self.path);
        let is_locked =
            |directory| flock(directory, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK);
        let is_taken = opened.as_ref().is_ok_and(is_locked);
        self.is_taken.store(is_taken, Relaxed);
        Ok((!is_taken).then_some(opened?))
    }

    /// Whether another gateway has it, as it was seen last.
    pub fn is_taken(&self) -> bool {
        self.is_taken.load(Relaxed)
    }

    /// Which directory it is; the error says why there is none.
    pub fn identity(&self) -> io::Result<(u64, u64)> {
        let found = fs::metadata(&self.path)?;
        if !found.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok((found.dev(), found.ino()))
    }

    /// Writes a request, so that whoever sees it sees it whole.
    pub fn write(&self, key: FileKey, bytes: &[u8]) -> io::Result<()> {
        let unfinished = self.path.join(format!("{UNFINISHED}{key}"));
        let written = File::create(&unfinished)
            .and_then(|mut file| file.write_all(bytes))
            .and_then(|()| fs::rename(&unfinished, self.file(key, Kind::Request)));
        if written.is_err() {
            // It takes room that others may need; where nothing can be written, nothing is there.
            let _ = fs::remove_file(&unfinished);
        }
        written
    }

    /// Reads a file in full. None if there is none, or something that is no file and so none of ours.
    pub fn read(&self, key: FileKey, kind: Kind) -> io::Result<Option<Found>> {
        // A pipe of that name would be waited for.
        let file = match File::options().read(true).custom_flags(flags(OFlags::NONBLOCK)).open(self.file(key, kind)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Ok(None);
        }
        let mut bytes = Vec::with_capacity(metadata.len().min(ANSWER_BYTES) as usize + 1);
        (&file).take(ANSWER_BYTES + 1).read_to_end(&mut bytes)?;
        // What grew while it was read is told by its size.
        let identity = Identity { bytes: bytes.len() as u64, ..Identity::of(&metadata) };
        Ok(Some(Found { identity, is_linked: metadata.nlink() > 1, bytes: bytes.into() }))
    }

    /// Which file lies there, if one does.
    pub fn look(&self, key: FileKey, kind: Kind) -> Option<Identity> {
        let file = self.file(key, kind);
        // Of a link it is what it leads to that is read; it may lead nowhere.
        let metadata = fs::metadata(&file).or_else(|_| fs::symlink_metadata(&file)).ok()?;
        Some(Identity::of(&metadata))
    }

    /// Removes a file. Answers whether there was one.
    pub fn remove(&self, key: FileKey, kind: Kind) -> io::Result<bool> {
        match fs::remove_file(self.file(key, kind)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// All files of requests there are. Others are not looked at.
    pub fn list(&self) -> io::Result<Vec<(FileKey, Kind)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            found.extend(entry?.file_name().to_str().and_then(parse));
        }
        Ok(found)
    }

    /// Removes what a gateway that was killed had not finished. Of one that runs, it would take requests away.
    pub fn sweep(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if entry.file_name().to_str().and_then(|name| FileKey::parse(name.strip_prefix(UNFINISHED)?)).is_some() {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// The path of a file.
    pub fn file(&self, key: FileKey, kind: Kind) -> PathBuf {
        let ending = match kind {
            Kind::Request => "req",
            Kind::Answer => "resp",
        };
        self.path.join(format!("{key}.{ending}"))
    }
}

impl Identity {
    /// Whether it has more bytes than this.
    pub fn is_over(&self, bytes: u64) -> bool {
        self.bytes > bytes
    }

    fn of(metadata: &Metadata) -> Self {
        Identity {
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

fn flags(flags: OFlags) -> i32 {
    flags.bits().cast_signed()
}

/// What a file's name says; None if it is none of ours.
pub fn parse(name: &str) -> Option<(FileKey, Kind)> {
    let (key, ending) = name.split_once('.')?;
    let kind = match ending {
        "req" => Kind::Request,
        "resp" => Kind::Answer,
        _ => return None,
    };
    Some((FileKey::parse(key)?, kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_others_are_none_of_ours() {
        let key = "6c3ae8251c28a4439e557fd75e437b32";
        assert_eq!(parse(&format!("{key}.resp")), Some((FileKey::of("GET", "/hello"), Kind::Answer)));
        for other in
            [format!("{key}.resp.tmp"), format!("{key}.RESP"), format!(".{key}.resp"), "a.resp".into(), key.into()]
        {
            assert_eq!(parse(&other), None, "{other}");
        }
    }

    #[test]
    fn a_file_that_is_written_anew_is_another() {
        let place = tempfile::tempdir().unwrap();
        let directory = Directory::new(place.path().to_owned());
        let key = FileKey::of("GET", "/");
        directory.write(key, b"GET\n/\n").unwrap();
        let found = directory.read(key, Kind::Request).unwrap().unwrap();
        assert_eq!(
            (&found.bytes[..], directory.look(key, Kind::Request)),
            (b"GET\n/\n".as_slice(), Some(found.identity))
        );
        directory.write(key, b"GET\n/\n").unwrap();
        assert_ne!(directory.look(key, Kind::Request), Some(found.identity));
        fs::write(place.path().join(format!("{UNFINISHED}{key}")), "GE").unwrap();
        fs::write(place.path().join(format!("{UNFINISHED}plan")), "").unwrap();
        directory.sweep().unwrap();
        assert_eq!(directory.list().unwrap(), [(key, Kind::Request)]);
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 2, "what is unfinished is gone, and nothing else");
        assert_eq!(
            (directory.remove(key, Kind::Request).unwrap(), directory.remove(key, Kind::Request).unwrap()),
            (true, false)
        );
        assert!(directory.read(key, Kind::Answer).unwrap().is_none());
    }

    #[test]
    fn a_directory_is_of_one_gateway_at_a_time() {
        let place = tempfile::tempdir().unwrap();
        let [one, other] = [0; 2].map(|_| Directory::new(place.path().to_owned()));
        let claim = one.claim().unwrap().unwrap();
        assert!(other.claim().unwrap().is_none() && other.is_taken() && !one.is_taken());
        drop(claim);
        assert!(other.claim().unwrap().is_some() && !other.is_taken());
        fs::remove_dir(place.path()).unwrap();
        assert!(other.claim().is_err());
    }
}

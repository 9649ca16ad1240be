//! The only way from the log to the disk, so that a simulated disk can stand in: one that forgets what was not synced,
//! tears and reorders. Never knows what the bytes mean.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::Path,
};

use crate::model::Reason;

/// A disk. Errors are those of the operating system; what was not synced may be lost by a crash, in any part.
pub trait LogIo: Send + Sync + 'static {
    /// The names in a directory, in no order.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Makes a directory and those above it, durably. No error if it is there.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;

    /// Removes a directory and all that it holds.
    fn remove_dir(&self, dir: &Path) -> io::Result<()>;

    /// Makes an empty file, or empties the one that is there.
    fn create(&self, path: &Path) -> io::Result<Box<dyn LogFile>>;

    /// Opens a file for reading and writing.
    fn open(&self, path: &Path) -> io::Result<Box<dyn LogFile>>;

    /// Gives a file another name, in the place of one that may be there.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Gives a file a second name, where there must be none yet.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

/// An open file.
#[expect(clippy::len_without_is_empty, reason = "nobody asks whether a file is empty")]
pub trait LogFile: Send + Sync {
    /// Reads into `buffer` from `offset` on, as much as there is; answers how much.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `bytes` at `offset`. After an error any part of it may be written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes what was written durable. After an error nothing is known of it, and another sync tells nothing either.
    fn sync(&self) -> io::Result<()>;

    /// Cuts off, or extends with zeroes.
    fn set_len(&self, length: u64) -> io::Result<()>;

    /// Its length in bytes.
    fn len(&self) -> io::Result<u64>;
}

/// The machine's disk.
#[derive(Debug, Default)]
pub struct Disk;

impl LogIo for Disk {
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let names = std::fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        names.collect()
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        match std::fs::create_dir(dir) {
            // Its name is an entry of the directory above.
            Ok(()) => self.sync_dir(above(dir)),
            Err(_) if dir.is_dir() => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !above(dir).exists() => {
                self.create_dir(above(dir))?;
                self.create_dir(dir)
            }
            Err(error) => Err(error),
        }
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        std::fs::remove_dir_all(dir)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn LogFile>> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
        Ok(Box::new(file))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn LogFile>> {
        Ok(Box::new(OpenOptions::new().read(true).write(true).open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::hard_link(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }
}

/// The directory that holds `path`.
fn above(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The machine's disk for whoever only looks: nothing can be changed, and no right to change anything is needed.
#[derive(Debug, Default)]
pub struct ReadOnly;

impl LogIo for ReadOnly {
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        Disk.list(dir)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn LogFile>> {
        Ok(Box::new(File::open(path)?))
    }

    fn create_dir(&self, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn remove_dir(&self, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn create(&self, _: &Path) -> io::Result<Box<dyn LogFile>> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn link(&self, _: &Path, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn remove(&self, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
}

impl LogFile for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            match FileExt::read_at(self, &mut buffer[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        File::set_len(self, length)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}

/// What is told of an error that spoils nothing but what was tried.
pub fn reason(error: &io::Error) -> Reason {
    match error {
        error if is_full(error) => Reason::StorageFull,
        error if is_out_of_files(error) => Reason::EngineUnreachable,
        _ => Reason::StorageFailed,
    }
}

/// Whether an error says that no more files can be open at the same time.
pub fn is_out_of_files(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::MFILE, Errno::NFILE].iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Whether an error says that there is no room.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn what_passes_is_no_failed_disk() {
        let cases = [
            (Errno::NOSPC, Reason::StorageFull),
            (Errno::DQUOT, Reason::StorageFull),
            (Errno::MFILE, Reason::EngineUnreachable),
            (Errno::NFILE, Reason::EngineUnreachable),
            (Errno::IO, Reason::StorageFailed),
        ];
        for (errno, expected) in cases {
            assert_eq!(reason(&errno.into()), expected, "{errno}");
        }
    }
}

//! The log file of a reviewer: lines are on disk before anybody counts on them, and the file is rotated by its size.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

/// Appends lines to a file. One that is full becomes `FILE.1`, that one `FILE.2`, and so on.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    size: u64,
    most: u64,
    old: u32,
}

impl Journal {
    /// Opens the file, or makes it. It has at most `most` bytes, or a single line; `old` is how many are kept beside it.
    pub fn open(path: &Path, most: u64, old: u32) -> io::Result<Self> {
        let file = opened(path)?;
        let size = file.metadata()?.len();
        Ok(Journal { path: path.to_owned(), file, size, most, old })
    }

    /// Appends these lines. When it returns they survive a crash. If it fails, none was appended but to files that are
    /// full, and it may be tried again.
    pub fn append(&mut self, lines: &[String]) -> io::Result<()> {
        self.follow_name()?;
        let mut text = String::new();
        for line in lines {
            if self.size + (text.len() + line.len()) as u64 > self.most && self.size + text.len() as u64 > 0 {
                self.write(&text)?;
                text.clear();
                self.rotate()?;
            }
            text.push_str(line);
        }
        self.write(&text)
    }

    fn write(&mut self, text: &str) -> io::Result<()> {
        let written = self.file.write_all(text.as_bytes()).and_then(|()| self.file.sync_data());
        match written {
            Ok(()) => self.size += text.len() as u64,
            // What was written of it would stand there twice.
            Err(_) => self.file.set_len(self.size)?,
        }
        written
    }

    fn rotate(&mut self) -> io::Result<()> {
        if self.old == 0 {
            self.file.set_len(0)?;
        } else {
            for number in (1..self.old).rev() {
                match fs::rename(self.numbered(number), self.numbered(number + 1)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
            fs::rename(&self.path, self.numbered(1))?;
            self.file = opened(&self.path)?;
        }
        self.size = 0;
        Ok(())
    }

    /// Begins another file where this one was removed, or has another name: whoever looks for lines looks there.
    fn follow_name(&mut self) -> io::Result<()> {
        let own = self.file.metadata()?;
        let is_own = |found: fs::Metadata| (found.dev(), found.ino()) == (own.dev(), own.ino());
        if !fs::metadata(&self.path).is_ok_and(is_own) {
            self.file = opened(&self.path)?;
            self.size = self.file.metadata()?.len();
        }
        Ok(())
    }

    fn numbered(&self, number: u32) -> PathBuf {
        let mut name = OsString::from(&self.path);
        name.push(format!(".{number}"));
        name.into()
    }
}

fn opened(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_full_is_kept_under_a_number() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let read = |name: &str| fs::read_to_string(directory.path().join(name)).unwrap_or_default();
        let mut journal = Journal::open(&path, 4, 2).unwrap();
        journal.append(&["1\n".into(), "2\n".into(), "3\n".into(), "longer\n".into()]).unwrap();
        assert_eq!([read("log"), read("log.1"), read("log.2")], ["longer\n", "3\n", "1\n2\n"]);
        drop(journal);
        let mut journal = Journal::open(&path, 4, 2).unwrap();
        journal.append(&["4\n".into()]).unwrap();
        assert_eq!([read("log"), read("log.1"), read("log.2"), read("log.3")], ["4\n", "longer\n", "3\n", ""]);
        fs::remove_file(&path).unwrap();
        journal.append(&["5\n".into()]).unwrap();
        fs::rename(&path, directory.path().join("moved")).unwrap();
        journal.append(&["6\n".into()]).unwrap();
        assert_eq!([read("log"), read("moved"), read("log.1")], ["6\n", "5\n", "longer\n"]);
        drop(journal);
        Journal::open(&path, 4, 0).unwrap().append(&["567\n".into()]).unwrap();
        assert_eq!([read("log"), read("log.1")], ["567\n", "longer\n"]);
    }
}

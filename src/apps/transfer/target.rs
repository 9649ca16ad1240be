//! Where an export is written: standard output, or a file that has its name only when it is whole.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, BufWriter, IsTerminal, Write},
    path::{Path, PathBuf},
};

use anyhow::Context;

use crate::apps::failure::Failure;

/// Standard output, or standard input.
pub const STANDARD: &str = "-";

/// Something that is written to.
pub enum Target {
    /// Standard output.
    Standard(BufWriter<io::Stdout>),
    /// A file that is made.
    File(Made),
}

/// A file under another name. Dropping it removes it.
pub struct Made {
    out: BufWriter<File>,
    // None once it has its name.
    part: Option<PathBuf>,
    path: PathBuf,
}

impl Target {
    /// Begins. Nothing is there under the name before [`Target::keep`].
    pub fn begin(path: &Path) -> anyhow::Result<Self> {
        if path.as_os_str() == STANDARD {
            if io::stdout().is_terminal() {
                let failure = Failure::usage("an export is nothing to read, and standard output is a terminal");
                return Err(failure.hint("name a file, or write into a pipe").into());
            }
            return Ok(Target::Standard(BufWriter::new(io::stdout())));
        }
        let mut name = OsString::from(path.file_name().with_context(|| format!("{} names no file", path.display()))?);
        name.push(".part");
        let part = path.with_file_name(name);
        let file = File::create(&part).with_context(|| format!("{} cannot be written", part.display()))?;
        Ok(Target::File(Made { out: BufWriter::new(file), part: Some(part), path: path.to_owned() }))
    }

    /// All is written, and whole: it gets its name when it is on the disk.
    pub fn keep(self) -> anyhow::Result<()> {
        match self {
            Target::Standard(mut out) => Ok(out.flush()?),
            Target::File(mut made) => {
                let path = made.path.clone();
                made.keep().with_context(|| format!("{} cannot be written", path.display()))
            }
        }
    }
}

impl Made {
    fn keep(&mut self) -> io::Result<()> {
        self.out.flush()?;
        self.out.get_ref().sync_all()?;
        if let Some(part) = &self.part {
            fs::rename(part, &self.path)?;
            self.part = None;
        }
        Ok(())
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        if let Some(part) = &self.part {
            let _ = fs::remove_file(part);
        }
    }
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Target::Standard(out) => out.write(bytes),
            Target::File(made) => made.out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Target::Standard(out) => out.flush(),
            Target::File(made) => made.out.flush(),
        }
    }
}

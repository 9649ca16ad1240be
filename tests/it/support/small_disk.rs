//! A disk that is soon full: a small file system in memory, which only those see who are let in.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use super::{Tilde, through};

/// A small disk at `directory/data`, in a mount namespace that lives as long as this.
pub struct SmallDisk {
    keeper: Child,
    directory: PathBuf,
}

impl SmallDisk {
    /// Of so many bytes.
    pub fn new(directory: &Path, bytes: usize) -> Self {
        let data = directory.join("data");
        fs::create_dir(&data).unwrap();
        let script = format!("mount -t tmpfs -o size={bytes} tilde \"$0\" && echo mounted && exec cat");
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--mount", "sh", "-c", &script]).arg(&data);
        let mut keeper =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("this test needs `unshare`");
        let mut line = String::new();
        BufReader::new(keeper.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "mounted\n", "this test needs a system that lets it mount a tmpfs of its own");
        SmallDisk { keeper, directory: directory.to_owned() }
    }

    /// A command that sees the disk.
    pub fn with(&self, command: &Command) -> Command {
        let keeper = self.keeper.id().to_string();
        let enter = ["nsenter", "--preserve-credentials", "--user", "--mount", "--target", &keeper];
        let there = ["--", "sh", "-c", "cd \"$0\" && exec \"$@\"", self.directory.to_str().unwrap()];
        through(&[&enter[..], &there].concat(), command)
    }

    /// A broker that has its data there.
    pub fn start(&self) -> Tilde {
        Tilde::start_as(&self.directory, &[], |command| self.with(&command))
    }

    /// Where the test itself finds the disk.
    pub fn path(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.keeper.id()));
        root.join(self.directory.strip_prefix("/").unwrap()).join("data")
    }

    /// Takes room away: so many bytes, or all that is left.
    pub fn take(&self, bytes: Option<usize>) {
        let mut ballast = fs::File::create(self.path().join("ballast")).unwrap();
        match bytes {
            Some(bytes) => ballast.write_all(&vec![1; bytes]).unwrap(),
            None => while ballast.write_all(&[1; 4096]).is_ok() {},
        }
    }

    /// Gives it back.
    pub fn give(&self) {
        fs::remove_file(self.path().join("ballast")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = (self.keeper.kill(), self.keeper.wait());
    }
}

//! What the kernel tells of a directory: names that were made, closed or moved into place, and nothing else. Telling of all
//! that happens to a file costs as much as what is done with it. Hints: some may get lost. Never reads a file.

use std::ffi::OsStr;

pub use hearing::Ear;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard<'a> {
    /// A file of this name was made: somebody is about to write it.
    Made(&'a OsStr),
    /// Whoever wrote it closed it.
    Closed(&'a OsStr),
    /// It was given this name, as it is.
    Moved(&'a OsStr),
    /// The directory itself was removed, or has another name.
    Gone,
    /// Some of what happened was not told.
    Lost,
}

#[cfg(target_os = "linux")]
mod hearing {
    use std::{
        ffi::OsStr,
        io,
        mem::MaybeUninit,
        os::{fd::OwnedFd, unix::ffi::OsStrExt as _},
        path::Path,
        time::Duration,
    };

    use rustix::{
        event::{PollFd, PollFlags, Timespec, poll},
        fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags},
    };

    use super::Heard;

    /// Room for a few hundred events.
    const BUFFER_BYTES: usize = 32 << 10;

    /// Hears of one directory.
    #[derive(Debug)]
    pub struct Ear {
        inotify: OwnedFd,
        buffer: Box<[MaybeUninit<u8>]>,
    }

    impl Ear {
        /// Hears of everything from now on.
        pub fn new(directory: &Path) -> io::Result<Ear> {
            let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
            let files = WatchFlags::CREATE | WatchFlags::CLOSE_WRITE | WatchFlags::MOVED_TO;
            let itself = WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF | WatchFlags::ONLYDIR;
            inotify::add_watch(&inotify, directory, files | itself)?;
            Ok(Ear { inotify, buffer: vec![MaybeUninit::uninit(); BUFFER_BYTES].into() })
        }

        /// Waits for something to be heard, at most for so long, and hands out all that is.
        pub fn hear(&mut self, pause: Duration, mut each: impl FnMut(Heard<'_>)) -> io::Result<()> {
            let pause = Timespec { tv_sec: pause.as_secs() as i64, tv_nsec: pause.subsec_nanos().into() };
            match poll(&mut [PollFd::new(&self.inotify, PollFlags::IN)], Some(&pause)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(()),
                Ok(_) => {}
                Err(error) => return Err(error.into()),
            }
            let mut reader = inotify::Reader::new(&self.inotify, &mut self.buffer);
            loop {
                let event = match reader.next() {
                    Ok(event) => event,
                    Err(rustix::io::Errno::WOULDBLOCK) => return Ok(()),
                    Err(error) => return Err(error.into()),
                };
                let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()));
                match (event.events(), name) {
                    (what, Some(name)) if what.contains(ReadFlags::MOVED_TO) => each(Heard::Moved(name)),
                    (what, Some(name)) if what.contains(ReadFlags::CLOSE_WRITE) => each(Heard::Closed(name)),
                    (what, Some(name)) if what.contains(ReadFlags::CREATE) => each(Heard::Made(name)),
                    (what, _) if what.contains(ReadFlags::QUEUE_OVERFLOW) => each(Heard::Lost),
                    // It tells nothing more.
                    _ => each(Heard::Gone),
                }
            }
        }
    }
}

/// Where no kernel tells just this, nothing is heard, and whoever wants to know looks.
#[cfg(not(target_os = "linux"))]
mod hearing {
    use std::{convert::Infallible, io, path::Path, time::Duration};

    use super::Heard;

    /// Hears nothing.
    #[derive(Debug)]
    pub struct Ear(Infallible);

    impl Ear {
        /// Never.
        pub fn new(_: &Path) -> io::Result<Ear> {
            Err(io::ErrorKind::Unsupported.into())
        }

        /// Never.
        pub fn hear(&mut self, _: Duration, _: impl FnMut(Heard<'_>)) -> io::Result<()> {
            match self.0 {}
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::{fs, time::Duration};

    use super::*;

    #[test]
    fn files_are_heard_of_and_the_end_of_the_directory() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("box");
        fs::create_dir(&directory).unwrap();
        let mut ear = Ear::new(&directory).unwrap();
        fs::write(directory.join("a"), "x").unwrap();
        fs::rename(directory.join("a"), directory.join("b")).unwrap();
        fs::remove_file(directory.join("b")).unwrap();
        fs::remove_dir(&directory).unwrap();
        let mut heard = Vec::new();
        ear.hear(Duration::from_secs(10), |what| heard.push(format!("{what:?}"))).unwrap();
        heard.dedup();
        assert_eq!(heard, ["Made(\"a\")", "Closed(\"a\")", "Moved(\"b\")", "Gone"]);
        assert!(Ear::new(&directory).is_err());
    }
}

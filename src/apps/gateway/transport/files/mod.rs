//! A directory as the broker: a request is `<key>.req`, its answer `<key>.resp`. Made for one gateway: what nobody here
//! asked for, nobody waits for.
//!
//! A few threads, the clerks, share the keys and do what is to be done with files; another keeps an eye on the directory.
//! There are as many of them with one caller as with many.

mod clerk;
mod directory;
mod keeper;
mod notices;

use std::{path::PathBuf, sync::Arc, thread};

use anyhow::Context;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::{
    runtime,
    sync::{mpsc, oneshot},
};

use self::{
    clerk::{Clerk, Job},
    directory::{Directory, Kind},
    keeper::{Clerks, Keeper},
    notices::{Notices, TAKEN},
};
use super::{Transport, Trouble};
use crate::apps::{
    failure::Failure,
    gateway::{key::FileKey, request::Request},
    journal::Journal,
};

/// Threads that work with files. Most of their time they wait for the system.
const CLERKS: usize = 4;
/// What a clerk may have before him. Who has more to tell waits.
const JOBS: usize = 8_192;

/// A directory.
pub struct Files {
    clerks: Clerks,
}

impl Files {
    /// Starts the threads. The directory may come later.
    pub fn start(path: PathBuf, journal: Journal) -> anyhow::Result<Files> {
        // What the system tells names it in full.
        let directory = Directory::new(std::path::absolute(&path).unwrap_or(path));
        let notices = Arc::new(Notices::new(journal, directory.path()));
        let doors: anyhow::Result<_> = (0..CLERKS).map(|_| hire(directory.clone(), notices.clone())).collect();
        let clerks = Clerks::new(doors?);
        let keeper = Keeper::new(directory.clone(), clerks.clone(), Arc::clone(&notices));
        if directory.is_taken() {
            let taken = Failure::new(format!("{}: {TAKEN}", directory.path().display()));
            return Err(taken.hint("--directory names another: each gateway needs one of its own").into());
        }
        // Only of an earlier run: this one has done nothing yet. What cannot be removed does no harm.
        let _ = directory.sweep();
        let left = directory.list().unwrap_or_default();
        let count = |kind| left.iter().filter(|(_, found)| *found == kind).count() as u64;
        notices.backlog(count(Kind::Request), count(Kind::Answer));
        thread::Builder::new()
            .name("gateway-keeper".into())
            .spawn(|| keeper.run())
            .context("no thread can be started")?;
        Ok(Files { clerks })
    }
}

/// Starts a clerk. Answers with his door.
fn hire(directory: Directory, notices: Arc<Notices>) -> anyhow::Result<mpsc::Sender<Job>> {
    let (door, jobs) = mpsc::channel(JOBS);
    // His own, as he is away with files most of the time.
    let runtime = runtime::Builder::new_current_thread().enable_time().build().context("no thread can be started")?;
    let work = move || runtime.block_on(Clerk::new(directory, notices).run(jobs));
    thread::Builder::new().name("gateway-files".into()).spawn(work).context("no thread can be started")?;
    Ok(door)
}

impl Transport for Files {
    fn exchange(&self, key: FileKey, request: Arc<Request>) -> BoxFuture<'static, Result<Bytes, Trouble>> {
        let door = self.clerks.of(key).clone();
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            let gone = Trouble::Unavailable("the gateway is stopping");
            door.send(Job::Ask(key, request, reply)).await.map_err(|_| gone.clone())?;
            answer.await.map_err(|_| gone)?
        })
    }
}

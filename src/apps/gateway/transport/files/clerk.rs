//! A thread that does all there is to do with the files of its share of the keys, one thing after the other. What it is told
//! of the directory are hints: what lies there is what counts. Never knows who waits.
//!
//! An answer is taken once it is complete. Its writer closed it, or renamed it into place: then at once, unless it has no
//! body, which a second `>>` may still bring. Found by a look into the directory: once it has not changed for a while.

use std::{
    collections::{BTreeSet, HashMap},
    io,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until},
};

use super::{
    super::Trouble,
    directory::{ANSWER_BYTES, Directory, Found, Identity, Kind},
    notices::{Notices, TAKEN},
};
use crate::apps::gateway::{
    answer::{Answer, Stage},
    key::FileKey,
    request::Request,
};

/// An answer that was closed with nothing behind its status is taken when it has not changed for so long.
const BARE: Duration = Duration::from_millis(50);
/// One that nobody is seen to write.
const FOUND: Duration = Duration::from_millis(250);
/// One without a status.
const BAD: Duration = Duration::from_millis(500);
/// One that its writer holds open, or that cannot be read.
const OPEN: Duration = Duration::from_secs(5);
/// Files that cannot be removed and are remembered, at most.
const STUCK: usize = 16_384;

/// What a clerk is to do, or should know.
#[derive(Debug)]
pub enum Job {
    /// Send a request out.
    Ask(FileKey, Arc<Request>, Reply),
    /// An answer was opened to be written.
    Opened(FileKey),
    /// An answer was closed, or renamed into place.
    Closed(FileKey),
    /// An answer lies there.
    Found(FileKey),
    /// Some time has passed: forget what was given up.
    Tidy,
    /// The directory is gone, or is another one: what was asked in it is lost.
    Lost,
}

/// Where an answer goes to.
pub type Reply = oneshot::Sender<Result<Bytes, Trouble>>;

/// One thread's share.
#[derive(Debug)]
pub struct Clerk {
    directory: Directory,
    notices: Arc<Notices>,
    asked: HashMap<FileKey, Asked>,
    /// What could not be removed, and must not be taken for anything new.
    stuck: HashMap<(FileKey, Kind), Identity>,
    /// When which answer is to be looked at again.
    due: BTreeSet<(Instant, FileKey)>,
}

/// A request that is out.
#[derive(Debug)]
struct Asked {
    reply: Reply,
    /// An answer that may not be complete.
    draft: Option<Draft>,
}

/// An answer that was seen, and not taken yet.
#[derive(Clone, Copy, Debug)]
struct Draft {
    /// As it was seen last; none if it could not be read.
    identity: Option<Identity>,
    /// Since when it is as it is.
    since: Instant,
    seen: Seen,
}

/// What is known of an answer's writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// He was seen to open it, and not to close it.
    Open,
    /// He closed it, or renamed it into place.
    Closed,
    /// He was not seen.
    Found,
}

impl Clerk {
    /// With nothing to do.
    pub fn new(directory: Directory, notices: Arc<Notices>) -> Self {
        Clerk { directory, notices, asked: HashMap::new(), stuck: HashMap::new(), due: BTreeSet::new() }
    }

    /// Works until nobody is left to give it work.
    pub async fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        loop {
            let due = self.due.first().map(|&(at, key)| (at, key));
            let alarm = async {
                match due {
                    Some((at, _)) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = alarm => {
                    if let Some((_, key)) = self.due.pop_first()
                        && self.asked.get(&key).is_some_and(|asked| asked.draft.is_some())
                    {
                        self.read(key, None);
                    }
                }
                job = jobs.recv() => match job {
                    Some(job) => self.work(job),
                    None => return,
                },
            }
        }
    }

    fn work(&mut self, job: Job) {
        match job {
            Job::Ask(key, request, reply) => self.ask(key, &request, reply),
            Job::Opened(key) => self.see(key, Seen::Open),
            Job::Closed(key) => self.read(key, Some(Seen::Closed)),
            Job::Found(key) => self.see(key, Seen::Found),
            Job::Tidy => self.tidy(),
            Job::Lost => {
                self.due.clear();
                self.stuck.clear();
                self.asked.drain().for_each(|(_, asked)| refuse(asked.reply));
            }
        }
    }

    fn ask(&mut self, key: FileKey, request: &Request, reply: Reply) {
        if self.directory.is_taken() {
            self.notices.refused(TAKEN);
            return refuse(reply);
        }
        // What lies there already was written before anybody asked, and answers a request that lies there, too.
        let was_answered = self.remove(key, Kind::Answer);
        if self.stuck.len() >= STUCK {
            self.notices.refused("too many files in it cannot be removed");
            return refuse(reply);
        }
        match self.put(key, &request.written(), was_answered) {
            Ok(()) => {
                self.notices.written();
                self.asked.insert(key, Asked { reply, draft: None });
            }
            Err(error) => {
                self.notices.failed(&error);
                refuse(reply);
            }
        }
    }

    /// Writes a request, unless the same lies there from a run before: a back end may be at work on it.
    fn put(&mut self, key: FileKey, bytes: &[u8], was_answered: bool) -> io::Result<()> {
        if !was_answered
            && let Some(found) = self.directory.read(key, Kind::Request)?
            && found.bytes == bytes
            && self.stuck.get(&(key, Kind::Request)) != Some(&found.identity)
        {
            self.notices.joined(key);
            return Ok(());
        }
        self.directory.write(key, bytes)?;
        self.stuck.remove(&(key, Kind::Request));
        Ok(())
    }

    /// An answer is there, or about to be.
    fn see(&mut self, key: FileKey, seen: Seen) {
        let draft = self.asked.get_mut(&key).map(|asked| &mut asked.draft);
        match (draft, seen) {
            // A look came by before it was told that somebody writes it.
            (Some(Some(draft)), Seen::Open) if draft.seen == Seen::Found => draft.seen = Seen::Open,
            (Some(Some(_)) | None, Seen::Open) => {}
            _ => self.read(key, Some(seen)),
        }
    }

    /// Reads an answer, and takes it if it is complete. `seen` is none if it is only time to look again.
    fn read(&mut self, key: FileKey, seen: Option<Seen>) {
        let Some(asked) = self.asked.get_mut(&key) else { return self.discard(key) };
        let found = self.directory.read(key, Kind::Answer);
        let identity = match &found {
            Ok(Some(found)) => Some(found.identity),
            // It is gone again.
            Ok(None) => return asked.draft = None,
            Err(_) => None,
        };
        if identity.is_some() && self.stuck.get(&(key, Kind::Answer)) == identity.as_ref() {
            return asked.draft = None;
        }
        let now = Instant::now();
        let draft = match asked.draft {
            Some(draft) if draft.identity == identity => Draft { seen: draft.seen.and(seen), ..draft },
            // What has changed since it was closed is open again.
            Some(Draft { seen: Seen::Open, .. }) if seen != Some(Seen::Closed) => {
                Draft { identity, since: now, seen: Seen::Open }
            }
            _ => Draft { identity, since: now, seen: seen.unwrap_or(Seen::Found) },
        };
        let complete = draft.since + patience(&found, draft.seen);
        if now < complete {
            self.due.insert((complete, key));
            asked.draft = Some(draft);
            return;
        }
        let answer = match found {
            Ok(Some(Found { identity, .. })) if identity.is_over(ANSWER_BYTES) => {
                Err(Trouble::Unreadable(format!("it has more than {} MiB", ANSWER_BYTES >> 20)))
            }
            Ok(found) => Ok(found.map(|found| found.bytes).unwrap_or_default()),
            Err(error) => Err(Trouble::Unreadable(format!("it cannot be read: {error}"))),
        };
        self.take(key, answer);
    }

    /// Both files go before anybody hears of the answer.
    fn take(&mut self, key: FileKey, answer: Result<Bytes, Trouble>) {
        self.remove(key, Kind::Request);
        self.remove(key, Kind::Answer);
        if let Some(asked) = self.asked.remove(&key) {
            // Nobody may wait any more.
            let _ = asked.reply.send(answer);
        }
    }

    /// An answer that nobody waits for goes, and its request with it.
    fn discard(&mut self, key: FileKey) {
        if self.remove(key, Kind::Answer) {
            self.remove(key, Kind::Request);
            self.notices.late(key);
        }
    }

    /// Removes a file; one that stays is remembered as it is. Answers whether one is gone.
    fn remove(&mut self, key: FileKey, kind: Kind) -> bool {
        match self.directory.remove(key, kind) {
            Ok(was_there) => {
                self.stuck.remove(&(key, kind));
                was_there
            }
            Err(error) => {
                if let Some(identity) = self.directory.look(key, kind)
                    && self.stuck.insert((key, kind), identity) != Some(identity)
                {
                    self.notices.stuck(&self.directory.file(key, kind), &error);
                }
                false
            }
        }
    }

    /// What was given up takes its files with it; what could not be removed may be gone, or another.
    fn tidy(&mut self) {
        self.stuck.retain(|&(key, kind), identity| self.directory.look(key, kind) == Some(*identity));
        let given_up: Vec<_> =
            self.asked.iter().filter(|(_, asked)| asked.reply.is_closed()).map(|(&key, _)| key).collect();
        for key in given_up {
            self.asked.remove(&key);
            self.remove(key, Kind::Request);
            self.remove(key, Kind::Answer);
        }
    }
}

impl Seen {
    /// With what is seen now.
    fn and(self, now: Option<Seen>) -> Seen {
        match (self, now) {
            (_, Some(Seen::Closed)) => Seen::Closed,
            (before, _) => before,
        }
    }
}

/// How long an answer must not have changed to be taken as it is.
fn patience(found: &io::Result<Option<Found>>, seen: Seen) -> Duration {
    let Ok(Some(found)) = found else { return OPEN };
    match (seen, Answer::stage(&found.bytes)) {
        (Seen::Open, _) if !found.is_linked => OPEN,
        (Seen::Closed, _) if found.identity.is_over(ANSWER_BYTES) => Duration::ZERO,
        _ if found.identity.is_over(ANSWER_BYTES) => OPEN,
        (Seen::Closed, Stage::Full) => Duration::ZERO,
        (Seen::Closed, Stage::Bare) => BARE,
        (Seen::Found | Seen::Open, Stage::Full | Stage::Bare) => FOUND,
        (_, Stage::Bad) => BAD,
    }
}

fn refuse(reply: Reply) {
    // Nobody may wait any more.
    let _ = reply.send(Err(Trouble::Unavailable("the directory of the gateway's broker cannot be written just now")));
}

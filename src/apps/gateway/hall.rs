//! Where callers wait: brings together who waits, what is sent out, and what comes back. What costs something while it waits
//! is a task, never a thread.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use tokio::{
    sync::oneshot,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    super::journal::Journal,
    answer::Answer,
    groups::{Abandoned, Came, Groups, Seat},
    key::{CollapseKey, FileKey, Share},
    measures::{Counts, Measures},
    request::Request,
    transport::{Transport, Trouble},
};

/// How callers wait.
#[derive(Clone, Debug)]
pub struct Config {
    /// Equal requests that wait at the same time share one.
    pub collapses: bool,
    /// What makes them equal.
    pub collapse_key: CollapseKey,
    /// How long a caller waits.
    pub timeout: Duration,
    /// How long a request stays out when nobody waits for its answer.
    pub abandon_after: Duration,
    /// Callers that wait, at most; and requests that are out.
    pub max_waiting: usize,
}

/// What a caller is told.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// What the back end answered.
    Answer(Answer),
    /// What the back end answered is no answer.
    Unreadable,
    /// The broker cannot be used just now, in a sentence.
    Unavailable(&'static str),
    /// It cannot be asked as it is: a status, a reason, and a sentence.
    Refused(u16, &'static str, &'static str),
    /// There was no answer in time.
    TimedOut,
    /// Too many wait already.
    Full,
    /// The gateway stops.
    Stopping,
}

/// Where callers wait.
pub struct Hall {
    config: Config,
    groups: Mutex<Groups<Arc<Request>, oneshot::Sender<Outcome>>>,
    transport: Box<dyn Transport>,
    journal: Journal,
    measures: Arc<Measures>,
    stopping: CancellationToken,
}

/// A caller that waits. Dropping it makes its place free.
struct Waiting<'a>(&'a Hall, Seat);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.groups().leave(self.1, Instant::now());
    }
}

impl Hall {
    /// Nobody waits yet.
    pub fn new(config: Config, transport: Box<dyn Transport>, journal: Journal, measures: Arc<Measures>) -> Self {
        let groups = Mutex::new(Groups::new(config.collapses));
        Hall { config, groups, transport, journal, measures, stopping: CancellationToken::new() }
    }

    /// What is asked for besides method and path, where the collapse key looks at it.
    pub fn collapse_key(&self) -> &CollapseKey {
        &self.config.collapse_key
    }

    /// Waits for the answer to a request, and says how it came. Whoever drops this has left.
    pub async fn ask(self: &Arc<Self>, key: FileKey, request: &Arc<Request>) -> (Outcome, &'static str) {
        let share = match self.config.collapses {
            true => self.config.collapse_key.of(request),
            // It may stand for one that left, if both are written the same.
            false => Share::of_all(request),
        };
        let (caller, answer) = oneshot::channel();
        let (seat, came) = {
            let mut groups = self.groups();
            if groups.waiting() >= self.config.max_waiting || groups.out() >= self.config.max_waiting {
                return (Outcome::Full, "refused");
            }
            groups.come(key, share, Arc::clone(request), caller)
        };
        let waiting = Waiting(self, seat);
        let how = match came {
            Came::Shared => "shared",
            Came::Behind => "own",
            Came::First(request) => {
                tokio::spawn(Arc::clone(self).send_out(key, request));
                "own"
            }
        };
        let outcome = tokio::select! {
            biased;
            answer = timeout(self.config.timeout, answer) => match answer {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(_)) => Outcome::Stopping,
                Err(_) => Outcome::TimedOut,
            },
            () = self.stopping.cancelled() => Outcome::Stopping,
        };
        drop(waiting);
        (outcome, how)
    }

    /// Tells all who wait that the gateway stops.
    pub fn stop(&self) {
        self.stopping.cancel();
    }

    /// Callers that wait, requests that are out, and those that wait for their turn.
    pub fn counts(&self) -> Counts {
        let groups = self.groups();
        Counts { waiting: groups.waiting(), out: groups.out(), behind: groups.behind() }
    }

    /// Sends out a request, and then those that come to stand behind it.
    async fn send_out(self: Arc<Self>, key: FileKey, request: Arc<Request>) {
        let mut next = Some(request);
        while let Some(request) = next {
            self.measures.sent();
            next = tokio::select! {
                answer = self.transport.exchange(key, request) => self.hand_out(key, answer),
                next = self.abandoned(key) => {
                    self.journal.warn(&format!("{key} is given up: nobody has waited for its answer for a long time"));
                    next
                }
            };
        }
    }

    /// Answers all who wait for what is out by this key, and says what goes out next.
    fn hand_out(&self, key: FileKey, answer: Result<bytes::Bytes, Trouble>) -> Option<Arc<Request>> {
        let answer = answer.and_then(|bytes| Answer::read(bytes).map_err(Trouble::Unreadable));
        let outcome = match answer {
            Ok(answer) => Outcome::Answer(answer),
            Err(Trouble::Unavailable(why)) => Outcome::Unavailable(why),
            Err(Trouble::Refused(status, reason, why)) => Outcome::Refused(status, reason, why),
            Err(Trouble::NoReply) => Outcome::TimedOut,
            Err(Trouble::Unreadable(why)) => {
                self.journal
                    .warn(&format!("{key} was answered with what is no answer: {why}; its callers are told 502"));
                Outcome::Unreadable
            }
        };
        let (callers, next) = self.groups().answered(key);
        for caller in callers {
            // Some may leave in this moment.
            let _ = caller.send(outcome.clone());
        }
        next
    }

    /// Ends when what is out by this key was given up, with what goes out next.
    async fn abandoned(&self, key: FileKey) -> Option<Arc<Request>> {
        loop {
            let Config { abandon_after, timeout, .. } = self.config;
            let abandoned = self.groups().abandon(key, Instant::now(), abandon_after, timeout);
            match abandoned {
                Abandoned::Yes(next) => return next,
                Abandoned::No(left) => sleep(left).await,
            }
        }
    }

    fn groups(&self) -> MutexGuard<'_, Groups<Arc<Request>, oneshot::Sender<Outcome>>> {
        self.groups.lock().expect("nobody panics while holding the groups")
    }
}

//! The threads of the embedded engine: a few that drive writers, and one that does what can wait. An idle log has none.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Condvar, Mutex},
    thread,
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::stored::{Driver, StoredLog};
use crate::model::Error;

/// All logs that are open, for what is done now and then.
pub type AllLogs = Box<dyn Fn() -> Vec<Arc<StoredLog>> + Send>;

/// The threads.
pub struct Pool {
    writers: Queue,
    keeper: Queue,
    failed: watch::Sender<Option<Error>>,
}

/// Logs that wait for a thread.
#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    logs: VecDeque<Arc<StoredLog>>,
    stopped: bool,
}

impl Pool {
    /// A pool without threads yet.
    pub fn new() -> Arc<Self> {
        Arc::new(Pool { writers: Queue::default(), keeper: Queue::default(), failed: watch::Sender::new(None) })
    }

    /// Starts `writers` threads that write, and one that tends the logs that ask for it, and all of them every `tend`.
    pub fn start(self: &Arc<Self>, writers: usize, tend: Duration, all: AllLogs) -> io::Result<()> {
        for number in 0..writers {
            let pool = self.clone();
            thread::Builder::new().name(format!("tilde-writer-{number}")).spawn(move || pool.write())?;
        }
        let pool = self.clone();
        thread::Builder::new().name("tilde-keeper".into()).spawn(move || pool.keep(tend, &all))?;
        Ok(())
    }

    /// Ends the threads, when they have done what waits.
    pub fn stop(&self) {
        self.writers.stop();
        self.keeper.stop();
    }

    /// Turns to an error when the disk has failed.
    pub fn failure(&self) -> watch::Receiver<Option<Error>> {
        self.failed.subscribe()
    }

    fn write(&self) {
        while let Some(log) = self.writers.next(None).and_then(Next::log) {
            if log.drive() {
                // It has more; but whoever waits comes first.
                self.writers.add(log);
            }
        }
    }

    fn keep(&self, every: Duration, all: &AllLogs) {
        let mut due = Instant::now() + every;
        while let Some(next) = self.keeper.next(Some(due)) {
            match next {
                Next::Log(log) => log.tend(),
                Next::Due => {
                    all().iter().for_each(|log| log.tend());
                    due = Instant::now() + every;
                }
            }
        }
    }
}

impl Driver for Pool {
    fn drive(&self, log: Arc<StoredLog>) {
        self.writers.add(log);
    }

    fn tend(&self, log: Arc<StoredLog>) {
        self.keeper.add(log);
    }

    fn failed(&self, error: Error) {
        self.failed.send_if_modified(|failed| failed.is_none().then(|| *failed = Some(error)).is_some());
    }
}

/// What a thread finds in its queue.
enum Next {
    Log(Arc<StoredLog>),
    Due,
}

impl Next {
    fn log(self) -> Option<Arc<StoredLog>> {
        match self {
            Next::Log(log) => Some(log),
            Next::Due => None,
        }
    }
}

impl Queue {
    /// Adds a log, if it does not wait already: so the queue is never longer than there are logs.
    fn add(&self, log: Arc<StoredLog>) {
        let mut waiting = self.lock();
        if !waiting.logs.iter().any(|known| Arc::ptr_eq(known, &log)) {
            waiting.logs.push_back(log);
        }
        drop(waiting);
        self.changed.notify_one();
    }

    /// Waits for a log, or until `due`, which comes first however many logs wait. None when the pool has stopped.
    fn next(&self, due: Option<Instant>) -> Option<Next> {
        let mut waiting = self.lock();
        loop {
            let left = due.map(|due| due.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) && !waiting.stopped {
                return Some(Next::Due);
            }
            if let Some(log) = waiting.logs.pop_front() {
                return Some(Next::Log(log));
            }
            if waiting.stopped {
                return None;
            }
            let poisoned = "nobody panics while holding the queue";
            waiting = match left {
                None => self.changed.wait(waiting).expect(poisoned),
                Some(left) => self.changed.wait_timeout(waiting, left).expect(poisoned).0,
            };
        }
    }

    fn stop(&self) {
        self.lock().stopped = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().expect("nobody panics while holding the queue")
    }
}

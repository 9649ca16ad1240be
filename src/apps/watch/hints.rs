//! Which paths to look at, and when. Never looks, and never asks who gave a hint.
//!
//! A path is looked at when nothing was heard of it for a moment, so that a file that is emptied and written again is one
//! change. Too many hints, or hints that were lost, are a hint to look at everything.

use std::{
    collections::{BTreeSet, HashMap},
    path::PathBuf,
    sync::{Condvar, Mutex, MutexGuard},
    time::{Duration, Instant},
};

/// For how long nothing must be heard of a path.
const QUIET: Duration = Duration::from_millis(50);
/// How long a path that is never quiet waits at most.
const PATIENCE: Duration = Duration::from_secs(1);
/// What becomes ready so soon is taken along, so that both names of a renamed file come together.
const TOGETHER: Duration = Duration::from_millis(20);
/// Hints that are kept. Looking at everything is cheaper than so many looks.
const HINTS: usize = 10_000;

/// What there is to look at.
#[derive(Debug, Default)]
pub struct Hints {
    waiting: Mutex<Waiting>,
    told: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    // When it was first heard of, and when last.
    paths: HashMap<PathBuf, (Instant, Instant)>,
    everything: bool,
    stopped: bool,
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Look at these.
    Paths(BTreeSet<PathBuf>),
    /// Look at everything.
    Everything,
    /// Nothing more.
    Stop,
}

impl Hints {
    /// Something may have happened to these paths, which are looked at together: both names of a renamed file, say.
    pub fn hint(&self, paths: impl IntoIterator<Item = PathBuf>) {
        let (mut waiting, now) = (self.waiting(), Instant::now());
        for path in paths {
            if waiting.paths.len() >= HINTS && !waiting.paths.contains_key(&path) {
                waiting.paths.clear();
                waiting.everything = true;
            }
            // A walk will come by.
            if !waiting.everything {
                waiting.paths.entry(path).or_insert((now, now)).1 = now;
            }
        }
        self.told.notify_all();
    }

    /// Something happened, and nobody knows to what.
    pub fn everything(&self) {
        self.waiting().everything = true;
        self.told.notify_all();
    }

    /// Nothing is looked at any more.
    pub fn stop(&self) {
        self.waiting().stopped = true;
        self.told.notify_all();
    }

    /// Waits for something to do; everything is to be looked at when `pause` is over.
    pub fn next(&self, pause: Duration) -> Next {
        let end = Instant::now() + pause;
        let mut waiting = self.waiting();
        loop {
            let now = Instant::now();
            if waiting.stopped {
                return Next::Stop;
            }
            if waiting.everything || now >= end {
                waiting.everything = false;
                waiting.paths.clear();
                return Next::Everything;
            }
            let first = waiting.paths.values().map(ready).min();
            if first.is_some_and(|first| first <= now) {
                let until = now + TOGETHER;
                let (due, left) = waiting.paths.drain().partition(|(_, heard)| ready(heard) <= until);
                waiting.paths = left;
                let due: HashMap<_, _> = due;
                return Next::Paths(due.into_keys().collect());
            }
            let left = first.map_or(end, |first| first.min(end)).saturating_duration_since(now);
            waiting = self.told.wait_timeout(waiting, left).expect("nobody panics while holding the hints").0;
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().expect("nobody panics while holding the hints")
    }
}

fn ready((first, last): &(Instant, Instant)) -> Instant {
    (*last + QUIET).min(*first + PATIENCE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_heard_is_looked_at_once_it_is_quiet() {
        let hints = Hints::default();
        for path in ["a", "b", "a"] {
            hints.hint([path.into()]);
        }
        assert_eq!(hints.next(PATIENCE), Next::Paths(["a".into(), "b".into()].into()));
        assert_eq!(hints.next(Duration::ZERO), Next::Everything);
    }

    #[test]
    fn too_many_hints_are_a_hint_to_look_at_everything() {
        let hints = Hints::default();
        (0..=HINTS).for_each(|n| hints.hint([n.to_string().into()]));
        assert_eq!(hints.next(PATIENCE), Next::Everything);
        hints.hint(["a".into()]);
        hints.everything();
        assert_eq!(hints.next(PATIENCE), Next::Everything);
        hints.stop();
        assert_eq!(hints.next(PATIENCE), Next::Stop);
    }

    #[test]
    fn a_path_that_is_never_quiet_is_looked_at_all_the_same() {
        let (begun, late) = (Instant::now(), Instant::now() + PATIENCE * 5);
        assert_eq!(ready(&(begun, late)), begun + PATIENCE);
    }
}

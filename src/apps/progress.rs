//! Tells a person on a terminal how far a run is, and a pipe nothing. Never writes to standard output.

use std::{
    io::{self, IsTerminal, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{task::AbortHandle, time};

use super::{bench::report::rate, output};

/// How often the line is written anew.
const PAUSE: Duration = Duration::from_millis(500);

/// A line on the terminal; dropping it takes the line away.
#[derive(Debug)]
pub struct Progress(Option<AbortHandle>);

impl Progress {
    /// Shows how `count` messages grow, of `total` if that is known.
    pub fn show(count: Arc<AtomicU64>, total: Option<u64>) -> Progress {
        Progress::of("message", count, total)
    }

    /// The same for other things: `one` of them.
    pub fn of(one: &'static str, count: Arc<AtomicU64>, total: Option<u64>) -> Progress {
        if !io::stderr().is_terminal() {
            return Progress(None);
        }
        let showing = tokio::spawn(async move {
            let start = Instant::now();
            loop {
                time::sleep(PAUSE).await;
                line(&sentence(one, count.load(Ordering::Relaxed), total, start.elapsed()));
            }
        });
        Progress(Some(showing.abort_handle()))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(showing) = self.0.take() {
            showing.abort();
            line("");
        }
    }
}

fn line(text: &str) {
    let mut stderr = io::stderr();
    // Nobody reads it: the run goes on all the same.
    let _ = write!(stderr, "\r\x1b[K{text}").and_then(|()| stderr.flush());
}

fn sentence(one: &str, count: u64, total: Option<u64>, elapsed: Duration) -> String {
    let share = total.map(|total| format!(" ({} %)", count * 100 / total.max(1))).unwrap_or_default();
    let counted = output::count(count, one);
    format!("{} s: {counted}{share}, {} a second", elapsed.as_secs(), rate(count, elapsed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_far_it_is() {
        let elapsed = Duration::from_secs(4);
        assert_eq!(sentence("message", 200, None, elapsed), "4 s: 200 messages, 50 a second");
        assert_eq!(sentence("message", 200, Some(400), elapsed), "4 s: 200 messages (50 %), 50 a second");
    }
}

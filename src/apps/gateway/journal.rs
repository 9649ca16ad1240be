//! The log, on standard output: one line a request, and one for what an operator should know. A thread of its own writes
//! it, so that a reader that stands still keeps no caller waiting: what does not fit is counted and left out.

use std::{
    io::{self, BufWriter, Write as _},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use serde::Serialize;

use super::key::FileKey;
use crate::{
    apps::output::Format,
    clock::{Clock as _, SystemClock},
};

/// Lines that wait to be written, at most.
const LINES: usize = 16_384;

/// Where lines are handed in. Clones write the same log.
#[derive(Clone, Debug)]
pub struct Journal {
    lines: SyncSender<String>,
    format: Format,
    lost: Arc<AtomicU64>,
}

/// How a request ended.
#[derive(Debug, Serialize)]
pub struct Ended<'a> {
    /// The names of its files, without their endings.
    #[serde(serialize_with = "as_text")]
    pub key: FileKey,
    /// As it came.
    pub method: &'a str,
    /// Without the query.
    pub path: &'a str,
    /// What the caller was told; 499 if it was gone by then.
    pub status: u16,
    /// How it came to its answer.
    pub how: &'static str,
    /// From its head to its answer.
    #[serde(rename = "ms", serialize_with = "as_millis")]
    pub took: Duration,
}

/// A line of the log as an object.
#[derive(Serialize)]
struct Line<'a, T> {
    time: String,
    level: &'a str,
    #[serde(flatten)]
    what: T,
}

/// Something an operator should know.
#[derive(Serialize)]
struct Told<'a> {
    message: &'a str,
}

impl Journal {
    /// Starts the thread that writes.
    pub fn start(format: Format) -> io::Result<Journal> {
        let (lines, waiting) = sync_channel(LINES);
        let lost = Arc::new(AtomicU64::new(0));
        let journal = Journal { lines, format, lost: Arc::clone(&lost) };
        let own = (format, lost);
        thread::Builder::new().name("gateway-log".into()).spawn(move || write(&waiting, own.0, &own.1))?;
        Ok(journal)
    }

    /// A request has ended.
    pub fn ended(&self, request: &Ended<'_>) {
        self.put(match self.format {
            Format::Json => object("info", request),
            Format::Text => {
                let Ended { key, method, path, status, how, took } = request;
                let millis = took.as_secs_f64() * 1e3;
                format!("{} {status} {method} {path} {key} {how} {millis:.1} ms\n", now())
            }
        });
    }

    /// As it should be.
    pub fn info(&self, message: &str) {
        self.tell("info", message);
    }

    /// Not as it should be: somebody should look.
    pub fn warn(&self, message: &str) {
        self.tell("warn", message);
    }

    fn tell(&self, level: &'static str, message: &str) {
        self.put(told(self.format, level, message));
    }

    fn put(&self, line: String) {
        if self.lines.try_send(line).is_err() {
            self.lost.fetch_add(1, Relaxed);
        }
    }
}

/// Writes all that waits, then lets go of it. A log that nobody reads any more ends nothing but itself.
fn write(waiting: &Receiver<String>, format: Format, lost: &AtomicU64) {
    let mut out = BufWriter::with_capacity(64 << 10, io::stdout());
    while let Ok(first) = waiting.recv() {
        let written =
            std::iter::once(first).chain(waiting.try_iter()).try_for_each(|line| out.write_all(line.as_bytes()));
        let missing = lost.swap(0, Relaxed);
        let missing = (missing > 0).then(|| {
            told(format, "warn", &format!("{missing} lines of the log are missing here: it is read too slowly"))
        });
        let all =
            written.and_then(|()| out.write_all(missing.unwrap_or_default().as_bytes())).and_then(|()| out.flush());
        if all.is_err() {
            return;
        }
    }
}

fn told(format: Format, level: &str, message: &str) -> String {
    match format {
        Format::Json => object(level, Told { message }),
        Format::Text => format!("{} {level}: {message}\n", now()),
    }
}

fn object(level: &str, what: impl Serialize) -> String {
    let line = serde_json::to_string(&Line { time: now(), level, what });
    line.map(|line| line + "\n").unwrap_or_default()
}

fn now() -> String {
    let (seconds, nanos) = SystemClock.now().parts();
    let time = jiff::Timestamp::new(seconds, nanos / 1_000_000 * 1_000_000);
    time.map(|time| format!("{time:.3}")).unwrap_or_default()
}

fn as_text<S: serde::Serializer>(key: &FileKey, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(key)
}

fn as_millis<S: serde::Serializer>(took: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((took.as_secs_f64() * 1e6).round() / 1e3)
}

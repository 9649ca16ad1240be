//! The log of a program that goes on for long, on standard output: a line, or an object a line. A thread of its own writes
//! it, so that a reader that stands still keeps nobody waiting: what does not fit is counted and left out.

use std::{
    io::{self, BufWriter, Write as _},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
};

use serde::Serialize;

use super::{level::Level, output::Format};
use crate::clock::{Clock as _, SystemClock};

/// Lines that wait to be written, at most.
const LINES: usize = 16_384;

/// Where lines are handed in. Clones write the same log.
#[derive(Clone, Debug)]
pub struct Journal {
    lines: SyncSender<String>,
    form: Form,
    /// What matters less is left out.
    least: Level,
    lost: Arc<AtomicU64>,
}

/// How lines are written.
#[derive(Clone, Debug)]
struct Form {
    format: Format,
    /// Whose lines they are, where several programs may write the same log.
    processor_id: Option<Arc<str>>,
}

/// A line of the log as an object.
#[derive(Serialize)]
struct Line<'a, T> {
    time: String,
    level: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    processor_id: Option<&'a str>,
    #[serde(flatten)]
    what: T,
}

/// Something in a sentence.
#[derive(Serialize)]
struct Told<'a> {
    message: &'a str,
}

impl Journal {
    /// Starts the thread that writes.
    pub fn start(format: Format) -> io::Result<Journal> {
        Journal::start_for(format, Level::Info, None)
    }

    /// The same, of one of several programs, and of what matters at least so much.
    pub fn start_for(format: Format, least: Level, processor_id: Option<&str>) -> io::Result<Journal> {
        let (lines, waiting) = sync_channel(LINES);
        let form = Form { format, processor_id: processor_id.map(Arc::from) };
        let journal = Journal { lines, form: form.clone(), least, lost: Arc::default() };
        let lost = Arc::clone(&journal.lost);
        thread::Builder::new().name("log".into()).spawn(move || write(&waiting, &form, &lost))?;
        Ok(journal)
    }

    /// As it should be.
    pub fn info(&self, message: &str) {
        self.tell(Level::Info, message);
    }

    /// Not as it should be: somebody should look.
    pub fn warn(&self, message: &str) {
        self.tell(Level::Warning, message);
    }

    /// It cannot go on like that.
    pub fn error(&self, message: &str) {
        self.tell(Level::Error, message);
    }

    /// Whatever matters: it is written down in any case.
    pub fn told(&self, message: &str) {
        self.put(self.form.told(Level::Info, message));
    }

    /// Something that has more to say than a sentence: an object, or in text these words, without the level.
    pub fn record(&self, level: Level, what: &impl Serialize, words: impl FnOnce() -> String) {
        if self.has(level) {
            self.put(match self.form.format {
                Format::Json => self.form.object(level, what),
                Format::Text => match &self.form.processor_id {
                    Some(id) => format!("{} {id}: {}\n", now(), words()),
                    None => format!("{} {}\n", now(), words()),
                },
            });
        }
    }

    /// Whether what matters so much is written down.
    pub fn has(&self, level: Level) -> bool {
        level >= self.least
    }

    fn tell(&self, level: Level, message: &str) {
        if self.has(level) {
            self.put(self.form.told(level, message));
        }
    }

    fn put(&self, line: String) {
        if self.lines.try_send(line).is_err() {
            self.lost.fetch_add(1, Relaxed);
        }
    }
}

/// Writes all that waits, then lets go of it. A log that nobody reads any more ends nothing but itself.
fn write(waiting: &Receiver<String>, form: &Form, lost: &AtomicU64) {
    let mut out = BufWriter::with_capacity(64 << 10, io::stdout());
    while let Ok(first) = waiting.recv() {
        let written =
            std::iter::once(first).chain(waiting.try_iter()).try_for_each(|line| out.write_all(line.as_bytes()));
        let missing = lost.swap(0, Relaxed);
        let missing = (missing > 0).then(|| {
            form.told(Level::Warning, &format!("{missing} lines of the log are missing here: it is read too slowly"))
        });
        let all =
            written.and_then(|()| out.write_all(missing.unwrap_or_default().as_bytes())).and_then(|()| out.flush());
        if all.is_err() {
            return;
        }
    }
}

impl Form {
    fn told(&self, level: Level, message: &str) -> String {
        match self.format {
            Format::Json => self.object(level, &Told { message }),
            Format::Text => self.text(level, message),
        }
    }

    fn text(&self, level: Level, words: &str) -> String {
        match &self.processor_id {
            Some(id) => format!("{} {} {id}: {words}\n", now(), level.as_str()),
            None => format!("{} {}: {words}\n", now(), level.as_str()),
        }
    }

    fn object(&self, level: Level, what: &impl Serialize) -> String {
        let line = Line { time: now(), level: level.as_str(), processor_id: self.processor_id.as_deref(), what };
        serde_json::to_string(&line).map(|line| line + "\n").unwrap_or_default()
    }
}

fn now() -> String {
    let (seconds, nanos) = SystemClock.now().parts();
    let time = jiff::Timestamp::new(seconds, nanos / 1_000_000 * 1_000_000);
    time.map(|time| format!("{time:.3}")).unwrap_or_default()
}

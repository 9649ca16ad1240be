//! `tilde watch`: publishes what changes in the files of directories, as diffs.
//!
//! A change passes the `ear`, where the kernel tells of it; the `hints`, where it waits for a moment; the `looker`, which
//! finds the file in the `tree` and compares it with what is `known`; the `recorder`, which makes a `change` of it, with its
//! `diff`, and records both; and the `outbox`, which publishes it. Hints may be lost: a look at everything, every now and
//! then, is what holds.

mod ear;
mod hints;

mod closed;
mod looker;
mod tree;

mod batch;
mod change;
mod diff;
mod known;
pub mod name;
mod recorder;

mod outbox;
mod room;

use std::{path::PathBuf, sync::Arc, thread, time::Duration};

use anyhow::Context;
use tokio::{sync::oneshot, time};

use self::{
    hints::Hints,
    known::Store,
    looker::Looker,
    outbox::Outbox,
    recorder::{Events, Recorder},
    room::Room,
    tree::Tree,
};
use super::{
    failure::Failure,
    interrupt::Interrupt,
    output, pattern,
    progress::Progress,
    remote::{self, Remote, Tenant},
};
use crate::units::{Span, above_zero};

/// Publish what changes in the files of directories, as diffs
///
/// A change of a file is published under its path, as a unified diff that `patch` applies, once and in order: also if the
/// broker is away meanwhile, and with --state also if this program is not running. Files that are there at the first scan
/// are known and not published. Files that come later are not watched, unless --events says `all`.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// What to watch, with all that lies below
    #[arg(required = true, value_name = "DIR")]
    directories: Vec<PathBuf>,

    /// What to publish
    #[arg(long, value_enum, default_value = "modified")]
    events: Events,

    /// Stands before the path in every topic
    #[arg(long, value_name = "PREFIX", default_value = "", value_parser = prefix)]
    topic_prefix: String,

    /// Remembers what was published, so that nothing is missed or repeated when this program starts again
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,

    /// Leave out what matches, below its directory, as in 'target/~' or '.git/~'; may be repeated
    #[arg(long, value_name = "PATTERN")]
    exclude: Vec<String>,

    /// Look at everything that often, for file systems that do not tell what changes [default if no time is given: 2s]
    #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true, value_parser = above_zero)]
    #[arg(default_missing_value = "2s")]
    poll: Option<Duration>,

    /// Publish what changed since the last run, and end; a broker that is away is tried for a minute
    #[arg(long, requires = "state", conflicts_with = "poll")]
    once: bool,

    #[command(flatten)]
    tenant: Tenant,

    #[command(flatten)]
    remote: Remote,
}

const EXAMPLES: &str = "\
Examples:
  tilde watch docs                                       every change of a file that is in docs now
  tilde watch /srv/a /srv/b --events all --state /var/lib/watch.state
  tilde watch . --exclude '.git/~' --exclude 'target/~' --topic-prefix \"$(hostname)\"
  tilde watch /mnt/share --poll=10s                      a network share tells nothing
  tilde review                                           elsewhere: logs what is published

A message has the attributes path, change (modified, created, deleted, renamed), important (the word stands in the path), \
modified_time, old_size, new_size, old_hash, new_hash (SHA-256), old_path of what was renamed, and diff: `unified`, or why \
it is omitted. Of binary files, and of those beyond 4MiB, sizes and hashes are published.";

/// How long changes that wait may take to be published after the program was stopped.
const LAST: Duration = Duration::from_millis(500);
/// How long `--once` tries.
const ONCE: Duration = Duration::from_secs(60);

/// Runs it.
pub fn run(args: Args) -> anyhow::Result<()> {
    remote::run(async {
        let interrupt = Interrupt::listen(1)?;
        args.exclude.iter().try_for_each(|pattern| excluding(pattern))?;
        pattern::warn(&args.exclude);
        let tree = Tree::new(&args.directories, &args.exclude, args.state.as_deref())?;
        let store = Arc::new(Store::open(args.state.as_deref())?);
        let room = Arc::new(Room::new(store.waiting()?));
        let hints = Arc::new(Hints::default());
        let (events, prefix) = (args.events, args.topic_prefix.clone());
        let recorder = Recorder { events, prefix, store: store.clone(), room: room.clone() };
        // A single look has nothing to hear.
        let poll = args.poll.or(args.once.then_some(ONCE));
        let looker = Looker::new(tree, recorder, poll, hints.clone());
        let outbox = Outbox::new(store, room.clone(), args.remote.clone(), args.tenant.clone());
        let ended = watch(&args, looker, outbox, interrupt, &room).await;
        hints.stop();
        room.stop();
        ended
    })
}

async fn watch(
    args: &Args,
    looker: Looker,
    mut outbox: Outbox,
    mut interrupt: Interrupt,
    room: &Room,
) -> anyhow::Result<()> {
    let progress = Progress::of("file", looker.looked(), None);
    let (scanned, first) = oneshot::channel();
    let (end, mut looked) = oneshot::channel();
    let once = args.once;
    let look = move || {
        let mut looker = looker;
        let files = looker.scan()?;
        // Nobody waits for it any more when the program stops.
        let _ = scanned.send(files);
        if once { Ok(()) } else { looker.run() }
    };
    thread::Builder::new()
        .name("tilde-watch".into())
        .spawn(move || end.send(look()))
        .context("no thread can be started")?;
    let ready = async {
        if let Ok(files) = first.await {
            drop(progress);
            if !once {
                output::line(args.ready(files))?;
            }
        }
        std::future::pending::<anyhow::Result<()>>().await
    };
    tokio::pin!(ready);
    tokio::select! {
        // A failure to say so is one of whoever started this.
        said = &mut ready => said,
        failed = outbox.run() => failed,
        ended = &mut looked => {
            ended.context("the thread that looks at files is gone")??;
            time::timeout(ONCE, outbox.drain()).await.unwrap_or(Ok(()))?;
            args.left(room)
        }
        () = interrupt.wait() => {
            let _ = time::timeout(LAST, outbox.drain()).await;
            args.left(room)
        }
    }
}

impl Args {
    fn ready(&self, files: u64) -> String {
        let directories: Vec<_> = self.directories.iter().map(|path| path.display().to_string()).collect();
        format!("watching {} in {}", output::count(files, "file"), directories.join(", "))
    }

    /// How it ends, by what could not be published.
    fn left(&self, room: &Room) -> anyhow::Result<()> {
        let changes = output::count(room.changes(), "change");
        match (&self.state, room.changes()) {
            (_, 0) => Ok(()),
            (Some(state), _) if !self.once => {
                eprintln!("{changes} to be published yet, by the next start with --state {}", state.display());
                Ok(())
            }
            (Some(_), _) => Err(Failure::new(format!("{changes} could not be published within {}", Span(ONCE)))
                .hint("the next run publishes what is left")
                .into()),
            (None, _) => Err(Failure::new(format!("what could not be published is lost: {changes}"))
                .hint("--state FILE keeps them until the broker is back")
                .into()),
        }
    }
}

/// Refuses what would leave out nothing, or everything.
fn excluding(pattern: &str) -> Result<(), Failure> {
    match pattern.is_empty() || pattern.starts_with(['/', '~']) || pattern.starts_with("./") {
        true => Err(Failure::usage(format!(
            "--exclude '{pattern}' leaves out nothing, or all: write a path below the watched directory, as in 'target/~' \
             or 'notes.txt'; only beginnings can be left out, not endings"
        ))),
        false => Ok(()),
    }
}

/// What may stand at the beginning of a topic.
fn prefix(text: &str) -> Result<String, String> {
    match text.contains('~') || text.contains(char::is_control) || text.starts_with('$') || text.len() > 255 {
        true => Err("write at most 255 bytes, without ~ and control characters, that do not begin with $".into()),
        false => Ok(text.to_owned()),
    }
}

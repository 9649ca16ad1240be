//! `tilde subscribe`: prints what matches, as it comes, and comes back after a broken connection.

use std::{
    future,
    io::{self, BufWriter, StdoutLock, Write},
};

use super::{
    failure::Failure,
    gap,
    interrupt::Interrupt,
    message::Form,
    number, output, pattern,
    remote::{self, Remote, Tenant},
    start::Start,
};
use crate::{
    client::{Event, Fault, LagPolicy, Message, Subscriber},
    pb::v1::start_position::{Position, Preset},
};

/// Print the messages of all topics that match, as they come
///
/// A pattern matches at its first `~`, whatever follows: `orders/~` is every topic that begins with `orders/`, `~` is
/// every topic, `orders` is that topic alone. Goes on until it is stopped, unless --count or --end ends it.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Which topics; quote the `~` where the shell would replace it
    #[arg(required = true, value_name = "PATTERN")]
    patterns: Vec<String>,

    /// Where to begin: `new` (what is published from now on), `earliest` (everything still kept), a sequence as in 1042
    /// (that one first), a time as in 2026-11-21T10:00:00Z or how long ago as in 2h (what was published then or later), or a
    /// cursor as --format json prints it (what came after it)
    #[arg(long, value_name = "POSITION", default_value = "new", group = "start")]
    from: Start,

    /// Begin with the last N messages that match, at most 100,000; then new ones
    #[arg(long, value_name = "N", conflicts_with = "from", value_parser = clap::value_parser!(u32).range(1..))]
    #[arg(group = "last_messages")]
    last: Option<u32>,

    /// Begin with the newest message of each topic that matches; then new ones
    #[arg(long, conflicts_with_all = ["from", "last"])]
    last_per_topic: bool,

    /// Print only messages for which this is true, in CEL, as in 'attributes.lang == "en" && topic.endsWith("/docs")'
    #[arg(long, value_name = "CEL")]
    filter: Option<String>,

    /// End after this many messages, at least 1
    #[arg(long, value_name = "N", group = "max_messages", value_parser = number::from_one)]
    count: Option<u64>,

    /// End when everything is printed that the broker had when it was asked
    #[arg(long)]
    end: bool,

    /// How to print a message
    #[arg(long, value_enum, default_value = "text")]
    format: Form,

    /// Fail if the position is no longer kept, instead of telling of the gap on standard error
    #[arg(long)]
    strict: bool,

    /// What the broker does if this command reads too slowly
    #[arg(long, value_enum, default_value = "catch-up")]
    lag: Lag,

    /// Come back after a broken connection and go on where it broke; `--reconnect=false` fails instead
    #[arg(long, value_name = "BOOL", default_value_t = true, num_args = 0..=1, require_equals = true)]
    #[arg(action = clap::ArgAction::Set, default_missing_value = "true")]
    reconnect: bool,

    #[command(flatten)]
    tenant: Tenant,

    #[command(flatten)]
    remote: Remote,
}

const EXAMPLES: &str = "\
Examples:
  tilde subscribe 'orders/~'                          from now on
  tilde subscribe 'orders/~' 'refunds/~' --format json
  tilde subscribe logs/app --from earliest --end --format raw > app.log
  tilde subscribe '~' --from 1042 --count 10
  tilde subscribe 'logs/~' --from 2h --filter 'attributes.level in [\"warn\", \"error\"]'
  tilde subscribe 'config/~' --last-per-topic        what holds now, and every change

With --format json the last message of those that came together has a `cursor`: --from CURSOR goes on after it.";

/// What the broker does with a stream that lags.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Lag {
    /// Sends everything from the log; nothing is lost
    CatchUp,
    /// Jumps to the newest; the gap is told on standard error
    Skip,
    /// Ends the stream; the command fails
    Disconnect,
}

/// Runs it.
pub fn run(args: Args) -> anyhow::Result<()> {
    pattern::warn(&args.patterns);
    remote::run(async {
        let mut interrupt = Interrupt::listen(0)?;
        let mut reader = Reader::new(&args)?;
        let end = tokio::select! {
            end = reader.follow() => end,
            () = interrupt.wait() => Ok(()),
        };
        reader.out.flush()?;
        end
    })
}

/// Prints what comes, over any number of streams.
struct Reader<'a> {
    args: &'a Args,
    subscriber: Subscriber,
    out: BufWriter<StdoutLock<'static>>,
}

impl<'a> Reader<'a> {
    fn new(args: &'a Args) -> anyhow::Result<Self> {
        Ok(Reader { args, subscriber: args.subscriber()?, out: output::stdout() })
    }

    async fn follow(&mut self) -> anyhow::Result<()> {
        while let Some(event) = self.next().await? {
            match event.map_err(|fault| self.args.remote.failure(fault))? {
                Event::Messages { messages, cursor } => self.print(&messages, &cursor)?,
                Event::Gap(gap) => self.tell(&gap::sentence(&gap, "as --lag skip asks for"))?,
                Event::CaughtUp => {}
                // Once the broker has answered it is worth coming back.
                Event::Disconnected(fault) if self.args.reconnect && self.subscriber.cursor().is_some() => {
                    self.tell(&broken_sentence(&fault))?;
                }
                Event::Disconnected(fault) => return Err(self.args.remote.failure(fault).into()),
                Event::Connected => self.tell("connected again")?,
            }
        }
        Ok(())
    }

    /// The next event. What was printed is flushed before this waits.
    async fn next(&mut self) -> io::Result<Option<Result<Event, Fault>>> {
        let ready = tokio::select! {
            biased;
            event = self.subscriber.next() => Some(event),
            () = future::ready(()) => None,
        };
        match ready {
            Some(event) => Ok(event),
            None => {
                self.out.flush()?;
                Ok(self.subscriber.next().await)
            }
        }
    }

    fn print(&mut self, messages: &[Message], cursor: &str) -> io::Result<()> {
        let last = messages.len() - 1;
        for (at, message) in messages.iter().enumerate() {
            self.args.format.write(&mut self.out, message, (at == last).then_some(cursor))?;
        }
        Ok(())
    }

    /// Tells the person something, behind what is printed already.
    fn tell(&mut self, sentence: &str) -> io::Result<()> {
        self.out.flush()?;
        eprintln!("{sentence}");
        Ok(())
    }
}

impl Args {
    fn subscriber(&self) -> Result<Subscriber, Failure> {
        let lag_policy = match self.lag {
            Lag::CatchUp => LagPolicy::CatchUp,
            Lag::Skip => LagPolicy::Skip,
            Lag::Disconnect => LagPolicy::Disconnect,
        };
        let position = match (self.last, self.last_per_topic) {
            (Some(last), _) => Position::LastMessages(last),
            (None, true) => Position::Preset(Preset::LastPerTopic.into()),
            (None, false) => self.from.0.clone(),
        };
        let client = self.remote.client(&self.tenant)?;
        let subscribe = client.subscribe(&self.patterns).from(position).lag_policy(lag_policy);
        let subscribe = subscribe.filter(self.filter.clone().unwrap_or_default());
        let subscribe = subscribe.max_messages(self.count.unwrap_or_default()).stop_at_end(self.end);
        Ok(subscribe.strict(self.strict).start())
    }
}

fn broken_sentence(fault: &Fault) -> String {
    let why = match fault.reason.as_deref() {
        // What the broker advises besides is what this command does.
        Some("DRAINING") => "the broker is stopping".to_owned(),
        _ => fault.to_string(),
    };
    format!("disconnected: {why}; trying until a broker answers, to go on where it broke; Ctrl-C ends it")
}

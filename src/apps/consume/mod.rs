//! `tilde consume`: works off a durable subscription with a command a message, or prints it.
//!
//! `worker` is the loop that does it. The stream, and what is held and said on it, is the client's.

mod worker;

use std::{ffi::OsString, time::Duration};

use self::worker::{Work, Worker};
use super::{
    failure::Failure,
    interrupt::Interrupt,
    message::Form,
    number, output,
    program::Program,
    remote::{self, Remote, Tenant},
};
use crate::{
    client::Consume,
    units::{Span, above_zero},
};

/// Run a command for each message of a subscription, or print them
///
/// The command gets the payload on its standard input. Exit code 0 acknowledges the message, any other sends it back as
/// failed. A message is acknowledged only after its command has succeeded, and may come more than once. Without a command
/// messages are printed, and acknowledged once they are.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The subscription
    name: String,

    /// What to run for each message
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,

    /// Commands that run at the same time
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    jobs: u32,

    /// Messages that are delivered and not settled, at most 100000 [default: as many as --jobs; 100 without a command]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    max_outstanding: Option<u32>,

    /// End after so many deliveries were settled: acknowledged, or sent back as failed. A message that comes again counts
    /// again. If a command failed, the exit code is 3
    #[arg(long, value_name = "N", value_parser = number::from_one)]
    count: Option<u64>,

    /// Kill a command that takes longer, as in 90s or 1h; its message is sent back as failed [default: no limit]
    #[arg(long, value_name = "DURATION", requires = "command", value_parser = above_zero)]
    timeout: Option<Duration>,

    /// Names this consumer, in stats and with dead letters [default: made by chance]
    #[arg(long, value_name = "ID")]
    consumer_id: Option<String>,

    /// How to print a message, without a command
    #[arg(long, value_enum, default_value = "text", conflicts_with = "command")]
    format: Form,

    #[command(flatten)]
    tenant: Tenant,

    #[command(flatten)]
    remote: Remote,
}

const EXAMPLES: &str = "\
Examples:
  tilde consume mails -- ./send-mail
  tilde consume images --jobs 4 --timeout 5m -- sh -c 'convert - \"out/$TILDE_SEQUENCE.png\"'
  tilde consume mails --count 10 --format json

In the command's environment (empty if the message has none):
  TILDE_TOPIC  TILDE_SEQUENCE  TILDE_ATTEMPT  TILDE_MESSAGE_ID  TILDE_ORDERING_KEY  TILDE_CONTENT_TYPE
  TILDE_REPLY_TO  TILDE_CORRELATION_ID
  TILDE_ATTRIBUTE_<NAME>, a variable an attribute: `ce-type` is TILDE_ATTRIBUTE_CE_TYPE

Ctrl-C or SIGTERM: takes nothing more, waits for the commands that run, and settles them. A second time: \
kills them and gives their messages back, which counts no attempt. SIGKILL leaves it no time for that: a command that runs \
then goes on, while its message comes again.";

/// What is delivered ahead where nothing but printing is to be done.
const PRINTED_AHEAD: u32 = 100;

/// Runs it.
pub fn run(args: Args) -> anyhow::Result<()> {
    remote::run(async {
        let interrupt = Interrupt::listen_patiently(1)?;
        let (work, consume) = (args.work(), args.consume()?);
        Worker::new(work, consume, args.window(), args.count, args.remote).run(interrupt).await
    })
}

impl Args {
    fn work(&self) -> Work {
        match self.command.is_empty() {
            true => Work::Print(self.format, output::stdout()),
            false => Work::Run(Program::new(self.command.clone(), self.timeout.map(Span)), self.jobs as usize),
        }
    }

    fn window(&self) -> u32 {
        let ahead = if self.command.is_empty() { PRINTED_AHEAD } else { self.jobs };
        self.max_outstanding.unwrap_or(ahead)
    }

    /// What is worked off. A command may take its time.
    fn consume(&self) -> Result<Consume, Failure> {
        let consume = self.remote.client(&self.tenant)?.consume(&self.name).keep_leases(Duration::MAX);
        Ok(match &self.consumer_id {
            Some(id) => consume.consumer_id(id),
            None => consume,
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn parsed(words: &[&str]) -> Result<Args, clap::Error> {
        Line::try_parse_from([&["tilde"], words].concat()).map(|line| line.args)
    }

    #[test]
    fn the_window_is_what_can_be_worked_on() {
        let window = |words: &[&str]| parsed(words).unwrap().window();
        assert_eq!(window(&["s"]), 100);
        assert_eq!(window(&["s", "--", "cat", "--jobs"]), 1);
        assert_eq!(window(&["s", "--jobs", "4", "--", "cat"]), 4);
        assert_eq!(window(&["s", "--jobs", "4", "--max-outstanding", "8", "--", "cat"]), 8);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for bad in [
            &["s", "cat"][..],
            &["s", "--jobs", "0", "--", "cat"],
            &["s", "--count", "0"],
            &["s", "--timeout", "1s"],
            &["s", "--format", "raw", "--", "cat"],
        ] {
            assert!(parsed(bad).is_err(), "{bad:?}");
        }
    }
}

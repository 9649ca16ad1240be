//! `tilde respond`: answers calls with what a command says.

use std::{ffi::OsString, time::Duration};

use tokio::task::JoinSet;

use super::{
    failure::Failure,
    interrupt::Interrupt,
    message::on_its_line,
    number, pattern, payload,
    program::{Outcome, Program},
    remote::{self, Remote, Tenant},
};
use crate::{
    client::{PublishRequest, Question, Responder},
    units::{Span, above_zero},
};

/// The attribute of a reply whose command failed: why.
pub const ERROR: &str = "tilde-error";
/// What a command may say: the broker takes messages of a MiB, their envelope included.
const REPLY_BYTES: usize = (1 << 20) - (12 << 10);

/// Answer calls with a command
///
/// The command gets the request's payload on its standard input; what it says on its standard output is the reply. If it
/// fails, the reply has the attribute `tilde-error` with the reason. Requests that come while nobody answers are not kept:
/// whoever must not miss any has a subscription (`tilde consume`).
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Which topics: "a/b" is that topic, "a/~" all that begin with a/
    #[arg(required = true, value_name = "PATTERN")]
    patterns: Vec<String>,

    /// What to run for each request
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,

    /// Commands that run at the same time
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    jobs: u32,

    /// Kill a command that takes longer, as in 90s or 1h, and answer that it did
    #[arg(long, value_name = "DURATION", default_value = "20s", value_parser = above_zero)]
    timeout: Duration,

    /// What the replies are, as in application/json
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,

    /// End after so many requests
    #[arg(long, value_name = "N", value_parser = number::from_one)]
    count: Option<u64>,

    #[command(flatten)]
    tenant: Tenant,

    #[command(flatten)]
    remote: Remote,
}

const EXAMPLES: &str = "\
Examples:
  tilde respond 'upper/~' -- tr a-z A-Z
  tilde respond 'files/~' --jobs 2 -- sh -c 'cat \"/srv/$TILDE_TOPIC\"'
  tilde call upper/x hello

In the command's environment (empty if the request has none):
  TILDE_TOPIC  TILDE_SEQUENCE  TILDE_ORDERING_KEY  TILDE_CONTENT_TYPE  TILDE_REPLY_TO  TILDE_CORRELATION_ID
  TILDE_ATTRIBUTE_<NAME>, a variable an attribute: `ce-type` is TILDE_ATTRIBUTE_CE_TYPE

Ctrl-C or SIGTERM: takes nothing more, and waits for the commands that run. A second time: kills them.";

/// Runs it.
pub fn run(args: Args) -> anyhow::Result<()> {
    pattern::warn(&args.patterns);
    remote::run(async {
        let (mut first, mut second) = {
            let interrupt = Interrupt::listen_patiently(1)?;
            (interrupt.clone(), interrupt)
        };
        let mut questions = args.remote.client(&args.tenant)?.respond(&args.patterns);
        tokio::select! {
            ready = questions.ready() => ready.map_err(|fault| args.remote.failure(fault))?,
            () = first.wait() => return Ok(()),
        }
        eprintln!("answering calls on {}", on_its_line(&args.patterns.join(" ")));
        let mut running = JoinSet::new();
        let ended = tokio::select! {
            ended = answer(&args, &mut questions, &mut running) => ended,
            () = first.wait() => Ok(()),
        };
        // Callers know from now on that nobody answers here.
        drop(questions);
        let rest = async { while running.join_next().await.is_some() {} };
        tokio::select! {
            () = rest => {}
            () = second.wait_for(2) => running.abort_all(),
        }
        ended
    })
}

/// Answers until as many have come as were asked for, or none can come any more.
async fn answer(args: &Args, questions: &mut Responder, running: &mut JoinSet<()>) -> anyhow::Result<()> {
    let program = Program::new(args.command.clone(), Some(Span(args.timeout)));
    let mut left = args.count.unwrap_or(u64::MAX);
    while left > 0 {
        if running.len() >= args.jobs as usize {
            running.join_next().await;
            continue;
        }
        let question = match questions.next().await {
            Some(question) => question.map_err(|fault| args.remote.failure(fault))?,
            None => return Err(Failure::new("the broker ended the stream").into()),
        };
        left -= 1;
        running.spawn(work(question, program.clone(), args.content_type.clone().unwrap_or_default()));
    }
    Ok(())
}

/// Answers one request.
async fn work(question: Question, program: Program, content_type: String) {
    let topic = on_its_line(&question.message.topic);
    let (error, said) = match program.clone().ask(question.message.clone(), REPLY_BYTES).await {
        Ok((Outcome::Done, said)) => (None, said),
        Ok((Outcome::Failed(cause), said)) => (Some(cause.to_string()), said),
        Err(error) => (Some(format!("{} cannot be run: {error}", program.name())), Vec::new()),
    };
    if let Some(error) = &error {
        eprintln!("{topic}: {}", on_its_line(error));
    }
    let attributes = error.map(|error| (ERROR.to_owned(), error)).into_iter().collect();
    let said = said.into_iter().take(REPLY_BYTES).collect();
    let reply = PublishRequest { payload: Some(payload::of(said)), attributes, content_type, ..Default::default() };
    match question.reply(reply).await {
        Ok(_) => {}
        // The caller had it from somebody else, or has left.
        Err(fault) if fault.reason.as_deref() == Some("CALL_ENDED") => {}
        Err(fault) => eprintln!("{topic}: the reply was not taken: {}", on_its_line(&fault.to_string())),
    }
}

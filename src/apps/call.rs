//! `tilde call`: asks over a topic, and prints what is answered.

use std::{io::Write as _, path::PathBuf, time::Duration};

use super::{
    failure::Failure,
    message::Form,
    output, payload,
    remote::{self, Remote, Tenant},
    respond::ERROR,
};
use crate::{
    client::PublishRequest,
    units::{Span, above_zero},
};

/// Publish a request and print its replies
///
/// Whoever answers calls on the topic gets the request: `tilde respond`, or any client that subscribes with `responder` and
/// publishes to the request's `reply_to` with its `correlation_id`. If nobody is there, that is said at once.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Where to
    topic: String,

    /// The payload; without it a file or pipe on standard input is read
    #[arg(conflicts_with = "file")]
    text: Option<String>,

    /// Ask what this file holds
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,

    /// An attribute; may be given up to 64 times
    #[arg(short = 'a', long = "attribute", value_name = "KEY=VALUE", value_parser = payload::attribute)]
    attributes: Vec<(String, String)>,

    /// What the payload is, as in application/json
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,

    /// How long to wait, as in 5s or 2m; at most 1h
    #[arg(long, value_name = "DURATION", default_value = "20s", value_parser = above_zero)]
    timeout: Duration,

    /// How many replies are wanted, at most 100. What has come when the time is over is printed
    #[arg(long, value_name = "N", default_value_t = 1, group = "max_replies")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100))]
    replies: u32,

    /// Calls to the topic with the same key that wait at the same time share one request
    #[arg(long, value_name = "KEY")]
    collapse_key: Option<String>,

    /// How to print a reply
    #[arg(long, value_enum, default_value = "raw")]
    format: Form,

    #[command(flatten)]
    tenant: Tenant,

    #[command(flatten)]
    remote: Remote,
}

const EXAMPLES: &str = "\
Examples:
  tilde respond 'prices/~' -- ./price          somebody who answers
  tilde call prices/eu 7
  tilde call prices/eu --file order.json --timeout 5s
  tilde call status/all '' --replies 3 --timeout 1s --format json";

/// Runs it.
pub fn run(args: Args) -> anyhow::Result<()> {
    remote::run(async {
        let request = PublishRequest {
            topic: args.topic.clone(),
            payload: Some(payload::read(args.text.as_deref(), args.file.as_deref(), "call")?),
            attributes: args.attributes.iter().cloned().collect(),
            content_type: args.content_type.clone().unwrap_or_default(),
            ..PublishRequest::default()
        };
        let call = args.remote.client(&args.tenant)?.call(request).timeout(args.timeout).max_replies(args.replies);
        let call = match &args.collapse_key {
            Some(key) => call.collapse_key(key),
            None => call,
        };
        let replies = call.await.map_err(|fault| args.remote.failure(fault))?;
        let mut out = output::stdout();
        for reply in &replies.messages {
            args.format.write(&mut out, reply, None)?;
        }
        out.flush()?;
        if replies.messages.len() < args.replies as usize {
            eprintln!("{} of {} replies came within {}", replies.messages.len(), args.replies, Span(args.timeout));
        }
        match replies.messages.iter().find_map(|reply| reply.attributes.get(ERROR)) {
            Some(error) => Err(Failure::in_part(format!("who answered failed: {error}")).into()),
            None => Ok(()),
        }
    })
}

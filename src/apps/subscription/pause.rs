//! `tilde subscription pause` and `resume`.

use std::time::Duration;

use jiff::Timestamp;

use super::home::{Home, Name, Print};
use crate::{
    apps::output::{self, Format},
    clock::{Clock as _, SystemClock},
    pb::v1::{PauseSubscriptionRequest, ResumeSubscriptionRequest},
    units::above_zero,
};

/// Deliver nothing until it is resumed; what is out already can be settled
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    name: Name,

    /// Go on by itself at this time, as in 2026-11-21T10:00:00Z
    #[arg(long, value_name = "TIME", conflicts_with = "length", value_parser = time)]
    until: Option<Timestamp>,

    /// Go on by itself after this time, as in 30m
    #[arg(long = "for", value_name = "DURATION", value_parser = above_zero)]
    length: Option<Duration>,

    #[command(flatten)]
    print: Print,
}

const EXAMPLES: &str = "\
Examples:
  tilde subscription pause mails
  tilde subscription pause mails --for 30m
  tilde subscription pause mails --until 2026-11-21T10:00:00Z";

/// Deliver again; no error if it is not paused
///
/// One that is tripped tries at full speed again.
#[derive(clap::Args, Debug)]
pub struct ResumeArgs {
    #[command(flatten)]
    name: Name,

    #[command(flatten)]
    print: Print,
}

/// Pauses it.
pub async fn run(args: &Args, home: &Home) -> anyhow::Result<()> {
    let (name, until) = (&args.name.name, args.until());
    let request = PauseSubscriptionRequest { name: name.clone(), namespace: home.namespace(), until };
    let answer = home.subscriptions().await?.pause_subscription(request).await;
    answer.map_err(|status| home.failure(status))?;
    match (args.print.format, output::time(until.as_ref())) {
        (Format::Json, until) if until.is_empty() => output::json(&serde_json::json!({ "paused": name }))?,
        (Format::Json, until) => output::json(&serde_json::json!({ "paused": name, "until": until }))?,
        (Format::Text, until) if until.is_empty() => output::line(format!("subscription {name} paused"))?,
        (Format::Text, until) => output::line(format!("subscription {name} paused until {until}"))?,
    }
    Ok(())
}

/// Lets it go on.
pub async fn resume(args: &ResumeArgs, home: &Home) -> anyhow::Result<()> {
    let name = &args.name.name;
    let request = ResumeSubscriptionRequest { name: name.clone(), namespace: home.namespace() };
    let answer = home.subscriptions().await?.resume_subscription(request).await;
    answer.map_err(|status| home.failure(status))?;
    match args.print.format {
        Format::Json => output::json(&serde_json::json!({ "resumed": name }))?,
        Format::Text => output::line(format!("subscription {name} resumed"))?,
    }
    Ok(())
}

impl Args {
    fn until(&self) -> Option<prost_types::Timestamp> {
        let (seconds, nanos) = match (self.until, self.length) {
            (Some(time), _) => (time.as_second(), time.subsec_nanosecond()),
            (None, Some(length)) => SystemClock.now().plus(length).parts(),
            (None, None) => return None,
        };
        Some(prost_types::Timestamp { seconds, nanos })
    }
}

fn time(text: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|_| "write a time as in 2026-11-21T10:00:00Z; for how long is --for".into())
}

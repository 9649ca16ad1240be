//! `tilde subscription seek`.

use super::home::{Home, Name, Print};
use crate::{
    apps::{
        output::{self, Format},
        start::Start,
    },
    pb::v1::{SeekSubscriptionRequest, start_position::Position},
};

/// Begin anew at another position, back or ahead
///
/// What lies before it is done with. What lies behind it is delivered, also if it was settled.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    name: Name,

    /// Where to: `new`, `earliest` (everything still kept), a sequence as in 1042 (that one first), a time as in
    /// 2026-11-21T10:00:00Z or how long ago as in 2h (what was published then or later), or a cursor as in cursor:… (what
    /// came after it)
    #[arg(long, value_name = "POSITION", required_unless_present = "last", group = "position")]
    to: Option<Start>,

    /// Deliver the last N messages that match, at most 100,000; then new ones
    #[arg(long, value_name = "N", conflicts_with = "to", value_parser = clap::value_parser!(u32).range(1..))]
    #[arg(group = "last_messages")]
    last: Option<u32>,

    /// Count what would be delivered, and move nothing
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    print: Print,
}

const EXAMPLES: &str = "\
Examples:
  tilde subscription seek mails --to 2h --dry-run      how much would come again
  tilde subscription seek mails --to 2h                the last two hours again
  tilde subscription seek mails --to new               done with all that waits";

/// Runs it.
pub async fn run(args: &Args, home: &Home) -> anyhow::Result<()> {
    let last = args.last.map(|last| Start(Position::LastMessages(last)));
    let request = SeekSubscriptionRequest {
        name: args.name.name.clone(),
        namespace: home.namespace(),
        position: last.or_else(|| args.to.clone()).map(Into::into),
        dry_run: args.dry_run,
    };
    let answer = home.subscriptions().await?.seek_subscription(request).await;
    let backlog = answer.map_err(|status| home.failure(status))?.into_inner().backlog_messages;
    let messages = output::count(backlog, "message");
    match args.print.format {
        Format::Json => {
            output::json(&serde_json::json!({ "backlog_messages": backlog, "dry_run": args.dry_run }))?;
        }
        Format::Text if args.dry_run => output::line(format!("up to {messages} would be delivered"))?,
        Format::Text => output::line(format!("up to {messages} to be delivered"))?,
    }
    Ok(())
}

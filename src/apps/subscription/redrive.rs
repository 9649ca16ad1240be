//! `tilde subscription redrive`.

use super::home::{Home, Name, Print};
use crate::{
    apps::{
        number,
        output::{self, Format},
    },
    pb::v1::RedriveDeadLettersRequest,
};

/// Send dead letters back to the subscription, and to no other; none a second time
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    name: Name,

    /// Only dead letters for which this is true, in CEL, as in 'attributes["tilde-reason"] == "exit code 3"'
    #[arg(long, value_name = "CEL")]
    filter: Option<String>,

    /// At most so many [default: all]
    #[arg(long, value_name = "N", group = "max_messages", value_parser = number::from_one)]
    max: Option<u64>,

    /// So many in a second, as in 0.5 or 100 [default: as fast as it goes]
    #[arg(long, value_name = "N", group = "messages_per_second", value_parser = rate)]
    rate: Option<f64>,

    /// Count what would be sent back, and send nothing
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    print: Print,
}

const EXAMPLES: &str = "\
Examples:
  tilde subscribe '$dead/mails' --from earliest --end --format json      what there is, and why
  tilde subscription redrive mails --dry-run
  tilde subscription redrive mails --rate 10 --filter 'attributes[\"tilde-topic\"] == \"orders/eu\"'";

/// Runs it.
pub async fn run(args: &Args, home: &Home) -> anyhow::Result<()> {
    let request = RedriveDeadLettersRequest {
        name: args.name.name.clone(),
        namespace: home.namespace(),
        filter: args.filter.clone().unwrap_or_default(),
        max_messages: args.max.unwrap_or_default(),
        messages_per_second: args.rate.unwrap_or_default(),
        dry_run: args.dry_run,
    };
    let answer = home.subscriptions().await?.redrive_dead_letters(request).await;
    let redriven = answer.map_err(|status| home.failure(status))?.into_inner().redriven_messages;
    let messages = output::count(redriven, "dead letter");
    match args.print.format {
        Format::Json => {
            output::json(&serde_json::json!({ "redriven_messages": redriven, "dry_run": args.dry_run }))?;
        }
        Format::Text if args.dry_run => output::line(format!("{messages} would be sent back"))?,
        Format::Text => output::line(format!("{messages} sent back"))?,
    }
    Ok(())
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if rate > 0.0 => Ok(rate),
        _ => Err("write a number above 0; without --rate it goes as fast as it can".into()),
    }
}

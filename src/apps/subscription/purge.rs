//! `tilde subscription purge`.

use super::home::{Home, Name, Print};
use crate::{
    apps::{
        ask,
        output::{self, Format},
    },
    pb::v1::PurgeSubscriptionRequest,
};

/// Settle all that waits by now, without delivering it and without dead letters
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    name: Name,

    /// Do not ask
    #[arg(long)]
    yes: bool,

    #[command(flatten)]
    print: Print,
}

/// Runs it.
pub async fn run(args: &Args, home: &Home) -> anyhow::Result<()> {
    let name = &args.name.name;
    if !args.yes {
        let stats = home.get(&args.name).await?.stats.unwrap_or_default();
        let messages = output::count(stats.backlog_messages, "message");
        ask::confirm(&format!("settle up to {messages} of subscription {name} without delivering them?"))?;
    }
    let request = PurgeSubscriptionRequest { name: name.clone(), namespace: home.namespace() };
    let answer = home.subscriptions().await?.purge_subscription(request).await;
    let purged = answer.map_err(|status| home.failure(status))?.into_inner().purged_messages;
    match args.print.format {
        Format::Json => output::json(&serde_json::json!({ "purged_messages": purged }))?,
        Format::Text => output::line(format!("{} purged", output::count(purged, "message")))?,
    }
    Ok(())
}

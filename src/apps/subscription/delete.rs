//! `tilde subscription delete`.

use super::home::{Home, Name, Print};
use crate::{
    apps::{
        ask,
        output::{self, Format},
    },
    pb::v1::DeleteSubscriptionRequest,
};

/// Delete a subscription with all that it remembers, for good; messages and dead letters stay
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
    let mut client = home.subscriptions().await?;
    if !args.yes {
        ask::confirm(&format!("delete subscription {name} with all that it remembers for good?"))?;
    }
    let request = DeleteSubscriptionRequest { name: name.clone(), namespace: home.namespace() };
    client.delete_subscription(request).await.map_err(|status| home.failure(status))?;
    match args.print.format {
        Format::Json => output::json(&serde_json::json!({ "deleted": name }))?,
        Format::Text => output::line(format!("subscription {name} deleted"))?,
    }
    Ok(())
}

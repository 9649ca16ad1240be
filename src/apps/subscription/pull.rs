//! `tilde subscription pull`.

use std::{
    io::{self, Write},
    time::Duration,
};

use super::{
    acknowledge,
    home::{Home, Name},
};
use crate::{
    apps::{
        delivery::With,
        gap,
        message::Form,
        output::{self, wire_duration},
    },
    client,
    pb::v1::{AckMode, Delivery, PullRequest, PullResponse, Settlement, Subscription, Verdict, subscription::State},
    units::Span,
};

/// Take what waits, once, and print it
///
/// What is not acknowledged before the subscription's ack deadline comes again: by --ack, or later with `tilde
/// subscription ack` and the ack_id, which stands in front of each message unless --ack or --auto settles it.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    name: Name,

    /// Take at most so many; fewer come if they are large
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    #[arg(group = "max_messages")]
    max: u32,

    /// Wait so long for the first, if nothing waits
    #[arg(long, value_name = "DURATION", default_value = "0s", group = "max_wait")]
    wait: Span,

    /// Also take what waits for another attempt, before its time
    ///
    /// The oldest come first. Consumers are handed nothing meanwhile, and what they have is awaited as long as --wait
    /// allows: what they settle is not taken, and what they fail is. A subscription that is tripped delivers, too.
    #[arg(long)]
    early: bool,

    /// Acknowledge what was printed
    #[arg(long)]
    ack: bool,

    /// Settled as soon as it is delivered: what is lost on its way does not come again
    #[arg(long, conflicts_with = "ack")]
    auto: bool,

    /// How to print a message; `raw` leaves out the ack_id
    #[arg(long, value_enum, default_value = "text", display_order = 900)]
    format: Form,
}

const EXAMPLES: &str = "\
Examples:
  tilde subscription pull mails --ack
  tilde subscription pull mails --max 1 --wait 20s --format json
  tilde subscription pull mails --early --wait 20s      also what has failed and waits to be tried again
  tilde subscription pull mails                         then: tilde subscription ack mails ACK_ID";

/// How much longer the answer may take than the wait.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Runs it.
pub async fn run(args: &Args, home: &Home) -> anyhow::Result<()> {
    let mut client = home.messages().await?;
    let limit = args.wait.0.saturating_add(ANSWER_WITHIN);
    let answer = client::within(limit, args.request(home), |request| client.pull(request)).await;
    let PullResponse { deliveries, gap, .. } = answer.map_err(|fault| home.failure(fault))?;
    if let Some(gap) = &gap {
        eprintln!("{}", gap::sentence(gap, gap::FULL));
    }
    args.print(&deliveries)?;
    if deliveries.is_empty() && args.format == Form::Text {
        // The pull itself went well.
        if let Ok(subscription) = home.get(&args.name).await {
            eprintln!("{}", nothing(&subscription, args.early));
        }
    }
    if !args.ack || deliveries.is_empty() {
        return Ok(());
    }
    let ack_ids = deliveries.into_iter().map(|delivery| delivery.ack_id).collect();
    let ack = Settlement { ack_ids, verdict: Verdict::Ack.into(), ..Settlement::default() };
    let settled = acknowledge::settle(&args.name, ack, home).await?;
    Ok(settled.failure("acknowledged").map_or(Ok(()), Err)?)
}

/// Why there was nothing to be had.
fn nothing(subscription: &Subscription, early: bool) -> String {
    let name = &subscription.name;
    let stats = subscription.stats.unwrap_or_default();
    let (waiting, held) = (stats.backlog_messages, u64::from(stats.outstanding_messages));
    let why = match subscription.state() {
        State::Paused => format!("it is paused: `tilde subscription resume {name}` lets it deliver again"),
        State::Tripped if !early => {
            "it is tripped: too many failed in a row, and it tries one message at a time".to_owned()
        }
        _ if waiting == 0 => "no message waits".to_owned(),
        _ if held >= waiting => format!("all that waits is with consumers, {}", output::count(held, "message")),
        _ => format!(
            "up to {} wait for their time or their turn, or do not pass the filter; \
             `tilde subscription explain {name} SEQUENCE` says which",
            output::count(waiting - held, "message")
        ),
    };
    format!("nothing came of subscription {name}: {why}")
}

impl Args {
    fn request(&self, home: &Home) -> PullRequest {
        let ack_mode = if self.auto { AckMode::Auto } else { AckMode::Explicit };
        PullRequest {
            subscription: self.name.name.clone(),
            max_messages: self.max,
            max_wait: Some(wire_duration(self.wait.0)),
            ack_mode: ack_mode.into(),
            namespace: home.namespace(),
            include_backing_off: self.early,
        }
    }

    fn print(&self, deliveries: &[Delivery]) -> io::Result<()> {
        let with = if self.ack || self.auto { With::Nothing } else { With::AckId };
        let mut out = output::stdout();
        for delivery in deliveries {
            with.write(&mut out, self.format, delivery)?;
        }
        out.flush()
    }
}

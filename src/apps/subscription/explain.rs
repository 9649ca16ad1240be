//! `tilde subscription explain`.

use std::time::Duration;

use serde::Serialize;

use super::{
    describe::word,
    home::{Home, Name, Print},
};
use crate::{
    apps::{
        message, number,
        output::{self, Format, wire_duration},
    },
    client,
    pb::v1::{ExplainDeliveryRequest, ExplainDeliveryResponse},
    units::Span,
};

/// Say where one message stands with the subscription, and why
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    name: Name,

    /// The message, by its sequence as in 1042
    #[arg(value_name = "SEQUENCE", value_parser = number::sequence)]
    sequence: u64,

    /// Wait so long until it was tried once, or is settled; not while the subscription is paused or tripped
    #[arg(long, value_name = "DURATION", default_value = "0s", group = "max_wait")]
    wait: Span,

    #[command(flatten)]
    print: Print,
}

const EXAMPLES: &str = "\
Examples:
  tilde subscription explain mails 1042
  tilde subscription explain mails 1042 --wait 20s";

/// How much longer the answer may take than the wait.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Runs it.
pub async fn run(args: &Args, home: &Home) -> anyhow::Result<()> {
    let (name, sequence) = (args.name.name.clone(), args.sequence);
    let max_wait = Some(wire_duration(args.wait.0));
    let request = ExplainDeliveryRequest { name, namespace: home.namespace(), sequence, max_wait };
    let mut client = home.subscriptions().await?;
    let limit = args.wait.0.saturating_add(ANSWER_WITHIN);
    let answer = client::within(limit, request, |request| client.explain_delivery(request)).await;
    let answer = answer.map_err(|fault| home.failure(fault))?;
    let object = Object::new(&answer);
    match args.print.format {
        Format::Json => output::json(&object)?,
        Format::Text => output::fields(&object.fields())?,
    }
    Ok(())
}

/// Where it stands, with the names of the contract. What there is not is left out.
#[derive(Serialize)]
struct Object<'a> {
    standing: String,
    explanation: &'a str,
    attempts: u32,
    #[serde(skip_serializing_if = "str::is_empty")]
    consumer_id: &'a str,
    #[serde(skip_serializing_if = "String::is_empty")]
    next_time: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    last_reason: &'a str,
}

impl<'a> Object<'a> {
    fn new(answer: &'a ExplainDeliveryResponse) -> Self {
        Object {
            standing: word(answer.standing().as_str_name(), "STANDING_"),
            explanation: &answer.explanation,
            attempts: answer.attempts,
            consumer_id: &answer.consumer_id,
            next_time: output::time(answer.next_time.as_ref()),
            last_reason: &answer.last_reason,
        }
    }

    fn fields(&self) -> Vec<(&'static str, String)> {
        let all = [
            ("standing", self.standing.clone()),
            ("explanation", message::on_its_line(self.explanation)),
            ("attempts", self.attempts.to_string()),
            ("consumer", message::on_its_line(self.consumer_id)),
            ("next time", self.next_time.clone()),
            ("last reason", message::on_its_line(self.last_reason)),
        ];
        all.into_iter().filter(|(_, value)| !value.is_empty()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb::v1::explain_delivery_response::Standing;

    #[test]
    fn what_there_is_not_is_left_out() {
        let dead = ExplainDeliveryResponse {
            standing: Standing::DeadLettered.into(),
            explanation: "why".into(),
            attempts: 2,
            last_reason: "exit\ncode".into(),
            ..Default::default()
        };
        let fields = Object::new(&dead).fields();
        let names: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["standing", "explanation", "attempts", "last reason"]);
        assert_eq!((fields[0].1.as_str(), fields[3].1.as_str()), ("dead-lettered", "exit\\ncode"));
    }
}

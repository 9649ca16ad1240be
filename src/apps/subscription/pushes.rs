//! `tilde subscription pushes` and `resend`.

use serde::Serialize;

use super::home::{Home, Name, Print};
use crate::{
    apps::{
        failure::Failure,
        message,
        output::{self, Column, Format, Table},
    },
    pb::v1::{ListPushAttemptsRequest, PushAttempt, ResendPushRequest},
};

/// The last pushes of a subscription with --push-url, the newest first
///
/// The broker remembers 100, and none from before it was started.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    name: Name,

    #[command(flatten)]
    print: Print,
}

/// Send the message of an earlier push once more, whatever became of it
///
/// It settles nothing. Exits with 1 if the target does not take it.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct ResendArgs {
    #[command(flatten)]
    name: Name,

    /// Which push, as `pushes` names it
    #[arg(value_name = "PUSH")]
    attempt: String,

    #[command(flatten)]
    print: Print,
}

const EXAMPLES: &str = "\
Examples:
  tilde subscription pushes mails
  tilde subscription resend mails 5f3a09c1-17";

const COLUMNS: &[Column] = &[
    Column::Left("PUSH"),
    Column::Right("SEQUENCE"),
    Column::Right("ATTEMPT"),
    Column::Left("TIME"),
    Column::Right("LATENCY"),
    Column::Right("STATUS"),
    Column::Left("ERROR"),
];

/// Lists them.
pub async fn run(args: &Args, home: &Home) -> anyhow::Result<()> {
    let request = ListPushAttemptsRequest { name: args.name.name.clone(), namespace: home.namespace() };
    let answer = home.subscriptions().await?.list_push_attempts(request).await;
    let attempts = answer.map_err(|status| home.failure(status))?.into_inner().attempts;
    match args.print.format {
        Format::Json => attempts.iter().try_for_each(|attempt| output::json(&Object::new(attempt)))?,
        Format::Text => {
            let mut table = Table::new(COLUMNS);
            attempts.iter().for_each(|attempt| table.row(Object::new(attempt).row()));
            table.print()?;
        }
    }
    Ok(())
}

/// Sends one once more.
pub async fn resend(args: &ResendArgs, home: &Home) -> anyhow::Result<()> {
    let request = ResendPushRequest {
        name: args.name.name.clone(),
        namespace: home.namespace(),
        attempt_id: args.attempt.clone(),
    };
    let answer = home.subscriptions().await?.resend_push(request).await;
    let attempt = answer.map_err(|status| home.failure(status))?.into_inner().attempt.unwrap_or_default();
    let object = Object::new(&attempt);
    match args.print.format {
        Format::Json => output::json(&object)?,
        Format::Text => output::fields(&object.fields())?,
    }
    match attempt.error.is_empty() {
        true => Ok(()),
        false => {
            Err(Failure::new(format!("the target did not take it: {}", message::on_its_line(&attempt.error))).into())
        }
    }
}

/// A push, with the names of the contract. What there is not is left out.
#[derive(Serialize)]
struct Object<'a> {
    attempt_id: &'a str,
    sequence: u64,
    attempt: u32,
    time: String,
    latency: String,
    #[serde(skip_serializing_if = "is_none")]
    status: u32,
    #[serde(skip_serializing_if = "str::is_empty")]
    error: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    response: &'a str,
}

fn is_none(status: &u32) -> bool {
    *status == 0
}

impl<'a> Object<'a> {
    fn new(attempt: &'a PushAttempt) -> Self {
        Object {
            attempt_id: &attempt.attempt_id,
            sequence: attempt.sequence,
            attempt: attempt.attempt,
            time: output::time(attempt.time.as_ref()),
            latency: latency(attempt.latency),
            status: attempt.status,
            error: &attempt.error,
            response: &attempt.response,
        }
    }

    fn row(&self) -> Vec<String> {
        let [push, sequence, attempt, time, latency, status, error, _] = self.fields().map(|(_, value)| value);
        vec![push, sequence, attempt, time, latency, status, error]
    }

    fn fields(&self) -> [(&'static str, String); 8] {
        [
            ("push", self.attempt_id.to_owned()),
            ("sequence", self.sequence.to_string()),
            ("attempt", if self.attempt == 0 { "resent".to_owned() } else { self.attempt.to_string() }),
            ("time", self.time.clone()),
            ("latency", self.latency.clone()),
            ("status", if is_none(&self.status) { "none".to_owned() } else { self.status.to_string() }),
            ("error", message::on_its_line(self.error)),
            ("response", message::on_its_line(self.response)),
        ]
    }
}

/// To the millisecond, as nobody compares more.
fn latency(latency: Option<prost_types::Duration>) -> String {
    let latency = latency.and_then(|latency| std::time::Duration::try_from(latency).ok()).unwrap_or_default();
    format!("{}ms", latency.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_there_is_not_is_left_out() {
        let attempt =
            PushAttempt { attempt_id: "a-1".into(), sequence: 7, error: "no\nanswer".into(), ..Default::default() };
        let object = serde_json::to_value(Object::new(&attempt)).unwrap();
        assert_eq!((object.get("status"), object.get("response")), (None, None));
        let row = Object::new(&attempt).row();
        assert_eq!(row, ["a-1", "7", "resent", "", "0ms", "none", "no\\nanswer"]);
    }
}

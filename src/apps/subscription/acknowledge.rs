//! `tilde subscription ack`: settles deliveries in any way.

use super::home::{Home, Name, Print};
use crate::{
    apps::{
        failure::Failure,
        message,
        output::{self, Format, wire_duration},
    },
    pb::v1::{AcknowledgeRequest, Confirmation, Settlement, Verdict},
    units::Span,
};

/// Settle deliveries that `pull` printed: acknowledge them, unless another flag says otherwise
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    name: Name,

    /// The deliveries, as `pull` named them
    #[arg(required = true, value_name = "ACK_ID")]
    ack_ids: Vec<String>,

    /// It failed: counts an attempt, and comes again
    #[arg(long, group = "verdict")]
    nack: bool,

    /// It was not tried: comes again at once, and counts nothing
    #[arg(long, group = "verdict")]
    release: bool,

    /// It will never do: to the dead letters now
    #[arg(long, group = "verdict")]
    reject: bool,

    /// Still working on it: the deadline is this long from now, at most 12h
    #[arg(long, value_name = "DURATION", groups = ["verdict", "settlements.delay"])]
    extend: Option<Span>,

    /// When it comes again, instead of what the retry policy says; at most 12h
    #[arg(long, value_name = "DURATION", requires = "nack", conflicts_with_all = ["release", "reject"])]
    #[arg(group = "settlements.delay")]
    delay: Option<Span>,

    /// Why, for --nack and --reject; kept with the message, at most 255 bytes
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["release", "extend"], requires = "verdict")]
    reason: Option<String>,

    #[command(flatten)]
    print: Print,
}

const EXAMPLES: &str = "\
Examples:
  tilde subscription ack mails ACK_ID
  tilde subscription ack mails ACK_ID --nack --delay 5m --reason 'the printer is out of paper'
  tilde subscription ack mails ACK_ID --extend 10m";

/// Runs it.
pub async fn run(args: &Args, home: &Home) -> anyhow::Result<()> {
    let settled = settle(&args.name, args.settlement(), home).await?;
    let words = args.words();
    match args.print.format {
        Format::Json => output::json(&settled.object())?,
        Format::Text => output::line(format!("{} {words}", settled.sentence()))?,
    }
    Ok(settled.failure(words).map_or(Ok(()), Err)?)
}

/// Says what became of deliveries. The answer says of which it was not taken.
pub async fn settle(name: &Name, settlement: Settlement, home: &Home) -> anyhow::Result<Settled> {
    let asked = settlement.ack_ids.len();
    let subscription = name.name.clone();
    let request = AcknowledgeRequest { subscription, settlements: vec![settlement], namespace: home.namespace() };
    let answer = home.messages().await?.acknowledge(request).await.map_err(|status| home.failure(status))?;
    Ok(Settled { asked, refused: answer.into_inner().refused })
}

/// What came of it.
#[derive(Debug)]
pub struct Settled {
    asked: usize,
    refused: Vec<Confirmation>,
}

impl Settled {
    /// What to tell if not all were taken.
    pub fn failure(&self, words: &str) -> Option<Failure> {
        let reasons: Vec<String> = self.refused.iter().map(refusal).collect();
        if reasons.is_empty() {
            return None;
        }
        let failure =
            Failure::new(format!("{} of {} were not {words}: {}", self.lost(), self.asked, reasons.join(", ")));
        let any = |reason: &str| self.refused.iter().any(|refused| refused.reason == reason);
        Some(match (any("ACK_ID_INVALID"), any("LEASE_EXPIRED")) {
            (true, _) => failure.hint(
                "`tilde subscription pull NAME` prints an ack_id in front of each message, for that subscription alone",
            ),
            (_, true) => failure.hint("they come, or came, again; a longer --ack-deadline or --extend gives more time"),
            _ => failure,
        })
    }

    fn lost(&self) -> usize {
        self.refused.iter().map(|refused| refused.ack_ids.len()).sum()
    }

    fn taken(&self) -> usize {
        self.asked.saturating_sub(self.lost())
    }

    fn sentence(&self) -> String {
        match self.taken() {
            1 => "1 delivery".to_owned(),
            taken => format!("{taken} deliveries"),
        }
    }

    fn object(&self) -> serde_json::Value {
        let refused = self.refused.iter().map(
            |refused| serde_json::json!({ "ack_ids": refused.ack_ids, "code": refused.code, "reason": refused.reason }),
        );
        serde_json::json!({ "settled": self.taken(), "refused": refused.collect::<Vec<_>>() })
    }
}

/// Why, in words, and of which.
fn refusal(refused: &Confirmation) -> String {
    let ids = refused.ack_ids.iter().map(|id| message::on_its_line(id)).collect::<Vec<_>>().join(" ");
    match refused.reason.as_str() {
        "" => tonic::Code::from_i32(refused.code).description().to_owned(),
        reason @ "ACK_ID_INVALID" => format!("the subscription handed out no such ack_id: {ids} ({reason})"),
        reason @ "LEASE_EXPIRED" => format!("the deadline has passed, or the lease was taken back ({reason})"),
        reason @ "ALREADY_SETTLED" => format!("settled before, in another way ({reason})"),
        reason => reason.to_owned(),
    }
}

impl Args {
    fn settlement(&self) -> Settlement {
        let verdict = match (self.nack, self.release, self.reject, self.extend) {
            (true, ..) => Verdict::Nack,
            (_, true, ..) => Verdict::Release,
            (_, _, true, _) => Verdict::Reject,
            (.., Some(_)) => Verdict::Extend,
            _ => Verdict::Ack,
        };
        Settlement {
            ack_ids: self.ack_ids.clone(),
            verdict: verdict.into(),
            delay: self.extend.or(self.delay).map(|span| wire_duration(span.0)),
            reason: self.reason.clone().unwrap_or_default(),
        }
    }

    /// What is done with them, in words.
    fn words(&self) -> &'static str {
        match self.settlement().verdict() {
            Verdict::Nack => "sent back as failed",
            Verdict::Release => "released",
            Verdict::Reject => "rejected",
            Verdict::Extend => "extended",
            Verdict::Ack | Verdict::Unspecified => "acknowledged",
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn parsed(words: &[&str]) -> Result<Settlement, clap::Error> {
        Line::try_parse_from([&["tilde", "s"], words].concat()).map(|line| line.args.settlement())
    }

    #[test]
    fn the_verdicts() {
        let given = |words: &[&str]| parsed(&[&["a", "b"], words].concat()).unwrap();
        let verdict = |words: &[&str]| given(words).verdict();
        assert_eq!((verdict(&[]), given(&[]).ack_ids), (Verdict::Ack, vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(verdict(&["--release"]), Verdict::Release);
        let rejected = given(&["--reject", "--reason", "why"]);
        assert_eq!((rejected.verdict(), rejected.reason.as_str()), (Verdict::Reject, "why"));
        let delay = Some(prost_types::Duration { seconds: 60, nanos: 0 });
        let nacked = given(&["--nack", "--delay", "1m"]);
        assert_eq!((nacked.verdict(), nacked.delay), (Verdict::Nack, delay));
        let extended = given(&["--extend", "1m"]);
        assert_eq!((extended.verdict(), extended.delay), (Verdict::Extend, delay));
    }

    #[test]
    fn what_is_refused() {
        for bad in [
            &[][..],
            &["a", "--nack", "--reject"],
            &["a", "--delay", "1s"],
            &["a", "--extend", "1m", "--delay", "1s"],
            &["a", "--reason", "why"],
            &["a", "--release", "--reason", "why"],
        ] {
            assert!(parsed(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn those_that_were_not_taken_are_counted() {
        let refused = Confirmation { ack_ids: vec!["a".into()], code: 9, reason: "LEASE_EXPIRED".into() };
        let settled = Settled { asked: 3, refused: vec![refused] };
        assert_eq!(settled.sentence(), "2 deliveries");
        let failure = settled.failure("acknowledged").unwrap().to_string();
        assert_eq!(
            failure,
            "1 of 3 were not acknowledged: the deadline has passed, or the lease was taken back (LEASE_EXPIRED)"
        );
        assert!(Settled { asked: 3, refused: vec![] }.failure("acknowledged").is_none());
    }
}

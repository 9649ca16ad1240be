//! `tilde topics`: what is kept of topics, and purging them.

use std::str::FromStr;

use jiff::Timestamp;
use serde::Serialize;

use super::{
    ask,
    failure::Failure,
    output::{self, Column, Format, Table},
    pattern,
    remote::{self, Remote, Tenant},
};
use crate::{
    clock::{Clock, SystemClock},
    pb::v1::{GetTopicRequest, ListTopicsRequest, PurgeTopicsRequest, Topic},
    units::Span,
};

/// Tell what is kept of topics, or remove it
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    action: Action,

    /// How to print
    #[arg(long, value_enum, default_value = "text", global = true, display_order = 900)]
    format: Format,

    #[command(flatten)]
    tenant: Tenant,

    #[command(flatten)]
    remote: Remote,
}

#[derive(clap::Subcommand, Debug)]
enum Action {
    /// Topics of which something is kept, by name
    List {
        /// Only those that match; `~` is all but the broker's own, which `$~` names
        #[arg(default_value = "~")]
        pattern: String,
    },
    /// One topic
    Show {
        /// Its name
        topic: String,
    },
    /// Remove every message of the topics that match, for good
    #[command(after_help = PURGE_EXAMPLES)]
    Purge(Purge),
}

#[derive(clap::Args, Debug)]
struct Purge {
    /// Which topics: `orders/~` is every topic that begins with orders/, `orders` is that topic alone
    pattern: String,

    /// Only what was published before this time (2026-11-21T08:00:00Z) or longer ago than this (2h, 7d)
    #[arg(long, value_name = "TIME")]
    before: Option<Before>,

    /// Count what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,

    /// Do not ask
    #[arg(long)]
    yes: bool,
}

const PURGE_EXAMPLES: &str = "\
Examples:
  tilde topics purge 'logs/~' --before 7d --dry-run
  tilde topics purge orders/eu --yes";

/// A point in time, or how long ago it is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Before {
    At(Timestamp),
    Ago(Span),
}

impl FromStr for Before {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(span) = text.parse() {
            return Ok(Before::Ago(span));
        }
        let wrong = "write a time as in 2026-11-21T08:00:00Z, or how long ago as in 2h or 7d";
        text.parse().map(Before::At).map_err(|_| wrong.into())
    }
}

impl Before {
    fn wire(self) -> prost_types::Timestamp {
        let (seconds, nanos) = match self {
            Before::At(time) => (time.as_second(), time.subsec_nanosecond()),
            Before::Ago(span) => SystemClock.now().minus(span.0).parts(),
        };
        prost_types::Timestamp { seconds, nanos }
    }
}

/// Runs it.
pub fn run(args: Args) -> anyhow::Result<()> {
    remote::run(async {
        match &args.action {
            Action::List { pattern } => list(&args, pattern).await,
            Action::Show { topic } => show(&args, topic).await,
            Action::Purge(purge) => args.purge(purge).await,
        }
    })
}

const COLUMNS: &[Column] = &[
    Column::Left("TOPIC"),
    Column::Right("MESSAGES"),
    Column::Right("BYTES"),
    Column::Right("FIRST"),
    Column::Right("LAST"),
    Column::Left("LAST PUBLISHED"),
];

async fn list(args: &Args, pattern: &str) -> anyhow::Result<()> {
    pattern::warn([pattern]);
    let mut client = args.remote.topics().await?;
    let mut table = Table::new(COLUMNS);
    let mut page_token = String::new();
    loop {
        let request = ListTopicsRequest {
            namespace: args.tenant.namespace.clone(),
            pattern: pattern.to_owned(),
            page_size: remote::PAGE_ROWS,
            page_token,
        };
        let page = client.list_topics(request).await.map_err(|status| args.remote.failure(status))?.into_inner();
        for topic in &page.topics {
            match args.format {
                Format::Json => output::json(&Object::new(topic))?,
                Format::Text => table.row(vec![
                    topic.name.clone(),
                    topic.messages.to_string(),
                    output::bytes(topic.bytes),
                    topic.first_sequence.to_string(),
                    topic.last_sequence.to_string(),
                    output::time(topic.last_publish_time.as_ref()),
                ]),
            }
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    match args.format {
        Format::Text => Ok(table.print()?),
        Format::Json => Ok(()),
    }
}

async fn show(args: &Args, topic: &str) -> anyhow::Result<()> {
    let mut client = args.remote.topics().await?;
    let request = GetTopicRequest { namespace: args.tenant.namespace.clone(), name: topic.to_owned() };
    let answer = client.get_topic(request).await.map_err(|status| args.remote.failure(status))?;
    let topic = answer.into_inner().topic.ok_or_else(|| Failure::new("the broker's answer is empty"))?;
    match args.format {
        Format::Json => output::json(&Object::new(&topic))?,
        Format::Text => output::fields(&[
            ("topic", topic.name.clone()),
            ("messages", topic.messages.to_string()),
            ("bytes", topic.bytes.to_string()),
            ("first sequence", topic.first_sequence.to_string()),
            ("last sequence", topic.last_sequence.to_string()),
            ("last published", output::time(topic.last_publish_time.as_ref())),
        ])?,
    }
    Ok(())
}

impl Args {
    async fn purge(&self, purge: &Purge) -> anyhow::Result<()> {
        pattern::whole(&purge.pattern)?;
        let mut client = self.remote.topics().await?;
        let mut request = PurgeTopicsRequest {
            namespace: self.tenant.namespace.clone(),
            pattern: purge.pattern.clone(),
            before: purge.before.map(Before::wire),
            dry_run: true,
        };
        if !purge.dry_run && !purge.yes {
            let counted = client.purge_topics(request.clone()).await.map_err(|status| self.remote.failure(status))?;
            let messages = output::count(counted.into_inner().purged_messages, "message");
            let (pattern, namespace) = (&purge.pattern, &self.tenant.namespace);
            ask::confirm(&format!("remove {messages} of {pattern:?} in namespace {namespace} for good?"))?;
        }
        request.dry_run = purge.dry_run;
        let answer = client.purge_topics(request).await.map_err(|status| self.remote.failure(status))?;
        let purged = Purged { purged_messages: answer.into_inner().purged_messages, dry_run: purge.dry_run };
        let messages = output::count(purged.purged_messages, "message");
        match self.format {
            Format::Json => output::json(&purged)?,
            Format::Text if purge.dry_run => output::line(format!("{messages} would be removed"))?,
            Format::Text => output::line(format!("{messages} removed"))?,
        }
        Ok(())
    }
}

/// A topic, with the names of the contract.
#[derive(Serialize)]
struct Object<'a> {
    name: &'a str,
    first_sequence: u64,
    last_sequence: u64,
    messages: u64,
    bytes: u64,
    last_publish_time: String,
}

impl<'a> Object<'a> {
    fn new(topic: &'a Topic) -> Self {
        Object {
            name: &topic.name,
            first_sequence: topic.first_sequence,
            last_sequence: topic.last_sequence,
            messages: topic.messages,
            bytes: topic.bytes,
            last_publish_time: output::time(topic.last_publish_time.as_ref()),
        }
    }
}

#[derive(Serialize)]
struct Purged {
    purged_messages: u64,
    dry_run: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_how_long_ago() {
        assert_eq!("2h".parse(), Ok(Before::Ago(Span(std::time::Duration::from_secs(7200)))));
        let at = Before::At(Timestamp::new(1, 500_000_000).unwrap());
        assert_eq!("1970-01-01T00:00:01.5Z".parse(), Ok(at));
        assert_eq!("1970-01-01T01:00:01.5+01:00".parse(), Ok(at));
        for bad in ["", "yesterday", "2026-11-21"] {
            assert!(bad.parse::<Before>().is_err(), "{bad}");
        }
    }
}

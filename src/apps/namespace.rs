//! `tilde namespace`: the tenants of a broker and their settings.

use std::str::FromStr;

use anyhow::Context;
use prost_types::FieldMask;
use serde::Serialize;

use super::{
    ask,
    durability::{self, Durability},
    failure::Failure,
    limit::Limit,
    output::{self, Column, Format, Table},
    remote::{self, Remote},
};
use crate::{
    pb::v1::{
        CreateNamespaceRequest, DeleteNamespaceRequest, GetNamespaceRequest, ListNamespacesRequest, Namespace,
        SchemaEnforcement, TopicSchema, UpdateNamespaceRequest,
    },
    units::{Size, Span},
};

/// Create, change and delete namespaces: one tenant's world each, with its own topics, log and limits
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    action: Action,

    /// How to print
    #[arg(long, value_enum, default_value = "text", global = true, display_order = 900)]
    format: Format,

    #[command(flatten)]
    remote: Remote,
}

#[derive(clap::Subcommand, Debug)]
enum Action {
    /// Create a namespace; the same again is no error
    #[command(after_help = CREATE_EXAMPLES)]
    Create {
        #[command(flatten)]
        name: Name,
        #[command(flatten)]
        settings: Settings,
    },
    /// All namespaces, by name
    List,
    /// One namespace
    Show {
        #[command(flatten)]
        name: Name,
    },
    /// Change settings; those that are not named stay
    #[command(after_help = UPDATE_EXAMPLES)]
    Update {
        #[command(flatten)]
        name: Name,
        #[command(flatten)]
        settings: Settings,
        /// Only if the namespace is still as it was when `show` printed this
        #[arg(long)]
        etag: Option<String>,
    },
    /// Delete a namespace with all its messages, for good
    Delete {
        #[command(flatten)]
        name: Name,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

#[derive(clap::Args, Debug)]
struct Name {
    /// 1 to 63 of a-z, 0-9 and -
    name: String,
}

/// What can be set. What is not given is left to the broker.
#[derive(clap::Args, Debug)]
struct Settings {
    /// Messages older than this are removed, a whole segment at a time, as in 36h or 7d [broker's default: 7d]
    #[arg(long, value_name = "DURATION")]
    max_age: Option<Span>,

    /// The oldest are removed when the log grows above this, a whole segment at a time, as in 512MiB [broker's default:
    /// 10GiB]
    #[arg(long, value_name = "SIZE")]
    max_bytes: Option<Size>,

    /// How durable a message is before its publish is answered, if the publish does not say [broker's default: synced]
    #[arg(long, value_enum)]
    durability: Option<Durability>,

    /// How long a message id is remembered, as in 30s or 10m [broker's default: 2m]
    #[arg(long, value_name = "DURATION")]
    deduplication_window: Option<Span>,

    /// Messages published in a second, on average; a batch is taken whole and paid back with a wait; `none` is no limit
    /// [broker's default: none]
    #[arg(long, value_name = "N")]
    max_messages_per_second: Option<Limit<u64>>,

    /// Bytes published in a second, on average, as in 10MiB; `none` is no limit [broker's default: none]
    #[arg(long, value_name = "SIZE")]
    max_bytes_per_second: Option<Limit<Size>>,

    /// Live streams open at the same time; `none` is no limit [broker's default: none]
    #[arg(long, value_name = "N")]
    max_streams: Option<Limit<u32>>,

    /// Durable subscriptions; `none` is no limit [broker's default: none]
    #[arg(long, value_name = "N")]
    max_subscriptions: Option<Limit<u32>>,

    /// What payloads of topics must be, as in 'orders/~=enforce' or 'logs=warn:SUBJECT': versions of the subject, which is the
    /// topic's name and -value if none is named. May be repeated, the first that matches counts; `none` is nothing
    /// [broker's default: none]
    #[arg(long = "topic-schema", value_name = "PATTERN=off|warn|enforce[:SUBJECT]")]
    topic_schemas: Vec<Limit<Rule>>,
}

/// What the topics of a pattern demand.
#[derive(Clone, Debug, PartialEq)]
struct Rule(TopicSchema);

const ENFORCEMENTS: [(&str, SchemaEnforcement); 3] =
    [("off", SchemaEnforcement::Off), ("warn", SchemaEnforcement::Warn), ("enforce", SchemaEnforcement::Enforce)];

impl FromStr for Rule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = "write it as PATTERN=enforce, PATTERN=warn or PATTERN=off, and :SUBJECT behind it if it is another";
        let (pattern, rest) = text.split_once('=').ok_or(wrong)?;
        let (enforcement, subject) = rest.split_once(':').unwrap_or((rest, ""));
        let (_, enforcement) = ENFORCEMENTS.iter().find(|(word, _)| *word == enforcement).ok_or(wrong)?;
        let (pattern, subject) = (pattern.to_owned(), subject.to_owned());
        Ok(Rule(TopicSchema { pattern, enforcement: (*enforcement).into(), subject }))
    }
}

/// As the flag takes it.
fn rule(rule: &TopicSchema) -> String {
    let enforcement = ENFORCEMENTS.iter().find(|(_, known)| *known == rule.enforcement());
    let enforcement = enforcement.map_or("enforce", |(word, _)| word);
    match rule.subject.as_str() {
        "" => format!("{}={enforcement}", rule.pattern),
        subject => format!("{}={enforcement}:{subject}", rule.pattern),
    }
}

const CREATE_EXAMPLES: &str = "\
Examples:
  tilde namespace create team-7
  tilde namespace create metrics --max-age 6h --max-bytes 2GiB --durability written";

const UPDATE_EXAMPLES: &str = "\
Examples:
  tilde namespace update team-7 --max-age 30d --max-streams 500
  tilde namespace update team-7 --max-streams none";

impl Settings {
    /// Puts what was given into `namespace` and names it as the field mask does.
    fn apply(&self, namespace: &mut Namespace) -> Vec<String> {
        let mut paths = Vec::new();
        let mut set = |path: &str, given: bool| {
            if given {
                paths.push(path.to_owned());
            }
        };
        set("max_age", self.max_age.is_some());
        namespace.max_age = self.max_age.map(|span| output::wire_duration(span.0));
        set("max_bytes", self.max_bytes.is_some());
        namespace.max_bytes = self.max_bytes.map(|size| size.0);
        set("durability", self.durability.is_some());
        namespace.durability = self.durability.map_or(0, |durability| durability.wire().into());
        set("deduplication_window", self.deduplication_window.is_some());
        namespace.deduplication_window = self.deduplication_window.map(|span| output::wire_duration(span.0));
        set("max_messages_per_second", self.max_messages_per_second.is_some());
        namespace.max_messages_per_second = self.max_messages_per_second.and_then(|limit| limit.0);
        set("max_bytes_per_second", self.max_bytes_per_second.is_some());
        namespace.max_bytes_per_second = self.max_bytes_per_second.and_then(|limit| limit.0).map(|size| size.0);
        set("max_streams", self.max_streams.is_some());
        namespace.max_streams = self.max_streams.and_then(|limit| limit.0);
        set("max_subscriptions", self.max_subscriptions.is_some());
        namespace.max_subscriptions = self.max_subscriptions.and_then(|limit| limit.0);
        set("topic_schemas", !self.topic_schemas.is_empty());
        namespace.topic_schemas = self.topic_schemas.iter().filter_map(|rule| Some(rule.0.clone()?.0)).collect();
        paths
    }
}

/// Runs it.
pub fn run(args: Args) -> anyhow::Result<()> {
    remote::run(async {
        match &args.action {
            Action::Create { name, settings } => args.create(name, settings).await,
            Action::List => args.list().await,
            Action::Show { name } => args.show(name).await,
            Action::Update { name, settings, etag } => args.update(name, settings, etag.as_deref()).await,
            Action::Delete { name, yes } => args.delete(name, *yes).await,
        }
    })
}

impl Args {
    async fn create(&self, name: &Name, settings: &Settings) -> anyhow::Result<()> {
        let mut namespace = Namespace { name: name.name.clone(), ..Namespace::default() };
        settings.apply(&mut namespace);
        let mut client = self.remote.namespaces().await?;
        let request = CreateNamespaceRequest { namespace: Some(namespace) };
        let answer = client.create_namespace(request).await.map_err(|status| self.remote.failure(status))?;
        self.print(answer.into_inner().namespace)
    }

    async fn list(&self) -> anyhow::Result<()> {
        let mut client = self.remote.namespaces().await?;
        let mut table = Table::new(&[
            Column::Left("NAMESPACE"),
            Column::Right("MAX AGE"),
            Column::Right("MAX BYTES"),
            Column::Left("DURABILITY"),
        ]);
        let mut page_token = String::new();
        loop {
            let request = ListNamespacesRequest { page_size: remote::PAGE_ROWS, page_token };
            let page = client.list_namespaces(request).await.map_err(|status| self.remote.failure(status))?;
            let page = page.into_inner();
            for namespace in &page.namespaces {
                match self.format {
                    Format::Json => output::json(&Object::new(namespace))?,
                    Format::Text => table.row(vec![
                        namespace.name.clone(),
                        output::duration(namespace.max_age.as_ref()),
                        namespace.max_bytes.map(output::exact_bytes).unwrap_or_default(),
                        durability::word(namespace.durability).to_owned(),
                    ]),
                }
            }
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        match self.format {
            Format::Text => Ok(table.print()?),
            Format::Json => Ok(()),
        }
    }

    async fn show(&self, name: &Name) -> anyhow::Result<()> {
        let mut client = self.remote.namespaces().await?;
        let request = GetNamespaceRequest { name: name.name.clone() };
        let answer = client.get_namespace(request).await.map_err(|status| self.remote.failure(status))?;
        self.print(answer.into_inner().namespace)
    }

    async fn update(&self, name: &Name, settings: &Settings, etag: Option<&str>) -> anyhow::Result<()> {
        let etag = etag.unwrap_or_default().to_owned();
        let mut namespace = Namespace { name: name.name.clone(), etag, ..Namespace::default() };
        let paths = settings.apply(&mut namespace);
        if paths.is_empty() {
            return Err(Failure::usage("there is nothing to change: name at least one setting, see --help").into());
        }
        let mut client = self.remote.namespaces().await?;
        let request = UpdateNamespaceRequest { namespace: Some(namespace), update_mask: Some(FieldMask { paths }) };
        let answer = client.update_namespace(request).await.map_err(|status| self.remote.failure(status))?;
        self.print(answer.into_inner().namespace)
    }

    async fn delete(&self, Name { name }: &Name, yes: bool) -> anyhow::Result<()> {
        let mut client = self.remote.namespaces().await?;
        if !yes {
            ask::confirm(&format!("delete namespace {name} with all its messages for good?"))?;
        }
        let request = DeleteNamespaceRequest { name: name.clone() };
        client.delete_namespace(request).await.map_err(|status| self.remote.failure(status))?;
        match self.format {
            Format::Json => output::json(&serde_json::json!({ "deleted": name }))?,
            Format::Text => output::line(format!("namespace {name} deleted"))?,
        }
        Ok(())
    }

    fn print(&self, namespace: Option<Namespace>) -> anyhow::Result<()> {
        let namespace = namespace.context("the broker's answer is empty")?;
        if self.format == Format::Json {
            return Ok(output::json(&Object::new(&namespace))?);
        }
        let limit = |limit: Option<u64>| limit.map_or("none".to_owned(), |limit| limit.to_string());
        let rules: Vec<_> = namespace.topic_schemas.iter().map(rule).collect();
        let size = |size: Option<u64>| size.map_or("none".to_owned(), output::exact_bytes);
        output::fields(&[
            ("namespace", namespace.name.clone()),
            ("max age", output::duration(namespace.max_age.as_ref())),
            ("max bytes", size(namespace.max_bytes)),
            ("durability", durability::word(namespace.durability).to_owned()),
            ("deduplication window", output::duration(namespace.deduplication_window.as_ref())),
            ("max messages per second", limit(namespace.max_messages_per_second)),
            ("max bytes per second", size(namespace.max_bytes_per_second)),
            ("max streams", limit(namespace.max_streams.map(u64::from))),
            ("max subscriptions", limit(namespace.max_subscriptions.map(u64::from))),
            ("topic schemas", if rules.is_empty() { "none".to_owned() } else { rules.join(" ") }),
            ("etag", namespace.etag.clone()),
        ])?;
        Ok(())
    }
}

/// A namespace, with the names of the contract; durations as flags take them. What is not limited is left out.
#[derive(Serialize)]
struct Object<'a> {
    name: &'a str,
    max_age: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_bytes: Option<u64>,
    durability: &'static str,
    deduplication_window: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_messages_per_second: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_bytes_per_second: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_streams: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_subscriptions: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    topic_schemas: Vec<String>,
    etag: &'a str,
}

impl<'a> Object<'a> {
    fn new(namespace: &'a Namespace) -> Self {
        Object {
            name: &namespace.name,
            max_age: output::duration(namespace.max_age.as_ref()),
            max_bytes: namespace.max_bytes,
            durability: durability::word(namespace.durability),
            deduplication_window: output::duration(namespace.deduplication_window.as_ref()),
            max_messages_per_second: namespace.max_messages_per_second,
            max_bytes_per_second: namespace.max_bytes_per_second,
            max_streams: namespace.max_streams,
            max_subscriptions: namespace.max_subscriptions,
            topic_schemas: namespace.topic_schemas.iter().map(rule).collect(),
            etag: &namespace.etag,
        }
    }
}

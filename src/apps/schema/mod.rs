//! `tilde schema`: what payloads look like, by subject and version.

mod brought;
mod level;

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use anyhow::Context;
use prost_types::FieldMask;
use serde::Serialize;

use self::{
    brought::Brought,
    level::{Level, word},
};
use super::{
    ask,
    failure::Failure,
    output::{self, Column, Format, Table},
    payload,
    remote::{self, Remote, Tenant},
};
use crate::pb::v1::{
    CheckCompatibilityRequest, DeleteSchemaRequest, GetSchemaRequest, GetSchemaRulesRequest, ListSchemasRequest,
    RegisterSchemaRequest, Schema, SchemaReference, SchemaRules, SchemaType, UpdateSchemaRulesRequest,
    ValidatePayloadRequest, schemas_client::SchemasClient,
};

/// Register, list, show and check schemas, and validate payloads
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
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
    /// Add a version to a subject; what it has already is no error
    Register {
        #[command(flatten)]
        subject: Subject,
        #[command(flatten)]
        file: Brought,
    },
    /// Versions of all subjects, or of one
    List {
        /// Only of this one
        subject: Option<String>,
        /// Also what was deleted
        #[arg(long)]
        deleted: bool,
    },
    /// Print a schema: the newest of a subject, or another
    Show(Chosen),
    /// Say whether a schema could be a subject's next version; exits with 3 if not
    Check {
        #[command(flatten)]
        subject: Subject,
        #[command(flatten)]
        file: Brought,
        /// Compared with this version only
        #[arg(long, value_name = "N")]
        version: Option<u32>,
    },
    /// Say whether a payload is as a schema says: of a file, or from standard input
    Validate {
        #[command(flatten)]
        chosen: Chosen,
        /// The payload, with or without the zero byte and the id before it
        #[arg(long, value_name = "PATH")]
        file: Option<PathBuf>,
    },
    /// Delete a subject, or one version of it
    Delete {
        #[command(flatten)]
        subject: Subject,
        /// Only this one
        #[arg(long, value_name = "N")]
        version: Option<u32>,
        /// For good what was deleted before
        #[arg(long)]
        permanent: bool,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Print or change what a subject's next version must be compatible with
    Compatibility {
        /// Of this subject; of all that have none of their own if it is `~`
        subject: String,
        /// From now on; `default` is as for all
        #[arg(value_enum)]
        level: Option<Level>,
    },
}

#[derive(clap::Args, Debug)]
struct Subject {
    /// The subject; that of topic `a` is `a-value`
    subject: String,
}

/// A schema that is there.
#[derive(clap::Args, Debug)]
struct Chosen {
    /// The subject
    #[arg(required_unless_present = "id")]
    subject: Option<String>,
    /// Which version, instead of the newest
    #[arg(long, value_name = "N", requires = "subject")]
    version: Option<u32>,
    /// By its id
    #[arg(long, value_name = "N", conflicts_with = "subject")]
    id: Option<u32>,
}

const EXAMPLES: &str = "\
Examples:
  tilde schema register orders-value order.avsc
  tilde schema check orders-value order.avsc
  tilde schema validate orders-value --file order.bin
  tilde schema compatibility orders-value full
  tilde namespace update default --topic-schema 'orders=enforce'    from now on payloads are checked";

/// Where the commands go.
type Client = SchemasClient<crate::client::Channel>;

/// Runs it.
pub fn run(args: Args) -> anyhow::Result<()> {
    remote::run(async {
        let client = args.remote.schemas().await?;
        match &args.action {
            Action::Register { subject, file } => args.register(client, &subject.subject, file).await,
            Action::List { subject, deleted } => args.list(client, subject.as_deref(), *deleted).await,
            Action::Show(chosen) => args.show(client, chosen).await,
            Action::Check { subject, file, version } => args.check(client, &subject.subject, file, *version).await,
            Action::Validate { chosen, file } => args.validate(client, chosen, file.as_deref()).await,
            Action::Delete { subject, version, permanent, yes } => {
                args.delete(client, &subject.subject, *version, *permanent, *yes).await
            }
            Action::Compatibility { subject, level } => args.compatibility(client, subject, *level).await,
        }
    })
}

const COLUMNS: &[Column] =
    &[Column::Left("SUBJECT"), Column::Right("VERSION"), Column::Right("ID"), Column::Left("TYPE"), Column::Left("")];

impl Args {
    fn namespace(&self) -> String {
        self.tenant.namespace.clone()
    }

    async fn register(&self, mut client: Client, subject: &str, brought: &Brought) -> anyhow::Result<()> {
        let (namespace, subject, schema) = (self.namespace(), subject.to_owned(), Some(brought.read()?));
        let request = RegisterSchemaRequest { namespace, subject, schema };
        let answer = client.register_schema(request).await.map_err(|status| self.remote.failure(status))?;
        let answer = answer.into_inner();
        let schema = answer.schema.context("the broker's answer is empty")?;
        match self.format {
            Format::Json => output::json(&Object::new(&schema))?,
            Format::Text => {
                let how = if answer.created { "registered" } else { "was there" };
                output::line(format!("{} version {} {how}, id {}", schema.subject, schema.version, schema.id))?;
            }
        }
        Ok(())
    }

    async fn list(&self, mut client: Client, subject: Option<&str>, deleted: bool) -> anyhow::Result<()> {
        let mut table = Table::new(COLUMNS);
        let mut page_token = String::new();
        loop {
            let request = ListSchemasRequest {
                namespace: self.namespace(),
                subject: subject.unwrap_or_default().to_owned(),
                deleted,
                page_size: remote::PAGE_ROWS,
                page_token,
                ..Default::default()
            };
            let page = client.list_schemas(request).await.map_err(|status| self.remote.failure(status))?.into_inner();
            for schema in &page.schemas {
                match self.format {
                    Format::Json => output::json(&Object::new(schema))?,
                    Format::Text => table.row(vec![
                        schema.subject.clone(),
                        schema.version.to_string(),
                        schema.id.to_string(),
                        kind(schema).to_owned(),
                        if schema.deleted { "deleted" } else { "" }.to_owned(),
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

    async fn show(&self, mut client: Client, chosen: &Chosen) -> anyhow::Result<()> {
        let request = GetSchemaRequest {
            namespace: self.namespace(),
            subject: chosen.subject.clone().unwrap_or_default(),
            version: chosen.version.unwrap_or_default(),
            id: chosen.id.unwrap_or_default(),
            // What was deleted is no newest.
            deleted: chosen.version.is_some(),
            as_descriptor: false,
        };
        let answer = client.get_schema(request).await.map_err(|status| self.remote.failure(status))?;
        let schema = answer.into_inner().schema.context("the broker's answer is empty")?;
        match self.format {
            Format::Json => output::json(&Object::new(&schema))?,
            Format::Text => output::line(&schema.text)?,
        }
        Ok(())
    }

    async fn check(
        &self,
        mut client: Client,
        subject: &str,
        brought: &Brought,
        version: Option<u32>,
    ) -> anyhow::Result<()> {
        let request = CheckCompatibilityRequest {
            namespace: self.namespace(),
            subject: subject.to_owned(),
            schema: Some(brought.read()?),
            version: version.unwrap_or_default(),
        };
        let answer = client.check_compatibility(request).await.map_err(|status| self.remote.failure(status))?;
        let answer = answer.into_inner();
        match self.format {
            Format::Json => output::json(&Verdict { compatible: answer.compatible, problems: &answer.problems })?,
            Format::Text if answer.compatible => output::line("compatible")?,
            Format::Text => output::line(answer.problems.join("\n"))?,
        }
        match answer.compatible {
            true => Ok(()),
            false => Err(Failure::in_part(format!("it cannot be the next version of {subject}")).into()),
        }
    }

    async fn validate(&self, mut client: Client, chosen: &Chosen, file: Option<&Path>) -> anyhow::Result<()> {
        let payload = match file {
            Some(path) => read(&mut File::open(path).with_context(|| format!("{} cannot be opened", path.display()))?)?,
            None => read(&mut io::stdin().lock())?,
        };
        let request = ValidatePayloadRequest {
            namespace: self.namespace(),
            subject: chosen.subject.clone().unwrap_or_default(),
            version: chosen.version.unwrap_or_default(),
            id: chosen.id.unwrap_or_default(),
            payload,
        };
        let answer = client.validate_payload(request).await.map_err(|status| self.remote.failure(status))?;
        let schema = answer.into_inner().schema.context("the broker's answer is empty")?;
        match self.format {
            Format::Json => output::json(&Object::new(&schema))?,
            Format::Text => output::line("valid")?,
        }
        Ok(())
    }

    async fn delete(
        &self,
        mut client: Client,
        subject: &str,
        version: Option<u32>,
        permanent: bool,
        yes: bool,
    ) -> anyhow::Result<()> {
        if !yes {
            let what = version.map_or("all versions".to_owned(), |version| format!("version {version}"));
            let how = if permanent { " for good" } else { "" };
            ask::confirm(&format!("delete {what} of {subject}{how}?"))?;
        }
        let (namespace, subject) = (self.namespace(), subject.to_owned());
        let version = version.unwrap_or_default();
        let request = DeleteSchemaRequest { namespace, subject, version, permanent };
        let answer = client.delete_schema(request).await.map_err(|status| self.remote.failure(status))?;
        let versions = answer.into_inner().versions;
        match self.format {
            Format::Json => output::json(&serde_json::json!({ "deleted": versions }))?,
            Format::Text => output::line(format!("{} deleted", output::count(versions.len() as u64, "version")))?,
        }
        Ok(())
    }

    async fn compatibility(&self, mut client: Client, subject: &str, level: Option<Level>) -> anyhow::Result<()> {
        let namespace = self.namespace();
        let subject = if subject == "~" { String::new() } else { subject.to_owned() };
        let rules = match level {
            Some(level) => {
                let rules = Some(SchemaRules { compatibility: level.wire().into(), read_only: None });
                let update_mask = Some(FieldMask { paths: vec!["compatibility".into()] });
                let request = UpdateSchemaRulesRequest { namespace, subject, rules, update_mask };
                client.update_schema_rules(request).await.map(|told| told.into_inner().rules)
            }
            None => {
                let request = GetSchemaRulesRequest { namespace, subject };
                client.get_schema_rules(request).await.map(|told| told.into_inner().rules)
            }
        };
        let rules = rules.map_err(|status| self.remote.failure(status))?;
        let word = word(rules.unwrap_or_default().compatibility());
        match self.format {
            Format::Json => output::json(&serde_json::json!({ "compatibility": word }))?,
            Format::Text => output::line(word)?,
        }
        Ok(())
    }
}

fn kind(schema: &Schema) -> &'static str {
    match schema.r#type() {
        SchemaType::Unspecified | SchemaType::Avro => "avro",
        SchemaType::Json => "json",
        SchemaType::Protobuf => "protobuf",
    }
}

fn read(input: &mut impl Read) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    input.take(payload::BYTES as u64 + 1).read_to_end(&mut bytes).context("the payload cannot be read")?;
    match bytes.len() > payload::BYTES {
        true => Err(Failure::new("the payload has more than fits into a message").into()),
        false => Ok(bytes),
    }
}

/// A schema, with the names of the contract.
#[derive(Serialize)]
struct Object<'a> {
    subject: &'a str,
    version: u32,
    id: u32,
    r#type: &'static str,
    text: &'a str,
    references: Vec<Used<'a>>,
    deleted: bool,
}

#[derive(Serialize)]
struct Used<'a> {
    name: &'a str,
    subject: &'a str,
    version: u32,
}

#[derive(Serialize)]
struct Verdict<'a> {
    compatible: bool,
    problems: &'a [String],
}

impl<'a> Object<'a> {
    fn new(schema: &'a Schema) -> Self {
        let used = |used: &'a SchemaReference| Used { name: &used.name, subject: &used.subject, version: used.version };
        Object {
            subject: &schema.subject,
            version: schema.version,
            id: schema.id,
            r#type: kind(schema),
            text: &schema.text,
            references: schema.references.iter().map(used).collect(),
            deleted: schema.deleted,
        }
    }
}

//! `tilde schema`: what payloads look like, by subject and version.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    str::FromStr,
};

use anyhow::Context;
use serde::Serialize;

use super::{
    ask,
    failure::Failure,
    output::{self, Column, Format, Table},
    payload,
    remote::{self, Remote, Tenant},
};
use crate::pb::v1::{
    CheckCompatibilityRequest, Compatibility, DeleteSchemaRequest, GetSchemaRequest, GetSchemaRulesRequest,
    ListSchemasRequest, RegisterSchemaRequest, Schema, SchemaReference, SchemaRules, SchemaType,
    UpdateSchemaRulesRequest, ValidatePayloadRequest, schemas_client::SchemasClient,
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

/// A schema in a file.
#[derive(clap::Args, Debug)]
struct Brought {
    /// The file; `-` is standard input
    file: PathBuf,
    /// What it is written in [default: by the file's ending, .avsc, .json or .proto]
    #[arg(long = "type", value_name = "TYPE", value_enum)]
    kind: Option<Kind>,
    /// A schema that it uses, by the name that it has there; may be repeated
    #[arg(long = "reference", value_name = "NAME=SUBJECT[:VERSION]")]
    references: Vec<Reference>,
}

/// A language for schemas.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Avro
    Avro,
    /// JSON Schema
    Json,
    /// Protobuf
    Protobuf,
}

/// What versions of a subject keep to.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    /// As for all subjects
    Default,
    /// Anything goes
    None,
    /// The next reads what the last wrote
    Backward,
    /// The next reads what any before wrote
    BackwardTransitive,
    /// The last reads what the next writes
    Forward,
    /// Any before reads what the next writes
    ForwardTransitive,
    /// Both, with the last
    Full,
    /// Both, with any before
    FullTransitive,
}

#[derive(Clone, Debug)]
struct Reference(SchemaReference);

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
        let request = GetSchemaRulesRequest { namespace: namespace.clone(), subject: subject.clone() };
        let known = client.get_schema_rules(request).await.map_err(|status| self.remote.failure(status))?;
        let mut rules = known.into_inner().rules.unwrap_or_default();
        if let Some(level) = level {
            rules.compatibility = level.wire().into();
            let changed = Some(rules).filter(|rules| *rules != SchemaRules::default());
            let request = UpdateSchemaRulesRequest { namespace, subject, rules: changed };
            client.update_schema_rules(request).await.map_err(|status| self.remote.failure(status))?;
        }
        let word = word(rules.compatibility());
        match self.format {
            Format::Json => output::json(&serde_json::json!({ "compatibility": word }))?,
            Format::Text => output::line(word)?,
        }
        Ok(())
    }
}

impl Brought {
    fn read(&self) -> anyhow::Result<Schema> {
        let name = self.file.display();
        let is_standard_input = self.file.as_os_str() == "-";
        let text = match is_standard_input {
            true => io::read_to_string(io::stdin().lock()),
            false => fs::read_to_string(&self.file),
        };
        let text = text.with_context(|| format!("{name} cannot be read"))?;
        let kind = self.kind.or_else(|| Kind::by_ending(&self.file)).ok_or_else(|| {
            Failure::usage(format!("what {name} is written in cannot be told: --type says avro, json or protobuf"))
        })?;
        let references = self.references.iter().map(|reference| reference.0.clone()).collect();
        Ok(Schema { r#type: kind.wire().into(), text, references, ..Schema::default() })
    }
}

impl Kind {
    fn by_ending(path: &Path) -> Option<Kind> {
        match path.extension()?.to_str()? {
            "avsc" | "avro" => Some(Kind::Avro),
            "json" => Some(Kind::Json),
            "proto" => Some(Kind::Protobuf),
            _ => None,
        }
    }

    fn wire(self) -> SchemaType {
        match self {
            Kind::Avro => SchemaType::Avro,
            Kind::Json => SchemaType::Json,
            Kind::Protobuf => SchemaType::Protobuf,
        }
    }
}

impl Level {
    fn wire(self) -> Compatibility {
        match self {
            Level::Default => Compatibility::Unspecified,
            Level::None => Compatibility::None,
            Level::Backward => Compatibility::Backward,
            Level::BackwardTransitive => Compatibility::BackwardTransitive,
            Level::Forward => Compatibility::Forward,
            Level::ForwardTransitive => Compatibility::ForwardTransitive,
            Level::Full => Compatibility::Full,
            Level::FullTransitive => Compatibility::FullTransitive,
        }
    }
}

impl FromStr for Reference {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, rest) = text.split_once('=').ok_or("write it as NAME=SUBJECT or NAME=SUBJECT:VERSION")?;
        let numbered = rest.rsplit_once(':').and_then(|(subject, version)| Some((subject, version.parse().ok()?)));
        let (subject, version) = numbered.unwrap_or((rest, 0));
        Ok(Reference(SchemaReference { name: name.to_owned(), subject: subject.to_owned(), version }))
    }
}

fn kind(schema: &Schema) -> &'static str {
    match schema.r#type() {
        SchemaType::Unspecified | SchemaType::Avro => "avro",
        SchemaType::Json => "json",
        SchemaType::Protobuf => "protobuf",
    }
}

fn word(level: Compatibility) -> &'static str {
    match level {
        Compatibility::Unspecified => "default",
        Compatibility::None => "none",
        Compatibility::Backward => "backward",
        Compatibility::BackwardTransitive => "backward-transitive",
        Compatibility::Forward => "forward",
        Compatibility::ForwardTransitive => "forward-transitive",
        Compatibility::Full => "full",
        Compatibility::FullTransitive => "full-transitive",
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_name_a_subject_and_perhaps_a_version() {
        let parsed = |text: &str| text.parse::<Reference>().map(|reference| reference.0);
        let reference = |name: &str, subject: &str, version| {
            Ok(SchemaReference { name: name.into(), subject: subject.into(), version })
        };
        assert_eq!(parsed("a.proto=a-value"), reference("a.proto", "a-value", 0));
        assert_eq!(parsed("a=b:c:7"), reference("a", "b:c", 7));
        assert_eq!(parsed("a=:.context:b"), reference("a", ":.context:b", 0));
        assert!(parsed("a").unwrap_err().contains("NAME=SUBJECT"));
        assert_eq!(Kind::by_ending(Path::new("a/b.proto")), Some(Kind::Protobuf));
        assert_eq!(Kind::by_ending(Path::new("-")), None);
    }
}

//! A schema that a person brings: a file, what it is written in, and what it refers to. Never asks the broker.

use std::{
    fs, io,
    path::{Path, PathBuf},
    str::FromStr,
};

use anyhow::Context;

use crate::{
    apps::failure::Failure,
    pb::v1::{Schema, SchemaReference, SchemaType},
};

/// A schema in a file.
#[derive(clap::Args, Debug)]
pub struct Brought {
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
pub enum Kind {
    /// Avro
    Avro,
    /// JSON Schema
    Json,
    /// Protobuf
    Protobuf,
}

/// Another schema that it uses.
#[derive(Clone, Debug)]
pub struct Reference(SchemaReference);

impl Brought {
    /// Reads the file.
    pub fn read(&self) -> anyhow::Result<Schema> {
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

impl FromStr for Reference {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, rest) = text.split_once('=').ok_or("write it as NAME=SUBJECT or NAME=SUBJECT:VERSION")?;
        let numbered = rest.rsplit_once(':').and_then(|(subject, version)| Some((subject, version.parse().ok()?)));
        let (subject, version) = numbered.unwrap_or((rest, 0));
        Ok(Reference(SchemaReference { name: name.to_owned(), subject: subject.to_owned(), version }))
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

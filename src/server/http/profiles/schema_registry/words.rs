//! Schemas as this protocol writes them. Never knows what is registered.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::refusal::{self, Refusal};
use crate::pb::v1 as pb;

/// What the contract's words for kinds begin with.
const KIND: &str = "SCHEMA_TYPE_";

/// A schema as a client brings it.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Brought {
    schema: Option<String>,
    schema_type: Option<String>,
    references: Option<Vec<Reference>>,
    id: Option<i64>,
    version: Option<i64>,
    metadata: Option<Value>,
    rule_set: Option<Value>,
}

/// A version as it is told; by its id alone it has no subject.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub subject: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub version: u32,
    #[serde(skip_serializing_if = "is_zero")]
    pub id: u32,
    /// Left out of Avro.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema_type: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<Reference>,
    pub schema: String,
    /// The highest id there is.
    #[serde(skip_serializing_if = "is_zero")]
    pub max_id: u32,
}

/// What a schema refers to.
#[derive(Debug, Serialize, Deserialize)]
pub struct Reference {
    name: String,
    subject: String,
    /// The newest if it is negative.
    version: i64,
}

impl Brought {
    /// To be compared or looked up.
    pub fn schema(self) -> Result<pb::Schema, Refusal> {
        let text = self.schema.ok_or_else(|| invalid("there is no schema"))?;
        let kind = self.schema_type.as_deref().unwrap_or("AVRO");
        let kind = pb::SchemaType::from_str_name(&format!("{KIND}{kind}"))
            .filter(|kind| *kind != pb::SchemaType::Unspecified)
            .ok_or_else(|| invalid(&format!("{kind:?} is no type: there are AVRO, JSON and PROTOBUF")))?;
        let references = self.references.unwrap_or_default().into_iter().map(Reference::named).collect();
        Ok(pb::Schema { r#type: kind.into(), text, references, ..Default::default() })
    }

    /// To be registered.
    pub fn registered(self) -> Result<pb::Schema, Refusal> {
        if [self.id, self.version].into_iter().flatten().any(|number| number > 0) {
            let message = "ids and versions are given here: a registry that took those of another would be in mode IMPORT, \
                           which there is not";
            return Err(Refusal::new(refusal::NOT_PERMITTED, message));
        }
        // Whoever relies on a rule, to encrypt a field, must not find it gone.
        if [&self.metadata, &self.rule_set].into_iter().flatten().any(|value| !value.is_null()) {
            return Err(invalid("metadata and rules are not kept here: leave metadata and ruleSet out"));
        }
        self.schema()
    }
}

impl From<pb::Schema> for Row {
    fn from(schema: pb::Schema) -> Self {
        let schema_type = match schema.r#type() {
            pb::SchemaType::Avro | pb::SchemaType::Unspecified => None,
            other => other.as_str_name().strip_prefix(KIND).map(str::to_owned),
        };
        let references = schema.references.into_iter().map(Reference::from).collect();
        let pb::Schema { subject, version, id, text, .. } = schema;
        Row { subject, version, id, schema_type, references, schema: text, max_id: 0 }
    }
}

impl From<pb::SchemaReference> for Reference {
    fn from(reference: pb::SchemaReference) -> Self {
        let pb::SchemaReference { name, subject, version } = reference;
        Reference { name, subject, version: version.into() }
    }
}

impl Reference {
    fn named(self) -> pb::SchemaReference {
        let Reference { name, subject, version } = self;
        pb::SchemaReference { name, subject, version: version.try_into().unwrap_or_default() }
    }
}

fn invalid(what: &str) -> Refusal {
    Refusal::new(refusal::INVALID_SCHEMA, format!("Invalid schema: {what}"))
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

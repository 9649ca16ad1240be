//! What a registry and its clients say, in JSON. Members that are not needed here are let be.

use serde::{Deserialize, Serialize};

use crate::schema::{Kind, Schema};

/// A schema, as a registry tells it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// Not told if it was asked for by its id.
    pub id: Option<u32>,
    /// Left out of Avro.
    pub schema_type: Option<String>,
    pub schema: String,
    #[serde(default)]
    pub references: Vec<Reference>,
}

/// What a schema refers to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// As the schema names it.
    pub name: String,
    /// Where it is registered.
    pub subject: String,
    /// The newest if it is negative.
    pub version: i64,
}

/// A schema that is to be registered.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Brought<'a> {
    schema: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    schema_type: Option<&'static str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    references: &'a [Reference],
}

/// What is answered to that.
#[derive(Debug, Deserialize)]
pub struct Given {
    pub id: u32,
}

/// A refusal.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Refused {
    /// The first three digits are the status.
    pub error_code: u32,
    pub message: String,
}

impl<'a> Brought<'a> {
    pub fn new(schema: &'a Schema, references: &'a [Reference]) -> Self {
        // Registries that are older than the other kinds know no types.
        let schema_type = Some(schema.kind()).filter(|kind| *kind != Kind::Avro).map(Kind::as_str);
        Brought { schema: schema.text(), schema_type, references }
    }
}

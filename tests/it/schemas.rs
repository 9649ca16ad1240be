//! Schemas through the binary: what may be registered, what a topic demands, what serializers ask for, and what
//! survives.

mod cli;
mod registry;
mod serializers;
mod service;
mod topics;

use tilde::{
    client,
    pb::v1::{RegisterSchemaRequest, Schema, SchemaType, schemas_client::SchemasClient},
};
use tonic::Status;

use crate::support::Tilde;

type Schemas = SchemasClient<client::Channel>;

async fn schemas(broker: &Tilde) -> Schemas {
    SchemasClient::new(client::connect(&broker.url).await.unwrap())
}

fn schema(kind: SchemaType, text: &str) -> Option<Schema> {
    Some(Schema { r#type: kind.into(), text: text.to_owned(), ..Schema::default() })
}

/// A record with these fields.
fn record(fields: &str) -> Option<Schema> {
    schema(SchemaType::Avro, &format!(r#"{{"type":"record","name":"Order","fields":[{fields}]}}"#))
}

const ID: &str = r#"{"name":"id","type":"string"}"#;
const COUNT: &str = r#"{"name":"count","type":"int"}"#;
const NOTE: &str = r#"{"name":"note","type":"string","default":""}"#;

/// Registers a schema. Answers its version and id, and whether it was added.
async fn register(
    schemas: &mut Schemas,
    subject: &str,
    schema: Option<Schema>,
) -> Result<(u32, u32, bool), Box<Status>> {
    let request = RegisterSchemaRequest { subject: subject.to_owned(), schema, ..Default::default() };
    let answer = schemas.register_schema(request).await?.into_inner();
    let schema = answer.schema.unwrap();
    assert_eq!(schema.subject, subject);
    Ok((schema.version, schema.id, answer.created))
}

/// The reason of a refusal, and one fact of its metadata.
fn refusal(status: &Status, fact: &str) -> (String, String) {
    use tonic_types::StatusExt as _;
    let info = status.get_details_error_info().unwrap_or_else(|| panic!("{status:?}"));
    (info.reason, info.metadata.get(fact).cloned().unwrap_or_default())
}

//! The `Schemas` service.

use std::sync::Arc;

use prost::Message as _;
use tonic::{Request, Response, Status};

use super::convert::{self, PageRequest};
use crate::{
    broker::{
        Broker,
        schemas::{Draft, Reference, Registered, Rules, Wanted},
    },
    model::{Error, NamespaceName, Reason, Result},
    pb::{server::schemas_server, v1 as pb},
    schema::{Compatibility, Kind},
};

/// Keeps the schemas.
#[derive(Clone)]
pub struct SchemasService(pub Arc<Broker>);

#[tonic::async_trait]
impl schemas_server::Schemas for SchemasService {
    async fn register_schema(
        &self,
        request: Request<pb::RegisterSchemaRequest>,
    ) -> Result<Response<pb::RegisterSchemaResponse>, Status> {
        let request = request.into_inner();
        let namespace = NamespaceName::parse(&request.namespace)?;
        let draft = parse(request.schema)?;
        let (registered, created) = self.0.register_schema(&namespace, &request.subject, draft).await?;
        Ok(Response::new(pb::RegisterSchemaResponse { schema: Some(answer(registered)), created }))
    }

    async fn get_schema(
        &self,
        request: Request<pb::GetSchemaRequest>,
    ) -> Result<Response<pb::GetSchemaResponse>, Status> {
        let pb::GetSchemaRequest { namespace, subject, version, id, deleted, as_descriptor } = request.into_inner();
        let namespace = NamespaceName::parse(&namespace)?;
        let mut found = match (subject.as_str(), id) {
            ("", 0) => return Err(invalid("subject", "neither subject nor id is given: name one").into()),
            ("", id) => self.0.get_schema_by_id(&namespace, id).await?,
            (subject, 0) => self.0.get_schema(&namespace, subject, version, deleted).await?,
            _ => return Err(invalid("id", "both subject and id are given: name one").into()),
        };
        if as_descriptor && let Some(descriptor) = self.0.schema_descriptor(&namespace, found.id).await? {
            found.draft.text = descriptor;
        }
        Ok(Response::new(pb::GetSchemaResponse { schema: Some(answer(found)) }))
    }

    async fn lookup_schema(
        &self,
        request: Request<pb::LookupSchemaRequest>,
    ) -> Result<Response<pb::LookupSchemaResponse>, Status> {
        let request = request.into_inner();
        let namespace = NamespaceName::parse(&request.namespace)?;
        let draft = parse(request.schema)?;
        let found = self.0.lookup_schema(&namespace, &request.subject, draft, request.deleted).await?;
        Ok(Response::new(pb::LookupSchemaResponse { schema: Some(answer(found)) }))
    }

    async fn list_schemas(
        &self,
        request: Request<pb::ListSchemasRequest>,
    ) -> Result<Response<pb::ListSchemasResponse>, Status> {
        let request = request.into_inner();
        let namespace = NamespaceName::parse(&request.namespace)?;
        let page = PageRequest::parse(request.page_size, &request.page_token)?;
        let only = Wanted { subject: request.subject, version: 0, id: request.id };
        let after = split_key(&page.after);
        let rows = self.0.list_schemas(&namespace, &only, request.deleted, after, page.wanted()).await?;
        let mut rows: Vec<_> = rows.into_iter().map(|row| (key(&row), answer(row))).collect();
        let next_page_token = page.cut(&mut rows, |(_, schema)| schema.encoded_len(), |(key, _)| key);
        let schemas = rows.into_iter().map(|(_, schema)| schema).collect();
        Ok(Response::new(pb::ListSchemasResponse { schemas, next_page_token }))
    }

    async fn delete_schema(
        &self,
        request: Request<pb::DeleteSchemaRequest>,
    ) -> Result<Response<pb::DeleteSchemaResponse>, Status> {
        let pb::DeleteSchemaRequest { namespace, subject, version, permanent } = request.into_inner();
        let namespace = NamespaceName::parse(&namespace)?;
        let versions = self.0.delete_schema(&namespace, &subject, version, permanent).await?;
        Ok(Response::new(pb::DeleteSchemaResponse { versions }))
    }

    async fn check_compatibility(
        &self,
        request: Request<pb::CheckCompatibilityRequest>,
    ) -> Result<Response<pb::CheckCompatibilityResponse>, Status> {
        let request = request.into_inner();
        let namespace = NamespaceName::parse(&request.namespace)?;
        let draft = parse(request.schema)?;
        let problems = self.0.check_compatibility(&namespace, &request.subject, draft, request.version).await?;
        Ok(Response::new(pb::CheckCompatibilityResponse { compatible: problems.is_empty(), problems }))
    }

    async fn validate_payload(
        &self,
        request: Request<pb::ValidatePayloadRequest>,
    ) -> Result<Response<pb::ValidatePayloadResponse>, Status> {
        let pb::ValidatePayloadRequest { namespace, subject, version, id, payload } = request.into_inner();
        let namespace = NamespaceName::parse(&namespace)?;
        let found = self.0.validate_payload(&namespace, Wanted { subject, version, id }, &payload).await?;
        Ok(Response::new(pb::ValidatePayloadResponse { schema: Some(answer(found)) }))
    }

    async fn get_schema_rules(
        &self,
        request: Request<pb::GetSchemaRulesRequest>,
    ) -> Result<Response<pb::GetSchemaRulesResponse>, Status> {
        let pb::GetSchemaRulesRequest { namespace, subject } = request.into_inner();
        let rules = self.0.schema_rules(&NamespaceName::parse(&namespace)?, &subject).await?;
        Ok(Response::new(pb::GetSchemaRulesResponse { rules: rules.map(answer_rules) }))
    }

    async fn update_schema_rules(
        &self,
        request: Request<pb::UpdateSchemaRulesRequest>,
    ) -> Result<Response<pb::UpdateSchemaRulesResponse>, Status> {
        let pb::UpdateSchemaRulesRequest { namespace, subject, rules, update_mask } = request.into_inner();
        let change = parse_change(rules.map(parse_rules).transpose()?, update_mask)?;
        let rules = self.0.update_schema_rules(&NamespaceName::parse(&namespace)?, &subject, change).await?;
        Ok(Response::new(pb::UpdateSchemaRulesResponse { rules: rules.map(answer_rules) }))
    }
}

const KINDS: [(Kind, pb::SchemaType); 3] = [
    (Kind::Avro, pb::SchemaType::Avro),
    (Kind::Json, pb::SchemaType::Json),
    (Kind::Protobuf, pb::SchemaType::Protobuf),
];

const LEVELS: [(Compatibility, pb::Compatibility); 7] = [
    (Compatibility::None, pb::Compatibility::None),
    (Compatibility::Backward, pb::Compatibility::Backward),
    (Compatibility::BackwardTransitive, pb::Compatibility::BackwardTransitive),
    (Compatibility::Forward, pb::Compatibility::Forward),
    (Compatibility::ForwardTransitive, pb::Compatibility::ForwardTransitive),
    (Compatibility::Full, pb::Compatibility::Full),
    (Compatibility::FullTransitive, pb::Compatibility::FullTransitive),
];

/// What an update mask may hold.
const RULES: [&str; 2] = ["compatibility", "read_only"];

/// In: what somebody brings.
pub fn parse(schema: Option<pb::Schema>) -> Result<Draft> {
    let schema = schema.ok_or_else(|| invalid("schema", "there is no schema"))?;
    let kind = match schema.r#type {
        0 => Kind::Avro,
        other => match KINDS.iter().find(|(_, word)| i32::from(*word) == other) {
            Some((kind, _)) => *kind,
            None => return Err(convert::unknown_value(other, "schema.type")),
        },
    };
    let reference =
        |pb::SchemaReference { name, subject, version }: pb::SchemaReference| Reference { name, subject, version };
    Ok(Draft { kind, text: schema.text, references: schema.references.into_iter().map(reference).collect() })
}

/// Out.
pub fn answer(registered: Registered) -> pb::Schema {
    let Registered { draft: Draft { kind, text, references }, subject, version, id, deleted } = registered;
    let reference = |Reference { name, subject, version }: Reference| pb::SchemaReference { name, subject, version };
    let (_, kind) = KINDS.iter().find(|(known, _)| *known == kind).expect("all are listed");
    let references = references.into_iter().map(reference).collect();
    pb::Schema { r#type: (*kind).into(), text, references, subject, version, id, deleted }
}

/// In.
pub fn parse_rules(rules: pb::SchemaRules) -> Result<Rules> {
    let compatibility = match rules.compatibility {
        0 => None,
        other => match LEVELS.iter().find(|(_, word)| i32::from(*word) == other) {
            Some((level, _)) => Some(*level),
            None => return Err(convert::unknown_value(other, "rules.compatibility")),
        },
    };
    Ok(Rules { compatibility, read_only: rules.read_only })
}

/// In: what an update changes: the rules in the mask, or without one all.
fn parse_change(
    wanted: Option<Rules>,
    mask: Option<prost_types::FieldMask>,
) -> Result<impl Fn(Option<Rules>) -> Option<Rules>> {
    let mask = mask.unwrap_or_default().paths;
    if let Some(path) = mask.iter().find(|path| !RULES.contains(&path.as_str())) {
        let path: String = path.chars().take(64).collect();
        let known = RULES.join(", ");
        return Err(invalid(
            "update_mask",
            format!("update_mask holds {path:?}, which cannot be changed: it takes {known}"),
        ));
    }
    let [compatibility, read_only] = RULES.map(|rule| mask.is_empty() || mask.iter().any(|path| path == rule));
    Ok(move |kept: Option<Rules>| {
        if mask.is_empty() {
            return wanted;
        }
        let (kept, wanted) = (kept.unwrap_or_default(), wanted.unwrap_or_default());
        let changed = Rules {
            compatibility: if compatibility { wanted.compatibility } else { kept.compatibility },
            read_only: if read_only { wanted.read_only } else { kept.read_only },
        };
        Some(changed).filter(|changed| *changed != Rules::default())
    })
}

/// Out.
pub fn answer_rules(rules: Rules) -> pb::SchemaRules {
    let word = |level| LEVELS.iter().find(|(known, _)| *known == level).expect("all are listed").1;
    let compatibility = rules.compatibility.map_or(pb::Compatibility::Unspecified, word);
    pb::SchemaRules { compatibility: compatibility.into(), read_only: rules.read_only }
}

/// Where a page of versions ends: the version first, as a subject may hold anything.
fn key(row: &Registered) -> String {
    format!("{}/{}", row.version, row.subject)
}

fn split_key(key: &str) -> (&str, u32) {
    let (version, subject) = key.split_once('/').unwrap_or_default();
    (subject, version.parse().unwrap_or_default())
}

fn invalid(field: &str, what: impl Into<String>) -> Error {
    Error::new(Reason::RequestInvalid, what).field(field)
}

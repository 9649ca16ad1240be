//! `/openapi.json`: the table of routes as an OpenAPI 3.1 document. Made from the table and from the contract's descriptors
//! and comments, so that it says what is served.

use std::collections::BTreeMap;

use prost_reflect::{EnumDescriptor, FieldDescriptor, FileDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value, json};

use super::{
    live, publish,
    rpc::{Body, Rpc},
    table::{TABLE, To},
};
use crate::server::http::route::Route;

/// Where it is.
pub const PATH: &str = "/openapi.json";

/// The document.
pub fn document() -> Value {
    let mut schemas = Schemas::default();
    let mut paths: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for route in TABLE.iter() {
        let path = route.path.replace("...}", "}");
        let operation = operation(route, &mut schemas);
        paths.entry(path).or_default().insert(route.method.as_str().to_ascii_lowercase(), operation);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Tilde",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "A message broker that speaks gRPC and HTTP",
            "description": "The contract of `proto/tilde/v1` over plain HTTP. JSON is protobuf's own mapping: numbers of 64 \
                            bits are strings, bytes are base64, times are RFC 3339, durations as in 1.5s. A topic in a \
                            path may have its slashes as they are.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "paths": paths,
        "components": { "schemas": schemas.all(), "responses": { "Problem": problem() } },
    })
}

/// A row of the table.
fn operation(route: &Route<To>, schemas: &mut Schemas) -> Value {
    let mut parameters: Vec<Value> = path_parameters(route.path).collect();
    let (id, summary, tag, body, answer) = match &route.to {
        To::Rpc(rpc) => {
            parameters.extend(rpc_parameters(rpc, route.path, schemas));
            let method = &rpc.method;
            let tag = method.parent_service().name().to_owned();
            (
                method.name().to_owned(),
                comment(&method.parent_file(), method.path()),
                tag,
                rpc_body(rpc, schemas),
                rpc_answer(rpc, schemas),
            )
        }
        To::Publish => {
            parameters.extend(publish::PARAMETERS.iter().map(|(name, what)| query_parameter(name, what)));
            parameters.push(free_parameters(
                "attributes",
                "An attribute each, as in ?attributes.KEY=value; or the header \
                tilde-attribute-KEY. The other parameters are headers, too: tilde-message-id, and so on.",
            ));
            let schema = json!({ "required": false, "content": { "*/*": { "schema": {} } } });
            let answer = json!({ "200": answered("Published.", "application/json", schemas.message("tilde.v1.PublishResponse")) });
            let summary = "Publishes the body as it is, with its content type.".to_owned();
            ("PublishMessage".to_owned(), summary, "Broker".to_owned(), Some(schema), answer)
        }
        To::Live => {
            parameters.extend(live::PARAMETERS.iter().map(|(name, what)| match *name {
                "topic" => json!({
                    "name": "topic", "in": "query", "required": true, "description": what, "style": "form", "explode": true,
                    "schema": { "type": "array", "minItems": 1, "items": { "type": "string" } },
                }),
                name => query_parameter(name, what),
            }));
            parameters.push(json!({
                "name": "Last-Event-ID", "in": "header", "description": "The id of the last event that was read: what came after it.",
                "schema": { "type": "string" },
            }));
            let summary = "Messages as they come, as server-sent events; as a JSON object a line with Accept: application/x-ndjson.";
            ("StreamMessages".to_owned(), summary.to_owned(), "Broker".to_owned(), None, stream())
        }
        To::DeadLetters => {
            let known = live::PARAMETERS.iter().filter(|(name, _)| !matches!(*name, "topic" | "filter"));
            parameters.extend(known.map(|(name, what)| query_parameter(name, what)));
            let summary =
                "The messages that a subscription gave up, from the oldest on, each with the reason in its attributes.";
            ("StreamDeadLetters".to_owned(), summary.to_owned(), "Subscriptions".to_owned(), None, stream())
        }
        To::Document => {
            let answer = json!({ "200": answered("The document.", "application/json", json!({ "type": "object" })) });
            ("GetOpenApi".to_owned(), "This document.".to_owned(), "Operations".to_owned(), None, answer)
        }
    };
    let mut operation = json!({ "operationId": id, "tags": [tag], "description": summary, "responses": answer });
    operation["responses"]["default"] = json!({ "$ref": "#/components/responses/Problem" });
    if !parameters.is_empty() {
        operation["parameters"] = parameters.into();
    }
    if let Some(body) = body {
        operation["requestBody"] = body;
    }
    operation
}

/// The parts of a path in braces.
pub fn path_parameters(path: &'static str) -> impl Iterator<Item = Value> {
    path.split('{').skip(1).filter_map(|part| part.split('}').next()).map(|name| {
        let schema = match name {
            "sequence" => json!({ "type": "string", "pattern": "^[0-9]+$" }),
            _ => json!({ "type": "string", "minLength": 1 }),
        };
        json!({ "name": name.trim_end_matches("..."), "in": "path", "required": true, "schema": schema })
    })
}

fn query_parameter(name: &str, what: &str) -> Value {
    json!({ "name": name, "in": "query", "description": what, "schema": { "type": "string" } })
}

fn free_parameters(name: &str, what: &str) -> Value {
    let schema = json!({ "type": "object", "additionalProperties": { "type": "string" } });
    json!({ "name": name, "in": "query", "description": what, "style": "form", "explode": false, "schema": schema })
}

/// What of a call stands behind `?`.
fn rpc_parameters(rpc: &Rpc, path: &str, schemas: &mut Schemas) -> Vec<Value> {
    let input = rpc.method.input();
    let bound = |name: &str| path.contains(&format!("{{{name}}}")) || path.contains(&format!("{{{name}...}}"));
    let fields: Vec<FieldDescriptor> = match rpc.body {
        Body::Whole => input.get_field_by_name("namespace").into_iter().collect(),
        Body::None => input.fields().filter(|field| !bound(field.name())).collect(),
        Body::Field(name) => {
            let inner = input.get_field_by_name(name).and_then(|field| field.kind().as_message().cloned());
            let namespace = inner.and_then(|inner| inner.get_field_by_name("namespace"));
            namespace.into_iter().chain(input.fields().filter(|field| field.name() != name)).collect()
        }
    };
    let parameter = |field: &FieldDescriptor| {
        json!({
            "name": field.name(), "in": "query", "description": comment(&field.parent_message().parent_file(), field.path()),
            "schema": schemas.field(field),
        })
    };
    fields.iter().map(parameter).collect()
}

fn rpc_body(rpc: &Rpc, schemas: &mut Schemas) -> Option<Value> {
    let input = rpc.method.input();
    let message = match rpc.body {
        Body::None => return None,
        Body::Whole => input,
        Body::Field(name) => input.get_field_by_name(name)?.kind().as_message()?.clone(),
    };
    let schema = schemas.message(message.full_name());
    Some(json!({ "required": false, "content": { "application/json": { "schema": schema } } }))
}

fn rpc_answer(rpc: &Rpc, schemas: &mut Schemas) -> Value {
    let output = rpc.method.output();
    if output.fields().len() == 0 {
        return json!({ "204": { "description": "Done." } });
    }
    let told = output.get_field_by_name(rpc.answer).and_then(|field| field.kind().as_message().cloned());
    let schema = schemas.message(told.as_ref().unwrap_or(&output).full_name());
    let mut answer = json!({ "200": answered("Done.", "application/json", schema.clone()) });
    if output.get_field_by_name("created").is_some() {
        answer["201"] = answered("Created.", "application/json", schema);
    }
    answer
}

fn answered(what: &str, kind: &str, schema: Value) -> Value {
    json!({ "description": what, "content": { kind: { "schema": schema } } })
}

fn stream() -> Value {
    let schema = json!({ "schema": { "type": "string" } });
    json!({ "200": {
        "description": "A stream.",
        "content": { "text/event-stream": schema, "application/x-ndjson": schema },
    } })
}

fn problem() -> Value {
    let text = json!({ "type": "string" });
    let schema = json!({
        "type": "object",
        "required": ["type", "title", "status", "detail"],
        "properties": {
            "type": text, "title": text, "status": { "type": "integer" }, "detail": text,
            "reason": { "type": "string", "description": "Stable; the same as over gRPC." },
            "field": { "type": "string", "description": "The part of the request that is at fault." },
            "retryAfterMs": { "type": "integer", "description": "When another try makes sense." },
            "metadata": { "type": "object", "additionalProperties": text },
        },
    });
    answered("Refused: why, and what to do (RFC 9457).", "application/problem+json", schema)
}

/// The schemas that were asked for, and those within them.
#[derive(Default)]
struct Schemas(BTreeMap<String, Value>);

impl Schemas {
    fn all(self) -> Value {
        self.0.into_iter().collect::<Map<_, _>>().into()
    }

    /// A reference to a message's schema.
    fn message(&mut self, name: &str) -> Value {
        let message = super::rpc::POOL.get_message_by_name(name).expect("the contract has it");
        let short = short(&message);
        if !self.0.contains_key(&short) {
            // So that one that holds itself comes to an end.
            self.0.insert(short.clone(), Value::Null);
            let mut properties = Map::new();
            for field in message.fields() {
                let mut schema = self.field(&field);
                let what = comment(&message.parent_file(), field.path());
                if !what.is_empty() && schema.get("$ref").is_none() {
                    schema["description"] = what.into();
                }
                properties.insert(field.json_name().to_owned(), schema);
            }
            let what = comment(&message.parent_file(), message.path());
            self.0.insert(short.clone(), json!({ "type": "object", "description": what, "properties": properties }));
        }
        json!({ "$ref": format!("#/components/schemas/{short}") })
    }

    fn field(&mut self, field: &FieldDescriptor) -> Value {
        if field.is_map() {
            return json!({ "type": "object", "additionalProperties": { "type": "string" } });
        }
        let one = match field.kind() {
            Kind::Message(message) => match message.full_name() {
                "google.protobuf.Timestamp" => json!({ "type": "string", "format": "date-time" }),
                "google.protobuf.Duration" => {
                    json!({ "type": "string", "pattern": "^-?[0-9]+(\\.[0-9]{1,9})?s$", "examples": ["1.5s"] })
                }
                "google.protobuf.FieldMask" => json!({ "type": "string" }),
                name => self.message(name),
            },
            Kind::Enum(values) => names(&values),
            Kind::Bool => json!({ "type": "boolean" }),
            Kind::Double | Kind::Float => json!({ "type": "number" }),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => json!({ "type": "integer", "format": "int32" }),
            Kind::Uint32 | Kind::Fixed32 => json!({ "type": "integer", "minimum": 0, "maximum": u32::MAX }),
            Kind::Uint64 | Kind::Fixed64 => json!({ "type": "string", "pattern": "^[0-9]{1,20}$" }),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => json!({ "type": "string", "pattern": "^-?[0-9]{1,19}$" }),
            Kind::Bytes => json!({ "type": "string", "contentEncoding": "base64" }),
            Kind::String => json!({ "type": "string" }),
        };
        if field.is_list() { json!({ "type": "array", "items": one }) } else { one }
    }
}

fn names(values: &EnumDescriptor) -> Value {
    let names: Vec<_> = values.values().map(|value| value.name().to_owned()).collect();
    json!({ "type": "string", "enum": names })
}

/// `tilde.v1.StartPosition` as `StartPosition`.
fn short(message: &MessageDescriptor) -> String {
    message.full_name().trim_start_matches("tilde.v1.").to_owned()
}

/// What the contract says of one of its parts: before it, or behind it on its line.
fn comment(file: &FileDescriptor, path: &[i32]) -> String {
    let said = file.file_descriptor_proto().source_code_info.as_ref();
    let place = said.and_then(|said| said.location.iter().find(|place| place.path == path));
    let said = place.map(|place| [place.leading_comments(), place.trailing_comments()].concat()).unwrap_or_default();
    said.lines().map(str::trim).collect::<Vec<_>>().join(" ").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_has_every_route_and_every_schema_that_it_names() {
        let document = document();
        for Route { path, method, .. } in TABLE.iter() {
            let path = path.replace("...}", "}");
            let operation = &document["paths"][&path][method.as_str().to_ascii_lowercase()];
            assert!(operation["description"].as_str().is_some_and(|text| text.len() > 10), "{method} {path}");
        }
        let text = document.to_string();
        for reference in text.split("#/components/schemas/").skip(1) {
            let name = reference.split('"').next().unwrap();
            assert!(document["components"]["schemas"][name].is_object(), "{name}");
        }
        let ids: Vec<_> = text.match_indices("\"operationId\"").collect();
        assert_eq!(ids.len(), TABLE.len());
    }
}

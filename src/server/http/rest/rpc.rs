//! A call that takes one message and answers one, over JSON: a request becomes the call's message, and its answer JSON, by
//! protobuf's own mapping. Never knows a call by name.

use std::sync::LazyLock;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, Uri, header, request};
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, MethodDescriptor, SerializeOptions, Value};
use serde_json::Map;
use tonic::{Status, body::Body as HttpBody};

use super::{fields, json};
use crate::{
    model::{Error, Reason, Result, limits},
    pb,
    server::{
        http::{body, problem::invalid, query::Query, route::Parameters},
        local::Local,
    },
};

/// The contract, to be looked up in.
pub static POOL: LazyLock<DescriptorPool> =
    LazyLock::new(|| DescriptorPool::decode(pb::DESCRIPTORS).expect("the descriptors were made by the build"));

/// What stands in the body of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// Nothing: all fields are parameters.
    None,
    /// The call's message. Fields may be parameters, too.
    Whole,
    /// One field of it. Parameters are fields of that one, or of the message where it has none of the name.
    Field(&'static str),
}

/// A call.
#[derive(Debug)]
pub struct Rpc {
    /// What it is called with.
    pub method: MethodDescriptor,
    /// What stands in the body.
    pub body: Body,
    /// The field of the answer that is told alone; empty if the whole is.
    pub answer: &'static str,
    uri: Uri,
}

impl Rpc {
    /// One of the contract, as in `Topics/GetTopic`.
    pub fn new(call: &'static str, body: Body, answer: &'static str) -> Self {
        let (service, name) = call.split_once('/').expect("a service and a method");
        let service = POOL.get_service_by_name(&format!("tilde.v1.{service}")).expect("the contract has it");
        let method = service.methods().find(|method| method.name() == name).expect("the service has it");
        let uri = format!("/{}/{name}", service.full_name()).parse().expect("names make an address");
        Rpc { method, body, answer, uri }
    }

    /// Makes the call that a request asks for.
    pub async fn answer(
        &self,
        local: &Local,
        head: &request::Parts,
        body: &mut HttpBody,
        parameters: Parameters<'_>,
    ) -> Result<Response<HttpBody>, Status> {
        let sent = body::read(&head.headers, body, limits::REQUEST_BYTES).await?;
        let message = self.message(&head.headers, &sent, &head.uri, parameters)?;
        let answered = local.ask_encoded(self.uri.clone(), message).await?;
        self.tell(answered)
    }

    /// The message of a request, encoded.
    fn message(&self, headers: &HeaderMap, sent: &[u8], uri: &Uri, parameters: Parameters<'_>) -> Result<Bytes> {
        let input = self.method.input();
        let mut object = match self.body {
            Body::None if sent.is_empty() => Map::new(),
            Body::None => return Err(invalid("body", "is not empty: this call takes parameters alone")),
            Body::Whole => parse(headers, sent)?,
            Body::Field(name) => Map::from_iter([(name.to_owned(), parse(headers, sent)?.into())]),
        };
        for (name, value) in parameters {
            self.put(&mut object, &input, name, value.as_ref())?;
        }
        for (name, value) in Query::of(uri).rest() {
            self.put(&mut object, &input, &name, &value)?;
        }
        if self.changes() {
            fields::mask(&mut object, &input);
        }
        let mut track = serde_path_to_error::Track::new();
        let object = serde_json::Value::Object(object);
        let message = DynamicMessage::deserialize(input, serde_path_to_error::Deserializer::new(object, &mut track));
        let message = message.map_err(|error| {
            let error = fields::without_values(&error.to_string());
            let refusal = malformed(format_args!("the request is not what this call takes: {error}"));
            let field = track.path().to_string();
            if field == "." { refusal } else { refusal.field(field) }
        })?;
        Ok(message.encode_to_vec().into())
    }

    /// Whether it changes what is there: then what a request names is what is to change.
    fn changes(&self) -> bool {
        matches!(self.body, Body::Field(_)) && self.method.input().get_field_by_name(fields::MASK).is_some()
    }

    /// Puts a parameter where it belongs.
    fn put(
        &self,
        object: &mut Map<String, serde_json::Value>,
        input: &MessageDescriptor,
        name: &str,
        value: &str,
    ) -> Result<()> {
        if let Body::Field(field) = self.body
            && let Some(inner) = input.get_field_by_name(field)
            && let Some(within) = inner.kind().as_message()
            && let Some(serde_json::Value::Object(object)) = object.get_mut(field)
            && fields::has(within, name)
        {
            return fields::put(object, within, name, value);
        }
        fields::put(object, input, name, value)
    }

    fn tell(&self, answered: Bytes) -> Result<Response<HttpBody>, Status> {
        let output = self.method.output();
        if output.fields().len() == 0 {
            let mut response = Response::new(HttpBody::empty());
            *response.status_mut() = StatusCode::NO_CONTENT;
            return Ok(response);
        }
        let broken = |error: &dyn std::fmt::Display| Status::internal(format!("the answer is no JSON: {error}"));
        let message = DynamicMessage::decode(output, answered).map_err(|error| broken(&error))?;
        let mut out = Vec::new();
        let mut serializer = serde_json::Serializer::new(&mut out);
        // What is empty says something of a subscription, and nothing of a message.
        let options = SerializeOptions::new().skip_default_fields(self.method.name() == "Pull");
        let told = match message.get_field_by_name(self.answer) {
            Some(value) if !self.answer.is_empty() => {
                let Value::Message(inner) = &*value else { return Err(broken(&"it holds no message")) };
                inner.serialize_with_options(&mut serializer, &options)
            }
            _ => message.serialize_with_options(&mut serializer, &options),
        };
        told.map_err(|error| broken(&error))?;
        let mut response = json(out.into());
        let is_new = message.get_field_by_name("created").and_then(|created| created.as_bool());
        if is_new == Some(true) {
            *response.status_mut() = StatusCode::CREATED;
        }
        Ok(response)
    }
}

/// The object in a body; an empty one if nothing was sent.
fn parse(headers: &HeaderMap, sent: &[u8]) -> Result<Map<String, serde_json::Value>> {
    if sent.is_empty() {
        return Ok(Map::new());
    }
    check_type(headers)?;
    serde_json::from_slice(sent).map_err(|error| {
        malformed(format_args!("the body is no JSON object: {}", fields::without_values(&error.to_string())))
    })
}

/// Refuses a body that does not say that it is JSON.
fn check_type(headers: &HeaderMap) -> Result<()> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json")) {
        return Ok(());
    }
    let message = format!(
        "the body has the content type {kind:?}: this path takes JSON, and a header that says so: content-type: application/json"
    );
    Err(Error::new(Reason::ContentTypeInvalid, message))
}

fn malformed(what: std::fmt::Arguments<'_>) -> Error {
    Error::new(Reason::RequestInvalid, what.to_string())
}

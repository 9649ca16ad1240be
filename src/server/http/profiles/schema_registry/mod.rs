//! The profile `schema-registry`: the protocol of Confluent's registry, which serializers in all languages speak, over the
//! service `Schemas`. Also served below `/schema-registry` on the broker's own port. Everything is JSON, and a refusal is
//! `{"error_code":…,"message":"…"}`. What its clients say that the broker would not keep is refused rather than dropped.

mod asked;
mod compatibility;
mod ids;
mod refusal;
mod rules;
mod subjects;
mod words;

use std::sync::LazyLock;

use http::{HeaderValue, Method, Request, Response, StatusCode, header, request};
use http_body_util::Full;
use prost::Message;
use serde_json::json;
use tonic::{Status, body::Body};

use self::{asked::Asked, refusal::Refusal};
use crate::{
    model::{NamespaceName, limits},
    server::{
        http::{
            body,
            route::{self, Found, Route},
        },
        local::Local,
    },
};

/// Where the broker's own port has it.
const PATH: &str = "/schema-registry";
/// The header that says where, as for a publish over plain HTTP.
const NAMESPACE: &str = "tilde-namespace";
/// What its clients call JSON.
const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/vnd.schemaregistry.v1+json");

/// Of this profile.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Where its subjects are, for those who do not say where.
    pub namespace: NamespaceName,
}

/// Answers requests.
#[derive(Clone)]
pub struct SchemaRegistry {
    config: Config,
    local: Local,
    /// What all its paths begin with.
    at: &'static str,
}

/// Where a row leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum To {
    Home,
    Contexts,
    Subjects,
    Lookup,
    DeleteSubject,
    Versions,
    Register,
    Version,
    VersionText,
    ReferencedBy,
    DeleteVersion,
    Types,
    Schemas,
    Id,
    IdText,
    IdSubjects,
    IdVersions,
    Config,
    SetConfig,
    DeleteConfig,
    Mode,
    SetMode,
    DeleteMode,
    Compatible,
    CompatibleWith,
}

/// The table of routes.
static TABLE: LazyLock<Vec<Route<To>>> = LazyLock::new(|| {
    const SUBJECT: &str = "/subjects/{subject}";
    const VERSIONS: &str = "/subjects/{subject}/versions";
    const VERSION: &str = "/subjects/{subject}/versions/{version}";
    let row = |method, path, to| Route { method, path, to };
    vec![
        row(Method::GET, "/schemas/ids/{id}", To::Id),
        row(Method::POST, VERSIONS, To::Register),
        row(Method::GET, VERSIONS, To::Versions),
        row(Method::GET, VERSION, To::Version),
        row(Method::DELETE, VERSION, To::DeleteVersion),
        row(Method::POST, SUBJECT, To::Lookup),
        row(Method::DELETE, SUBJECT, To::DeleteSubject),
        row(Method::GET, "/subjects", To::Subjects),
        row(Method::GET, "/subjects/{subject}/versions/{version}/schema", To::VersionText),
        row(Method::GET, "/subjects/{subject}/versions/{version}/referencedby", To::ReferencedBy),
        row(Method::GET, "/schemas/ids/{id}/schema", To::IdText),
        row(Method::GET, "/schemas/ids/{id}/subjects", To::IdSubjects),
        row(Method::GET, "/schemas/ids/{id}/versions", To::IdVersions),
        row(Method::GET, "/schemas/types", To::Types),
        row(Method::GET, "/schemas", To::Schemas),
        row(Method::GET, "/config", To::Config),
        row(Method::PUT, "/config", To::SetConfig),
        row(Method::DELETE, "/config", To::DeleteConfig),
        row(Method::GET, "/config/{subject}", To::Config),
        row(Method::PUT, "/config/{subject}", To::SetConfig),
        row(Method::DELETE, "/config/{subject}", To::DeleteConfig),
        row(Method::GET, "/mode", To::Mode),
        row(Method::PUT, "/mode", To::SetMode),
        row(Method::DELETE, "/mode", To::DeleteMode),
        row(Method::GET, "/mode/{subject}", To::Mode),
        row(Method::PUT, "/mode/{subject}", To::SetMode),
        row(Method::DELETE, "/mode/{subject}", To::DeleteMode),
        row(Method::POST, "/compatibility/subjects/{subject}/versions", To::Compatible),
        row(Method::POST, "/compatibility/subjects/{subject}/versions/{version}", To::CompatibleWith),
        row(Method::GET, "/contexts", To::Contexts),
        row(Method::GET, "/", To::Home),
    ]
});

impl SchemaRegistry {
    /// On a port of its own.
    pub fn new(config: Config, local: Local) -> Self {
        SchemaRegistry { config, local, at: "" }
    }

    /// On the broker's own port, for the namespace `default` unless a request names another.
    pub fn beside(local: Local) -> Self {
        SchemaRegistry { config: Config::default(), local, at: PATH }
    }

    /// Whether a path of the broker's own port is one of this.
    pub fn has(path: &str) -> bool {
        path.strip_prefix(PATH).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Answers a request.
    pub async fn call(mut self, request: Request<Body>) -> Response<Body> {
        let (head, mut body) = request.into_parts();
        if let Some(said) = head.headers.get(NAMESPACE) {
            match NamespaceName::parse(&String::from_utf8_lossy(said.as_bytes())) {
                Ok(namespace) => self.config.namespace = namespace,
                Err(refused) => return Refusal::from(Status::from(refused)).answer(),
            }
        }
        match self.lead(&head, &mut body).await {
            Ok(said) => answer(StatusCode::OK, said),
            Err(refusal) => refusal.answer(),
        }
    }

    async fn lead(&self, head: &request::Parts, body: &mut Body) -> Result<String, Refusal> {
        let path = head.uri.path();
        let path = match path.strip_prefix(self.at).unwrap_or(path).trim_end_matches('/') {
            "" => "/",
            path => path,
        };
        let (to, parts) = match route::find(&TABLE, &head.method, path) {
            Found::Route(route, parts) => (route.to, parts),
            Found::OtherMethod(_) => return Err(Refusal::of(StatusCode::METHOD_NOT_ALLOWED)),
            Found::NoText | Found::Nothing => return Err(Refusal::of(StatusCode::NOT_FOUND)),
        };
        let body = body::read(&head.headers, body, limits::REQUEST_BYTES).await?;
        let asked = Asked { parts, head, body };
        let said = match to {
            To::Home => json!({}),
            // Subjects have one context, where others have several.
            To::Contexts => json!(["."]),
            To::Subjects => json!(self.subjects(&asked).await?),
            To::Lookup => json!(self.lookup(&asked).await?),
            To::DeleteSubject => json!(self.delete_subject(&asked).await?),
            To::Versions => json!(self.versions(&asked).await?),
            To::Register => json!(self.register(&asked).await?),
            To::Version => json!(self.version(&asked).await?),
            To::VersionText => return Ok(self.version(&asked).await?.schema),
            To::ReferencedBy => json!(self.referenced_by(&asked).await?),
            To::DeleteVersion => json!(self.delete_version(&asked).await?),
            To::Types => json!(["JSON", "PROTOBUF", "AVRO"]),
            To::Schemas => json!(self.schemas(&asked).await?),
            To::Id => json!(self.id(&asked).await?),
            To::IdText => return Ok(self.id(&asked).await?.schema),
            To::IdSubjects => json!(self.id_subjects(&asked).await?),
            To::IdVersions => json!(self.id_versions(&asked).await?),
            To::Config => self.config(&asked).await?,
            To::SetConfig => self.set_config(&asked).await?,
            To::DeleteConfig => self.delete_config(&asked).await?,
            To::Mode => self.mode(&asked).await?,
            To::SetMode => self.set_mode(&asked).await?,
            To::DeleteMode => self.delete_mode(&asked).await?,
            To::Compatible => self.compatible(&asked).await?,
            To::CompatibleWith => self.compatible_with(&asked).await?,
        };
        Ok(said.to_string())
    }

    /// Asks a call of the service.
    async fn ask<T: Message + Default>(&self, path: &'static str, message: &impl Message) -> Result<T, Refusal> {
        Ok(self.local.ask(path, message).await?)
    }

    fn namespace(&self) -> String {
        self.config.namespace.to_string()
    }
}

fn answer(status: StatusCode, body: String) -> Response<Body> {
    let mut response = Response::new(Body::new(Full::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, CONTENT_TYPE);
    response
}

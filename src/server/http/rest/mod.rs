//! The contract over plain HTTP and JSON. One table says which method of which path is which call; the calls are those of
//! gRPC, asked from within, and JSON is protobuf's own mapping of their messages. Never decides anything.

mod dead_letters;
mod events;
mod fields;
mod live;
mod openapi;
mod publish;
mod rpc;
mod table;

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header, request};
use http_body_util::Full;
use tonic::{Status, body::Body};

use self::table::{TABLE, To};
use super::{problem, query::Query, route};
use crate::{
    broker::Broker,
    server::{calls::Calls, local::Local},
};

/// Answers requests.
#[derive(Clone)]
pub struct Rest {
    broker: Arc<Broker>,
    local: Local,
    document: Arc<OnceLock<Bytes>>,
}

impl Rest {
    /// Over a broker and the calls that reach it.
    pub fn new(broker: Arc<Broker>, calls: Arc<Calls>) -> Self {
        Rest { local: Local::new(broker.clone(), calls), broker, document: Arc::default() }
    }

    /// Whether a path is one of the table, whatever the method.
    pub fn has(path: &str) -> bool {
        path.starts_with("/v1/") || path == openapi::PATH
    }

    /// Answers a request.
    pub async fn call(self, request: Request<Body>) -> Response<Body> {
        let (head, body) = request.into_parts();
        match self.answer(&head, body).await {
            Ok(answer) => answer,
            Err(refused) => problem::refused_call(&refused),
        }
    }

    async fn answer(&self, head: &request::Parts, mut body: Body) -> Result<Response<Body>, Status> {
        let (route, parameters) = match route::find(&TABLE, &head.method, head.uri.path()) {
            route::Found::Route(route, parameters) => (route, parameters),
            other => return Ok(problem::astray(&head.method, other)),
        };
        Query::check(&head.uri)?;
        match &route.to {
            To::Rpc(rpc) => rpc.answer(&self.local, head, &mut body, parameters).await,
            To::Publish => publish::answer(&self.broker, head, &mut body, &parameters[0].1).await,
            To::Live => live::answer(&self.broker, head).await,
            To::DeadLetters => dead_letters::answer(&self.broker, &self.local, head, &parameters[0].1).await,
            To::Document => Ok(self.document()),
        }
    }

    fn document(&self) -> Response<Body> {
        let document = self.document.get_or_init(|| openapi::document().to_string().into());
        json(document.clone())
    }
}

/// An answer that is JSON.
fn json(body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::new(Full::new(body)));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

//! Where a request goes that is no gRPC over HTTP/2: to a page, to the table of REST, to the registry of schemas, through
//! gRPC-Web to the calls, or nowhere. Never decides what a broker decides.

use std::{convert::Infallible, sync::Arc};

use http::{HeaderMap, Method, Request, Response, StatusCode, Version, header};
use tonic::body::Body;
use tonic_web::{GrpcWebLayer, GrpcWebService};
use tower::{Layer as _, ServiceExt as _, util::BoxCloneSyncService};

use super::{
    Pages,
    origin::Origins,
    problem::{invalid, nowhere, problem, refused},
    profiles::schema_registry::SchemaRegistry,
    rest::Rest,
};
use crate::server::calls::{Answer, Calls, ready};

type Web = GrpcWebService<BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>>;

/// Leads each request on.
#[derive(Clone)]
pub struct Plain {
    pages: Pages,
    rest: Rest,
    registry: SchemaRegistry,
    web: Web,
    calls: Arc<Calls>,
    origins: Origins,
}

impl Plain {
    /// Over what answers, for pages of these origins besides its own.
    pub fn new(pages: Pages, rest: Rest, registry: SchemaRegistry, calls: Arc<Calls>, origins: Origins) -> Self {
        let called = calls.clone();
        let called = tower::service_fn(move |request| called.call(request));
        let web = GrpcWebLayer::new().layer(BoxCloneSyncService::new(called));
        Plain { pages, rest, registry, web, calls, origins }
    }

    /// Answers a request.
    pub fn call(&self, request: Request<Body>) -> Answer {
        if let Some(page) = self.pages.answer(request.method(), request.uri().path()) {
            return ready(page);
        }
        if request.version() == Version::HTTP_11 && request.headers().get_all(header::HOST).iter().count() != 1 {
            return ready(refused(&invalid("host", "is missing, or there are several: HTTP/1.1 needs one")));
        }
        self.origins.guard(request, |request| self.lead(request))
    }

    fn lead(&self, mut request: Request<Body>) -> Answer {
        let path = request.uri().path();
        if self.calls.has(path) {
            return match is_web(request.headers()) {
                true => Box::pin(self.web.clone().oneshot(request)),
                false => {
                    let detail =
                        "this path takes gRPC: POST with the content type application/grpc, or application/grpc-web";
                    ready(problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail))
                }
            };
        }
        let is_registry = SchemaRegistry::has(path);
        if !is_registry && !Rest::has(path) {
            return ready(nowhere());
        }
        // HEAD is GET without a body.
        let is_head = request.method() == Method::HEAD;
        if is_head {
            *request.method_mut() = Method::GET;
        }
        let (rest, registry) = (self.rest.clone(), self.registry.clone());
        Box::pin(async move {
            let answer = if is_registry { registry.call(request).await } else { rest.call(request).await };
            Ok(if is_head { answer.map(|_| Body::empty()) } else { answer })
        })
    }
}

fn is_web(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).map(|kind| kind.as_bytes()).unwrap_or_default();
    kind.starts_with(b"application/grpc-web")
}

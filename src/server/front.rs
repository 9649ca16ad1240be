//! What stands before the routes: they are there once the broker is open. Until then whoever asks hears that it is not
//! ready, and every call is refused with a word on when to come again. Never holds a call back.

use std::{
    convert::Infallible,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use hyper::service::Service;
use tonic::{Status, body::Body, codegen::StdError, server::NamedService};
use tonic_health::{pb::health_server::HealthServer, server::HealthService};
use tower::ServiceExt as _;

use super::{
    calls::{Answer, ready},
    http::{Pages, refused},
    routes::{Routes, is_grpc},
};
use crate::model::{Error, Reason};

/// When whoever was refused should ask again.
const AGAIN: Duration = Duration::from_secs(1);

/// Leads to the routes.
#[derive(Clone)]
pub struct Front {
    routes: Arc<OnceLock<Routes>>,
    // None where another system is served, whose clients know nothing of them.
    pages: Option<Pages>,
}

impl Front {
    /// Without routes yet.
    pub fn new(pages: Option<Pages>) -> Self {
        Front { routes: Arc::default(), pages }
    }

    /// From now on calls are led there.
    pub fn open(&self, routes: Routes) {
        assert!(self.routes.set(routes).is_ok(), "a broker opens once");
    }

    /// Answers as long as there is nothing behind.
    fn wait<B>(&self, request: Request<B>) -> Answer
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<StdError> + Send,
    {
        let path = request.uri().path();
        let Some(pages) = &self.pages else {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            return ready(response);
        };
        if !is_grpc(request.headers()) {
            let page = pages.answer(request.method(), path);
            return ready(page.unwrap_or_else(|| refused(&not_open())));
        }
        let health = HealthServer::<HealthService>::NAME;
        if path.strip_prefix('/').and_then(|path| path.strip_prefix(health)).is_some_and(|rest| rest.starts_with('/')) {
            let health = HealthServer::new(HealthService::from_health_reporter(pages.readiness.reporter()));
            return Box::pin(health.oneshot(request.map(Body::new)));
        }
        ready(Status::from(not_open()).into_http())
    }
}

impl<B> Service<Request<B>> for Front
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<StdError> + Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn call(&self, request: Request<B>) -> Answer {
        match self.routes.get() {
            Some(routes) => routes.call(request),
            None => self.wait(request),
        }
    }
}

fn not_open() -> Error {
    let message = "the broker is not open yet, as its engine cannot be reached: try again, /readyz says when it is";
    Error::new(Reason::EngineUnreachable, message).retry_after(AGAIN)
}

//! `/healthz`, `/readyz` and `/metrics`.

use std::sync::Arc;

use http::{HeaderValue, Method, Response, StatusCode, header};
use http_body_util::Full;
use tonic::body::Body;

use super::problem;
use crate::{
    server::{
        counters::Counters,
        readiness::{Readiness, State},
    },
    telemetry::Metrics,
};

/// How a Prometheus text in the OpenMetrics form ends.
const END: &str = "# EOF\n";

/// The pages that are always there.
#[derive(Clone)]
pub struct Pages {
    /// Of the broker.
    pub metrics: Arc<Metrics>,
    /// Of the edge.
    pub counters: Arc<Counters>,
    /// Decides `/readyz`.
    pub readiness: Readiness,
}

impl Pages {
    /// Answers a request for a page; None if there is none of that path.
    pub fn answer(&self, method: &Method, path: &str) -> Option<Response<Body>> {
        let page = match path {
            "/healthz" => text(StatusCode::OK, "ok\n".into()),
            "/readyz" => match self.readiness.get() {
                State::Ready => text(StatusCode::OK, "ready\n".into()),
                State::Waiting => text(StatusCode::SERVICE_UNAVAILABLE, "waiting for the engine\n".into()),
                State::Draining => text(StatusCode::SERVICE_UNAVAILABLE, "draining\n".into()),
                State::Failed => text(StatusCode::SERVICE_UNAVAILABLE, "failed\n".into()),
            },
            "/metrics" => self.metrics(),
            _ => return None,
        };
        Some(match *method {
            Method::GET => page,
            // HTTP/2 would send a body that nobody expects.
            Method::HEAD => page.map(|_| Body::empty()),
            _ => {
                let mut refusal = problem(StatusCode::METHOD_NOT_ALLOWED, "this page can only be read: use GET");
                refusal.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
                refusal
            }
        })
    }

    fn metrics(&self) -> Response<Body> {
        let mut out = self.metrics.render();
        out.truncate(out.strip_suffix(END).unwrap_or(&out).len());
        self.counters.render(&mut out);
        out.push_str(END);
        let mut response = text(StatusCode::OK, out);
        let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    }
}

fn text(status: StatusCode, body: String) -> Response<Body> {
    let mut response = Response::new(Body::new(Full::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

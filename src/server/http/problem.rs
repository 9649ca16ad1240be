//! Refusals over HTTP: `application/problem+json` (RFC 9457).

use http::{HeaderValue, Response, StatusCode, header};
use serde_json::json;
use tonic::body::Body;

/// An answer that says what is wrong, to people and to programs.
pub fn problem(status: StatusCode, detail: &str) -> Response<Body> {
    let title = status.canonical_reason().unwrap_or("Refused");
    let body = json!({ "type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail });
    let mut response = Response::new(Body::new(http_body_util::Full::from(body.to_string())));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    response
}

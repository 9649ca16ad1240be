//! Refusals over HTTP: `application/problem+json` (RFC 9457), and the one table from codes to HTTP statuses. Never decides
//! whether something is refused.

use http::{HeaderValue, Method, Response, StatusCode, header};
use serde_json::{Map, Value, json};
use tonic::{Code, Status, body::Body};
use tonic_types::StatusExt as _;

use super::route::Found;
use crate::model::{self, Error, Reason};

/// The status over HTTP. Some reasons have one of their own, which clients and proxies know.
pub fn http_status(reason: Reason) -> StatusCode {
    match (reason, reason.code()) {
        (Reason::MessageTooLarge, _) => StatusCode::PAYLOAD_TOO_LARGE,
        (Reason::ContentTypeInvalid, _) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        (Reason::OriginNotAllowed, _) => StatusCode::FORBIDDEN,
        (Reason::NotAcceptable, _) => StatusCode::NOT_ACCEPTABLE,
        (Reason::RequestTooSlow, _) => StatusCode::REQUEST_TIMEOUT,
        (Reason::StorageFull, _) => StatusCode::INSUFFICIENT_STORAGE,
        (_, model::Code::Invalid) => StatusCode::BAD_REQUEST,
        (_, model::Code::NotFound) => StatusCode::NOT_FOUND,
        (_, model::Code::Exists | model::Code::Conflict | model::Code::Precondition) => StatusCode::CONFLICT,
        (_, model::Code::OutOfRange) => StatusCode::GONE,
        (_, model::Code::Exhausted) => StatusCode::TOO_MANY_REQUESTS,
        (_, model::Code::Unavailable) => StatusCode::SERVICE_UNAVAILABLE,
        (_, model::Code::TooLate) => StatusCode::GATEWAY_TIMEOUT,
        (_, model::Code::Internal) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// An answer that says what is wrong, to people and to programs.
pub fn problem(status: StatusCode, detail: &str) -> Response<Body> {
    answer(status, body(status, detail))
}

/// A refusal of the broker.
pub fn refused(error: &Error) -> Response<Body> {
    refused_call(&Status::from(error.clone()))
}

/// A refusal of a call, with what its details say.
pub fn refused_call(status: &Status) -> Response<Body> {
    let (code, body) = describe(status);
    let mut response = answer(code, body);
    if let Some(delay) = status.get_details_retry_info().and_then(|info| info.retry_delay) {
        // Whole seconds are all that the header knows; none too early.
        let seconds = delay.as_secs() + u64::from(delay.subsec_nanos() > 0);
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
    }
    response
}

/// The same, for whoever can send no status any more.
pub fn describe(status: &Status) -> (StatusCode, Map<String, Value>) {
    let details = status.get_error_details();
    let reason = details.error_info().map(|info| info.reason.clone()).unwrap_or_default();
    let known = Reason::ALL.iter().find(|known| known.as_str() == reason);
    let code = known.map_or_else(|| code_alone(status.code()), |known| http_status(*known));
    let mut body = body(code, status.message());
    if !reason.is_empty() {
        body.insert("reason".into(), reason.into());
    }
    if let Some(violation) = details.bad_request().and_then(|request| request.field_violations.first()) {
        body.insert("field".into(), violation.field.clone().into());
    }
    if let Some(delay) = details.retry_info().and_then(|info| info.retry_delay) {
        body.insert("retryAfterMs".into(), (delay.as_millis() as u64).into());
    }
    let facts = details.error_info().map(|info| &info.metadata).filter(|facts| !facts.is_empty());
    if let Some(facts) = facts {
        body.insert("metadata".into(), json!(facts));
    }
    (code, body)
}

/// What has no reason of the model: the deadline passed, or the library refused.
fn code_alone(code: Code) -> StatusCode {
    match code {
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::InvalidArgument => StatusCode::BAD_REQUEST,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn body(status: StatusCode, detail: &str) -> Map<String, Value> {
    let title = status.canonical_reason().unwrap_or("Refused");
    let body = [
        ("type", json!("about:blank")),
        ("title", json!(title)),
        ("status", json!(status.as_u16())),
        ("detail", json!(detail)),
    ];
    body.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn answer(status: StatusCode, body: Map<String, Value>) -> Response<Body> {
    let mut response = Response::new(Body::new(http_body_util::Full::from(Value::Object(body).to_string())));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    response
}

/// An answer to whoever asks for what is not there: the path, or the method of it.
pub fn astray<T>(method: &Method, found: Found<'_, '_, T>) -> Response<Body> {
    let methods = match found {
        Found::OtherMethod(methods) => methods,
        Found::NoText => return refused(&invalid("path", "is no UTF-8, where it is percent-decoded")),
        Found::Route(..) | Found::Nothing => return nowhere(),
    };
    let mut allowed: Vec<_> = methods.into_iter().map(Method::as_str).collect();
    if allowed.contains(&"GET") {
        allowed.push("HEAD");
    }
    let allowed = allowed.join(", ");
    let mut response = match *method {
        Method::OPTIONS => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NO_CONTENT;
            response
        }
        _ => problem(StatusCode::METHOD_NOT_ALLOWED, &format!("{method} is not for this path: it takes {allowed}")),
    };
    let allowed = HeaderValue::from_str(&allowed).expect("methods are no control characters");
    response.headers_mut().insert(header::ALLOW, allowed);
    response
}

/// The whole answer to what is no request: it is told to a connection, and closes it.
pub fn unread(status: StatusCode) -> String {
    let what = match status {
        StatusCode::URI_TOO_LONG => "the address is too long: it and the headers may have 16 KiB together",
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => "there are too many headers: up to 100, and 16 KiB together",
        _ => "this is no HTTP/1.1 request: its first line or one of its headers is malformed",
    };
    let (_, body) = describe(&Error::new(Reason::RequestInvalid, what).into());
    let title = status.canonical_reason().unwrap_or("Refused");
    let mut said = body;
    said.insert("status".into(), status.as_u16().into());
    said.insert("title".into(), title.into());
    let body = Value::Object(said).to_string();
    format!(
        "HTTP/1.1 {} {title}\r\ncontent-type: application/problem+json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        status.as_u16(),
        body.len(),
    )
}

/// What leads nowhere.
pub fn nowhere() -> Response<Body> {
    let detail = "nothing is here: there are /v1/…, which /openapi.json describes, /schema-registry/…, /healthz, /readyz, \
                  /metrics, and gRPC with reflection";
    problem(StatusCode::NOT_FOUND, detail)
}

/// A part of a request is wrong.
pub fn invalid(field: &str, what: &str) -> Error {
    Error::new(Reason::RequestInvalid, format!("{field} {what}")).field(field)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http_body_util::BodyExt as _;

    use super::*;
    use crate::server::status;

    #[test]
    fn the_table() {
        let rows = [
            (Reason::TopicInvalid, 400),
            (Reason::MessageTooLarge, 413),
            (Reason::NamespaceNotFound, 404),
            (Reason::MessageIdReused, 409),
            (Reason::SequenceConflict, 409),
            (Reason::SubscriptionPaused, 409),
            (Reason::PositionExpired, 410),
            (Reason::RateLimited, 429),
            (Reason::StorageFull, 507),
            (Reason::Draining, 503),
            (Reason::RequestTooSlow, 408),
            (Reason::Internal, 500),
        ];
        for (reason, expected) in rows {
            assert_eq!(http_status(reason).as_u16(), expected, "{reason:?}");
        }
        for &reason in Reason::ALL {
            let is_ours = matches!(status::code(reason.code()), Code::Internal);
            assert_eq!(http_status(reason) == StatusCode::INTERNAL_SERVER_ERROR, is_ours, "{reason:?}");
        }
    }

    #[tokio::test]
    async fn a_refusal_says_all_that_it_says_over_grpc() {
        let error = Error::new(Reason::RateLimited, "wait").field("topic").with("limit", 7);
        let response = refused(&error.retry_after(Duration::from_millis(1200)));
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(response.headers()["retry-after"], "2");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let expected = json!({
            "type": "about:blank", "title": "Too Many Requests", "status": 429, "detail": "wait",
            "reason": "RATE_LIMITED", "field": "topic", "retryAfterMs": 1200, "metadata": { "limit": "7" },
        });
        assert_eq!(serde_json::from_slice::<Value>(&body).unwrap(), expected);
    }
}

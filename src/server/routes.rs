//! What a request speaks, and so where it goes: gRPC to the calls, everything else to plain HTTP.

use std::{convert::Infallible, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, Version, header};
use hyper::service::Service;
use tonic::{body::Body, codegen::StdError};

use super::{
    calls::{Answer, Calls, ready},
    http::{Origins, Plain, problem, profiles::Serving},
};

/// Leads each request on: what one port serves.
pub enum Routes {
    /// The contract: gRPC, and the rest.
    Contract(Arc<Calls>, Plain),
    /// Another system, for those who may call.
    Profile(Serving, Origins),
}

impl<B> Service<Request<B>> for Routes
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<StdError> + Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn call(&self, request: Request<B>) -> Answer {
        match self {
            Routes::Contract(calls, _) if is_grpc(request.headers()) => match request.version() {
                Version::HTTP_2 => calls.call(request),
                _ => ready(problem(StatusCode::HTTP_VERSION_NOT_SUPPORTED, "gRPC needs HTTP/2")),
            },
            Routes::Contract(_, plain) => plain.call(request.map(Body::new)),
            Routes::Profile(serving, origins) => origins.guard(request.map(Body::new), |request| serving.call(request)),
        }
    }
}

/// Whether a call says that it is gRPC. (gRPC-Web, whose type begins alike, is another protocol.)
pub fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).map(|kind| kind.as_bytes()).unwrap_or_default();
    kind.strip_prefix(b"application/grpc").is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn grpc_is_told_from_what_looks_like_it() {
        for (kind, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;charset=utf-8", true),
            ("application/grpc-web+proto", false),
            ("text/html", false),
        ] {
            let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(kind))]);
            assert_eq!(is_grpc(&headers), expected, "{kind}");
        }
        assert!(!is_grpc(&HeaderMap::new()));
    }
}

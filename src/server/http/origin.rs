//! Pages of other sites: a browser sends what any page asks for to whatever its user can reach, a broker on this machine
//! too, and says which page asked (`Origin`). Those that nobody allowed are refused, so that to open a page is not to
//! publish; those that are allowed may read the answers (CORS).

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri, header, request};
use tonic::body::Body;

use super::problem::refused;
use crate::model::{Error, Reason};

/// How long a browser remembers what it may do, in seconds.
const REMEMBERED: HeaderValue = HeaderValue::from_static("600");
/// What a page may read besides the body.
const EXPOSED: HeaderValue =
    HeaderValue::from_static("retry-after, allow, location, grpc-status, grpc-message, grpc-status-details-bin");

/// Which pages may call.
#[derive(Clone, Debug, Default)]
pub struct Origins(Arc<[String]>);

/// What is to be done for whoever calls.
pub enum Verdict {
    /// No browser, or a page of this broker's own.
    Own,
    /// A page that was allowed.
    Allowed(HeaderValue),
    /// The answer to a browser that asks before it calls, or to a page that was not allowed.
    Answer(Response<Body>),
}

impl Origins {
    /// As configured: `https://app.example`, or `*` for all.
    pub fn new(allowed: &[String]) -> Self {
        Origins(allowed.iter().map(|origin| origin.trim_end_matches('/').to_ascii_lowercase()).collect())
    }

    /// Looks whose page a request is of, if it is of one.
    pub fn judge(&self, head: &request::Parts) -> Verdict {
        let Some(origin) = head.headers.get(header::ORIGIN) else { return Verdict::Own };
        let said = origin.to_str().unwrap_or_default().to_ascii_lowercase();
        if !self.0.iter().any(|allowed| allowed == "*" || *allowed == said) {
            if is_own(&said, &head.headers, &head.uri) {
                return Verdict::Own;
            }
            let message = format!(
                "pages of {said:?} may not call this broker: allow them with server.allow_origins, or call it without a \
                 browser"
            );
            return Verdict::Answer(refused(&Error::new(Reason::OriginNotAllowed, message)));
        }
        let asks = head.method == Method::OPTIONS && head.headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        match asks {
            true => Verdict::Answer(told(&head.headers, origin)),
            false => Verdict::Allowed(origin.clone()),
        }
    }
}

/// Lets a page read an answer.
pub fn expose(headers: &mut HeaderMap, origin: HeaderValue) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    headers.append(header::VARY, HeaderValue::from_static("origin"));
}

/// A page that came from where it calls.
fn is_own(origin: &str, headers: &HeaderMap, uri: &Uri) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.or_else(|| uri.authority().map(|authority| authority.as_str()));
    let page = origin.split_once("://").map(|(_, page)| page);
    matches!((page, host), (Some(page), Some(host)) if page.eq_ignore_ascii_case(host))
}

/// What a browser may do, which asked.
fn told(headers: &HeaderMap, origin: &HeaderValue) -> Response<Body> {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::NO_CONTENT;
    expose(answer.headers_mut(), origin.clone());
    for (asked, told) in [
        (header::ACCESS_CONTROL_REQUEST_METHOD, header::ACCESS_CONTROL_ALLOW_METHODS),
        (header::ACCESS_CONTROL_REQUEST_HEADERS, header::ACCESS_CONTROL_ALLOW_HEADERS),
    ] {
        if let Some(value) = headers.get(asked) {
            answer.headers_mut().insert(told, value.clone());
        }
    }
    answer.headers_mut().insert(header::ACCESS_CONTROL_MAX_AGE, REMEMBERED);
    answer
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn judge(allowed: &[&str], method: Method, headers: &[(&str, &str)]) -> String {
        let allowed: Vec<_> = allowed.iter().map(|origin| origin.to_string()).collect();
        let mut request = Request::builder().method(method).uri("/v1/topics");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        match Origins::new(&allowed).judge(&request.body(()).unwrap().into_parts().0) {
            Verdict::Own => "own".to_owned(),
            Verdict::Allowed(origin) => format!("allowed {}", origin.to_str().unwrap()),
            Verdict::Answer(answer) => answer.status().as_u16().to_string(),
        }
    }

    #[test]
    fn pages_of_others_call_only_where_they_are_allowed() {
        let evil = ("origin", "http://evil.example");
        let host = ("host", "127.0.0.1:7126");
        assert_eq!(judge(&[], Method::POST, &[host]), "own");
        assert_eq!(judge(&[], Method::POST, &[host, ("origin", "http://127.0.0.1:7126")]), "own");
        assert_eq!(judge(&[], Method::POST, &[host, ("origin", "http://127.0.0.1:8000")]), "403");
        assert_eq!(judge(&[], Method::POST, &[host, evil]), "403");
        assert_eq!(judge(&[], Method::GET, &[host, ("origin", "null")]), "403");
        assert_eq!(judge(&["http://evil.example/"], Method::POST, &[host, evil]), "allowed http://evil.example");
        assert_eq!(judge(&["*"], Method::GET, &[host, evil]), "allowed http://evil.example");
        let asks = ("access-control-request-method", "POST");
        assert_eq!(judge(&["*"], Method::OPTIONS, &[host, evil, asks]), "204");
        assert_eq!(judge(&[], Method::OPTIONS, &[host, evil, asks]), "403");
    }
}

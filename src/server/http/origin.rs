//! Pages of other sites: a browser sends what any page asks for to whatever its user can reach, a broker on this machine
//! too, and says which page asked (`Origin`). Those that nobody allowed are refused, so that to open a page is not to
//! publish; those that are allowed may read the answers (CORS).

use std::{net::IpAddr, sync::Arc};

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use tonic::body::Body;

use super::problem::refused;
use crate::{
    model::{Error, Reason},
    server::calls::{Answer, ready},
};

/// How long a browser remembers what it may do, in seconds.
const REMEMBERED: HeaderValue = HeaderValue::from_static("600");
/// Where a browser says what kind of page asks.
const SITE: &str = "sec-fetch-site";
/// What a page may read besides the body.
const EXPOSED: HeaderValue =
    HeaderValue::from_static("retry-after, allow, location, grpc-status, grpc-message, grpc-status-details-bin");

/// Which pages may call.
#[derive(Clone, Debug, Default)]
pub struct Origins {
    allowed: Arc<[String]>,
    // Nobody but this machine reaches the port.
    is_home: bool,
}

/// Whose a request is.
enum Caller {
    /// No browser's, or of a page of this broker's own.
    Own,
    /// Of a page that was allowed.
    Allowed(HeaderValue),
    /// Of another one.
    Strange(Error),
}

impl Origins {
    /// As configured: `https://app.example`, or `*` for all. `is_home` says that the port is reached from this machine alone.
    pub fn new(allowed: &[String], is_home: bool) -> Self {
        let allowed = allowed.iter().map(|origin| origin.trim_end_matches('/').to_ascii_lowercase());
        Origins { allowed: allowed.collect(), is_home }
    }

    /// Has a request answered, if its caller may call.
    pub fn guard(&self, request: Request<Body>, answer: impl FnOnce(Request<Body>) -> Answer) -> Answer {
        let origin = match self.caller(request.headers(), request.uri()) {
            Caller::Own => return answer(request),
            Caller::Strange(error) => return ready(refused(&error)),
            Caller::Allowed(origin) => origin,
        };
        if request.method() == Method::OPTIONS && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
        {
            return ready(told(request.headers(), &origin));
        }
        let answer = answer(request);
        Box::pin(async move {
            let Ok(mut answer) = answer.await;
            expose(answer.headers_mut(), origin);
            Ok(answer)
        })
    }

    fn caller(&self, headers: &HeaderMap, uri: &Uri) -> Caller {
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let host = host.or_else(|| uri.authority().map(|authority| authority.as_str())).unwrap_or_default();
        // A name that leads here may belong to anybody: who asks by it may be a page that waited until it did.
        if self.is_home && !is_address(host) && !self.allows(|origin| page(origin) == host.to_ascii_lowercase()) {
            return Caller::Strange(not_allowed(format_args!("{host:?} is no name of this broker")));
        }
        let Some(origin) = headers.get(header::ORIGIN) else {
            // An image or a link says nothing else.
            let is_strange = headers.get(SITE).is_some_and(|site| site == "cross-site");
            return match is_strange && !self.allows(|_| false) {
                true => Caller::Strange(not_allowed(format_args!("a page of another site may not call this broker"))),
                false => Caller::Own,
            };
        };
        let said = origin.to_str().unwrap_or_default().to_ascii_lowercase();
        if self.allows(|allowed| allowed == said) {
            return Caller::Allowed(origin.clone());
        }
        match page(&said).eq_ignore_ascii_case(host) && !host.is_empty() {
            true => Caller::Own,
            false => Caller::Strange(not_allowed(format_args!("pages of {said:?} may not call this broker"))),
        }
    }

    fn allows(&self, is_it: impl Fn(&str) -> bool) -> bool {
        self.allowed.iter().any(|allowed| allowed == "*" || is_it(allowed))
    }
}

fn not_allowed(what: std::fmt::Arguments<'_>) -> Error {
    let message =
        format!("{what}: allow it with server.allow_origins, or call 127.0.0.1 or localhost without a browser");
    Error::new(Reason::OriginNotAllowed, message)
}

/// `https://app.example:8080` as a browser names it in `Host`.
fn page(origin: &str) -> &str {
    origin.split_once("://").map_or(origin, |(_, page)| page)
}

/// Whether a host is an address, or a name of this machine that nobody else can have; or none at all.
fn is_address(host: &str) -> bool {
    if host.parse::<IpAddr>().is_ok() {
        return true;
    }
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.').to_ascii_lowercase();
    name.is_empty() || name == "localhost" || name.ends_with(".localhost") || name.parse::<IpAddr>().is_ok()
}

/// Lets a page read an answer.
fn expose(headers: &mut HeaderMap, origin: HeaderValue) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    headers.append(header::VARY, HeaderValue::from_static("origin"));
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
    use http::HeaderName;

    use super::*;

    fn judge(allowed: &[&str], headers: &[(&'static str, &str)]) -> String {
        judged(allowed, true, headers)
    }

    fn judged(allowed: &[&str], is_home: bool, headers: &[(&'static str, &str)]) -> String {
        let allowed: Vec<_> = allowed.iter().map(|origin| origin.to_string()).collect();
        let pair = |(name, value): &(&'static str, &str)| (HeaderName::from_static(name), value.parse().unwrap());
        let headers: HeaderMap = headers.iter().map(pair).collect();
        match Origins::new(&allowed, is_home).caller(&headers, &Uri::from_static("/v1/topics")) {
            Caller::Own => "own".to_owned(),
            Caller::Allowed(origin) => format!("allowed {}", origin.to_str().unwrap()),
            Caller::Strange(error) => error.reason().as_str().to_owned(),
        }
    }

    const STRANGE: &str = "ORIGIN_NOT_ALLOWED";

    #[test]
    fn pages_of_others_call_only_where_they_are_allowed() {
        let evil = ("origin", "http://evil.example");
        let host = ("host", "127.0.0.1:7126");
        assert_eq!(judge(&[], &[]), "own");
        assert_eq!(judge(&[], &[host]), "own");
        assert_eq!(judge(&[], &[host, ("origin", "http://127.0.0.1:7126")]), "own");
        assert_eq!(judge(&[], &[host, ("origin", "http://127.0.0.1:8000")]), STRANGE);
        assert_eq!(judge(&[], &[host, evil]), STRANGE);
        assert_eq!(judge(&[], &[host, ("origin", "null")]), STRANGE);
        assert_eq!(judge(&["http://evil.example/"], &[host, evil]), "allowed http://evil.example");
        assert_eq!(judge(&["*"], &[host, evil]), "allowed http://evil.example");
        // An image of a page says no origin.
        assert_eq!(judge(&[], &[host, ("sec-fetch-site", "cross-site")]), STRANGE);
        assert_eq!(judge(&[], &[host, ("sec-fetch-site", "same-origin")]), "own");
        assert_eq!(judge(&[], &[host, ("sec-fetch-site", "none")]), "own");
    }

    #[test]
    fn a_name_that_somebody_else_may_have_is_none_of_ours() {
        let evil = [("host", "evil.example:7126"), ("origin", "http://evil.example:7126")];
        assert_eq!((judge(&[], &evil), judge(&[], &evil[..1])), (STRANGE.to_owned(), STRANGE.to_owned()));
        for host in ["localhost", "localhost:7126", "a.localhost:1", "127.0.0.1", "[::1]:7126", "::1", "LOCALHOST."] {
            assert_eq!(judge(&[], &[("host", host)]), "own", "{host}");
        }
        assert_eq!(judge(&["http://broker.example:7126"], &[("host", "broker.example:7126")]), "own");
        // Others reach it by its name.
        assert_eq!(judged(&[], false, &evil), "own");
    }
}

//! Requests to a registry over plain HTTP, each within its time and with an answer of bounded size. Follows no redirect and
//! asks no proxy. Never looks into a schema.

use std::{error::Error, fmt::Display, time::Duration};

use http::{HeaderName, HeaderValue, StatusCode, header};
use reqwest::{RequestBuilder, Response, redirect};
use serde::{Serialize, de::DeserializeOwned};
use url::Url;

use super::{refusal::Refusal, words::Refused};
use crate::{apps::failure::Failure, units::Span};

/// How long a connection may take, and an answer in full.
const CONNECT: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(10);
/// Bytes of an answer: what a schema of a megabyte takes that is full of quotes.
const BYTES: usize = 4 << 20;

/// What this protocol calls JSON.
const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/vnd.schemaregistry.v1+json");
/// Tells a broker whose registry is asked.
const NAMESPACE: HeaderName = HeaderName::from_static("tilde-namespace");
/// Begins the numbers of what is not there; a bare 404 is a path that is not there.
const NOT_FOUND: u32 = 404;

/// Where requests go.
#[derive(Clone, Debug)]
pub struct Transport {
    http: reqwest::Client,
    url: Url,
    namespace: HeaderValue,
}

impl Transport {
    pub fn new(url: &str, namespace: &str) -> Result<Self, Failure> {
        let url = parse(url).map_err(Failure::usage)?;
        let namespace = namespace
            .parse()
            .map_err(|_| Failure::usage(format!("{namespace:?} is no namespace: use a-z, 0-9 and -")))?;
        // Nothing is asked over TLS, and without a provider for it the client cannot be made; that another has been
        // installed already does no harm.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .user_agent(concat!("tilde/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .no_proxy()
            .retry(reqwest::retry::never())
            .connect_timeout(CONNECT)
            .timeout(ANSWER)
            .build()
            .map_err(|error| Failure::new(format!("no client of the registry can be made: {}", innermost(&error))))?;
        Ok(Transport { http, url, namespace })
    }

    /// Where the registry is.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// What lies at a path. Of what is missing the registry's own words are told alone.
    pub async fn get<T: DeserializeOwned>(&self, path: &[&str], query: &[(&str, &str)]) -> Result<T, Refusal> {
        let mut url = self.at(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.ask(self.http.get(url)).await
    }

    /// What is answered to something that is put there.
    pub async fn post<T: DeserializeOwned>(&self, path: &[&str], body: &impl Serialize) -> Result<T, Refusal> {
        let body = serde_json::to_vec(body).expect("texts and numbers can be written as JSON");
        self.ask(self.http.post(self.at(path)).header(header::CONTENT_TYPE, CONTENT_TYPE).body(body)).await
    }

    /// A refusal of what the registry answered, which nobody can make sense of.
    pub fn strange(&self, what: &str) -> Refusal {
        Refusal::Other(format!("what answers at {} is no schema registry, as {what}: is the URL right?", self.url))
    }

    fn at(&self, path: &[&str]) -> Url {
        let mut url = self.url.clone();
        url.path_segments_mut().expect("a URL of HTTP has a path").pop_if_empty().extend(path);
        url
    }

    async fn ask<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, Refusal> {
        let request = request.header(header::ACCEPT, CONTENT_TYPE).header(NAMESPACE, self.namespace.clone());
        let response = request.send().await.map_err(|error| self.unreached(&error))?;
        let status = response.status();
        let body = self.body(response).await?;
        match status.is_success() {
            true => serde_json::from_slice(&body)
                .map_err(|error| self.strange(&format!("its answer is not as it says: {error}"))),
            false => Err(self.refused(status, &body)),
        }
    }

    async fn body(&self, mut response: Response) -> Result<Vec<u8>, Refusal> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.unreached(&error))? {
            if body.len() + chunk.len() > BYTES {
                return Err(self.strange(&format!("its answer has more than {BYTES} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn unreached(&self, error: &reqwest::Error) -> Refusal {
        let why: &dyn Display = match error.is_timeout() {
            true => &format!("there was no answer within {}", Span(ANSWER)),
            false => innermost(error),
        };
        Refusal::Passing(format!("cannot reach the schema registry at {}: {why}", self.url))
    }

    fn refused(&self, status: StatusCode, body: &[u8]) -> Refusal {
        let Refused { error_code, message } = serde_json::from_slice(body).unwrap_or_default();
        let said = match message.is_empty() {
            true => status.to_string(),
            false => format!("{message} ({error_code})"),
        };
        let url = &self.url;
        match status {
            StatusCode::NOT_FOUND if error_code / 100 == NOT_FOUND => Refusal::Missing(said),
            StatusCode::NOT_FOUND => self.strange(&format!("it says {said}")),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => {
                Refusal::Passing(format!("the schema registry at {url} has too much to do: {said}"))
            }
            status if status.is_server_error() => {
                Refusal::Passing(format!("the schema registry at {url} failed: {said}"))
            }
            _ => Refusal::Other(format!("the schema registry at {url} refused it: {said}")),
        }
    }
}

/// A registry's URL; of `http://HOST:PORT/PATH` the scheme may be left out. The error says how to write it.
fn parse(text: &str) -> Result<Url, String> {
    let full = match text.contains("://") {
        true => text.to_owned(),
        false => format!("http://{text}"),
    };
    if full.starts_with("https://") {
        return Err(format!("{text:?} cannot be reached: only http:// is spoken to registries"));
    }
    let plain = |url: &Url| {
        let is_bare = url.username().is_empty() && url.password().is_none();
        url.scheme() == "http" && url.has_host() && is_bare && url.query().is_none() && url.fragment().is_none()
    };
    let url = Url::parse(&full).ok().filter(plain);
    url.ok_or_else(|| {
        format!("{text:?} is no URL of a schema registry: write http://HOST:PORT, and the path if it has one")
    })
}

/// The cause at the bottom, which says most.
fn innermost<'a>(error: &'a reqwest::Error) -> &'a (dyn Error + 'static) {
    let mut error: &(dyn Error + 'static) = error;
    while let Some(inner) = error.source() {
        error = inner;
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_leads_to_a_registry() {
        for (text, url) in [
            ("http://a:8081", "http://a:8081/subjects/x%20%2F%25/versions"),
            ("a:8081/", "http://a:8081/subjects/x%20%2F%25/versions"),
            ("http://a/schema-registry", "http://a/schema-registry/subjects/x%20%2F%25/versions"),
            ("http://[::1]:1/b/", "http://[::1]:1/b/subjects/x%20%2F%25/versions"),
        ] {
            let transport = Transport::new(text, "default").unwrap();
            assert_eq!(transport.at(&["subjects", "x /%", "versions"]).as_str(), url, "{text}");
        }
        for bad in ["", "ftp://a", "http://", "http://u:p@a", "http://a?b", "http://a#b", "a b", "http://a:99999"] {
            assert!(parse(bad).unwrap_err().contains("write http://HOST:PORT"), "{bad}");
        }
        assert!(parse("https://a").unwrap_err().contains("only http:// is spoken"));
        assert!(Transport::new("http://a", "b\n").is_err());
    }
}

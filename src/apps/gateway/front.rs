//! The HTTP side: takes any request, waits for its answer, and writes the line of the log. Never knows how a request reaches
//! its back end.

use std::{
    convert::Infallible,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Response, StatusCode, header, request};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use serde::Serialize;
use tokio::{sync::Semaphore, time::timeout};

use super::{
    super::{journal::Journal, level::Level, ports::problem},
    answer::Answer,
    hall::{Hall, Outcome},
    key::FileKey,
    measures::Measures,
    request::Request,
};

/// The largest body of a request.
const BODY_BYTES: usize = 1 << 20;
/// The bodies of all who wait, together.
const BODIES_BYTES: usize = 64 << 20;
/// How long a body may take to arrive.
const BODY_TIME: Duration = Duration::from_secs(30);
/// In the log, for a caller that was gone before its answer.
const LEFT: u16 = 499;

/// Answers callers.
pub struct Front {
    hall: Arc<Hall>,
    journal: Journal,
    measures: Arc<Measures>,
    /// A permit is a byte of a body.
    room: Semaphore,
}

/// A request that is being answered. Dropping it without an answer tells that its caller left.
struct Line<'a> {
    front: &'a Front,
    request: Arc<Request>,
    key: FileKey,
    begun: Instant,
    status: u16,
    how: &'static str,
}

/// How a request ended.
#[derive(Debug, Serialize)]
struct Ended<'a> {
    /// The names of its files, without their endings.
    #[serde(serialize_with = "as_text")]
    key: FileKey,
    /// As it came.
    method: &'a str,
    /// Without the query.
    path: &'a str,
    /// What the caller was told; 499 if it was gone by then.
    status: u16,
    /// How it came to its answer.
    how: &'static str,
    /// From its head to its answer.
    #[serde(rename = "ms", serialize_with = "as_millis")]
    took: Duration,
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        let (took, Line { front, request, key, status, how, .. }) = (self.begun.elapsed(), self);
        front.measures.answered(*status, how, took);
        let (method, path) = (&request.method, &request.path);
        let ended = Ended { key: *key, method, path, status: *status, how, took };
        front.journal.record(Level::Info, &ended, || {
            let millis = took.as_secs_f64() * 1e3;
            format!("{status} {method} {path} {key} {how} {millis:.1} ms")
        });
    }
}

impl Front {
    /// Callers wait in this hall; they are told in this journal, and counted.
    pub fn new(hall: Arc<Hall>, journal: Journal, measures: Arc<Measures>) -> Self {
        Front { hall, journal, measures, room: Semaphore::new(BODIES_BYTES) }
    }

    /// Answers one request.
    pub async fn answer(&self, request: http::Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let begun = Instant::now();
        let (head, body) = request.into_parts();
        let mut request = self.asked(&head);
        // It is not needed while the caller waits.
        drop(head);
        let most = body.size_hint().upper().map_or(BODY_BYTES, |bytes| bytes.min(BODY_BYTES as u64) as usize);
        // As long as the caller waits.
        let room = self.room.try_acquire_many(most as u32);
        let refusal = match &room {
            Ok(_) => self.read(body).await.map(|body| request.body = body).err(),
            Err(_) => Some((503, "TOO_MANY_CALLERS", "callers with too much in their bodies wait for answers already")),
        };
        if request.body.is_empty() {
            request.headers = request.headers.into_iter().filter(|(name, _)| self.is_looked_at(name)).collect();
        }
        let request = Arc::new(request);
        let key = FileKey::of(&request.method, &request.path);
        let mut line = Line { front: self, request, key, begun, status: LEFT, how: "left" };
        let response = match refusal {
            Some((status, reason, detail)) => {
                line.how = "refused";
                problem(status, reason, detail)
            }
            None => {
                let (outcome, how) = self.hall.ask(key, &line.request).await;
                line.how = how;
                respond(outcome)
            }
        };
        line.status = response.status().as_u16();
        Ok(response)
    }

    /// Answers whoever asks for the counters.
    pub fn measured(&self, request: &http::Request<Incoming>) -> Response<Full<Bytes>> {
        if request.uri().path() != "/metrics" || !matches!(*request.method(), Method::GET | Method::HEAD) {
            return problem(404, "NOT_FOUND", "there is GET /metrics");
        }
        let mut response = Response::new(Full::from(self.measures.render(self.hall.counts())));
        let text = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, text);
        response
    }

    /// Reads a body in full. The error is what its caller is told.
    async fn read(&self, body: Incoming) -> Result<Bytes, (u16, &'static str, &'static str)> {
        match timeout(BODY_TIME, Limited::new(body, BODY_BYTES).collect()).await {
            // A copy: it would keep a buffer of the connection.
            Ok(Ok(body)) => Ok(Bytes::copy_from_slice(&body.to_bytes())),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                Err((413, "BODY_TOO_LARGE", "the body has more than 1 MiB"))
            }
            Ok(Err(_)) => Err((400, "BODY_BROKEN", "the body broke off before its end")),
            Err(_) => Err((408, "BODY_LATE", "the body did not arrive within 30 s")),
        }
    }

    fn asked(&self, head: &request::Parts) -> Request {
        let passed = |(name, value): (&HeaderName, &HeaderValue)| {
            let is_passed = name == header::CONTENT_TYPE || self.is_looked_at(name);
            is_passed.then(|| (name.clone(), value.as_bytes().into()))
        };
        Request {
            method: head.method.as_str().into(),
            path: head.uri.path().into(),
            query: head.uri.query().map(Into::into),
            headers: head.headers.iter().filter_map(passed).collect(),
            body: Bytes::new(),
        }
    }

    fn is_looked_at(&self, name: &HeaderName) -> bool {
        self.hall.collapse_key().headers().any(|looked_at| looked_at == name)
    }
}

fn respond(outcome: Outcome) -> Response<Full<Bytes>> {
    match outcome {
        Outcome::Answer(Answer { status, body }) => {
            // Of these there is no body on the wire, whatever a back end wrote.
            let is_bare =
                [StatusCode::NO_CONTENT, StatusCode::RESET_CONTENT, StatusCode::NOT_MODIFIED].contains(&status);
            let mut response = Response::new(Full::new(if is_bare { Bytes::new() } else { body }));
            *response.status_mut() = status;
            response
        }
        Outcome::Unreadable => problem(502, "ANSWER_UNREADABLE", "the back end answered with what is no answer"),
        Outcome::Unavailable(why) => problem(503, "BROKER_UNAVAILABLE", why),
        Outcome::Refused(status, reason, why) => problem(status, reason, why),
        Outcome::TimedOut => problem(504, "NO_REPLY", "the back end did not answer in time"),
        Outcome::Full => problem(503, "TOO_MANY_CALLERS", "too many callers wait for answers already"),
        Outcome::Stopping => problem(503, "STOPPING", "the gateway is stopping"),
    }
}

fn as_text<S: serde::Serializer>(key: &FileKey, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(key)
}

fn as_millis<S: serde::Serializer>(took: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((took.as_secs_f64() * 1e6).round() / 1e3)
}

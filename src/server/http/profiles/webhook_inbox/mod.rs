//! The profile `webhook-inbox`: topics that are pushed to URLs, and an inbox for what could not be delivered. A subscriber is
//! a durable subscription that pushes, and never gives up. Everything is JSON, and what the profile says itself is
//! `{"message": "…"}`.

mod inbox;
mod json;
mod publish;
mod subscribers;

use std::{sync::LazyLock, time::Duration};

use http::{HeaderValue, Method, Request, Response, StatusCode, header, request};
use http_body_util::Full;
use serde_json::{Map, Value};
use tonic::{Status, body::Body};

use crate::{
    model::NamespaceName,
    server::{
        http::{
            problem,
            route::{self, Found, Route},
        },
        local::Local,
    },
};

/// Of this profile.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where its topics and subscriptions are.
    pub namespace: NamespaceName,
    /// Subscribers are sent `{"topic":…,"data":…}`; else what was published, with `topic` and the time in it.
    pub has_envelope: bool,
    /// To publish to a topic without subscribers is 404; else it is a success.
    pub needs_subscribers: bool,
    /// Bodies must say that they are JSON.
    pub needs_content_type: bool,
    /// How long a subscriber has for its answer, and a publish for all of theirs.
    pub timeout: Duration,
}

/// Answers requests.
#[derive(Clone)]
pub struct WebhookInbox {
    pub(super) config: Config,
    pub(super) local: Local,
}

/// Where a row leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum To {
    Home,
    Subscribe,
    Unsubscribe,
    Subscribers,
    Publish,
    Inbox,
    Acknowledge,
}

/// The table of routes.
static TABLE: LazyLock<Vec<Route<To>>> = LazyLock::new(|| {
    let row = |method, path, to| Route { method, path, to };
    vec![
        row(Method::GET, "/", To::Home),
        row(Method::POST, "/subscribe/{topic}", To::Subscribe),
        row(Method::DELETE, "/subscribe/{topic}", To::Unsubscribe),
        row(Method::GET, "/subscribers/{topic}", To::Subscribers),
        row(Method::POST, "/publish/{topic}", To::Publish),
        row(Method::GET, "/inbox", To::Inbox),
        row(Method::POST, "/inbox/ack", To::Acknowledge),
    ]
});

/// An answer that is none of the broker's: a status and a text.
struct Said(StatusCode, String);

/// What ends a request early.
enum Refused {
    /// By this profile.
    Said(Said),
    /// By the broker.
    Broker(Status),
}

impl WebhookInbox {
    /// Answers a request.
    pub async fn call(self, request: Request<Body>) -> Response<Body> {
        let (head, mut body) = request.into_parts();
        match self.lead(&head, &mut body).await {
            Ok(response) => response,
            Err(Refused::Said(Said(status, text))) => say(status, &text),
            Err(Refused::Broker(refused)) => tell(&refused),
        }
    }

    async fn lead(&self, head: &request::Parts, body: &mut Body) -> Result<Response<Body>, Refused> {
        let (to, topic) = match route::find(&TABLE, &head.method, head.uri.path()) {
            Found::Route(route, parameters) => (route.to, parameters.into_iter().next().map(|(_, topic)| topic)),
            Found::OtherMethod(allowed) => return Ok(other_method(&head.method, &allowed)),
            Found::NoText | Found::Nothing => return Err(Said::new(404, "There is no such endpoint").into()),
        };
        let topic = topic.unwrap_or_default();
        if topic.contains('/') {
            return Err(Said::new(404, "There is no such endpoint").into());
        }
        match to {
            To::Home => {
                Ok(say(StatusCode::OK, "Tilde serves topics to URLs here: subscribe, publish, and ask the inbox"))
            }
            To::Subscribe => self.subscribe(head, body, &topic).await,
            To::Unsubscribe => self.unsubscribe(head, body, &topic).await,
            To::Subscribers => self.subscribers(&topic).await,
            To::Publish => self.publish(head, body, &topic).await,
            To::Inbox => self.inbox(head).await,
            To::Acknowledge => self.acknowledge(head, body).await,
        }
    }

    fn namespace(&self) -> String {
        self.config.namespace.to_string()
    }
}

impl Said {
    fn new(status: u16, text: impl Into<String>) -> Self {
        Said(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), text.into())
    }
}

impl From<Said> for Refused {
    fn from(said: Said) -> Self {
        Refused::Said(said)
    }
}

impl From<Status> for Refused {
    fn from(refused: Status) -> Self {
        Refused::Broker(refused)
    }
}

fn say(status: StatusCode, text: &str) -> Response<Body> {
    answer(status, &Map::from_iter([("message".to_owned(), text.into())]).into())
}

fn answer(status: StatusCode, body: &Value) -> Response<Body> {
    let mut response = Response::new(Body::new(Full::from(body.to_string())));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// What the broker refused, in this profile's words.
fn tell(refused: &Status) -> Response<Body> {
    let mut told = problem::refused_call(refused);
    let mut response = say(told.status(), refused.message());
    if let Some(delay) = told.headers_mut().remove(header::RETRY_AFTER) {
        response.headers_mut().insert(header::RETRY_AFTER, delay);
    }
    if response.status().is_server_error() {
        tracing::warn!(code = response.status().as_u16(), error = refused.message(), "webhook-inbox: a call failed");
    }
    response
}

fn other_method(method: &Method, allowed: &[&Method]) -> Response<Body> {
    let allowed: Vec<_> = allowed.iter().map(|method| method.as_str()).collect();
    let mut response = say(
        StatusCode::METHOD_NOT_ALLOWED,
        &format!("{method} is not for this endpoint: it takes {}", allowed.join(", ")),
    );
    let allowed = HeaderValue::from_str(&allowed.join(", ")).expect("methods are no control characters");
    response.headers_mut().insert(header::ALLOW, allowed);
    response
}

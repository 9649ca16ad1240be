//! The profile `mailbox`: publish to a topic, and fetch from a mailbox that a user has there. A mailbox is a durable
//! subscription, acknowledged as it hands out. What it answers is told by its status; only a message has a body.

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header, request};
use http_body_util::Full;
use percent_encoding::percent_decode_str;
use tokio::time::Instant;
use tonic::{Code, Status, body::Body};

use super::names;
use crate::{
    model::{NamespaceName, limits},
    pb::v1::{self as pb, message, publish_request},
    server::{
        http::{body, problem},
        local::Local,
    },
};

/// Of this profile.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where its topics and subscriptions are.
    pub namespace: NamespaceName,
}

/// Answers requests.
#[derive(Clone)]
pub struct Mailbox {
    pub(super) config: Config,
    pub(super) local: Local,
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Publish,
    Subscribe,
    Unsubscribe,
    Fetch,
    Look,
}

/// Which topic, and whose mailbox; as they were sent.
struct Place {
    topic: Vec<u8>,
    user: Option<Vec<u8>>,
}

/// The table of routes: a method, whether a user is named, and what that asks for.
const TABLE: [(Method, bool, Operation); 5] = [
    (Method::POST, false, Operation::Publish),
    (Method::POST, true, Operation::Subscribe),
    (Method::DELETE, true, Operation::Unsubscribe),
    (Method::GET, true, Operation::Fetch),
    (Method::HEAD, true, Operation::Look),
];

impl Mailbox {
    /// Answers a request.
    pub async fn call(self, request: Request<Body>) -> Response<Body> {
        let begun = Instant::now();
        let (head, mut body) = request.into_parts();
        let place = Place::parse(head.uri.path());
        let row = |place: &Place| {
            let row = TABLE.iter().find(|(method, named, _)| *method == head.method && *named == place.user.is_some());
            row.map(|(_, _, operation)| *operation)
        };
        if !TABLE.iter().any(|(method, ..)| *method == head.method) {
            return status(StatusCode::NOT_IMPLEMENTED);
        }
        let Some((place, operation)) = place.and_then(|place| row(&place).map(|operation| (place, operation))) else {
            return status(StatusCode::NOT_FOUND);
        };
        let answered = self.answer(operation, &head, &mut body, &place).await;
        let error = answered.as_ref().err().map(Status::message).unwrap_or_default().to_owned();
        let response = answered.unwrap_or_else(|refused| status(code(&refused)));
        tell(operation, &place, response.status(), begun, &error);
        response
    }

    async fn answer(
        &self,
        operation: Operation,
        head: &request::Parts,
        body: &mut Body,
        place: &Place,
    ) -> Result<Response<Body>, Status> {
        match operation {
            Operation::Publish => self.publish(&head.headers, body, place).await,
            Operation::Subscribe => self.subscribe(place).await,
            Operation::Unsubscribe => {
                let request = pb::DeleteSubscriptionRequest { name: place.subscription(), namespace: self.namespace() };
                let path = "/tilde.v1.Subscriptions/DeleteSubscription";
                self.local.ask::<pb::DeleteSubscriptionResponse>(path, &request).await?;
                Ok(status(StatusCode::OK))
            }
            Operation::Fetch => self.fetch(place).await,
            Operation::Look => self.look(place).await,
        }
    }

    async fn publish(&self, headers: &HeaderMap, body: &mut Body, place: &Place) -> Result<Response<Body>, Status> {
        let payload = body::read(headers, body, limits::REQUEST_BYTES).await?;
        let content_type = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let request = pb::PublishRequest {
            topic: names::topic(&place.topic),
            payload: Some(publish_request::Payload::Data(payload)),
            content_type: content_type.to_owned(),
            namespace: self.namespace(),
            ..Default::default()
        };
        self.local.ask::<pb::PublishResponse>("/tilde.v1.Broker/Publish", &request).await?;
        Ok(status(StatusCode::OK))
    }

    async fn subscribe(&self, place: &Place) -> Result<Response<Body>, Status> {
        let subscription = pb::Subscription {
            name: place.subscription(),
            namespace: self.namespace(),
            topics: vec![names::topic(&place.topic)],
            labels: [("tilde-profile".to_owned(), "mailbox".to_owned())].into(),
            ..Default::default()
        };
        let request = pb::CreateSubscriptionRequest { subscription: Some(subscription) };
        let path = "/tilde.v1.Subscriptions/CreateSubscription";
        match self.local.ask::<pb::CreateSubscriptionResponse>(path, &request).await {
            // Somebody has changed it since, and it is there.
            Err(refused) if refused.code() == Code::AlreadyExists => Ok(status(StatusCode::OK)),
            answered => answered.map(|_| status(StatusCode::OK)),
        }
    }

    async fn fetch(&self, place: &Place) -> Result<Response<Body>, Status> {
        let request = pb::PullRequest {
            subscription: place.subscription(),
            max_messages: 1,
            ack_mode: pb::AckMode::Auto.into(),
            namespace: self.namespace(),
            ..Default::default()
        };
        let pulled: pb::PullResponse = self.local.ask("/tilde.v1.Broker/Pull", &request).await?;
        let message = pulled.deliveries.into_iter().next().and_then(|delivery| delivery.message);
        let Some(message) = message else { return Ok(status(StatusCode::NO_CONTENT)) };
        let payload = match message.payload {
            Some(message::Payload::Data(data)) => data,
            Some(message::Payload::Text(text)) => text.into(),
            None => Default::default(),
        };
        let mut response = Response::new(Body::new(Full::new(payload)));
        if let Some(kind) = Some(message.content_type).filter(|kind| !kind.is_empty()) {
            // It was a header's value when it came, or is left out.
            if let Ok(kind) = HeaderValue::from_str(&kind) {
                response.headers_mut().insert(header::CONTENT_TYPE, kind);
            }
        }
        Ok(response)
    }

    /// Says what a fetch would, and takes nothing.
    async fn look(&self, place: &Place) -> Result<Response<Body>, Status> {
        let request = pb::GetSubscriptionRequest { name: place.subscription(), namespace: self.namespace() };
        let path = "/tilde.v1.Subscriptions/GetSubscription";
        let found: pb::GetSubscriptionResponse = self.local.ask(path, &request).await?;
        let waiting = found.subscription.and_then(|found| found.stats).unwrap_or_default().backlog_messages;
        Ok(status(if waiting > 0 { StatusCode::OK } else { StatusCode::NO_CONTENT }))
    }

    fn namespace(&self) -> String {
        self.config.namespace.to_string()
    }
}

impl Place {
    /// Of `/TOPIC` or `/TOPIC/USER`, each of which may be empty.
    fn parse(path: &str) -> Option<Place> {
        let mut parts = path.strip_prefix('/')?.split('/').map(|part| percent_decode_str(part).collect());
        let place = Place { topic: parts.next()?, user: parts.next() };
        parts.next().is_none().then_some(place)
    }

    fn subscription(&self) -> String {
        names::subscription("mailbox", &self.topic, self.user.as_deref().unwrap_or_default())
    }
}

/// The status of what the broker refused. What a store cannot do now is one status, whatever the reason.
fn code(refused: &Status) -> StatusCode {
    let (status, _) = problem::describe(refused);
    match status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::INSUFFICIENT_STORAGE => StatusCode::SERVICE_UNAVAILABLE,
        status if status.is_server_error() => StatusCode::SERVICE_UNAVAILABLE,
        status => status,
    }
}

fn status(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// Each call, with what its operator asks for first.
fn tell(operation: Operation, place: &Place, code: StatusCode, begun: Instant, error: &str) {
    let (topic, user) = (place.topic.escape_ascii(), place.user.as_deref().unwrap_or_default().escape_ascii());
    let (code, ms) = (code.as_u16(), begun.elapsed().as_secs_f64() * 1e3);
    match code {
        500.. => tracing::warn!(code, ms, ?operation, %topic, %user, error, "mailbox: a call failed"),
        _ => tracing::debug!(code, ms, ?operation, %topic, %user, "mailbox: call"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_have_one_part_or_two() {
        let parse = |path| Place::parse(path).map(|place| (place.topic, place.user));
        let bytes = |text: &str| text.as_bytes().to_vec();
        assert_eq!(parse("/"), Some((bytes(""), None)));
        assert_eq!(parse("/t"), Some((bytes("t"), None)));
        assert_eq!(parse("/t/"), Some((bytes("t"), Some(bytes("")))));
        assert_eq!(parse("/a%2Fb/u%20%ff"), Some((bytes("a/b"), Some(b"u \xff".to_vec()))));
        assert_eq!((parse("/a/b/c"), parse("*")), (None, None));
    }
}

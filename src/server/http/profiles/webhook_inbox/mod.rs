//! PLACEHOLDER
use crate::{model::NamespaceName, server::local::Local};
use http::{Request, Response};
use std::time::Duration;
use tonic::body::Body;
#[derive(Clone, Debug)]
pub struct Config {
    pub namespace: NamespaceName,
    pub has_envelope: bool,
    pub needs_subscribers: bool,
    pub needs_content_type: bool,
    pub timeout: Duration,
    pub allows_loopback: bool,
}
#[derive(Clone)]
pub struct WebhookInbox {
    pub(super) config: Config,
    pub(super) local: Local,
}
impl WebhookInbox {
    pub async fn call(self, _: Request<Body>) -> Response<Body> {
        Response::new(Body::empty())
    }
}

//! Which method of which path is which call.

use std::sync::LazyLock;

use http::Method;

use super::rpc::{Body, Rpc};
use crate::server::http::route::Route;

/// Where a row leads.
#[derive(Debug)]
pub enum To {
    /// A call that takes one message and answers one.
    Rpc(Rpc),
    /// Publishes a body as it is.
    Publish,
    /// A live stream.
    Live,
    /// What a subscription gave up.
    DeadLetters,
    /// The description of all this.
    Document,
}

/// The table. What is asked most often comes first.
pub static TABLE: LazyLock<Vec<Route<To>>> = LazyLock::new(|| {
    use Body::{Field, None, Whole};

    const SUBSCRIPTION: &str = "/v1/subscriptions/{name}";
    const NAMESPACE: &str = "/v1/namespaces/{name}";
    vec![
        row(Method::POST, "/v1/topics/{topic...}/messages", To::Publish),
        row(Method::GET, "/v1/messages", To::Live),
        rpc(Method::POST, "/v1/messages", "Broker/BatchPublish", Whole, ""),
        rpc(Method::POST, "/v1/calls", "Broker/Call", Whole, ""),
        rpc(Method::DELETE, "/v1/messages", "Topics/PurgeTopics", None, ""),
        rpc(Method::GET, "/v1/topics", "Topics/ListTopics", None, ""),
        rpc(Method::GET, "/v1/topics/{name...}", "Topics/GetTopic", None, "topic"),
        rpc(Method::POST, "/v1/subscriptions/{subscription}/pull", "Broker/Pull", Whole, ""),
        rpc(Method::POST, "/v1/subscriptions/{subscription}/acknowledge", "Broker/Acknowledge", Whole, ""),
        rpc(Method::GET, "/v1/subscriptions", "Subscriptions/ListSubscriptions", None, ""),
        rpc(Method::GET, SUBSCRIPTION, "Subscriptions/GetSubscription", None, "subscription"),
        rpc(Method::PUT, SUBSCRIPTION, "Subscriptions/CreateSubscription", Field("subscription"), "subscription"),
        rpc(Method::PATCH, SUBSCRIPTION, "Subscriptions/UpdateSubscription", Field("subscription"), "subscription"),
        rpc(Method::DELETE, SUBSCRIPTION, "Subscriptions/DeleteSubscription", None, ""),
        rpc(Method::POST, "/v1/subscriptions/{name}/seek", "Subscriptions/SeekSubscription", Whole, ""),
        rpc(Method::POST, "/v1/subscriptions/{name}/pause", "Subscriptions/PauseSubscription", Whole, ""),
        rpc(Method::POST, "/v1/subscriptions/{name}/resume", "Subscriptions/ResumeSubscription", Whole, ""),
        rpc(Method::POST, "/v1/subscriptions/{name}/purge", "Subscriptions/PurgeSubscription", Whole, ""),
        row(Method::GET, "/v1/subscriptions/{name}/dead-letters", To::DeadLetters),
        rpc(Method::POST, "/v1/subscriptions/{name}/redrive", "Subscriptions/RedriveDeadLetters", Whole, ""),
        rpc(Method::GET, "/v1/subscriptions/{name}/messages/{sequence}", "Subscriptions/ExplainDelivery", None, ""),
        rpc(Method::GET, "/v1/subscriptions/{name}/attempts", "Subscriptions/ListPushAttempts", None, ""),
        rpc(
            Method::POST,
            "/v1/subscriptions/{name}/attempts/{attempt_id}/resend",
            "Subscriptions/ResendPush",
            Whole,
            "attempt",
        ),
        rpc(Method::GET, "/v1/namespaces", "Namespaces/ListNamespaces", None, ""),
        rpc(Method::GET, NAMESPACE, "Namespaces/GetNamespace", None, "namespace"),
        rpc(Method::PUT, NAMESPACE, "Namespaces/CreateNamespace", Field("namespace"), "namespace"),
        rpc(Method::PATCH, NAMESPACE, "Namespaces/UpdateNamespace", Field("namespace"), "namespace"),
        rpc(Method::DELETE, NAMESPACE, "Namespaces/DeleteNamespace", None, ""),
        rpc(Method::GET, "/v1/server", "Operations/GetServerInfo", None, ""),
        rpc(Method::POST, "/v1/server/drain", "Operations/Drain", Whole, ""),
        row(Method::GET, super::openapi::PATH, To::Document),
    ]
});

fn row(method: Method, path: &'static str, to: To) -> Route<To> {
    Route { method, path, to }
}

fn rpc(method: Method, path: &'static str, call: &'static str, body: Body, answer: &'static str) -> Route<To> {
    row(method, path, To::Rpc(Rpc::new(call, body, answer)))
}

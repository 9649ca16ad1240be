//! Other systems, each served as its clients know it, on a port of its own: a folder each, with one table of routes. They
//! ask the broker as any client does, and decide nothing of their own that a client could not.

pub mod mailbox;
mod names;
pub mod schema_registry;
pub mod webhook_inbox;

use http::Request;
use tonic::body::Body;

use crate::server::{calls::Answer, local::Local};

/// Which system, and how.
#[derive(Clone, Debug)]
pub enum Profile {
    /// Topics, and a mailbox a user.
    Mailbox(mailbox::Config),
    /// Schemas, as serializers ask for them.
    SchemaRegistry(schema_registry::Config),
    /// Topics, pushed to URLs.
    WebhookInbox(webhook_inbox::Config),
}

/// One that is served.
#[derive(Clone)]
pub enum Serving {
    /// See [`Profile::Mailbox`].
    Mailbox(mailbox::Mailbox),
    /// See [`Profile::SchemaRegistry`].
    SchemaRegistry(schema_registry::SchemaRegistry),
    /// See [`Profile::WebhookInbox`].
    WebhookInbox(webhook_inbox::WebhookInbox),
}

impl Profile {
    /// As it is configured.
    pub fn name(&self) -> &'static str {
        match self {
            Profile::Mailbox(_) => "mailbox",
            Profile::SchemaRegistry(_) => "schema-registry",
            Profile::WebhookInbox(_) => "webhook-inbox",
        }
    }

    /// Serves it, over the broker.
    pub fn serve(self, local: Local) -> Serving {
        match self {
            Profile::Mailbox(config) => Serving::Mailbox(mailbox::Mailbox { config, local }),
            Profile::SchemaRegistry(config) => {
                Serving::SchemaRegistry(schema_registry::SchemaRegistry::new(config, local))
            }
            Profile::WebhookInbox(config) => Serving::WebhookInbox(webhook_inbox::WebhookInbox { config, local }),
        }
    }
}

impl Serving {
    /// Answers a request.
    pub fn call(&self, request: Request<Body>) -> Answer {
        match self.clone() {
            Serving::Mailbox(mailbox) => Box::pin(async move { Ok(mailbox.call(request).await) }),
            Serving::SchemaRegistry(registry) => Box::pin(async move { Ok(registry.call(request).await) }),
            Serving::WebhookInbox(inbox) => Box::pin(async move { Ok(inbox.call(request).await) }),
        }
    }
}

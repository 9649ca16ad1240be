//! The edge: one port, gRPC and HTTP on it. Turns bytes into the model's nouns, asks the broker, and turns the answer
//! back into bytes. Never touches the engine, and tells no caller a path, an address or a token.
//!
//! From the outside in: a connection is accepted and greeted, its calls pass the layers, and a route leads each to its
//! service.

pub mod config;

mod accept;
mod calls;
mod connection;
mod counters;
mod edge;
mod forward;
mod front;
mod gather;
mod greeting;
mod http1;
mod json;
mod local;
mod meeting;
mod readiness;

mod layer;
mod routes;

pub(crate) mod grpc;
mod http;
mod status;
mod webhook;

pub use accept::Listen;
pub use config::Config;
pub use connection::Io;
pub use edge::{Bound, Ended, bind, run};
pub use http::profiles::{Profile, mailbox, schema_registry, webhook_inbox};

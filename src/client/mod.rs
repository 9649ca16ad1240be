//! The Rust client. It connects and comes back by itself, publishes over one stream with many messages in flight, safely
//! across broken connections, follows topics from a position on, works off subscriptions, and asks and answers. Never imports the broker's
//! own code.
//!
//! ```no_run
//! use tilde::client::{Client, Event, PublishRequest, Start};
//!
//! # async fn example() -> Result<(), tilde::client::Fault> {
//! let client = Client::connect("http://127.0.0.1:7126").await?;
//!
//! let publisher = client.publisher();
//! let published = publisher.publish(PublishRequest::text("orders/eu", r#"{"id":7}"#)).await?;
//! println!("published as {:?}", published.sequence);
//!
//! let mut orders = client.subscribe(["orders/~"]).from(Start::Earliest).start();
//! while let Some(event) = orders.next().await {
//!     if let Event::Messages { messages, cursor } = event? {
//!         println!("{} messages; resume after {cursor}", messages.len());
//!     }
//! }
//!
//! let mut mails = client.consume("mails").start();
//! while let Some(mail) = mails.next().await {
//!     let mail = mail?;
//!     println!("{} bytes to send, attempt {}", mail.message.bytes().len(), mail.attempt);
//!     mail.ack();
//! }
//! # Ok(())
//! # }
//! ```

pub mod backoff;
mod broken;
pub mod call;
pub mod consumer;
pub mod endpoint;
pub mod fault;
pub mod handle;
pub mod message;
pub mod publisher;
pub mod responder;
pub mod subscriber;

pub use backoff::Backoff;
pub use call::{Call, Replies};
pub use consumer::{Consume, Consumer, Delivery, Settling};
pub use endpoint::{ANSWER_BYTES, DEFAULT_URL, connect, full_url, within};
pub use fault::{Fate, Fault};
pub use handle::{Client, Options};
pub use publisher::{Pending, Published, Publisher, PublisherOptions};
pub use responder::{Question, Responder};
pub use subscriber::{Event, Start, Subscribe, Subscriber};

pub use crate::pb::v1::{Durability, Gap, LagPolicy, Message, PublishRequest};
pub use tonic::transport::Channel;

//! How a request reaches a back end, and how its answer comes back. One method, two ways: a directory, and a Tilde broker.
//! Never knows who waits.

pub mod broker;
pub mod files;

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::{key::FileKey, request::Request};

/// A broker between the gateway and a back end.
pub trait Transport: Send + Sync + 'static {
    /// Sends a request out, and ends with its answer, in the form of [`Answer`](super::answer::Answer): a first line with
    /// the status, then the body. By then nothing of either is left in the broker. Nothing older than the call is taken for
    /// an answer. Of one key there is one at a time. Dropping it gives the request up.
    /// The request is let go of as soon as it is on its way.
    fn exchange(&self, key: FileKey, request: Arc<Request>) -> BoxFuture<'static, Result<Bytes, Trouble>>;
}

/// A request could not be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It did not reach a back end: a sentence that callers may read.
    Unavailable(&'static str),
    /// It cannot be sent as it is: a status for callers, a reason, and a sentence.
    Refused(u16, &'static str, &'static str),
    /// There was no answer in the time that the broker has for one.
    NoReply,
    /// What came is no answer: a sentence for the log.
    Unreadable(String),
}

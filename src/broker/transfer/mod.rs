//! Moving house: all that a namespace holds goes out in pieces, and into another namespace of this broker or of another,
//! whatever the engines. In reading order: what moves (here), how it goes out (`export`), how it comes in (`import`), and
//! which place became which (`places`). Never hears how pieces are written down.

mod everything;
mod export;
mod import;
mod places;

use std::sync::Arc;

use bytes::Bytes;

pub use self::{
    export::Export,
    import::{Import, Imported},
};
pub use super::{
    schemas::{MovedSchema, MovedSchemas, MovedSubject},
    subscription::{Counts, Kind, OpenRun, Pause, Progress},
};
use crate::model::{Message, Namespace, Sequence, Subscription};

/// A part of a namespace on its way out.
#[derive(Clone, Debug)]
pub enum Piece {
    /// The settings: the first piece.
    Settings(Box<Namespace>),
    /// What is registered.
    Schemas(MovedSchemas),
    /// Encoded records, in order.
    Messages(Vec<Bytes>),
    /// Encoded records of messages that wait for their time.
    Scheduled(Vec<Bytes>),
    /// A subscription.
    Subscription(Box<Carried>),
    /// The last piece.
    End(Totals),
}

/// A message on its way in, with the sequence that it had.
#[derive(Clone, Debug)]
pub struct Moved<'a> {
    /// What it was.
    pub sequence: Sequence,
    /// What it says.
    pub message: Message<'a>,
}

/// A subscription with where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Carried {
    /// What it is to do.
    pub subscription: Arc<Subscription>,
    /// Whether it hands anything out.
    pub pause: Pause,
    /// Why the broker paused it by itself, if it did.
    pub reason: Option<String>,
    /// How far it has come.
    pub progress: Progress,
}

/// How much there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Messages.
    pub messages: u64,
    /// Messages that wait for their time.
    pub scheduled: u64,
    /// Subscriptions.
    pub subscriptions: u64,
    /// Schemas, each under an id.
    pub schemas: u64,
    /// Subjects, with the one of no name.
    pub subjects: u64,
}

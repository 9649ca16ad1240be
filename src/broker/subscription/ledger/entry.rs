//! One message that is open: how often it failed, and where it stands. Pure, and changed by the ledger alone.

use std::sync::Arc;

use tokio::time::Instant;

/// One message that is open.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Attempts that failed.
    pub(super) attempts: u32,
    /// Its last lease; zero if it had none since the broker started.
    pub(super) lease: u32,
    pub(super) standing: Standing,
    pub(super) key: Option<Arc<[u8]>>,
    /// It is a dead letter that was sent back: it lies in another topic.
    pub(super) is_letter: bool,
    /// Why the last attempt failed, and whose it was.
    pub(super) failure: Option<Box<Failure>>,
}

/// Why an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// For a person.
    pub reason: String,
    /// Who had the message.
    pub consumer: Arc<str>,
}

/// Where an open message stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It may be handed out.
    Ready,
    /// An earlier message of its key is open.
    Blocked,
    /// A consumer has it.
    Leased {
        /// Who.
        consumer: u32,
        /// Until then.
        deadline: Instant,
        /// Its size.
        bytes: u32,
    },
    /// It failed, and waits.
    BackingOff {
        /// Until then.
        until: Instant,
    },
    /// It is given up, and is on its way to the dead letters.
    Dying,
}

impl Entry {
    /// One that nobody has had yet.
    pub(super) fn ready() -> Self {
        Entry { attempts: 0, lease: 0, standing: Standing::Ready, key: None, is_letter: false, failure: None }
    }
}

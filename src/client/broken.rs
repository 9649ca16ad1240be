//! A stream that is over before its time, and may be begun anew. Says nothing of when.

use std::time::Duration;

use tonic::Code;

use super::Fault;
use crate::pb::v1::{Closing, closing::Reason};

/// Why a stream is over, and what the broker asked for.
#[derive(Debug)]
pub(super) struct Broken {
    pub(super) fault: Fault,
    /// Stay away for so long.
    pub(super) asked: Option<Duration>,
    /// The broker said before that it would end, for a reason that passes.
    pub(super) planned: bool,
}

impl Broken {
    pub(super) fn new(fault: Fault) -> Self {
        Broken { asked: fault.retry_delay, fault, planned: false }
    }

    /// It ended as if all had been said.
    pub(super) fn unasked() -> Self {
        Broken::new(Fault::new(Code::Unavailable, "the stream ended before its time".into()))
    }

    /// What the broker said before it ended the stream on purpose counts more than the end itself.
    pub(super) fn after(self, closing: Option<&Closing>) -> Self {
        let asked = closing.and_then(|closing| closing.reconnect_delay?.try_into().ok());
        let lasts = [Reason::Revoked, Reason::SlowConsumer];
        let planned = closing.is_some_and(|closing| !lasts.contains(&closing.reason()));
        Broken { asked: asked.or(self.asked), planned, ..self }
    }
}

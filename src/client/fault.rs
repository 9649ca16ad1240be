//! Why a call failed, read out of its status: for a person the sentence, for a program the reason, the time to wait, and
//! whether the broker can have acted on the call.

use std::{collections::BTreeMap, error::Error, fmt, time::Duration};

use tonic::{Code, ConnectError, Status, TimeoutExpired};
use tonic_types::StatusExt;

use crate::pb::v1::PublishError;

/// Why a call failed.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// The status.
    pub code: Code,
    /// The broker's stable word, as in `google.rpc.ErrorInfo.reason`; none if it was not the broker that answered.
    pub reason: Option<String>,
    /// What happened, to what, what to do.
    pub message: String,
    /// The field of the request that is at fault.
    pub field: Option<String>,
    /// Facts that a program may want.
    pub metadata: BTreeMap<String, String>,
    /// After which time another try makes sense.
    pub retry_delay: Option<Duration>,
    /// What became of the call.
    pub fate: Fate,
}

/// What became of a call that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It never left: there was no connection.
    Unsent,
    /// The broker refused it and did nothing.
    Refused,
    /// The broker may have done it, or not.
    Unknown,
}

/// Reasons after which a publish may still be found in the log, or a call have been worked on: the broker failed, or ran out
/// of time.
const UNSURE: [&str; 5] = ["STORAGE_FAILED", "ENGINE_UNREACHABLE", "INTERNAL", "DEADLINE_EXCEEDED", "NO_REPLY"];

impl Fault {
    /// No connection could be made.
    pub(super) fn unreachable(error: &(dyn Error + 'static)) -> Self {
        Fault { fate: Fate::Unsent, ..Fault::new(Code::Unavailable, innermost(error)) }
    }

    /// No answer came in time.
    pub(super) fn late() -> Self {
        Fault::new(Code::DeadlineExceeded, "no answer came in time".to_owned())
    }

    /// The caller's own mistake.
    pub(super) fn invalid(message: String) -> Self {
        Fault { fate: Fate::Refused, ..Fault::new(Code::InvalidArgument, message) }
    }

    /// Not said by the broker. Whether it acted is not known.
    pub(super) fn new(code: Code, message: String) -> Self {
        Fault {
            code,
            reason: None,
            message,
            field: None,
            metadata: BTreeMap::new(),
            retry_delay: None,
            fate: Fate::Unknown,
        }
    }

    /// Whether the connection failed rather than the call.
    pub fn is_connection(&self) -> bool {
        self.reason.is_none() && self.fate != Fate::Refused
    }

    /// Whether the same call can succeed later.
    pub fn is_passing(&self) -> bool {
        self.is_connection()
            || (self.retry_delay.is_some() && matches!(self.code, Code::Unavailable | Code::ResourceExhausted))
    }

    fn settle(mut self) -> Self {
        let answered = match &self.reason {
            Some(reason) => !UNSURE.contains(&reason.as_str()),
            // Whatever has no reason was made on the way: by the HTTP/2 layer, or by something in between. A broken
            // connection appears as Unknown or Cancelled as well.
            None => !matches!(
                self.code,
                Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Internal | Code::DeadlineExceeded
            ),
        };
        if answered {
            self.fate = Fate::Refused;
        }
        self
    }
}

impl From<Status> for Fault {
    fn from(status: Status) -> Self {
        if let Some(error) = below::<ConnectError>(&status) {
            return Fault::unreachable(error);
        }
        if below::<TimeoutExpired>(&status).is_some() {
            return Fault::late();
        }
        let details = status.get_error_details();
        let message = match (status.message(), status.source()) {
            // What tonic says by itself ("transport error") hides what happened.
            (_, Some(source)) => innermost(source),
            // The library's own words for an answer of another kind of server.
            (message, None) if message.starts_with("grpc-status header missing") => {
                "what answers there speaks no gRPC: is it a broker?".to_owned()
            }
            ("", None) => status.code().description().to_owned(),
            (message, None) => message.to_owned(),
        };
        let mut fault = Fault::new(status.code(), message);
        if let Some(info) = details.error_info() {
            fault.reason = Some(info.reason.clone());
            fault.metadata = info.metadata.clone().into_iter().collect();
        }
        fault.field = details.bad_request().and_then(|bad| Some(bad.field_violations.first()?.field.clone()));
        fault.retry_delay = details.retry_info().and_then(|retry| retry.retry_delay);
        fault.settle()
    }
}

impl From<PublishError> for Fault {
    fn from(error: PublishError) -> Self {
        let mut fault = Fault::new(Code::from_i32(error.code), error.message);
        fault.reason = Some(error.reason);
        fault.retry_delay = error.retry_delay.and_then(|delay| delay.try_into().ok());
        fault.settle()
    }
}

/// The error of this kind that lies below, if there is one.
fn below<E: Error + 'static>(status: &Status) -> Option<&(dyn Error + 'static)> {
    let mut error = status.source();
    while let Some(inner) = error {
        if inner.is::<E>() {
            return Some(inner);
        }
        error = inner.source();
    }
    None
}

/// The cause at the bottom, which says most.
fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut error = error;
    while let Some(inner) = error.source() {
        error = inner;
    }
    error.to_string()
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.reason {
            Some(reason) => write!(f, " ({reason})"),
            None => Ok(()),
        }
    }
}

impl Error for Fault {}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn what_the_broker_said_is_read_out() {
        let mut details = ErrorDetails::with_error_info("DRAINING", "tilde", [("a".into(), "b".into())]);
        details.set_retry_info(Some(Duration::from_secs(2))).add_bad_request_violation("start.sequence", "no");
        let status = Status::with_error_details(Code::Unavailable, "the broker is stopping", details);
        let fault = Fault::from(status);
        assert_eq!(fault.to_string(), "the broker is stopping (DRAINING)");
        assert_eq!(fault.retry_delay, Some(Duration::from_secs(2)));
        assert_eq!(fault.field.as_deref(), Some("start.sequence"));
        assert_eq!(fault.fate, Fate::Refused);
        assert!(fault.is_passing() && !fault.is_connection());
    }

    #[test]
    fn a_publish_is_lost_or_not_when_the_connection_or_the_disk_breaks() {
        let broken = Fault::from(Status::new(Code::Unknown, "h2 protocol error"));
        assert_eq!(broken.fate, Fate::Unknown);
        assert!(broken.is_connection());
        let failed = Fault::from(PublishError { code: 14, reason: "STORAGE_FAILED".into(), ..Default::default() });
        assert_eq!(failed.fate, Fate::Unknown);
        assert!(!failed.is_connection());
        let late = PublishError { code: 4, reason: "DEADLINE_EXCEEDED".into(), ..Default::default() };
        assert_eq!(Fault::from(late).fate, Fate::Unknown);
        assert_eq!(Fault::late().fate, Fate::Unknown);
    }
}

//! The one table from refusals to gRPC statuses, with their details. Never decides whether something is refused.
//!
//! Every status carries `google.rpc.ErrorInfo` with a stable reason, `RetryInfo` where waiting helps, and a field
//! violation where one field is at fault. All of it travels in headers, which clients limit (8 KiB is common): what
//! could be long is cut.

use std::collections::HashMap;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::grpc::convert;
use crate::{
    model::{self, Error, Reason},
    pb::v1 as pb,
};

/// Of `ErrorInfo`: reasons are unique within it.
pub const DOMAIN: &str = "tilde";

const MESSAGE_BYTES: usize = 1_000;
const DETAIL_BYTES: usize = 250;

/// The code on the wire.
pub fn code(code: model::Code) -> Code {
    match code {
        model::Code::Invalid => Code::InvalidArgument,
        model::Code::NotFound => Code::NotFound,
        model::Code::Exists => Code::AlreadyExists,
        model::Code::Conflict => Code::Aborted,
        model::Code::Precondition => Code::FailedPrecondition,
        model::Code::OutOfRange => Code::OutOfRange,
        model::Code::Exhausted => Code::ResourceExhausted,
        model::Code::Unavailable => Code::Unavailable,
        model::Code::TooLate => Code::DeadlineExceeded,
        model::Code::Internal => Code::Internal,
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Status {
        let mut details = ErrorDetails::new();
        let facts = error.metadata().iter().map(|(key, value)| (key.to_string(), cut(value, DETAIL_BYTES).to_owned()));
        details.set_error_info(error.reason().as_str(), DOMAIN, facts.collect::<HashMap<_, _>>());
        if let Some(delay) = error.retry_delay() {
            details.set_retry_info(Some(delay));
        }
        if let Some(field) = error.violated_field() {
            details.add_bad_request_violation(cut(field, DETAIL_BYTES), cut(error.message(), DETAIL_BYTES));
        }
        Status::with_error_details(code(error.code()), cut(error.message(), MESSAGE_BYTES), details)
    }
}

impl From<&Error> for pb::PublishError {
    fn from(error: &Error) -> pb::PublishError {
        pb::PublishError {
            code: code(error.code()) as i32,
            reason: error.reason().as_str().to_owned(),
            message: cut(error.message(), MESSAGE_BYTES).to_owned(),
            retry_delay: error.retry_delay().map(convert::duration),
        }
    }
}

/// A call whose deadline passed. The only status that is no refusal of the model: nothing was decided.
pub fn deadline_exceeded() -> Status {
    let message = "the call's deadline passed before the broker was done: what it asked for may still happen; \
                   a publish with a message_id is safe to repeat";
    let details = ErrorDetails::with_error_info("DEADLINE_EXCEEDED", DOMAIN, HashMap::new());
    Status::with_error_details(Code::DeadlineExceeded, message, details)
}

/// What the gRPC library refused by itself, in the words of the contract: it knows only codes, and calls a request
/// that is too large OUT_OF_RANGE, and one that is malformed INTERNAL. A status of our own, told by its details, and
/// any other stays as it is.
pub fn restate(status: Status, request_bytes: usize) -> Status {
    if !status.details().is_empty() {
        return status;
    }
    match status.code() {
        Code::OutOfRange => {
            let message = format!(
                "the request is too large: at most {request_bytes} bytes are allowed in one; split the batch, or \
                 publish a reference to where the payload lies"
            );
            Error::new(Reason::MessageTooLarge, message).with("limit", request_bytes).into()
        }
        Code::Internal => {
            let message = format!("the request is no well-formed gRPC message: {}", status.message());
            Error::new(Reason::RequestInvalid, message).into()
        }
        _ => status,
    }
}

/// The front of a text, at most `most` bytes, whole characters.
fn cut(text: &str, most: usize) -> &str {
    let mut end = most.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_reason_has_its_code_and_its_details() {
        for &reason in Reason::ALL {
            let status = Status::from(Error::new(reason, "what happened").field("topic").with("limit", 7));
            assert_eq!(status.code(), code(reason.code()));
            let details = status.get_error_details();
            let info = details.error_info().unwrap();
            assert_eq!((info.reason.as_str(), info.domain.as_str()), (reason.as_str(), DOMAIN));
            assert_eq!(info.metadata["limit"], "7");
            assert_eq!(details.bad_request().unwrap().field_violations[0].field, "topic");
            let waits = matches!(status.code(), Code::ResourceExhausted | Code::Unavailable);
            assert_eq!(details.retry_info().is_some(), waits, "{reason:?}");
        }
    }

    #[test]
    fn the_table() {
        let rows = [
            (Reason::TopicInvalid, Code::InvalidArgument),
            (Reason::MessageTooLarge, Code::InvalidArgument),
            (Reason::NamespaceNotFound, Code::NotFound),
            (Reason::MessageIdReused, Code::AlreadyExists),
            (Reason::SequenceConflict, Code::Aborted),
            (Reason::DurabilityUnavailable, Code::FailedPrecondition),
            (Reason::PositionExpired, Code::OutOfRange),
            (Reason::StorageFull, Code::ResourceExhausted),
            (Reason::Draining, Code::Unavailable),
            (Reason::Internal, Code::Internal),
        ];
        for (reason, expected) in rows {
            assert_eq!(Status::from(Error::new(reason, "x")).code(), expected, "{reason:?}");
        }
    }

    #[test]
    fn what_could_be_long_is_cut_at_a_character() {
        let error =
            Error::new(Reason::TopicInvalid, "ä".repeat(5_000)).field("f".repeat(5_000)).with("k", "v".repeat(999));
        let status = Status::from(error);
        assert_eq!(status.message().len(), MESSAGE_BYTES);
        let headers = status.into_http::<()>().into_parts().0.headers;
        let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        assert!(bytes < 8 << 10, "{bytes}");
        assert_eq!(cut("aä", 2), "a");
    }

    #[test]
    fn a_result_in_a_batch_says_the_same() {
        let error = Error::new(Reason::RateLimited, "wait").retry_after(Duration::from_millis(1500));
        let result = pb::PublishError::from(&error);
        assert_eq!((result.code, result.reason.as_str()), (Code::ResourceExhausted as i32, "RATE_LIMITED"));
        assert_eq!(result.retry_delay, Some(prost_types::Duration { seconds: 1, nanos: 500_000_000 }));
    }

    #[test]
    fn the_librarys_own_refusals_are_told_in_our_words() {
        let large = restate(Status::out_of_range("Error, decoded message length too large"), 4096);
        assert_eq!(large.code(), Code::InvalidArgument);
        assert_eq!(large.get_error_details().error_info().unwrap().reason, "MESSAGE_TOO_LARGE");
        assert!(large.message().contains("4096"));
        let malformed = restate(Status::internal("Unexpected EOF decoding stream."), 4096);
        assert_eq!(malformed.get_error_details().error_info().unwrap().reason, "REQUEST_INVALID");
        let ours = Status::from(Error::new(Reason::PositionExpired, "gone"));
        assert_eq!(restate(ours, 4096).code(), Code::OutOfRange);
    }
}
